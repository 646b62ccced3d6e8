"""The GRU of `gru_triton.py` step by step, compiled by Triton: forward through time, and back.

One program is one (group, block of LANES windows): it holds the state in registers and loops over time by itself, so
that a whole GRU is one launch. Programs share nothing. Formulas and the order of gates are those of `gru_kernel.py`.

Two layouts of a tile. LANES_LAST, (units, lanes): a thread has one unit of one window and all weights of its unit in
registers; products are float32 multiply-adds. Otherwise (lanes, units): products on tensor cores as `tf32x3`, where a
factor is split into two TF32 numbers and three of the four products are summed, with an error near 2^-21 (plain TF32:
2^-11, bfloat16: 2^-8, where `training.precision` asks for them). `ieee` would be float32 itself, but Triton has no
tensor cores for it and gives each thread all of its rows of W_hh to hold. 16 lanes are the least that tensor cores
take. With 8 warps Triton gives them different columns of a product only where it has more columns than lanes; else all
warps compute the same.

Letters of shapes: L lanes (windows), J units, K columns of a weight. `tile` is (J, L) with LANES_LAST, else (L, J).
What is in capitals beside tensors' letters is compiled in; all else, D and F too, is known at run time, and no argument
is specialised on its value or alignment.
"""

# mypy: ignore-errors
# (Triton compiles these functions from their source and calls them otherwise than they are declared.)
from __future__ import annotations

import triton
import triton.language as tl

ALIGNED = tl.constexpr(32)  # rows of `gates` are padded to as many floats, so that they are read four at a time


# -- pieces --------------------------------------------------------------------------------------------------
@triton.jit
def _places(rows, lanes, apart, LANES_LAST: tl.constexpr):
    """Offsets of a tile whose rows are `apart` floats apart."""
    if LANES_LAST:
        return rows[:, None] * apart + lanes[None, :]
    else:
        return lanes[:, None] + rows[None, :] * apart


@triton.jit
def _inside(rows, count, lanes, B, LANES_LAST: tl.constexpr):
    if LANES_LAST:
        return (rows < count)[:, None] & (lanes < B)[None, :]
    else:
        return (lanes < B)[:, None] & (rows < count)[None, :]


@triton.jit
def _weights(pointer, columns, units, D, K, AGAIN: tl.constexpr):
    """The three gates of a weight (3D, K), each as (K, J); zero in the padding, which so stays zero in the state.

    AGAIN: in every step, of a weight that is padded already, which gives each number a constant offset; `volatile`,
    as the compiler would else lift it out of the loop and overflow shared memory.
    """
    places = pointer + units[None, :] * K + columns[:, None]
    return _three(places, (columns < K)[:, None] & (units < D)[None, :], D * K, AGAIN)


@triton.jit
def _three(places, inside, apart, AGAIN: tl.constexpr):
    if AGAIN:
        first = tl.load(places, volatile=True)
        second = tl.load(places + apart, volatile=True)
        third = tl.load(places + 2 * apart, volatile=True)
    else:
        first = tl.load(places, mask=inside, other=0.0)
        second = tl.load(places + apart, mask=inside, other=0.0)
        third = tl.load(places + 2 * apart, mask=inside, other=0.0)
    return first, second, third


@triton.jit
def _transposed(pointer, columns, units, D, K, AGAIN: tl.constexpr):
    """The three gates, each as (J, K)."""
    places = pointer + units[:, None] * K + columns[None, :]
    return _three(places, (units < D)[:, None] & (columns < K)[None, :], D * K, AGAIN)


@triton.jit
def _biases(pointer, units, D, LANES_LAST: tl.constexpr):
    """The three gates' biases, each to be added to a tile."""
    axis: tl.constexpr = 1 if LANES_LAST else 0
    first = tl.load(pointer + units, mask=units < D, other=0.0)
    second = tl.load(pointer + D + units, mask=units < D, other=0.0)
    third = tl.load(pointer + 2 * D + units, mask=units < D, other=0.0)
    return tl.expand_dims(first, axis), tl.expand_dims(second, axis), tl.expand_dims(third, axis)


