"""Formulas of the network that take torch many passes over memory, in one launch or two each way, compiled by Triton.

Each says the same in torch where it is used (`network/workers.py`, `network/model.py`, `learning/update.py`): the
workers' input, FiLM with layer norm and dropout, GELU with dropout, the squared error. All are float32, differentiable
once. Every size is a number at run time, so that each is compiled once; sums are over blocks of fixed size, in a fixed
order: no model's numbers hang on its neighbours.

Letters: G groups (models x channels), W steps, D units, B windows, last and contiguous in memory.
"""

# mypy: ignore-errors
# (Triton compiles these functions from their source and calls them otherwise than they are declared.)
from __future__ import annotations

import contextlib

import torch
import triton
import triton.language as tl
from torch import Tensor
from torch.autograd.function import once_differentiable

LANES, STEPS = 128, 8  # windows and steps of one program
NORM_EPS = tl.constexpr(1e-5)  # of network.layers
LEAST_KEEP = tl.constexpr(1e-12)  # what `network.layers.dropout` divides by at least


def _device_of(x: Tensor) -> contextlib.AbstractContextManager:
    """Triton launches on the current device, which need not be that of the tensors."""
    return torch.cuda.device(x.device) if x.is_cuda else contextlib.nullcontext()


def _lanes_last(x: Tensor) -> Tensor:
    return x if x.stride(-1) == 1 else x.contiguous()


def _names(*texts: str) -> list[str]:
    return " ".join(texts).split()


# -- the workers' input --------------------------------------------------------------------------------------
@triton.jit(
    do_not_specialize=_names(
        "residual weight bias position gates out C W D B r_n r_w r_c w_n w_c b_n b_c p_n p_c g_n g_c g_d g_b"
    )
)
def _input(
    residual, weight, bias, position, gates, out, C, W, D, B,
    r_n, r_w, r_c, w_n, w_c, b_n, b_c, p_n, p_c, g_n, g_c, g_d, g_b, LANES: tl.constexpr,
):  # fmt: skip
    """out (G, W, D, B) of residual (N, W, C, B), weight and bias (N, C, D), position (N, C, W, D), gates (N, C, D, B).

    One program is LANES windows of one step of a group.
    """
    blocks = tl.cdiv(B, LANES)
    program = tl.program_id(0).to(tl.int64)
    lanes = (program % blocks).to(tl.int32) * LANES + tl.arange(0, LANES)
    row = program // blocks  # group and step
    step, n, c = row % W, row // W // C, row // W % C
    read = tl.load(residual + n * r_n + step * r_w + c * r_c + lanes, mask=lanes < B, other=0.0)
    weight += n * w_n + c * w_c
    bias += n * b_n + c * b_c
    position += n * p_n + c * p_c + step * D
    gates += n * g_n + c * g_c
    out += row * D * B
    for d in range(D):
        gate = tl.load(gates + d * g_d + lanes * g_b, mask=lanes < B, other=0.0)
        value = tl.load(weight + d) * read + (tl.load(bias + d) + tl.load(position + d))
        tl.store(out + d * B + lanes, value * gate, mask=lanes < B)


