"""The GRU of `gru.py` on a GPU in float32, compiled by Triton: a block of the batch at a time, all its steps.

One program is one (group, block of LANES windows): it holds the state in registers and loops over time by itself, so
that a whole GRU is one launch. Programs share nothing: each writes its own outputs and its own slot of the weight
gradient, and slots are added up in a fixed order. Neither a group's neighbours nor G can change a bit of its result.
Formulas and the order of gates are those of `gru_kernel.py`.

Compiled anew for: another D or F (`tl.constexpr`, as are their padded sizes, LANES and the flags), another device.
G, T and B are run-time numbers, and no argument is specialised on its value or alignment: other sizes never compile.

Two layouts, chosen by D and F alone (`plan`). Figures are for one window and one step:

* LANES_LAST, for D and F up to 16: tiles (units, lanes). A thread has one unit of one window (LANES = 256 / D, at most
  a warp's 32); it holds the unit's weights, and in backward their gradients too, in registers (D = F = 8: 48 + 48 of
  172; D = F = 16: 96 + 96 of 255). Products are float32 multiply-adds; only h and its gradient go between threads.
  The published worker (D = F = 8) takes 768 floating-point operations and moves 64 bytes forward, 12 a byte, and an
  H100 is in balance at 20: bound by memory (and by the latency of each step where models are few). So backward computes
  the gates again from the states (768 operations) rather than read them back (128 bytes). One model of 7 channels and
  512 windows makes 7 x 16 = 112 programs, near one for each of 132 multiprocessors.
* otherwise tiles (lanes, units), D padded to 64 or 128, and products on tensor cores as `tf32x3`: a factor is split
  into two TF32 numbers and three of the four products are summed, with an error near 2^-21 (plain TF32: 2^-11).
  `ieee` would be float32 itself, but Triton has no tensor cores for it and gives each thread all of its rows of W_hh to
  hold (at D = 64 hundreds of registers). LANES = 16 is the least that tensor cores take: one model of 512 windows has
  32 programs, each as long as its 512 steps one after the other; from 4 models on all multiprocessors have work.
  The controller (D = 64, F = 7) takes 27,264 operations and moves 284 bytes forward: bound by arithmetic, so its gates
  (1 KiB) are kept. That leaves backward with W_hh alone to hold, 96 KiB in its two parts; with the transpose, to
  compute the gates again, it would pass the 227 KiB that a block may have.
  Triton gives warps different columns of a product only where each product has more columns than lanes; else all
  warps compute the same. So with the 8 warps taken here a D below 64 is padded that far, and F to 32 where x needs a
  gradient; 1 or 2 warps would need no padding beyond 16 or 32.
  Above 64 weights are read anew in every step (RELOAD), from the second-level cache: slower.

Where only the last state has a gradient, that gradient underflows on its way back in time. Every 8 steps a block looks
whether its dh is exactly zero; it then stops, since all earlier steps would add exactly zero.

`TRITON_INTERPRET=1`, set before triton is first imported, runs the same code on a CPU, slowly: for tests.
"""

# mypy: ignore-errors
# (Triton compiles these functions from their source and calls them otherwise than they are declared.)
from __future__ import annotations

import contextlib
from typing import NamedTuple

import torch
import triton
import triton.language as tl
from torch import Tensor

LARGEST = 128  # of D and of F: above, a step's operands do not fit in shared memory
SUM_BLOCK = 256  # weight gradients that one program of `_sum_slots` adds up


class Plan(NamedTuple):
    """What is compiled for one shape of GRU."""

    D_PAD: int  # hidden units, padded to a power of two
    F_PAD: int
    LANES: int  # windows of one program
    LANES_LAST: bool  # see the module's docstring; without it backward needs the gates
    RELOAD: bool
    warps: int