@triton.jit
def _dot(first, second, total, PRODUCTS: tl.constexpr):
    """total + first second, summed in float32."""
    if PRODUCTS == "bf16":
        return tl.dot(first.to(tl.bfloat16), second.to(tl.bfloat16), acc=total)
    else:
        return tl.dot(first, second, acc=total, input_precision=PRODUCTS)


@triton.jit
def _times(weight, tile, total, LANES_LAST: tl.constexpr, PRODUCTS: tl.constexpr):
    """total + weight^T tile: weight (K, J), tile of K rows -> tile of J rows."""
    if LANES_LAST:
        return total + tl.sum(weight[:, :, None] * tile[:, None, :], axis=0)
    else:
        return _dot(tile, weight, total, PRODUCTS)


@triton.jit
def _back(weights, first, second, third, total, LANES_LAST: tl.constexpr, PRODUCTS: tl.constexpr):
    """total + the sum over gates of weight tile: tiles of J rows -> a tile of K rows."""
    if LANES_LAST:  # the first axis is summed inside a thread, where another would be over warps
        products = weights[0][:, :, None] * first[:, None, :]
        products += weights[1][:, :, None] * second[:, None, :]
        products += weights[2][:, :, None] * third[:, None, :]
        return total + tl.sum(products, axis=0)
    else:
        total = _dot(first, weights[0], total, PRODUCTS)
        total = _dot(second, weights[1], total, PRODUCTS)
        return _dot(third, weights[2], total, PRODUCTS)


@triton.jit
def _sigmoid(x):
    return 1 / (1 + tl.exp(-x))


@triton.jit
def _tanh(x):
    return 1 - 2 / (1 + tl.exp(2 * x))


@triton.jit
def _gates(h, x, w_hh, w_ih, b_r, b_z, b_n, b_a, LANES_LAST: tl.constexpr, PRODUCTS: tl.constexpr):
    """r, z, n, a of one step, tiles of J rows. x first: its products need not wait for the step before."""
    zero = tl.zeros(h.shape, tl.float32)
    x_r = _times(w_ih[0], x, zero + b_r, LANES_LAST, PRODUCTS)
    x_z = _times(w_ih[1], x, zero + b_z, LANES_LAST, PRODUCTS)
    x_n = _times(w_ih[2], x, zero + b_n, LANES_LAST, PRODUCTS)
    r = _sigmoid(_times(w_hh[0], h, x_r, LANES_LAST, PRODUCTS))
    z = _sigmoid(_times(w_hh[1], h, x_z, LANES_LAST, PRODUCTS))
    a = _times(w_hh[2], h, zero + b_a, LANES_LAST, PRODUCTS)
    return r, z, _tanh(x_n + r * a), a


@triton.jit
def _load_four(places, apart, there):
    first = tl.load(places, mask=there, other=0.0)
    second = tl.load(places + apart, mask=there, other=0.0)
    third = tl.load(places + 2 * apart, mask=there, other=0.0)
    fourth = tl.load(places + 3 * apart, mask=there, other=0.0)
    return first, second, third, fourth


@triton.jit
def _store_four(places, apart, first, second, third, fourth, there):
    tl.store(places, first, mask=there)
    tl.store(places + apart, second, mask=there)
    tl.store(places + 2 * apart, third, mask=there)
    tl.store(places + 3 * apart, fourth, mask=there)


@triton.jit
def _gate_steps(program, group, T, D, B, D_PAD: tl.constexpr, LANES: tl.constexpr, UNITS_LAST: tl.constexpr):
    """Where a program's gates begin, and how far it is from a step to the next and from a gate to the next.

    UNITS_LAST: (programs, T, 4, LANES, D_PAD), as tensor cores take them; else (G, T, 4, D, row), unpadded but for
    row, B padded to ALIGNED.
    """
    if UNITS_LAST:
        return program * T * (4 * LANES * D_PAD), 4 * LANES * D_PAD, LANES * D_PAD
    else:
        row = tl.cdiv(B, ALIGNED) * ALIGNED
        return group * T * (4 * D * row), 4 * D * row, D * row