@triton.jit(
    do_not_specialize=_names(
        "residual weight bias position gates grad to_weight to_offset to_gates C W D B wants_weights wants_gates",
        "r_n r_w r_c w_n w_c b_n b_c p_n p_c g_n g_c g_d g_b",
    )
)
def _input_back(
    residual, weight, bias, position, gates, grad, to_weight, to_offset, to_gates, C, W, D, B, wants_weights,
    wants_gates, r_n, r_w, r_c, w_n, w_c, b_n, b_c, p_n, p_c, g_n, g_c, g_d, g_b,
    LANES: tl.constexpr, STEPS: tl.constexpr,
):  # fmt: skip
    """From grad (G, W, D, B) shares of the gradients: of the weight (G, chunks, blocks, D) and of bias and position
    (G, blocks, W, D), if wanted; of the gates (G, chunks, D, B), if wanted.

    One program is LANES windows (a block) and STEPS steps (a chunk) of a unit of a group.
    """
    blocks, chunks = tl.cdiv(B, LANES), tl.cdiv(W, STEPS)
    program = tl.program_id(0).to(tl.int64)
    block, program = (program % blocks).to(tl.int32), program // blocks
    chunk, program = (program % chunks).to(tl.int32), program // chunks
    d, group = program % D, program // D
    n, c = group // C, group % C
    lanes, steps = block * LANES + tl.arange(0, LANES), chunk * STEPS + tl.arange(0, STEPS)
    inside = (steps < W)[:, None] & (lanes < B)[None, :]
    read = tl.load(residual + n * r_n + c * r_c + steps[:, None] * r_w + lanes[None, :], mask=inside, other=0.0)
    given = tl.load(grad + (group * W * D + d) * B + steps[:, None].to(tl.int64) * (D * B) + lanes[None, :],
                    mask=inside, other=0.0)  # fmt: skip
    gate = tl.load(gates + n * g_n + c * g_c + d * g_d + lanes * g_b, mask=lanes < B, other=0.0)
    if wants_gates != 0:
        offset = tl.load(bias + n * b_n + c * b_c + d)
        offset += tl.load(position + n * p_n + c * p_c + steps * D + d, mask=steps < W, other=0.0)
        value = tl.load(weight + n * w_n + c * w_c + d) * read + offset[:, None]
        to_gates += ((group * chunks + chunk) * D + d) * B
        tl.store(to_gates + lanes, tl.sum(given * value, axis=0), mask=lanes < B)
    if wants_weights != 0:
        given = given * gate[None, :]
        tl.store(to_weight + ((group * chunks + chunk) * blocks + block) * D + d, tl.sum(given * read))
        to_offset += (group * blocks + block) * W * D + d
        tl.store(to_offset + steps * D, tl.sum(given, axis=1), mask=steps < W)


@triton.jit(do_not_specialize=_names("weight gates grad out C W D B w_n w_c g_n g_c g_d g_b"))
def _residual_back(
    weight, gates, grad, out, C, W, D, B, w_n, w_c, g_n, g_c, g_d, g_b, LANES: tl.constexpr,
):  # fmt: skip
    """The gradient of the residual, out (G, W, B)."""
    blocks = tl.cdiv(B, LANES)
    program = tl.program_id(0).to(tl.int64)
    lanes = (program % blocks).to(tl.int32) * LANES + tl.arange(0, LANES)
    row = program // blocks
    n, c = row // W // C, row // W % C
    weight += n * w_n + c * w_c
    gates += n * g_n + c * g_c
    grad += row * D * B
    total = tl.zeros((LANES,), tl.float32)
    for d in range(D):
        gate = tl.load(gates + d * g_d + lanes * g_b, mask=lanes < B, other=0.0)
        total += tl.load(grad + d * B + lanes, mask=lanes < B, other=0.0) * gate * tl.load(weight + d)
    tl.store(out + row * B + lanes, total, mask=lanes < B)


class _WorkersInput(torch.autograd.Function):
    @staticmethod
    def forward(ctx, residual, weight, bias, position, gates):
        residual = _lanes_last(residual)
        models, steps, channels, batch = residual.shape
        hidden = weight.shape[-1]
        out = residual.new_empty(models * channels, steps, hidden, batch)
        ctx.save_for_backward(residual, weight, bias, position, gates)
        programs = models * channels * steps * triton.cdiv(batch, LANES)
        if out.numel():
            with _device_of(out):
                _input[(programs,)](
                    *(residual, weight, bias, position, gates, out, channels, steps, hidden, batch),
                    *_strides(residual, weight, bias, position, gates),
                    LANES=LANES,
                )
        return out

    @staticmethod
    @once_differentiable
    def backward(ctx, grad):
        residual, weight, bias, position, gates = ctx.saved_tensors
        wants_residual, *wants_weights, wants_gates = ctx.needs_input_grad
        models, steps, channels, batch = residual.shape
        hidden, groups, grad = weight.shape[-1], models * channels, grad.contiguous()
        sizes, lead = (channels, steps, hidden, batch), (models, channels)
        found = [None] * 5
        strides = _strides(residual, weight, bias, position, gates)
        blocks, chunks = triton.cdiv(batch, LANES), triton.cdiv(steps, STEPS)
        with _device_of(grad):
            if grad.numel() and (any(wants_weights) or wants_gates):
                to_weight = grad.new_empty((groups, chunks * blocks, hidden) if any(wants_weights) else 0)
                to_offset = grad.new_empty((groups, blocks, steps, hidden) if any(wants_weights) else 0)
                to_gates = grad.new_empty((groups, chunks, hidden, batch) if wants_gates else 0)
                _input_back[(groups * hidden * chunks * blocks,)](
                    *(residual, weight, bias, position, gates, grad, to_weight, to_offset, to_gates, *sizes),
                    *(int(any(wants_weights)), int(wants_gates), *strides),
                    LANES=LANES,
                    STEPS=STEPS,
                )
                if any(wants_weights):
                    offset = to_offset.sum(1).view(*lead, steps, hidden)
                    found[1:4] = to_weight.sum(1).view(*lead, hidden), offset.sum(2), offset
                if wants_gates:
                    found[4] = to_gates.sum(1).view(*lead, hidden, batch)
            if wants_residual:
                out = grad.new_zeros(models, channels, steps, batch)
                if grad.numel():
                    _residual_back[(groups * steps * blocks,)](
                        *(weight, gates, grad, out, *sizes, *strides[3:5], *strides[9:]), LANES=LANES
                    )
                found[0] = out.transpose(1, 2)
        return tuple(found)


