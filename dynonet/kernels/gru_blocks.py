"""What the GRU kernel does to one block of the batch in one step: copies, gates, their gradients, two products.

Inside a block rows are packed: (rows, LANES). The network's own layout, batch last, has rows B apart; with B = 512 a
step's rows would fall on a few sets of the first-level cache and push each other out. Loops over hidden units take
two, or rows four, at a time, to fill the registers; past the end of an odd number the last one is computed again, to
the same value. Sizes: D hidden units, F input features. Formulas in `gru_kernel.py`.
"""

# mypy: ignore-errors
# (Numba calls these functions otherwise than they are declared, and types its own code.)
from __future__ import annotations

import numpy as np

from dynonet.kernels.simd import (
    COLUMNS,
    LANES,
    WIDTH,
    any_nonzero,
    broadcast,
    broadcast_narrow,
    fma,
    inline,
    load,
    load_narrow,
    load_scalar,
    one,
    sigmoid,
    store,
    tanh,
    transpose_tile,
    zero,
)


@inline
def at(address, index):
    return address + 4 * index


@inline
def fill_zero(address, count):
    """`count` a multiple of WIDTH."""
    for i in range(0, count, WIDTH):
        store(address, i, zero())


@inline
def copy_in(source, stride, rows, valid, target):
    """Rows `stride` apart -> packed rows (rows, LANES); lanes past the `valid` ones (a batch's end) become zero."""
    if valid == LANES:
        for k in range(rows):
            for w in range(0, LANES, WIDTH):
                store(target, k * LANES + w, load(source, k * stride + w))
    else:
        fill_zero(target, rows * LANES)
        for k in range(rows):
            for lane in range(valid):
                store(target, k * LANES + lane, load_scalar(source, k * stride + lane))


@inline
def copy_out(source, rows, valid, target, stride):
    """Packed rows -> rows `stride` apart, of which only `valid` floats are written."""
    if valid == LANES:
        for k in range(rows):
            for w in range(0, LANES, WIDTH):
                store(target, k * stride + w, load(source, k * LANES + w))
    else:
        for k in range(rows):
            for lane in range(valid):
                store(target, k * stride + lane, load_scalar(source, k * LANES + lane))


@inline
def clear(target, rows, valid, stride):
    """Zero to rows `stride` apart, of which only `valid` floats are written."""
    for k in range(rows):
        for lane in range(valid):
            store(target, k * stride + lane, np.float32(0))


@inline
def all_zero(address, count):
    """Whether `count` floats, a multiple of WIDTH, are all zero (NaN is not). Ends at the first that is not."""
    for i in range(0, count, WIDTH):  # noqa: SIM110  (Numba compiles no generator)
        if any_nonzero(load(address, i)):
            return False
    return True


@inline
def add(source, count, target):
    """target += source, `count` a multiple of WIDTH."""
    for i in range(0, count, WIDTH):
        store(target, i, load(target, i) + load(source, i))


@inline
def transpose(source, rows, target):
    """Packed rows (rows, LANES) -> (LANES, rows); rows a multiple of COLUMNS."""
    for k in range(0, rows, COLUMNS):
        for lane in range(0, LANES, COLUMNS):
            transpose_tile(at(source, k * LANES + lane), LANES, at(target, lane * rows + k), rows)


@inline
def gate_values(i, j, h, x, w_ih, w_hh, b_ih, b_hh, D, F):
    """r, z, n, a of hidden unit i, then of j, for WIDTH lanes, from packed h (D rows) and x (F rows)."""
    ri, rj = broadcast(b_ih, i) + broadcast(b_hh, i), broadcast(b_ih, j) + broadcast(b_hh, j)
    zi, zj = broadcast(b_ih, D + i) + broadcast(b_hh, D + i), broadcast(b_ih, D + j) + broadcast(b_hh, D + j)
    ai, aj = broadcast(b_hh, 2 * D + i), broadcast(b_hh, 2 * D + j)
    p, q, gate = i * D, j * D, D * D
    for k in range(D):
        v = load(h, k * LANES)
        ri = fma(broadcast(w_hh, p + k), v, ri)
        rj = fma(broadcast(w_hh, q + k), v, rj)
        zi = fma(broadcast(w_hh, p + gate + k), v, zi)
        zj = fma(broadcast(w_hh, q + gate + k), v, zj)
        ai = fma(broadcast(w_hh, p + 2 * gate + k), v, ai)
        aj = fma(broadcast(w_hh, q + 2 * gate + k), v, aj)
    ni, nj = broadcast(b_ih, 2 * D + i), broadcast(b_ih, 2 * D + j)
    p, q, gate = i * F, j * F, D * F
    for k in range(F):
        v = load(x, k * LANES)
        ri = fma(broadcast(w_ih, p + k), v, ri)
        rj = fma(broadcast(w_ih, q + k), v, rj)
        zi = fma(broadcast(w_ih, p + gate + k), v, zi)
        zj = fma(broadcast(w_ih, q + gate + k), v, zj)
        ni = fma(broadcast(w_ih, p + 2 * gate + k), v, ni)
        nj = fma(broadcast(w_ih, q + 2 * gate + k), v, nj)
    ri, rj = sigmoid(ri), sigmoid(rj)
    return ri, sigmoid(zi), tanh(fma(ri, ai, ni)), ai, rj, sigmoid(zj), tanh(fma(rj, aj, nj)), aj


