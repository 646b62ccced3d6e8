"""The GRU of `gru.py` for a CPU in float32: one block of LANES windows at a time, all its steps, state in cache.

A work item is (group, block of the batch); items are independent, each writes its own outputs and its own slot of
the weight gradient, so that neither the number of threads nor a group's neighbours can change a bit.

Forward keeps nothing but the hidden states. Backward computes the gates again, step by step, from the state before:
a third more arithmetic, but a fifth of the memory, and no slower where memory is shared by many processes.

    r = sigmoid(W_ir x + b_ir + W_hr h + b_hr)        a = W_hn h + b_hn
    z = sigmoid(W_iz x + b_iz + W_hz h + b_hz)        n = tanh(W_in x + b_in + r a)        h' = n + z (h - n)
(torch.nn.GRU's convention.)

Addresses are in bytes (`Tensor.data_ptr()`), indices and strides in floats; sizes are run-time arguments, so one
compilation serves all shapes.
"""

from __future__ import annotations

from numba import njit
import numpy as np

from dynonet.simd import (
    COLUMNS,
    LANES,
    WIDTH,
    broadcast,
    broadcast_narrow,
    flush_denormals,
    fma,
    load,
    load_narrow,
    load_scalar,
    restore_denormals,
    sigmoid,
    splat,
    store,
    tanh,
    total,
    transpose_tile,
)

L, C, W = LANES, COLUMNS, WIDTH
F0, F1 = np.float32(0), np.float32(1)


