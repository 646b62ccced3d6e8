"""The weights' gradients of `gru_triton.py` from the gates' gradients, compiled by Triton.

`_backward` (`gru_triton_steps.py`) leaves the gates' gradients of all windows and steps. Their products with the states
before and the inputs know no order in time, so they are taken in large tiles on tensor cores, each program
its share of windows and steps, and the shares' sums are added up in a fixed order. In the loop over time the same
products cost more than all else: 192 sums a thread to hold for D = 8. Products and sums are two calls of one kernel,
`_reduce`: one compilation.
"""

# mypy: ignore-errors
# (Triton compiles these functions from their source and calls them otherwise than they are declared.)
from __future__ import annotations

import triton
import triton.language as tl

from dynonet.kernels.gru_triton_steps import ALIGNED, _dot, _gate_steps, _places


@triton.jit
def _step(
    gates, states, x, d_places, h_places, x_places, in_rows, in_units, in_columns, there, there_h
):  # fmt: skip
    """The tiles of one step: gates' gradients (rows, windows), states before (windows, units), x (windows, columns)."""
    d = tl.load(gates + d_places, mask=in_rows[:, None] & there[None, :], other=0.0)
    h = tl.load(states + h_places, mask=(there & there_h)[:, None] & in_units[None, :], other=0.0)
    return d, h, tl.load(x + x_places, mask=there[:, None] & in_columns[None, :], other=0.0)


