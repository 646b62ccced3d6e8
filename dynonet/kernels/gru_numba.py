"""The GRU of `gru.py` on a CPU in float32, compiled by Numba: a block of the batch at a time, all its steps, in cache.

A work item is (group, block of LANES windows). Items share nothing: each writes its own outputs and its own slot of
the weight gradient, so neither the number of threads nor a group's neighbours can change a bit. For one step

    r = sigmoid(W_ir x + b_ir + W_hr h + b_hr)        a = W_hn h + b_hn
    z = sigmoid(W_iz x + b_iz + W_hz h + b_hz)        n = tanh(W_in x + b_in + r a)        h' = n + z (h - n)

(torch.nn.GRU's convention). Backward needs r, z, n, a of each step, and computes them again from the state before:
reading them back costs as much time, and keeping them five times the memory.

Addresses are in bytes (`Tensor.data_ptr()`), indices and strides in floats; nothing is bounds-checked.
Sizes are run-time arguments: one compilation serves all shapes.
"""

# mypy: ignore-errors
# (Numba calls these functions otherwise than they are declared, and types its own code.)
from __future__ import annotations

import sys

import numpy as np
from numba import njit, types

from dynonet.kernels import gru_blocks, simd
from dynonet.kernels.gru_blocks import (
    add,
    all_zero,
    at,
    cell,
    clear,
    copy_in,
    copy_out,
    fill_zero,
    gate_values,
    outer,
    product,
    transpose,
)
from dynonet.kernels.simd import (
    COLUMNS,
    LANES,
    WIDTH,
    flush_denormals,
    fma,
    inline,
    load,
    restore_denormals,
    store,
    total,
)
from lab.compute.numba_cache import compiled_once


@njit
def _up(n):
    return (n + COLUMNS - 1) // COLUMNS * COLUMNS


@inline
def _weights(group, w_ih, w_hh, b_ih, b_hh, D, F):
    b = group * 3 * D
    return at(w_ih, b * F), at(w_hh, b * D), at(b_ih, b), at(b_hh, b)


def forward_scratch(D: int, F: int) -> int:
    """Floats of scratch that `forward` needs in each thread."""
    return (2 * D + F) * LANES


def backward_scratch(D: int, F: int) -> int:
    return (2 * _up.py_func(D) + 2 * _up.py_func(F) + 10 * D + F) * LANES


def slot_shape(D: int, F: int) -> tuple[int, int, int]:
    """Floats in a slot: W_hh (3, D, D), gates a, r, z; W_ih (3, D, F), gates r, z, n (rows padded); biases (4, D)."""
    return 3 * D * _up.py_func(D), 3 * D * _up.py_func(F), 4 * D


def forward(first, last, x, w_ih, w_hh, b_ih, b_hh, states, packed, final, scratch, T, F, D, B):
    """Items first..last-1 of x (G, T, F, B). Outputs whose address is 0 are not written:

    states (G, T, D, B), or with `packed` (G, blocks, T, D, LANES); final, the last state (G, D, B).
    scratch: (2 D + F) LANES floats of this thread's own.
    """
    mode = flush_denormals()
    blocks = (B + LANES - 1) // LANES
    xs = at(scratch, 2 * D * LANES)
    for item in range(first, last):
        group, block = item // blocks, item % blocks
        valid = min(LANES, B - block * LANES)
        wi, wh, bi, bh = _weights(group, w_ih, w_hh, b_ih, b_hh, D, F)
        h, h_next = scratch, at(scratch, D * LANES)
        fill_zero(h, D * LANES)
        for t in range(T):
            copy_in(at(x, (group * T + t) * F * B + block * LANES), B, F, valid, xs)
            for i in range(0, D, 2):
                j = min(i + 1, D - 1)
                for w in range(0, LANES, WIDTH):
                    _, zi, ni, _, _, zj, nj, _ = gate_values(i, j, at(h, w), at(xs, w), wi, wh, bi, bh, D, F)
                    store(h_next, i * LANES + w, fma(zi, load(h, i * LANES + w) - ni, ni))
                    store(h_next, j * LANES + w, fma(zj, load(h, j * LANES + w) - nj, nj))
            if states != 0:
                if packed:
                    copy_out(h_next, D, LANES, at(states, (item * T + t) * D * LANES), LANES)
                else:
                    copy_out(h_next, D, valid, at(states, (group * T + t) * D * B + block * LANES), B)
            h, h_next = h_next, h
        if final != 0:
            copy_out(h, D, valid, at(final, group * D * B + block * LANES), B)
    restore_denormals(mode)