def rounded_up(n: int, multiple: int) -> int:
    return -(-n // multiple) * multiple


@njit(forceinline=True)
def _at(address, index):
    return address + 4 * index


@njit(forceinline=True)
def _padded(n):
    return (n + C - 1) // C * C


@njit(forceinline=True)
def _fill_zero(address, count):
    for i in range(0, count, W):
        store(address, i, splat(F0))


@njit(forceinline=True)
def _copy_in(source, stride, rows, valid, target):
    """Rows of `valid` floats -> packed rows of LANES; lanes past the end of the batch are zero."""
    if valid == L:
        for k in range(rows):
            for w in range(0, L, W):
                store(target, k * L + w, load(source, k * stride + w))
    else:
        _fill_zero(target, rows * L)
        for k in range(rows):
            for lane in range(valid):
                store(target, k * L + lane, load_scalar(source, k * stride + lane))


@njit(forceinline=True)
def _copy_out(source, rows, valid, target, stride):
    if valid == L:
        for k in range(rows):
            for w in range(0, L, W):
                store(target, k * stride + w, load(source, k * L + w))
    else:
        for k in range(rows):
            for lane in range(valid):
                store(target, k * stride + lane, load_scalar(source, k * L + lane))


@njit(forceinline=True)
def _gates(i, j, h, x, w_ih, w_hh, b_ih, b_hh, D, I):
    """r, z, n and a = W_hn h + b_hn of hidden units i and j, from packed h (D rows) and x (I rows)."""
    ri = broadcast(b_ih, i) + broadcast(b_hh, i)
    rj = broadcast(b_ih, j) + broadcast(b_hh, j)
    zi = broadcast(b_ih, D + i) + broadcast(b_hh, D + i)
    zj = broadcast(b_ih, D + j) + broadcast(b_hh, D + j)
    ai, aj = broadcast(b_hh, 2 * D + i), broadcast(b_hh, 2 * D + j)
    p, q, gate = i * D, j * D, D * D
    for k in range(D):
        v = load(h, k * L)
        ri = fma(broadcast(w_hh, p + k), v, ri)
        rj = fma(broadcast(w_hh, q + k), v, rj)
        zi = fma(broadcast(w_hh, p + gate + k), v, zi)
        zj = fma(broadcast(w_hh, q + gate + k), v, zj)
        ai = fma(broadcast(w_hh, p + 2 * gate + k), v, ai)
        aj = fma(broadcast(w_hh, q + 2 * gate + k), v, aj)
    ni, nj = broadcast(b_ih, 2 * D + i), broadcast(b_ih, 2 * D + j)
    p, q, gate = i * I, j * I, D * I
    for k in range(I):
        v = load(x, k * L)
        ri = fma(broadcast(w_ih, p + k), v, ri)
        rj = fma(broadcast(w_ih, q + k), v, rj)
        zi = fma(broadcast(w_ih, p + gate + k), v, zi)
        zj = fma(broadcast(w_ih, q + gate + k), v, zj)
        ni = fma(broadcast(w_ih, p + 2 * gate + k), v, ni)
        nj = fma(broadcast(w_ih, q + 2 * gate + k), v, nj)
    ri, rj = sigmoid(ri), sigmoid(rj)
    ni, nj = tanh(fma(ri, ai, ni)), tanh(fma(rj, aj, nj))
    return ri, sigmoid(zi), ni, ai, rj, sigmoid(zj), nj, aj


def forward(first, last, x, w_ih, w_hh, b_ih, b_hh, states, keep, final, scratch, T, I, D, B):
    """Items first..last-1. x (G, T, I, B).

    keep 0: no states; 1: states (G, T, D, B); 2: packed states (G, blocks, T, D, LANES).
    final: address of (G, D, B) for the last state, or 0. scratch: (2 D + I) LANES floats.
    """
    mode = flush_denormals()
    blocks = (B + L - 1) // L
    xs = _at(scratch, 2 * D * L)
    for item in range(first, last):
        group, block = item // blocks, item % blocks
        valid = min(L, B - block * L)
        gw_ih, gw_hh = _at(w_ih, group * 3 * D * I), _at(w_hh, group * 3 * D * D)
        gb_ih, gb_hh = _at(b_ih, group * 3 * D), _at(b_hh, group * 3 * D)
        h, h_next = scratch, _at(scratch, D * L)
        _fill_zero(h, D * L)
        for t in range(T):
            _copy_in(_at(x, (group * T + t) * I * B + block * L), B, I, valid, xs)
            for i in range(0, D, 2):
                j = min(i + 1, D - 1)
                for w in range(0, L, W):
                    _, zi, ni, _, _, zj, nj, _ = _gates(
                        i, j, _at(h, w), _at(xs, w), gw_ih, gw_hh, gb_ih, gb_hh, D, I
                    )
                    store(h_next, i * L + w, fma(zi, load(h, i * L + w) - ni, ni))
                    store(h_next, j * L + w, fma(zj, load(h, j * L + w) - nj, nj))
            if keep == 1:
                _copy_out(h_next, D, valid, _at(states, (group * T + t) * D * B + block * L), B)
            elif keep == 2:
                _copy_out(h_next, D, L, _at(states, (item * T + t) * D * L), L)
            h, h_next = h_next, h
        if final != 0:
            _copy_out(h, D, valid, _at(final, group * D * B + block * L), B)
    restore_denormals(mode)


@njit(forceinline=True)
def _transpose(source, rows, target, width):
    """Packed rows (rows, LANES) -> (LANES, width): whole tiles, rows a multiple of COLUMNS."""
    for k in range(0, rows, C):
        for lane in range(0, L, C):
            transpose_tile(_at(source, k * L + lane), L, _at(target, lane * width + k), width)


def _outer_columns(load_columns, spread):
    """The next function for columns of one vector width."""

    @njit(forceinline=True)
    def outer(d, D, v, width, c, sums):
        for i in range(0, D, 2):
            j = min(i + 1, D - 1)
            pi, pj, gate = i * width + c, j * width + c, D * width
            ai, aj = load_columns(sums, pi), load_columns(sums, pj)
            bi, bj = load_columns(sums, pi + gate), load_columns(sums, pj + gate)
            ci, cj = load_columns(sums, pi + 2 * gate), load_columns(sums, pj + 2 * gate)
            di, dj, step = _at(d, i * L), _at(d, j * L), D * L
            for lane in range(L):
                y = load_columns(v, lane * width + c)
                ai = fma(spread(di, lane), y, ai)
                aj = fma(spread(dj, lane), y, aj)
                bi = fma(spread(di, lane + step), y, bi)
                bj = fma(spread(dj, lane + step), y, bj)
                ci = fma(spread(di, lane + 2 * step), y, ci)
                cj = fma(spread(dj, lane + 2 * step), y, cj)
            store(sums, pi, ai)
            store(sums, pj, aj)
            store(sums, pi + gate, bi)
            store(sums, pj + gate, bj)
            store(sums, pi + 2 * gate, ci)
            store(sums, pj + 2 * gate, cj)

    return outer


_outer_wide, _outer_narrow = _outer_columns(load, broadcast), _outer_columns(load_narrow, broadcast_narrow)


@njit(forceinline=True)
def _outer(d, D, v, width, sums):
    """sums (3, D, width) += d (3, D, LANES) times v (LANES, width), summed over lanes; width padded to COLUMNS."""
    for c in range(0, width - C, W):
        _outer_wide(d, D, v, width, c, sums)
    if width % W:
        _outer_narrow(d, D, v, width, width - C, sums)


@njit(forceinline=True)
def _product(weight, rows, terms, d, out):
    """out (rows, LANES) += weight (rows, terms) @ d (terms, LANES).

    Four rows at a time; past the end the last row is computed again, to the same value.
    """
    for k in range(0, rows, 4):
        k1, k2, k3 = min(k + 1, rows - 1), min(k + 2, rows - 1), min(k + 3, rows - 1)
        u0, u1, u2, u3 = k * terms, k1 * terms, k2 * terms, k3 * terms
        for w in range(0, L, W):
            s0, s1, s2, s3 = load(out, k * L + w), load(out, k1 * L + w), load(out, k2 * L + w), load(out, k3 * L + w)
            for j in range(terms):
                y = load(d, j * L + w)
                s0 = fma(broadcast(weight, u0 + j), y, s0)
                s1 = fma(broadcast(weight, u1 + j), y, s1)
                s2 = fma(broadcast(weight, u2 + j), y, s2)
                s3 = fma(broadcast(weight, u3 + j), y, s3)
            store(out, k * L + w, s0)
            store(out, k1 * L + w, s1)
            store(out, k2 * L + w, s2)
            store(out, k3 * L + w, s3)


@njit(forceinline=True)
def _cell(p, g, h, r, z, n, a, dh, d, step):
    """Gradients before the activations of one hidden unit, at packed index p, from g, the gradient of its new state."""
    one = splat(F1)
    gz = g * z
    dn = (g - gz) * (one - n * n)
    da = dn * r
    store(dh, p, gz)
    store(d, p, da)
    store(d, p + step, da * a * (one - r))
    store(d, p + 2 * step, gz * (h - n) * (one - z))
    store(d, p + 3 * step, dn)


def backward(
    first, last, x, w_ih, w_hh, b_ih, b_hh, wt_ih, wt_hh, states, packed, grad, grad_last, dx, slots, scratch, T, I, D, B
):
    """Items first..last-1.

    states (G, T, D, B), or with packed (G, blocks, T, D, LANES). grad: (G, T, D, B), or with grad_last (G, D, B).
    wt_ih (G, I, 3D), wt_hh (G, D, 3D): the weights transposed. dx: address of (G, T, I, B), or 0 if not wanted.
    slots (G, blocks, slot): sums of this item: hh (3, Dp, Dp), ih (3, Dp, Ip), bias (4, Dp); p: rounded up to COLUMNS.
    """
    mode = flush_denormals()
    blocks = (B + L - 1) // L
    Dp, Ip = _padded(D), _padded(I)
    h = scratch
    xs = _at(h, Dp * L)
    ht = _at(xs, Ip * L)
    xt = _at(ht, Dp * L)
    d = _at(xt, Ip * L)  # rows of a, r, z, n: gradients before the activation
    bias = _at(d, 4 * D * L)
    dh = _at(bias, 4 * D * L)
    dxs = _at(dh, D * L)
    size = D * (3 * Dp + 3 * Ip + 4)
    _fill_zero(scratch, (2 * Dp + 2 * Ip) * L)
    for item in range(first, last):
        group, block = item // blocks, item % blocks
        valid = min(L, B - block * L)
        gw_ih, gw_hh = _at(w_ih, group * 3 * D * I), _at(w_hh, group * 3 * D * D)
        gwt_ih, gwt_hh = _at(wt_ih, group * 3 * D * I), _at(wt_hh, group * 3 * D * D)
        gb_ih, gb_hh = _at(b_ih, group * 3 * D), _at(b_hh, group * 3 * D)
        total_hh = _at(slots, item * size)
        total_ih = _at(total_hh, 3 * D * Dp)
        total_b = _at(total_ih, 3 * D * Ip)
        for i in range(size):
            store(total_hh, i, F0)
        _fill_zero(bias, 4 * D * L)
        _fill_zero(dh, D * L)
        for t in range(T - 1, -1, -1):
            if t == 0:
                _fill_zero(h, D * L)
            elif packed:
                _copy_in(_at(states, (item * T + t - 1) * D * L), L, D, L, h)
            else:
                _copy_in(_at(states, (group * T + t - 1) * D * B + block * L), B, D, valid, h)
            _copy_in(_at(x, (group * T + t) * I * B + block * L), B, I, valid, xs)
            if grad_last:
                if t == T - 1:
                    _copy_in(_at(grad, group * D * B + block * L), B, D, valid, dh)
            else:
                _add_in(_at(grad, (group * T + t) * D * B + block * L), B, D, valid, dh)
            for i in range(0, D, 2):
                j = min(i + 1, D - 1)
                for w in range(0, L, W):
                    ri, zi, ni, ai, rj, zj, nj, aj = _gates(
                        i, j, _at(h, w), _at(xs, w), gw_ih, gw_hh, gb_ih, gb_hh, D, I
                    )
                    p, q = i * L + w, j * L + w
                    gi, gj = load(dh, p), load(dh, q)
                    _cell(p, gi, load(h, p), ri, zi, ni, ai, dh, d, D * L)
                    _cell(q, gj, load(h, q), rj, zj, nj, aj, dh, d, D * L)
            for k in range(0, 4 * D * L, W):
                store(bias, k, load(bias, k) + load(d, k))
            _transpose(h, Dp, ht, Dp)
            _transpose(xs, Ip, xt, Ip)
            _outer(d, D, ht, Dp, total_hh)
            _outer(_at(d, D * L), D, xt, Ip, total_ih)
            _product(gwt_hh, D, 3 * D, d, dh)
            if dx != 0:
                _fill_zero(dxs, I * L)
                _product(gwt_ih, I, 3 * D, _at(d, D * L), dxs)
                _copy_out(dxs, I, valid, _at(dx, (group * T + t) * I * B + block * L), B)
        for k in range(4 * D):
            store(total_b, k, total(load(bias, k * L) + load(bias, k * L + W)))
    restore_denormals(mode)


@njit(forceinline=True)
def _add_in(source, stride, rows, valid, target):
    if valid == L:
        for k in range(rows):
            for w in range(0, L, W):
                store(target, k * L + w, load(target, k * L + w) + load(source, k * stride + w))
    else:
        for k in range(rows):
            for lane in range(valid):
                i = k * L + lane
                store(target, i, load_scalar(target, i) + load_scalar(source, k * stride + lane))