@inline
def cell(p, g, h, r, z, n, a, dh, d, gate):
    """One hidden unit, at packed index p: from g, the gradient of h', those of its gates before the activations.

    d holds a, r, z, n, `gate` floats apart: the gates of W_hh (a, r, z) and of W_ih (r, z, n) are neighbours there.
    """
    gz = g * z
    dn = (g - gz) * (one() - n * n)
    da = dn * r
    store(dh, p, gz)
    store(d, p, da)
    store(d, p + gate, da * a * (one() - r))
    store(d, p + 2 * gate, gz * (h - n) * (one() - z))
    store(d, p + 3 * gate, dn)


def _outer_columns(load_columns, spread):
    """`outer` for one vector's columns, from c on."""

    @inline
    def columns(d, D, v, width, c, sums):
        gate, step = D * width, D * LANES
        for i in range(0, D, 2):
            j = min(i + 1, D - 1)
            p, q, di, dj = i * width + c, j * width + c, at(d, i * LANES), at(d, j * LANES)
            ai, aj = load_columns(sums, p), load_columns(sums, q)
            bi, bj = load_columns(sums, p + gate), load_columns(sums, q + gate)
            ci, cj = load_columns(sums, p + 2 * gate), load_columns(sums, q + 2 * gate)
            for lane in range(LANES):
                y = load_columns(v, lane * width + c)
                ai = fma(spread(di, lane), y, ai)
                aj = fma(spread(dj, lane), y, aj)
                bi = fma(spread(di, lane + step), y, bi)
                bj = fma(spread(dj, lane + step), y, bj)
                ci = fma(spread(di, lane + 2 * step), y, ci)
                cj = fma(spread(dj, lane + 2 * step), y, cj)
            store(sums, p, ai)
            store(sums, q, aj)
            store(sums, p + gate, bi)
            store(sums, q + gate, bj)
            store(sums, p + 2 * gate, ci)
            store(sums, q + 2 * gate, cj)

    return columns


_outer_wide, _outer_narrow = _outer_columns(load, broadcast), _outer_columns(load_narrow, broadcast_narrow)


@inline
def outer(d, D, v, width, sums):
    """sums (3, D, width) += d (3, D, LANES) times v (LANES, width), over lanes; width a multiple of COLUMNS."""
    for c in range(0, width - COLUMNS, WIDTH):
        _outer_wide(d, D, v, width, c, sums)
    if width % WIDTH:
        _outer_narrow(d, D, v, width, width - COLUMNS, sums)


@inline
def product(weight, rows, terms, d, out):
    """out (rows, LANES) += weight (rows, terms) @ d (terms, LANES)."""
    for k0 in range(0, rows, 4):
        k1, k2, k3 = min(k0 + 1, rows - 1), min(k0 + 2, rows - 1), min(k0 + 3, rows - 1)
        u0, u1, u2, u3 = k0 * terms, k1 * terms, k2 * terms, k3 * terms
        for w in range(0, LANES, WIDTH):
            p0, p1, p2, p3 = k0 * LANES + w, k1 * LANES + w, k2 * LANES + w, k3 * LANES + w
            s0, s1, s2, s3 = load(out, p0), load(out, p1), load(out, p2), load(out, p3)
            for j in range(terms):
                y = load(d, j * LANES + w)
                s0 = fma(broadcast(weight, u0 + j), y, s0)
                s1 = fma(broadcast(weight, u1 + j), y, s1)
                s2 = fma(broadcast(weight, u2 + j), y, s2)
                s3 = fma(broadcast(weight, u3 + j), y, s3)
            store(out, p0, s0)
            store(out, p1, s1)
            store(out, p2, s2)
            store(out, p3, s3)
