"""Formulas of a step that have no order among their elements, compiled by Triton: GELU with dropout, the squared error,
AdamW. See `layers_triton.py`, whose rules hold here too.
"""

# mypy: ignore-errors
# (Triton compiles these functions from their source and calls them otherwise than they are declared.)
from __future__ import annotations

import math

import torch
import triton
import triton.language as tl
from torch import Tensor
from torch.autograd.function import once_differentiable

from dynonet.kernels.layers_triton import (
    LANES,
    LEAST_KEEP,
    STEPS,
    _device_of,
    _lanes_last,
    _names,
    modulated,
    workers_input,
)

__all__ = ["adamw_", "gelu_dropout", "modulated", "squared_error", "workers_input"]

BLOCK = 1024  # elements of one program where they stand in a row
ROOT_HALF, OF_NORMAL = tl.constexpr(math.sqrt(0.5)), tl.constexpr(1 / math.sqrt(2 * math.pi))


# -- GELU and dropout ----------------------------------------------------------------------------------------
@triton.jit(do_not_specialize=_names("x rate draws grad out count backward"))
def _gelu_dropout(x, rate, draws, grad, out, count, backward, BLOCK: tl.constexpr):
    """out (N, count) of x and draws, both as out, and rate (N): the value, or if `backward` the gradient of x."""
    blocks = tl.cdiv(count, BLOCK)
    program = tl.program_id(0).to(tl.int64)
    model = program // blocks
    places = (program % blocks) * BLOCK + tl.arange(0, BLOCK)
    inside, dropped = places < count, tl.load(rate + model)
    read = tl.load(x + model * count + places, mask=inside, other=0.0)
    kept = tl.load(draws + model * count + places, mask=inside, other=0.0) >= dropped
    share = 0.5 * (1 + tl.erf(read * ROOT_HALF))  # of the normal distribution below x
    if backward != 0:
        slope = share + read * OF_NORMAL * tl.exp(-0.5 * read * read)
        value = slope * tl.load(grad + model * count + places, mask=inside, other=0.0)
    else:
        value = read * share
    value = tl.where(kept, value / tl.maximum(1 - dropped, LEAST_KEEP), 0.0)
    tl.store(out + model * count + places, value, mask=inside)


def _gelu_call(x: Tensor, rate: Tensor, draws: Tensor, grad: Tensor, backward: bool) -> Tensor:
    out = torch.empty_like(x)
    count = x[0].numel() if len(x) else 0
    if x.numel():
        with _device_of(x):
            _gelu_dropout[(len(x) * triton.cdiv(count, BLOCK),)](
                x, rate, draws, grad, out, count, int(backward), BLOCK=BLOCK
            )
    return out


class _GeluDropout(torch.autograd.Function):
    @staticmethod
    def forward(ctx, x, rate, draws):
        x, rate, draws = x.contiguous(), rate.contiguous(), draws.contiguous()
        ctx.save_for_backward(x, rate, draws)
        return _gelu_call(x, rate, draws, x, False)

    @staticmethod
    @once_differentiable
    def backward(ctx, grad):
        x, rate, draws = ctx.saved_tensors
        return _gelu_call(x, rate, draws, grad.contiguous(), True), None, None


def gelu_dropout(x: Tensor, rate: Tensor, draws: Tensor) -> Tensor:
    """dropout(gelu(x)) of x (N, ...) at a rate (N,), a constant, by draws as x."""
    return _GeluDropout.apply(x, rate, draws)


# -- the squared error ---------------------------------------------------------------------------------------
@triton.jit(do_not_specialize=_names("x y grad out C H B backward x_n x_c x_h y_n y_c y_h g_n g_c g_b"))
def _squares(
    x, y, grad, out, C, H, B, backward, x_n, x_c, x_h, y_n, y_c, y_h, g_n, g_c, g_b,
    LANES: tl.constexpr, STEPS: tl.constexpr,
):  # fmt: skip
    """Sum over H of (x - y)^2, out (G, B), of x and y (N, C, H, B); or if `backward`, from grad (N, C, B) the gradient
    of x, out (G, H, B). One program is LANES windows of a group."""
    blocks = tl.cdiv(B, LANES)
    program = tl.program_id(0).to(tl.int64)
    lanes = (program % blocks).to(tl.int32) * LANES + tl.arange(0, LANES)
    group = program // blocks
    n, c = group // C, group % C
    x += n * x_n + c * x_c
    y += n * y_n + c * y_c
    given = tl.zeros((LANES,), tl.float32)
    if backward != 0:
        given = 2 * tl.load(grad + n * g_n + c * g_c + lanes * g_b, mask=lanes < B, other=0.0)
    total = tl.zeros((LANES,), tl.float32)
    for first in range(0, H, STEPS):
        steps = first + tl.arange(0, STEPS)
        inside = (steps < H)[:, None] & (lanes < B)[None, :]
        error = tl.load(x + steps[:, None].to(tl.int64) * x_h + lanes[None, :], mask=inside, other=0.0)
        error -= tl.load(y + steps[:, None].to(tl.int64) * y_h + lanes[None, :], mask=inside, other=0.0)
        if backward != 0:
            tl.store(out + (group * H + steps[:, None]) * B + lanes[None, :], error * given[None, :], mask=inside)
        else:
            total += tl.sum(error * error, axis=0)
    if backward == 0:
        tl.store(out + group * B + lanes, total, mask=lanes < B)