@triton.jit
def _gate_places(
    units, lanes, D, B, D_PAD: tl.constexpr, LANES: tl.constexpr, LANES_LAST: tl.constexpr, UNITS_LAST: tl.constexpr
):
    """Offsets of a tile of a gate, and which of them are there."""
    if UNITS_LAST:
        places = tl.arange(0, LANES)[:, None] * D_PAD + units[None, :]
        return places, places >= 0
    else:
        row = tl.cdiv(B, ALIGNED) * ALIGNED
        return _places(units, lanes, row, LANES_LAST), _inside(units, D, lanes, row, LANES_LAST)


@triton.jit
def _any_nonzero(tile):
    return tl.max((tile != 0).to(tl.int32)) > 0  # NaN is not zero


# -- through time --------------------------------------------------------------------------------------------
# Products of sizes that can pass 2^31 are taken in 64 bits: `group` and `program` are; offsets inside a step are not.
# FULL: D is D_PAD, known when compiled, which takes a tenth to a third off the time of wide GRUs.
@triton.jit(
    do_not_specialize=[
        *("x", "weight_ih", "weight_hh", "bias_ih", "bias_hh", "states", "gates", "last"),
        *("D", "F", "T", "B", "wants_states", "wants_gates", "wants_last"),
    ]
)
def _forward(
    x, weight_ih, weight_hh, bias_ih, bias_hh, states, gates, last, D, F, T, B, wants_states, wants_gates, wants_last,
    D_PAD: tl.constexpr, F_PAD: tl.constexpr, LANES: tl.constexpr, LANES_LAST: tl.constexpr, RELOAD: tl.constexpr,
    FULL: tl.constexpr, UNITS_LAST: tl.constexpr, KEPT: tl.constexpr, PRODUCTS: tl.constexpr,
):  # fmt: skip
    """x (G, T, F, B) to what is wanted (the other pointers are not touched):

    states (G, T, D, B); gates (see `_gate_steps`), of r, z, n, a, if KEPT; last, the last state (G, D, B).
    """
    if FULL:
        D = D_PAD
    blocks = tl.cdiv(B, LANES)
    program = tl.program_id(0).to(tl.int64)
    group = program // blocks
    lanes = (program % blocks).to(tl.int32) * LANES + tl.arange(0, LANES)
    units, columns = tl.arange(0, D_PAD), tl.arange(0, F_PAD)
    if RELOAD:
        weight_hh += group * 3 * D_PAD * D_PAD
        weight_ih += group * 3 * D_PAD * F_PAD
    else:
        weight_hh += group * 3 * D * D
        weight_ih += group * 3 * D * F
        w_hh = _weights(weight_hh, units, units, D, D, RELOAD)
        w_ih = _weights(weight_ih, columns, units, D, F, RELOAD)
    ih_r, ih_z, b_n = _biases(bias_ih + group * 3 * D, units, D, LANES_LAST)
    hh_r, hh_z, b_a = _biases(bias_hh + group * 3 * D, units, D, LANES_LAST)
    b_r, b_z = ih_r + hh_r, ih_z + hh_z
    x_inside, h_inside = _inside(columns, F, lanes, B, LANES_LAST), _inside(units, D, lanes, B, LANES_LAST)
    x_places, h_places = _places(columns, lanes, B, LANES_LAST), _places(units, lanes, B, LANES_LAST)
    x += group * T * F * B
    states += group * T * D * B
    if KEPT:
        gates_begin, gate_step, gate_apart = _gate_steps(program, group, T, D, B, D_PAD, LANES, UNITS_LAST)
        gates = tl.multiple_of(gates + gates_begin, 16)
        gate_places, gate_inside = _gate_places(units, lanes, D, B, D_PAD, LANES, LANES_LAST, UNITS_LAST)
    h = tl.zeros((D_PAD, LANES) if LANES_LAST else (LANES, D_PAD), tl.float32)
    x_next = tl.load(x + x_places, mask=x_inside, other=0.0)
    for t in range(T):
        x_now = x_next
        x += F * B
        x_next = tl.load(x + x_places, mask=x_inside & (t + 1 < T), other=0.0)  # early: memory takes a step to answer
        if RELOAD:
            w_hh = _weights(weight_hh, units, units, D_PAD, D_PAD, RELOAD)
            w_ih = _weights(weight_ih, columns, units, D_PAD, F_PAD, RELOAD)
        r, z, n, a = _gates(h, x_now, w_hh, w_ih, b_r, b_z, b_n, b_a, LANES_LAST, PRODUCTS)
        h = n + z * (h - n)
        if KEPT:
            if wants_gates != 0:
                _store_four(gates + gate_places, gate_apart, r, z, n, a, gate_inside)
            gates += gate_step
        if wants_states != 0:
            tl.store(states + h_places, h, mask=h_inside)
        states += D * B
    if wants_last != 0:
        tl.store(last + group * D * B + h_places, h, mask=h_inside)