def _strides(residual: Tensor, weight: Tensor, bias: Tensor, position: Tensor, gates: Tensor) -> tuple[int, ...]:
    return (
        *residual.stride()[:3], *weight.stride()[:2], *bias.stride()[:2], *position.stride()[:2], *gates.stride()
    )  # fmt: skip


def workers_input(residual: Tensor, weight: Tensor, bias: Tensor, position: Tensor, gates: Tensor) -> Tensor:
    """(weight * residual + bias + position) * gates, as a GRU reads it: (N C, W, D, B).

    Args:
        residual: (N, W, C, B).
        weight, bias: (N, C, D), units side by side in memory; channels may share theirs (a stride of 0).
        position: (N, C, W, D), rows side by side.
        gates: (N, C, D, B).
    """
    return _WorkersInput.apply(residual, weight, bias, position, gates)


# -- FiLM, layer norm and dropout ----------------------------------------------------------------------------
@triton.jit
def _centre(x, gamma, beta, lanes, D, B, a_d, a_b, b_d, b_b, LANES: tl.constexpr):
    """Mean over units of gamma x + beta, and one over its deviation."""
    mean = tl.zeros((LANES,), tl.float32)
    for d in range(D):
        scale = tl.load(gamma + d * a_d + lanes * a_b, mask=lanes < B, other=0.0)
        shift = tl.load(beta + d * b_d + lanes * b_b, mask=lanes < B, other=0.0)
        mean += scale * tl.load(x + d * B + lanes, mask=lanes < B, other=0.0) + shift
    mean = mean / D
    square = tl.zeros((LANES,), tl.float32)
    for d in range(D):
        scale = tl.load(gamma + d * a_d + lanes * a_b, mask=lanes < B, other=0.0)
        shift = tl.load(beta + d * b_d + lanes * b_b, mask=lanes < B, other=0.0)
        centred = scale * tl.load(x + d * B + lanes, mask=lanes < B, other=0.0) + shift - mean
        square += centred * centred
    return mean, 1 / tl.sqrt(square / D + NORM_EPS)


@triton.jit(
    do_not_specialize=_names(
        "x gamma beta weight bias rate draws out C W D B eps drops a_n a_c a_d a_b b_n b_c b_d b_b w_n w_c v_n v_c",
        "r_n r_c r_b",
    )
)
def _modulate(
    x, gamma, beta, weight, bias, rate, draws, out, C, W, D, B, eps, drops,
    a_n, a_c, a_d, a_b, b_n, b_c, b_d, b_b, w_n, w_c, v_n, v_c, r_n, r_c, r_b, LANES: tl.constexpr,
):  # fmt: skip
    """out (G, W, D, B) of x and draws, both as out, gamma and beta (N, C, D, B), weight and bias (N, C, D), rate
    (N, C, B); dropout if `drops`. One program is LANES windows of one step of a group."""
    blocks = tl.cdiv(B, LANES)
    program = tl.program_id(0).to(tl.int64)
    lanes = (program % blocks).to(tl.int32) * LANES + tl.arange(0, LANES)
    row = program // blocks
    n, c = row // W // C, row // W % C
    gamma += n * a_n + c * a_c
    beta += n * b_n + c * b_c
    weight += n * w_n + c * w_c
    bias += n * v_n + c * v_c
    x += row * D * B
    draws += row * D * B
    out += row * D * B
    mean, slope = _centre(x, gamma, beta, lanes, D, B, a_d, a_b, b_d, b_b, LANES)
    dropped = tl.load(rate + n * r_n + c * r_c + lanes * r_b, mask=lanes < B, other=0.0)
    kept = tl.maximum(1 - dropped + eps, LEAST_KEEP)
    for d in range(D):
        scale = tl.load(gamma + d * a_d + lanes * a_b, mask=lanes < B, other=0.0)
        shift = tl.load(beta + d * b_d + lanes * b_b, mask=lanes < B, other=0.0)
        centred = scale * tl.load(x + d * B + lanes, mask=lanes < B, other=0.0) + shift - mean
        value = centred * slope * tl.load(weight + d) + tl.load(bias + d)
        if drops != 0:
            drawn = tl.load(draws + d * B + lanes, mask=lanes < B, other=0.0)
            value = tl.where(drawn >= dropped, value / kept, 0.0)
        tl.store(out + d * B + lanes, value, mask=lanes < B)