def backward(
    first, last, x, w_ih, w_hh, b_ih, b_hh, wt_ih, wt_hh, states, packed, grad, grad_last, dx, slots, scratch,
    T, F, D, B
):  # fmt: skip
    """Items first..last-1. x, weights and states as in `forward`.

    grad (G, T, D, B), or with `grad_last` (G, D, B) of the last state only.
    wt_ih (G, F, 3D), gates r, z, n; wt_hh (G, D, 3D), gates n, r, z: transposed, so that rows are read in order.
    dx: (G, T, F, B), or 0 if not wanted. slots: (G, blocks, slot), see `slot_shape`, or 0. scratch: this thread's own.
    """
    mode = flush_denormals()
    blocks = (B + LANES - 1) // LANES
    Dp, Ip, gate = _up(D), _up(F), D * LANES
    h = scratch
    xs = at(h, Dp * LANES)
    ht, xt = at(xs, Ip * LANES), at(xs, (Ip + Dp) * LANES)  # transposed
    d = at(xt, Ip * LANES)
    biases = at(d, 4 * gate)
    dh = at(biases, 4 * gate)
    dxs = at(dh, gate)
    fill_zero(scratch, (Dp + Ip) * LANES)  # the padding of h and x stays zero
    for item in range(first, last):
        group, block = item // blocks, item % blocks
        valid = min(LANES, B - block * LANES)
        wi, wh, bi, bh = _weights(group, w_ih, w_hh, b_ih, b_hh, D, F)
        wti, wth = at(wt_ih, group * 3 * D * F), at(wt_hh, group * 3 * D * D)
        sums_hh = at(slots, item * D * (3 * Dp + 3 * Ip + 4))
        sums_ih = at(sums_hh, 3 * D * Dp)
        sums_b = at(sums_ih, 3 * D * Ip)
        if slots != 0:
            for k in range(D * (3 * Dp + 3 * Ip)):
                store(sums_hh, k, np.float32(0))
        fill_zero(biases, 4 * gate)
        fill_zero(dh, gate)
        for t in range(T - 1, -1, -1):
            if t == 0:
                fill_zero(h, gate)
            elif packed:
                copy_in(at(states, (item * T + t - 1) * gate), LANES, D, LANES, h)
            else:
                copy_in(at(states, (group * T + t - 1) * D * B + block * LANES), B, D, valid, h)
            copy_in(at(x, (group * T + t) * F * B + block * LANES), B, F, valid, xs)
            if not grad_last:
                copy_in(at(grad, (group * T + t) * D * B + block * LANES), B, D, valid, d)  # d is free here
                add(d, gate, dh)
            elif t == T - 1:
                copy_in(at(grad, group * D * B + block * LANES), B, D, valid, dh)
            elif all_zero(dh, gate):
                # The gradient has underflowed (flushed denormals make that exact): no earlier step adds anything.
                if dx != 0:
                    for earlier in range(t + 1):
                        clear(at(dx, (group * T + earlier) * F * B + block * LANES), F, valid, B)
                break
            for i in range(0, D, 2):
                j = min(i + 1, D - 1)
                for w in range(0, LANES, WIDTH):
                    p, q = i * LANES + w, j * LANES + w
                    ri, zi, ni, ai, rj, zj, nj, aj = gate_values(i, j, at(h, w), at(xs, w), wi, wh, bi, bh, D, F)
                    gi, gj = load(dh, p), load(dh, q)  # both before either is written: i may be j
                    cell(p, gi, load(h, p), ri, zi, ni, ai, dh, d, gate)
                    cell(q, gj, load(h, q), rj, zj, nj, aj, dh, d, gate)
            if slots != 0:
                add(d, 4 * gate, biases)
                transpose(h, Dp, ht)
                transpose(xs, Ip, xt)
                outer(d, D, ht, Dp, sums_hh)
                outer(at(d, gate), D, xt, Ip, sums_ih)
            product(wth, D, 3 * D, d, dh)
            if dx != 0:
                fill_zero(dxs, F * LANES)
                product(wti, F, 3 * D, at(d, gate), dxs)
                copy_out(dxs, F, valid, at(dx, (group * T + t) * F * B + block * LANES), B)
        if slots != 0:
            for k in range(4 * D):
                store(sums_b, k, total(load(biases, k * LANES) + load(biases, k * LANES + WIDTH)))
    restore_denormals(mode)


_SOURCES = (sys.modules[__name__], gru_blocks, simd)


def _compiled(function):
    """`function`, of integers only."""
    return compiled_once(function, types.void(*[types.int64] * function.__code__.co_argcount), _SOURCES)


forward = _compiled(forward)
backward = _compiled(backward)