@triton.jit
def _products(
    x, states, gates, stops, slots, D, F, T, B, steps,
    ROWS: tl.constexpr, H_COLUMNS: tl.constexpr, X_COLUMNS: tl.constexpr, WINDOWS: tl.constexpr,
    D_PAD: tl.constexpr, LANES: tl.constexpr, UNITS_LAST: tl.constexpr, PRODUCTS: tl.constexpr,
):  # fmt: skip
    """Products of `steps` steps of WINDOWS windows to slots (G, shares, 3 D (D + F + 2)): gradients of W_hh, W_ih,
    b_ih, b_hh one after the other.

    One program is one (group, share, ROWS of the 4D rows of `gates`). `stops`, of LANES windows each, says which steps
    there are: none before is read.
    """
    apart = D_PAD if UNITS_LAST else D  # rows from a gate to the next
    tiles, parts, chunks = tl.cdiv(4 * apart, ROWS), tl.cdiv(B, WINDOWS), tl.cdiv(T, steps)
    program = tl.program_id(0).to(tl.int64)
    tile, share = (program % tiles).to(tl.int32), program // tiles
    group = share // (parts * chunks)
    lanes = (share % parts).to(tl.int32) * WINDOWS + tl.arange(0, WINDOWS)
    first = ((share // parts) % chunks).to(tl.int32) * steps
    end = tl.minimum(first + steps, T)
    stop = tl.load(stops + group * tl.cdiv(B, LANES) + lanes // LANES, mask=lanes < B, other=T)
    first = tl.maximum(first, tl.min(stop))
    rows = tile * ROWS + tl.arange(0, ROWS)
    units, columns = tl.arange(0, H_COLUMNS), tl.arange(0, X_COLUMNS)
    gate, unit = rows // apart, rows % apart
    if UNITS_LAST:
        in_rows = (gate < 4) & (unit < D)
        inner = tl.arange(0, WINDOWS)
        block = inner // LANES * (T * (4 * LANES * D_PAD))
        d_places = (gate * (LANES * D_PAD) + unit)[:, None] + (block + inner % LANES * D_PAD)[None, :]
    else:
        in_rows = rows < 4 * D
        d_places = _places(rows, lanes, tl.cdiv(B, ALIGNED) * ALIGNED, True)
    program = group * tl.cdiv(B, LANES) + share % parts * (WINDOWS // LANES)  # of `_backward`: this share's first
    gates_begin, gate_step, _ = _gate_steps(program, group, T, D, B, D_PAD, LANES, UNITS_LAST)
    gates = tl.multiple_of(gates + gates_begin + first * tl.cast(gate_step, tl.int64), 16)
    states += (group * T + first - 1) * D * B  # before step `first`
    x += (group * T + first) * F * B
    h_places, x_places = _places(units, lanes, B, False), _places(columns, lanes, B, False)
    in_units, in_columns = units < D, columns < F
    of_hh = tl.zeros((ROWS, H_COLUMNS), tl.float32)
    of_ih = tl.zeros((ROWS, X_COLUMNS), tl.float32)
    of_bias = tl.zeros((ROWS, WINDOWS), tl.float32)
    beside_h = (tile * ROWS < 2 * apart) | ((tile + 1) * ROWS > 3 * apart)  # rows of n have no product with h
    there = (first >= stop) & (first < end)
    d_next, h_next, x_next = _step(
        gates, states, x, d_places, h_places, x_places, in_rows, in_units, in_columns, there, (first > 0) & beside_h
    )
    for t in range(first, end):
        d, h, x_now = d_next, h_next, x_next
        there = (t + 1 >= stop) & (t + 1 < end)
        gates += gate_step
        states += D * B
        x += F * B
        d_next, h_next, x_next = _step(  # early: memory takes a step to answer
            gates, states, x, d_places, h_places, x_places, in_rows, in_units, in_columns, there, beside_h
        )
        if beside_h:
            of_hh = _dot(d, h, of_hh, PRODUCTS)
        of_ih = _dot(d, x_now, of_ih, PRODUCTS)
        of_bias += d
    slots += share * (3 * D * (D + F + 2))
    # W_hh and b_hh have the rows of r, z, a; W_ih and b_ih those of r, z, n.
    in_ih, in_hh = in_rows & (gate < 3), in_rows & (gate != 2)
    ih_rows, hh_rows = gate * D + unit, tl.where(gate == 3, 2, gate) * D + unit
    tl.store(slots + hh_rows[:, None] * D + units[None, :], of_hh, mask=in_hh[:, None] & in_units[None, :])
    slots += 3 * D * D
    tl.store(slots + ih_rows[:, None] * F + columns[None, :], of_ih, mask=in_ih[:, None] & in_columns[None, :])
    slots += 3 * D * F
    bias = tl.sum(of_bias, axis=1)
    tl.store(slots + ih_rows, bias, mask=in_ih)
    tl.store(slots + 3 * D + hh_rows, bias, mask=in_hh)


@triton.jit
def _sums(slots, sums, shares, size, BLOCK: tl.constexpr, AT_ONCE: tl.constexpr):
    """slots (G, shares, size) to sums (G, size), in an order that no other size can change.

    One program is one (group, BLOCK of its numbers).
    """
    parts = tl.cdiv(size, BLOCK)
    program = tl.program_id(0).to(tl.int64)
    group = program // parts
    places = (program % parts).to(tl.int32) * BLOCK + tl.arange(0, BLOCK)
    slots += group * shares * size
    total = tl.zeros((AT_ONCE, BLOCK), tl.float32)
    for first in range(0, shares, AT_ONCE):
        rows = first + tl.arange(0, AT_ONCE)
        inside = (rows < shares)[:, None] & (places < size)[None, :]
        total += tl.load(slots + rows.to(tl.int64)[:, None] * size + places[None, :], mask=inside, other=0.0)
    tl.store(sums + group * size + places, tl.sum(total, axis=0), mask=places < size)


@triton.jit(
    do_not_specialize=["x", "states", "gates", "stops", "slots", "sums", "D", "F", "T", "B", "steps", "adds_up"]
)
def _reduce(
    x, states, gates, stops, slots, sums, D, F, T, B, steps, adds_up,
    ROWS: tl.constexpr, H_COLUMNS: tl.constexpr, X_COLUMNS: tl.constexpr, WINDOWS: tl.constexpr,
    BLOCK: tl.constexpr, AT_ONCE: tl.constexpr,
    D_PAD: tl.constexpr, LANES: tl.constexpr, FULL: tl.constexpr, UNITS_LAST: tl.constexpr,
    PRODUCTS: tl.constexpr,
):  # fmt: skip
    """The weights' gradients, of all of a group's weights one after the other, in two calls: products of shares of
    windows and steps to slots (G, shares, size); then, if `adds_up`, the shares' sum to sums (G, size)."""
    if FULL:
        D = D_PAD
    if adds_up != 0:
        _sums(slots, sums, tl.cdiv(B, WINDOWS) * tl.cdiv(T, steps), 3 * D * (D + F + 2), BLOCK, AT_ONCE)
    else:
        _products(
            x, states, gates, stops, slots, D, F, T, B, steps,
            ROWS, H_COLUMNS, X_COLUMNS, WINDOWS, D_PAD, LANES, UNITS_LAST, PRODUCTS,
        )  # fmt: skip