def plan(hidden: int, inputs: int) -> Plan:
    """A function of D and F alone, never of G, T, B or a measurement: a result is the same in any stack.

    Raises ValueError for a size above LARGEST.
    """
    if max(hidden, inputs) > LARGEST:
        raise ValueError(f"GRU kernel for GPUs: got {hidden} hidden units and {inputs} inputs, at most {LARGEST} each")
    d, i = triton.next_power_of_2(hidden), triton.next_power_of_2(inputs)
    if d <= 16 and i <= 16:
        lanes = min(32, 256 // d)
        return Plan(d, i, LANES=lanes, LANES_LAST=True, RELOAD=False, warps=d * lanes // 32)
    d, i = max(d, 64), max(i, 16)  # 16 is the least that tensor cores take
    return Plan(d, i, LANES=16, LANES_LAST=False, RELOAD=d > 64 or i > 64, warps=8)


# -- pieces --------------------------------------------------------------------------------------------------
# Letters of shapes: L lanes (windows), J units, K columns of a weight. `tile` is (J, L) with LANES_LAST, else (L, J).
@triton.jit
def _places(rows, lanes, B, LANES_LAST: tl.constexpr):
    """Offsets of a tile whose rows are B floats apart."""
    if LANES_LAST:
        return rows[:, None] * B + lanes[None, :]
    else:
        return lanes[:, None] + rows[None, :] * B


@triton.jit
def _inside(rows, count, lanes, B, LANES_LAST: tl.constexpr):
    if LANES_LAST:
        return (rows < count)[:, None] & (lanes < B)[None, :]
    else:
        return (lanes < B)[:, None] & (rows < count)[None, :]


@triton.jit
def _weights(pointer, columns, units, D: tl.constexpr, K: tl.constexpr, AGAIN: tl.constexpr):
    """The three gates of a weight (3D, K), each as (K, J); zero in the padding, which so stays zero in the state.

    AGAIN: in every step; `volatile`, as the compiler would else lift it out of the loop and overflow shared memory.
    """
    places = pointer + units[None, :] * K + columns[:, None]
    inside = (columns < K)[:, None] & (units < D)[None, :]
    first = tl.load(places, mask=inside, other=0.0, volatile=AGAIN)
    second = tl.load(places + D * K, mask=inside, other=0.0, volatile=AGAIN)
    third = tl.load(places + 2 * D * K, mask=inside, other=0.0, volatile=AGAIN)
    return first, second, third


@triton.jit
def _transposed(
    pointer, columns, units, D: tl.constexpr, K: tl.constexpr, LANES_LAST: tl.constexpr, AGAIN: tl.constexpr
):
    """The three gates as `_back` takes them: (J, K), or with LANES_LAST (K, J) as above."""
    if LANES_LAST:
        return _weights(pointer, columns, units, D, K, AGAIN)
    else:
        places = pointer + units[:, None] * K + columns[None, :]
        inside = (units < D)[:, None] & (columns < K)[None, :]
        first = tl.load(places, mask=inside, other=0.0, volatile=AGAIN)
        second = tl.load(places + D * K, mask=inside, other=0.0, volatile=AGAIN)
        third = tl.load(places + 2 * D * K, mask=inside, other=0.0, volatile=AGAIN)
        return first, second, third


@triton.jit
def _biases(pointer, units, D: tl.constexpr, LANES_LAST: tl.constexpr):
    """The three gates' biases, each to be added to a tile."""
    axis: tl.constexpr = 1 if LANES_LAST else 0
    first = tl.load(pointer + units, mask=units < D, other=0.0)
    second = tl.load(pointer + D + units, mask=units < D, other=0.0)
    third = tl.load(pointer + 2 * D + units, mask=units < D, other=0.0)
    return tl.expand_dims(first, axis), tl.expand_dims(second, axis), tl.expand_dims(third, axis)


@triton.jit
def _times(weight, tile, total, LANES_LAST: tl.constexpr):
    """total + weight^T tile: weight (K, J), tile of K rows -> tile of J rows."""
    if LANES_LAST:
        return total + tl.sum(weight[:, :, None] * tile[:, None, :], axis=0)
    else:
        return tl.dot(tile, weight, acc=total, input_precision="tf32x3")


@triton.jit
def _back(weights, first, second, third, total, LANES_LAST: tl.constexpr):
    """total + the sum over gates of weight tile: tiles of J rows -> a tile of K rows."""
    if LANES_LAST:  # one reduction (over warps) for the three gates
        products = weights[0][:, :, None] * first[None, :, :]
        products += weights[1][:, :, None] * second[None, :, :]
        products += weights[2][:, :, None] * third[None, :, :]
        return total + tl.sum(products, axis=1)
    else:
        total = tl.dot(first, weights[0], acc=total, input_precision="tf32x3")
        total = tl.dot(second, weights[1], acc=total, input_precision="tf32x3")
        return tl.dot(third, weights[2], acc=total, input_precision="tf32x3")


@triton.jit
def _outer(columns_tile, units_tile, total, LANES_LAST: tl.constexpr):
    """total + the weight gradient of one step: (K, J), or with LANES_LAST (K, J, L), added up over L at the end."""
    if LANES_LAST:
        return total + columns_tile[:, None, :] * units_tile[None, :, :]
    else:
        return tl.dot(tl.trans(columns_tile), units_tile, acc=total, input_precision="tf32x3")


@triton.jit
def _sigmoid(x):
    return 1 / (1 + tl.exp(-x))


@triton.jit
def _tanh(x):
    return 1 - 2 / (1 + tl.exp(2 * x))


@triton.jit
def _gates(h, x, w_hh, w_ih, b_r, b_z, b_n, b_a, LANES_LAST: tl.constexpr):
    """r, z, n, a of one step, tiles of J rows. x first: its products need not wait for the step before."""
    zero = tl.zeros(h.shape, tl.float32)
    x_r = _times(w_ih[0], x, zero + b_r, LANES_LAST)
    x_z = _times(w_ih[1], x, zero + b_z, LANES_LAST)
    x_n = _times(w_ih[2], x, zero + b_n, LANES_LAST)
    r = _sigmoid(_times(w_hh[0], h, x_r, LANES_LAST))
    z = _sigmoid(_times(w_hh[1], h, x_z, LANES_LAST))
    a = _times(w_hh[2], h, zero + b_a, LANES_LAST)
    return r, z, _tanh(x_n + r * a), a


@triton.jit
def _kept_gates(places, apart: tl.constexpr, there):
    r = tl.load(places, mask=there, other=0.0)
    z = tl.load(places + apart, mask=there, other=0.0)
    n = tl.load(places + 2 * apart, mask=there, other=0.0)
    a = tl.load(places + 3 * apart, mask=there, other=0.0)
    return r, z, n, a


@triton.jit
def _store_weights(
    pointer, columns, units, first, second, third, D: tl.constexpr, K: tl.constexpr, LANES_LAST: tl.constexpr
):
    """Gradients of three gates, as `_outer` made them, to (3D, K)."""
    if LANES_LAST:
        first, second, third = tl.sum(first, axis=2), tl.sum(second, axis=2), tl.sum(third, axis=2)
    places = pointer + units[None, :] * K + columns[:, None]
    inside = (columns < K)[:, None] & (units < D)[None, :]
    tl.store(places, first, mask=inside)
    tl.store(places + D * K, second, mask=inside)
    tl.store(places + 2 * D * K, third, mask=inside)


@triton.jit
def _store_biases(pointer, units, first, second, third, D: tl.constexpr, LANES_LAST: tl.constexpr):
    """Gradients of three gates' biases, tiles of J rows, to (3D)."""
    axis: tl.constexpr = 1 if LANES_LAST else 0
    tl.store(pointer + units, tl.sum(first, axis), mask=units < D)
    tl.store(pointer + D + units, tl.sum(second, axis), mask=units < D)
    tl.store(pointer + 2 * D + units, tl.sum(third, axis), mask=units < D)


@triton.jit
def _any_nonzero(tile):
    return tl.max((tile != 0).to(tl.int32)) > 0  # NaN is not zero


# -- kernels -------------------------------------------------------------------------------------------------
# Products of sizes that can pass 2^31 are taken in 64 bits: `group` and `program` are; offsets inside a step are not.
@triton.jit(
    do_not_specialize=["x", "weight_ih", "weight_hh", "bias_ih", "bias_hh", "states", "gates", "last", "T", "B"]
)
def _forward(
    x, weight_ih, weight_hh, bias_ih, bias_hh, states, gates, last, T, B,
    D: tl.constexpr, F: tl.constexpr, D_PAD: tl.constexpr, F_PAD: tl.constexpr, LANES: tl.constexpr,
    LANES_LAST: tl.constexpr, RELOAD: tl.constexpr, STATES: tl.constexpr, GATES: tl.constexpr, LAST: tl.constexpr,
):  # fmt: skip
    """x (G, T, F, B) to what the flags ask for (the other pointers are not touched):

    STATES (G, T, D, B); GATES (programs, T, 4, LANES, D_PAD), of r, z, n, a; LAST, the last state (G, D, B).
    """
    blocks = tl.cdiv(B, LANES)
    program = tl.program_id(0).to(tl.int64)
    group = program // blocks
    lanes = (program % blocks).to(tl.int32) * LANES + tl.arange(0, LANES)
    units, columns = tl.arange(0, D_PAD), tl.arange(0, F_PAD)
    weight_hh += group * 3 * D * D
    weight_ih += group * 3 * D * F
    if not RELOAD:
        w_hh = _weights(weight_hh, units, units, D, D, RELOAD)
        w_ih = _weights(weight_ih, columns, units, D, F, RELOAD)
    ih_r, ih_z, b_n = _biases(bias_ih + group * 3 * D, units, D, LANES_LAST)
    hh_r, hh_z, b_a = _biases(bias_hh + group * 3 * D, units, D, LANES_LAST)
    b_r, b_z = ih_r + hh_r, ih_z + hh_z
    x_inside, h_inside = _inside(columns, F, lanes, B, LANES_LAST), _inside(units, D, lanes, B, LANES_LAST)
    x_places, h_places = _places(columns, lanes, B, LANES_LAST), _places(units, lanes, B, LANES_LAST)
    gate_places = tl.arange(0, LANES)[:, None] * D_PAD + units[None, :]
    x += group * T * F * B
    states += group * T * D * B
    gates += program * T * 4 * LANES * D_PAD
    h = tl.zeros((D_PAD, LANES) if LANES_LAST else (LANES, D_PAD), tl.float32)
    x_next = tl.load(x + x_places, mask=x_inside, other=0.0)
    for t in range(T):
        x_now = x_next
        x += F * B
        x_next = tl.load(x + x_places, mask=x_inside & (t + 1 < T), other=0.0)  # early: memory takes a step to answer
        if RELOAD:
            w_hh = _weights(weight_hh, units, units, D, D, RELOAD)
            w_ih = _weights(weight_ih, columns, units, D, F, RELOAD)
        r, z, n, a = _gates(h, x_now, w_hh, w_ih, b_r, b_z, b_n, b_a, LANES_LAST)
        h = n + z * (h - n)
        if GATES:
            tl.store(gates + gate_places, r)
            tl.store(gates + LANES * D_PAD + gate_places, z)
            tl.store(gates + 2 * LANES * D_PAD + gate_places, n)
            tl.store(gates + 3 * LANES * D_PAD + gate_places, a)
            gates += 4 * LANES * D_PAD
        if STATES:
            tl.store(states + h_places, h, mask=h_inside)
            states += D * B
    if LAST:
        tl.store(last + group * D * B + h_places, h, mask=h_inside)


@triton.jit(
    do_not_specialize=[
        *("x", "weight_ih", "weight_hh", "bias_ih", "bias_hh", "states", "gates", "grad", "dx", "slots", "T", "B")
    ]
)
def _backward(
    x, weight_ih, weight_hh, bias_ih, bias_hh, states, gates, grad, dx, slots, T, B,
    D: tl.constexpr, F: tl.constexpr, D_PAD: tl.constexpr, F_PAD: tl.constexpr, LANES: tl.constexpr,
    LANES_LAST: tl.constexpr, RELOAD: tl.constexpr, LAST_ONLY: tl.constexpr,
    NEEDS_X: tl.constexpr, NEEDS_WEIGHTS: tl.constexpr,
):  # fmt: skip
    """From grad, (G, T, D, B) or with LAST_ONLY (G, D, B): dx (G, T, F, B) with NEEDS_X, and with NEEDS_WEIGHTS
    slots (programs, 3 D (D + F + 2)): gradients of W_hh, W_ih, b_ih, b_hh one after the other, not summed over blocks.

    states and, without LANES_LAST, gates are what `_forward` kept.
    """
    blocks = tl.cdiv(B, LANES)
    program = tl.program_id(0).to(tl.int64)
    group = program // blocks
    lanes = (program % blocks).to(tl.int32) * LANES + tl.arange(0, LANES)
    units, columns = tl.arange(0, D_PAD), tl.arange(0, F_PAD)
    weight_hh += group * 3 * D * D
    weight_ih += group * 3 * D * F
    if LANES_LAST:
        w_hh = _weights(weight_hh, units, units, D, D, RELOAD)
        w_ih = _weights(weight_ih, columns, units, D, F, RELOAD)
        ih_r, ih_z, b_n = _biases(bias_ih + group * 3 * D, units, D, LANES_LAST)
        hh_r, hh_z, b_a = _biases(bias_hh + group * 3 * D, units, D, LANES_LAST)
        b_r, b_z = ih_r + hh_r, ih_z + hh_z
    if not RELOAD:
        back_hh = _transposed(weight_hh, units, units, D, D, LANES_LAST, RELOAD)
        if NEEDS_X:
            back_ih = _transposed(weight_ih, columns, units, D, F, LANES_LAST, RELOAD)
    x_inside, h_inside = _inside(columns, F, lanes, B, LANES_LAST), _inside(units, D, lanes, B, LANES_LAST)
    x_places, h_places = _places(columns, lanes, B, LANES_LAST), _places(units, lanes, B, LANES_LAST)
    gate_places = tl.arange(0, LANES)[:, None] * D_PAD + units[None, :]
    t = T - 1
    x += (group * T + t) * F * B
    dx += (group * T + t) * F * B
    states += (group * T + t - 1) * D * B  # h before step t
    gates += (program * T + t) * 4 * LANES * D_PAD
    if LAST_ONLY:
        grad += group * D * B
    else:
        grad += (group * T + t) * D * B
    dh = tl.load(grad + h_places, mask=h_inside, other=0.0)
    x_next = tl.load(x + x_places, mask=x_inside, other=0.0)
    h_next = tl.load(states + h_places, mask=h_inside & (t > 0), other=0.0)
    x_zero = tl.zeros(x_next.shape, tl.float32)
    zero = tl.zeros(dh.shape, tl.float32)
    if NEEDS_WEIGHTS:
        s_bias_r, s_bias_z, s_bias_n, s_bias_a = zero, zero, zero, zero
        s_hh_r = tl.zeros((D_PAD, D_PAD, LANES) if LANES_LAST else (D_PAD, D_PAD), tl.float32)
        s_ih_r = tl.zeros((F_PAD, D_PAD, LANES) if LANES_LAST else (F_PAD, D_PAD), tl.float32)
        s_hh_z, s_hh_a, s_ih_z, s_ih_n = s_hh_r, s_hh_r, s_ih_r, s_ih_r
    if not LANES_LAST:
        r, z, n, a = _kept_gates(gates + gate_places, LANES * D_PAD, t >= 0)
    running = t >= 0
    while running:
        h, x_now = h_next, x_next
        x -= F * B
        states -= D * B
        x_next = tl.load(x + x_places, mask=x_inside & (t > 0), other=0.0)
        h_next = tl.load(states + h_places, mask=h_inside & (t > 1), other=0.0)
        if LANES_LAST:
            r, z, n, a = _gates(h, x_now, w_hh, w_ih, b_r, b_z, b_n, b_a, LANES_LAST)
        kept = dh * z
        d_n = (dh - kept) * (1 - n * n)
        d_a = d_n * r
        d_r = d_a * a * (1 - r)
        d_z = kept * (h - n) * (1 - z)
        if not LANES_LAST:  # those of the step before: asked for here, they are there when the products are done
            gates -= 4 * LANES * D_PAD
            r, z, n, a = _kept_gates(gates + gate_places, LANES * D_PAD, t > 0)
        if RELOAD:
            back_hh = _transposed(weight_hh, units, units, D, D, LANES_LAST, RELOAD)
            if NEEDS_X:
                back_ih = _transposed(weight_ih, columns, units, D, F, LANES_LAST, RELOAD)
        dh = _back(back_hh, d_r, d_z, d_a, kept, LANES_LAST)
        if not LAST_ONLY:
            grad -= D * B
            dh += tl.load(grad + h_places, mask=h_inside & (t > 0), other=0.0)
        if NEEDS_X:
            tl.store(dx + x_places, _back(back_ih, d_r, d_z, d_n, x_zero, LANES_LAST), mask=x_inside)
            dx -= F * B
        if NEEDS_WEIGHTS:
            s_hh_r = _outer(h, d_r, s_hh_r, LANES_LAST)
            s_hh_z = _outer(h, d_z, s_hh_z, LANES_LAST)
            s_hh_a = _outer(h, d_a, s_hh_a, LANES_LAST)
            s_ih_r = _outer(x_now, d_r, s_ih_r, LANES_LAST)
            s_ih_z = _outer(x_now, d_z, s_ih_z, LANES_LAST)
            s_ih_n = _outer(x_now, d_n, s_ih_n, LANES_LAST)
            s_bias_r += d_r
            s_bias_z += d_z
            s_bias_n += d_n
            s_bias_a += d_a
        t -= 1
        running = t >= 0
        if LAST_ONLY:  # noqa: SIM102 (a flag of compilation around a test at run time)
            if t % 8 == 0:  # not in every step: the look costs a wait of all warps
                running = running & _any_nonzero(dh)
    if NEEDS_X and LAST_ONLY:
        while t >= 0:  # where it stopped early
            tl.store(dx + x_places, x_zero, mask=x_inside)
            dx -= F * B
            t -= 1
    if NEEDS_WEIGHTS:
        slots += program * (3 * D * (D + F + 2))
        _store_weights(slots, units, units, s_hh_r, s_hh_z, s_hh_a, D, D, LANES_LAST)
        slots += 3 * D * D
        _store_weights(slots, columns, units, s_ih_r, s_ih_z, s_ih_n, D, F, LANES_LAST)
        slots += 3 * D * F
        _store_biases(slots, units, s_bias_r, s_bias_z, s_bias_n, D, LANES_LAST)
        _store_biases(slots + 3 * D, units, s_bias_r, s_bias_z, s_bias_a, D, LANES_LAST)


@triton.jit(do_not_specialize=["slots", "sums", "blocks", "size"])
def _sum_slots(slots, sums, blocks, size, BLOCK: tl.constexpr):
    """slots (G, blocks, size) to sums (G, size): one block after the other, an order that no other size can change."""
    parts = tl.cdiv(size, BLOCK)
    program = tl.program_id(0).to(tl.int64)
    group = program // parts
    places = (program % parts).to(tl.int32) * BLOCK + tl.arange(0, BLOCK)
    slots += group * blocks * size
    total = tl.zeros((BLOCK,), tl.float32)
    for _ in range(blocks):
        total += tl.load(slots + places, mask=places < size, other=0.0)
        slots += size
    tl.store(sums + group * size + places, total, mask=places < size)


# -- calls ---------------------------------------------------------------------------------------------------
def forward(
    x: Tensor, weight_ih: Tensor, weight_hh: Tensor, bias_ih: Tensor, bias_hh: Tensor, last_only: bool, keep: bool
) -> tuple[Tensor, tuple[Tensor, ...]]:
    """G GRUs: see `gru.gru` for shapes and formula. float32 only; any strides (what is not contiguous is copied).

    Returns the output, (G, T, D, B) or with `last_only` (G, D, B), and with `keep` what `backward` needs besides the
    inputs: the states and, for wide GRUs, the gates (4 x 64 or 4 x 128 floats for each window and step).

    Raises ValueError for D or F above LARGEST.
    """
    x, weight_ih, weight_hh, bias_ih, bias_hh = (t.contiguous() for t in (x, weight_ih, weight_hh, bias_ih, bias_hh))
    (groups, steps, inputs, batch), hidden = x.shape, weight_hh.shape[2]
    chosen = plan(hidden, inputs)
    programs = groups * -(-batch // chosen.LANES)
    last = x.new_empty(groups, hidden, batch) if last_only else None
    states = x.new_empty(groups, steps, hidden, batch) if keep or not last_only else None
    gates = None
    if keep and not chosen.LANES_LAST:
        gates = x.new_empty(programs, steps, 4, chosen.LANES, chosen.D_PAD)
    if programs:
        with _device_of(x):
            _forward[(programs,)](
                *(x, weight_ih, weight_hh, bias_ih, bias_hh),
                *(x if tensor is None else tensor for tensor in (states, gates, last)),
                *(steps, batch),
                **_sizes(chosen, hidden, inputs),
                STATES=states is not None,
                GATES=gates is not None,
                LAST=last_only,
                num_warps=chosen.warps,
                num_stages=1,
            )
    kept = tuple(tensor for tensor in (states, gates) if tensor is not None) if keep else ()
    return (last if last_only else states), kept


def backward(
    x: Tensor,
    weight_ih: Tensor,
    weight_hh: Tensor,
    bias_ih: Tensor,
    bias_hh: Tensor,
    kept: tuple[Tensor, ...],
    grad: Tensor,
    last_only: bool,
    needs_x: bool,
    needs_weights: bool,
) -> tuple[Tensor | None, Tensor | None, Tensor | None, Tensor | None, Tensor | None]:
    """Gradients of x, weight_ih, weight_hh, bias_ih and bias_hh (None where they are not needed).

    `kept` is what `forward` returned for these inputs, `grad` the gradient of its output. The weights' gradients are
    views of one tensor (G, all of a group's).
    """
    x, weight_ih, weight_hh, bias_ih, bias_hh = (t.contiguous() for t in (x, weight_ih, weight_hh, bias_ih, bias_hh))
    (groups, steps, inputs, batch), hidden = x.shape, weight_hh.shape[2]
    chosen = plan(hidden, inputs)
    if needs_x and not chosen.LANES_LAST:
        chosen = chosen._replace(F_PAD=max(chosen.F_PAD, 32))  # more inputs than lanes: see the module's docstring
    blocks = -(-batch // chosen.LANES)
    states, gates = (*kept, None) if chosen.LANES_LAST else kept
    parts = (3 * hidden * hidden, 3 * hidden * inputs, 3 * hidden, 3 * hidden)
    dx = torch.empty_like(x) if needs_x else None
    slots = x.new_empty(groups, blocks, sum(parts)) if needs_weights else None
    sums = x.new_zeros(groups, sum(parts)) if needs_weights else None
    if groups * blocks and (needs_x or needs_weights):
        with _device_of(x):
            _backward[(groups * blocks,)](
                *(x, weight_ih, weight_hh, bias_ih, bias_hh, states),
                *(x if tensor is None else tensor for tensor in (gates, grad.contiguous(), dx, slots)),
                *(steps, batch),
                **_sizes(chosen, hidden, inputs),
                LAST_ONLY=last_only,
                NEEDS_X=needs_x,
                NEEDS_WEIGHTS=needs_weights,
                num_warps=chosen.warps,
                num_stages=1,
            )
            if needs_weights:
                size = sum(parts)
                _sum_slots[(groups * -(-size // SUM_BLOCK),)](slots, sums, blocks, size, BLOCK=SUM_BLOCK, num_warps=4)
    if not needs_weights:
        return dx, None, None, None, None
    d_hh, d_ih, d_bias_ih, d_bias_hh = sums.split(parts, dim=1)
    return dx, d_ih.unflatten(1, (-1, inputs)), d_hh.unflatten(1, (-1, hidden)), d_bias_ih, d_bias_hh


def _sizes(chosen: Plan, hidden: int, inputs: int) -> dict[str, int | bool]:
    return {"D": hidden, "F": inputs, **{k: v for k, v in chosen._asdict().items() if k != "warps"}}


def _device_of(x: Tensor) -> contextlib.AbstractContextManager:
    """Triton launches on the current device, which need not be that of the tensors."""
    return torch.cuda.device(x.device) if x.is_cuda else contextlib.nullcontext()