@triton.jit(
    do_not_specialize=_names(
        "x gamma beta weight bias rate draws grad dx shares to_rate C W D B eps drops part a_n a_c a_d a_b b_n b_c b_d",
        "b_b w_n w_c v_n v_c r_n r_c r_b",
    )
)
def _modulate_back(
    x, gamma, beta, weight, bias, rate, draws, grad, dx, shares, to_rate, C, W, D, B, eps, drops, part,
    a_n, a_c, a_d, a_b, b_n, b_c, b_d, b_b, w_n, w_c, v_n, v_c, r_n, r_c, r_b,
    LANES: tl.constexpr, STEPS: tl.constexpr,
):  # fmt: skip
    """From grad (G, W, D, B): dx, as it; and of each chunk of STEPS steps the sum over them, for the gradients of
    gamma, beta, weight and bias, shares (4, G, chunks, D, B), `part` numbers each, and of the rate (G, chunks, B).

    One program is LANES windows and a chunk of a group. A thread adds up in memory, where no other thread writes.
    """
    blocks, chunks = tl.cdiv(B, LANES), tl.cdiv(W, STEPS)
    program = tl.program_id(0).to(tl.int64)
    lanes = (program % blocks).to(tl.int32) * LANES + tl.arange(0, LANES)
    place = program // blocks  # group and chunk
    group, first = place // chunks, (place % chunks) * STEPS
    n, c = group // C, group % C
    gamma += n * a_n + c * a_c
    beta += n * b_n + c * b_c
    weight += n * w_n + c * w_c
    bias += n * v_n + c * v_c
    part = tl.cast(part, tl.int64)  # times 3 it can pass 2^31
    shares += place * D * B
    dropped = tl.load(rate + n * r_n + c * r_c + lanes * r_b, mask=lanes < B, other=0.0)
    kept = tl.maximum(1 - dropped + eps, LEAST_KEEP)
    total_rate = tl.zeros((LANES,), tl.float32)
    for step in range(first, tl.minimum(first + STEPS, W)):
        row = (group * W + step) * D * B
        mean, slope = _centre(x + row, gamma, beta, lanes, D, B, a_d, a_b, b_d, b_b, LANES)
        along, of_norm = tl.zeros((LANES,), tl.float32), tl.zeros((LANES,), tl.float32)
        for d in range(D):
            scale = tl.load(gamma + d * a_d + lanes * a_b, mask=lanes < B, other=0.0)
            shift = tl.load(beta + d * b_d + lanes * b_b, mask=lanes < B, other=0.0)
            given = tl.load(grad + row + d * B + lanes, mask=lanes < B, other=0.0)
            value = (scale * tl.load(x + row + d * B + lanes, mask=lanes < B, other=0.0) + shift - mean) * slope
            if drops != 0:
                drawn = tl.load(draws + row + d * B + lanes, mask=lanes < B, other=0.0)
                given = tl.where(drawn >= dropped, given / kept, 0.0)
                total_rate += given * (value * tl.load(weight + d) + tl.load(bias + d))
            along += given * tl.load(weight + d)
            of_norm += given * tl.load(weight + d) * value
        for d in range(D):
            scale = tl.load(gamma + d * a_d + lanes * a_b, mask=lanes < B, other=0.0)
            shift = tl.load(beta + d * b_d + lanes * b_b, mask=lanes < B, other=0.0)
            given = tl.load(grad + row + d * B + lanes, mask=lanes < B, other=0.0)
            read = tl.load(x + row + d * B + lanes, mask=lanes < B, other=0.0)
            value = (scale * read + shift - mean) * slope
            if drops != 0:
                drawn = tl.load(draws + row + d * B + lanes, mask=lanes < B, other=0.0)
                given = tl.where(drawn >= dropped, given / kept, 0.0)
            inner = slope * (given * tl.load(weight + d) - along / D - value * (of_norm / D))
            tl.store(dx + row + d * B + lanes, inner * scale, mask=lanes < B)
            _add_to(shares + d * B, inner * read, lanes, B, step > first)
            _add_to(shares + part + d * B, inner, lanes, B, step > first)
            _add_to(shares + 2 * part + d * B, given * value, lanes, B, step > first)
            _add_to(shares + 3 * part + d * B, given, lanes, B, step > first)
    slope_of_rate = tl.where(1 - dropped + eps > LEAST_KEEP, 1 / kept, 0.0)
    tl.store(to_rate + place * B + lanes, total_rate * slope_of_rate, mask=lanes < B)