@triton.jit(
    do_not_specialize=[
        *("x", "weight_ih", "weight_hh", "bias_ih", "bias_hh", "states", "gates", "grad", "dx", "stops"),
        *("D", "F", "T", "B", "last_only", "wants_x", "wants_weights"),
    ]
)
def _backward(
    x, weight_ih, weight_hh, bias_ih, bias_hh, states, gates, grad, dx, stops,
    D, F, T, B, last_only, wants_x, wants_weights,
    D_PAD: tl.constexpr, F_PAD: tl.constexpr, LANES: tl.constexpr, LANES_LAST: tl.constexpr, RELOAD: tl.constexpr,
    FULL: tl.constexpr, UNITS_LAST: tl.constexpr, KEPT: tl.constexpr, CAN_X: tl.constexpr,
    PRODUCTS: tl.constexpr,
):  # fmt: skip
    """From grad, (G, T, D, B) or if last_only (G, D, B): dx (G, T, F, B) if wanted (and compiled: CAN_X).

    states and, if KEPT, gates are what `_forward` wrote; else the gates are computed again. If the weights' gradients
    are wanted, `gates` becomes the gradients of r, z, n, a before their functions, the last for a, and stops (programs)
    the first step that was written: of a block that stopped early, no gates are before it.
    """
    if FULL:
        D = D_PAD
    blocks = tl.cdiv(B, LANES)
    program = tl.program_id(0).to(tl.int64)
    group = program // blocks
    lanes = (program % blocks).to(tl.int32) * LANES + tl.arange(0, LANES)
    units, columns = tl.arange(0, D_PAD), tl.arange(0, F_PAD)
    if RELOAD:
        weight_hh += group * 3 * D_PAD * D_PAD
        weight_ih += group * 3 * D_PAD * F_PAD
    else:
        weight_hh += group * 3 * D * D
        weight_ih += group * 3 * D * F
        back_hh = _transposed(weight_hh, units, units, D, D, RELOAD)
        if CAN_X:
            back_ih = _transposed(weight_ih, columns, units, D, F, RELOAD)
    x_inside, h_inside = _inside(columns, F, lanes, B, LANES_LAST), _inside(units, D, lanes, B, LANES_LAST)
    x_places, h_places = _places(columns, lanes, B, LANES_LAST), _places(units, lanes, B, LANES_LAST)
    gates_begin, gate_step, gate_apart = _gate_steps(program, group, T, D, B, D_PAD, LANES, UNITS_LAST)
    gate_places, gate_inside = _gate_places(units, lanes, D, B, D_PAD, LANES, LANES_LAST, UNITS_LAST)
    t = T - 1
    x += (group * T + t) * F * B
    dx += (group * T + t) * F * B
    states += (group * T + t - 1) * D * B  # h before step t
    gates = tl.multiple_of(gates + gates_begin + t * tl.cast(gate_step, tl.int64), 16)
    if last_only != 0:
        grad += group * D * B
    else:
        grad += (group * T + t) * D * B
    dh = tl.load(grad + h_places, mask=h_inside, other=0.0)
    h_next = tl.load(states + h_places, mask=h_inside & (t > 0), other=0.0)
    x_zero = tl.zeros((F_PAD, LANES) if LANES_LAST else (LANES, F_PAD), tl.float32)
    if KEPT:
        r, z, n, a = _load_four(gates + gate_places, gate_apart, gate_inside)
    else:
        if not RELOAD:
            w_hh = _weights(weight_hh, units, units, D, D, RELOAD)
            w_ih = _weights(weight_ih, columns, units, D, F, RELOAD)
        ih_r, ih_z, b_n = _biases(bias_ih + group * 3 * D, units, D, LANES_LAST)
        hh_r, hh_z, b_a = _biases(bias_hh + group * 3 * D, units, D, LANES_LAST)
        b_r, b_z = ih_r + hh_r, ih_z + hh_z
        x_next = tl.load(x + x_places, mask=x_inside, other=0.0)
    running = t >= 0
    while running:
        h = h_next
        states -= D * B
        h_next = tl.load(states + h_places, mask=h_inside & (t > 1), other=0.0)  # early, as all loads of a step
        if not KEPT:
            x_now = x_next
            x -= F * B
            x_next = tl.load(x + x_places, mask=x_inside & (t > 0), other=0.0)
            if RELOAD:
                w_hh = _weights(weight_hh, units, units, D_PAD, D_PAD, RELOAD)
                w_ih = _weights(weight_ih, columns, units, D_PAD, F_PAD, RELOAD)
            r, z, n, a = _gates(h, x_now, w_hh, w_ih, b_r, b_z, b_n, b_a, LANES_LAST, PRODUCTS)
        kept = dh * z
        d_n = (dh - kept) * (1 - n * n)
        d_a = d_n * r
        d_r = d_a * a * (1 - r)
        d_z = kept * (h - n) * (1 - z)
        now = gates
        gates -= gate_step
        if KEPT:
            r, z, n, a = _load_four(gates + gate_places, gate_apart, gate_inside & (t > 0))
        if RELOAD:
            back_hh = _transposed(weight_hh, units, units, D_PAD, D_PAD, RELOAD)
            if CAN_X:
                back_ih = _transposed(weight_ih, columns, units, D_PAD, F_PAD, RELOAD)
        dh = _back(back_hh, d_r, d_z, d_a, kept, LANES_LAST, PRODUCTS)
        if last_only == 0:
            grad -= D * B
            dh += tl.load(grad + h_places, mask=h_inside & (t > 0), other=0.0)
        if CAN_X:
            if wants_x != 0:
                d_x = _back(back_ih, d_r, d_z, d_n, x_zero, LANES_LAST, PRODUCTS)
                tl.store(dx + x_places, d_x, mask=x_inside)
            dx -= F * B
        if wants_weights != 0:
            _store_four(now + gate_places, gate_apart, d_r, d_z, d_n, d_a, gate_inside)
        t -= 1
        running = t >= 0
        if (last_only != 0) & (t % 8 == 0):  # not in every step: the look costs a wait of all warps
            running = running & _any_nonzero(dh)
    if wants_weights != 0:
        tl.store(stops + program, t + 1)
    if CAN_X:  # noqa: SIM102 (a flag of compilation around a test at run time)
        if wants_x != 0:
            while t >= 0:  # where it stopped early
                tl.store(dx + x_places, x_zero, mask=x_inside)
                dx -= F * B
                t -= 1