def _squares_call(x: Tensor, y: Tensor, grad: Tensor | None) -> Tensor:
    models, channels, horizon, batch = x.shape
    backward = grad is not None
    out = x.new_empty(x.shape if backward else (models, channels, batch))
    if x.numel():
        strides = (*x.stride()[:3], *y.stride()[:3], *(grad.stride() if backward else (0, 0, 0)))
        with _device_of(x):
            _squares[(models * channels * triton.cdiv(batch, LANES),)](
                *(x, y, grad if backward else x, out, channels, horizon, batch, int(backward), *strides),
                LANES=LANES,
                STEPS=STEPS,
            )
    return out


class _SquaredError(torch.autograd.Function):
    @staticmethod
    def forward(ctx, x, y):
        x, y = _lanes_last(x), _lanes_last(y.expand_as(x))
        ctx.save_for_backward(x, y)
        return _squares_call(x, y, None)

    @staticmethod
    @once_differentiable
    def backward(ctx, grad):
        return _squares_call(*ctx.saved_tensors, grad), None


def squared_error(forecast: Tensor, target: Tensor) -> Tensor:
    """Sum over the horizon of the squared error, (N, C, B), of (N, C, H, B) twice. The target is a constant."""
    return _SquaredError.apply(forecast, target)


# -- AdamW ---------------------------------------------------------------------------------------------------
@triton.jit(
    do_not_specialize=_names(
        "flat grad mean square steps active lr decay index P W G has_index a_n a_g l_n l_g d_n d_g"
    )
)
def _adamw(
    flat, grad, mean, square, steps, active, lr, decay, index, P, W, G, has_index, a_n, a_g, l_n, l_g, d_n, d_g,
    BETA1: tl.constexpr, BETA2: tl.constexpr, EPS: tl.constexpr, BLOCK: tl.constexpr,
):  # fmt: skip
    """One step in place of flat, mean and square (N, W, P), W rows a model. The group of an element is its row, or if
    `has_index` what index (P) says; steps, active, lr and decay are (N, G)."""
    blocks = tl.cdiv(P, BLOCK)
    program = tl.program_id(0).to(tl.int64)
    row = program // blocks
    n = row // W
    places = ((program % blocks) * BLOCK + tl.arange(0, BLOCK)).to(tl.int32)
    inside = places < P
    group = tl.load(index + places, mask=inside & (has_index != 0), other=0) + row % W
    on = inside & (tl.load(active + n * a_n + group * a_g, mask=inside, other=0) != 0)
    taken = tl.maximum(tl.load(steps + n * G + group, mask=on, other=1), 1).to(tl.float64)
    rate = tl.load(lr + n * l_n + group * l_g, mask=on, other=0.0)
    shrink = 1 - rate * tl.load(decay + n * d_n + group * d_g, mask=on, other=0.0)
    first = (1 - tl.exp(taken * tl.log(tl.full((BLOCK,), BETA1, tl.float64)))).to(tl.float32)
    second = tl.sqrt(1 - tl.exp(taken * tl.log(tl.full((BLOCK,), BETA2, tl.float64)))).to(tl.float32)
    places += row * P
    given = tl.load(grad + places, mask=on, other=0.0)
    before = tl.load(mean + places, mask=on, other=0.0)
    mean_now = before + (1 - BETA1) * (given - before)
    square_now = BETA2 * tl.load(square + places, mask=on, other=0.0) + (1 - BETA2) * given * given
    denominator = tl.sqrt(square_now) / second + EPS
    value = tl.load(flat + places, mask=on, other=0.0) * shrink - rate / first * mean_now / denominator
    tl.store(flat + places, value, mask=on)
    tl.store(mean + places, mean_now, mask=on)
    tl.store(square + places, square_now, mask=on)


def adamw_(
    flat: Tensor,
    grad: Tensor,
    mean: Tensor,
    square: Tensor,
    steps: Tensor,
    active: Tensor,
    lr: Tensor,
    weight_decay: Tensor,
    group_index: Tensor | None,
    constants: tuple[float, float, float],
) -> None:
    """`learning.optimiser.adamw_` of a block, (N, P) or (N, W, P), once its steps (N, G) are counted.

    `constants`: beta1, beta2, eps.
    """
    rows = flat.shape[1] if flat.ndim == 3 else 1
    size, index = flat.shape[-1], steps if group_index is None else group_index
    if not flat.numel():
        return
    with _device_of(flat):
        _adamw[(len(flat) * rows * triton.cdiv(size, BLOCK),)](
            *(flat, grad.contiguous(), mean, square, steps, active, lr, weight_decay, index, size, rows),
            *(steps.shape[1], int(group_index is not None)),
            *(*active.stride(), *lr.stride(), *weight_decay.stride()),
            **dict(zip(("BETA1", "BETA2", "EPS"), constants, strict=True)),
            BLOCK=BLOCK,
        )