@triton.jit
def _add_to(places, value, lanes, B, there):
    before = tl.load(places + lanes, mask=(lanes < B) & there, other=0.0)
    tl.store(places + lanes, before + value, mask=lanes < B)


class _Modulated(torch.autograd.Function):
    @staticmethod
    def forward(ctx, x, gamma, beta, weight, bias, rate, draws, eps):
        x = x.contiguous()
        models, channels, steps, hidden, batch = x.shape
        drops = draws is not None
        draws = draws.contiguous() if drops else x
        out = torch.empty_like(x)
        ctx.save_for_backward(x, gamma, beta, weight, bias, rate, draws)
        ctx.eps, ctx.drops = eps, drops
        programs = models * channels * steps * triton.cdiv(batch, LANES)
        if out.numel():
            with _device_of(out):
                _modulate[(programs,)](
                    *(x, gamma, beta, weight, bias, rate, draws, out, channels, steps, hidden, batch, eps, int(drops)),
                    *_modulations(gamma, beta, weight, bias, rate),
                    LANES=LANES,
                )
        return out

    @staticmethod
    @once_differentiable
    def backward(ctx, grad):
        x, gamma, beta, weight, bias, rate, draws = ctx.saved_tensors
        grad, (models, channels, steps, hidden, batch) = grad.contiguous(), x.shape
        groups, chunks = models * channels, triton.cdiv(steps, STEPS)
        dx = torch.empty_like(x)
        shares = x.new_empty(4, models, channels, chunks, hidden, batch)
        to_rate = x.new_empty(models, channels, chunks, batch)
        if x.numel():
            with _device_of(x):
                _modulate_back[(groups * chunks * triton.cdiv(batch, LANES),)](
                    *(x, gamma, beta, weight, bias, rate, draws, grad, dx, shares, to_rate),
                    *(channels, steps, hidden, batch, ctx.eps, int(ctx.drops), groups * chunks * hidden * batch),
                    *_modulations(gamma, beta, weight, bias, rate),
                    LANES=LANES,
                    STEPS=STEPS,
                )
        summed = shares.sum(3) if chunks > 1 else shares[:, :, :, 0]  # (4, N, C, D, B)
        of_weights = summed[2:].sum(-1)
        of_rate = to_rate.sum(2) if ctx.drops and ctx.needs_input_grad[5] else None
        return dx, summed[0], summed[1], of_weights[0], of_weights[1], of_rate, None, None


def _modulations(gamma: Tensor, beta: Tensor, weight: Tensor, bias: Tensor, rate: Tensor) -> tuple[int, ...]:
    return *gamma.stride(), *beta.stride(), *weight.stride()[:2], *bias.stride()[:2], *rate.stride()


def modulated(
    x: Tensor,
    gamma: Tensor,
    beta: Tensor,
    weight: Tensor,
    bias: Tensor,
    rate: Tensor,
    draws: Tensor | None,
    eps: float,
) -> Tensor:
    """Layer norm over units of gamma x + beta, then dropout where there are draws: (N, C, W, D, B).

    Args:
        x, draws: (N, C, W, D, B).
        gamma, beta: (N, C, D, B).
        weight, bias: (N, C, D), units side by side in memory.
        rate: (N, C, B).
    """
    return _Modulated.apply(x, gamma, beta, weight, bias, rate, draws, eps)
