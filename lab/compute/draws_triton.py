"""The generator of `draws.py` on a GPU, compiled by Triton: the same bits in one launch, written to memory once."""

# mypy: ignore-errors
# (Triton compiles these functions from their source and calls them otherwise than they are declared.)
from __future__ import annotations

import contextlib

import torch
import triton
import triton.language as tl
from torch import Tensor

BLOCK = 1024  # counters of one program, two draws each; with 4 warps 8 in each thread


@triton.jit
def _mix(x0, x1, by: tl.constexpr):
    x0 += x1
    return x0, ((x1 << by) | (x1 >> (32 - by))) ^ x0  # of unsigned words, so the right shift brings in zeros


@triton.jit
def _four_rounds(x0, x1, first, second, number: tl.constexpr):
    """Rounds with the rotations of an odd or even group (`number` counts groups from 1), then two words of the key."""
    if number % 2 == 1:
        x0, x1 = _mix(x0, x1, 13)
        x0, x1 = _mix(x0, x1, 15)
        x0, x1 = _mix(x0, x1, 26)
        x0, x1 = _mix(x0, x1, 6)
    else:
        x0, x1 = _mix(x0, x1, 17)
        x0, x1 = _mix(x0, x1, 29)
        x0, x1 = _mix(x0, x1, 16)
        x0, x1 = _mix(x0, x1, 24)
    return x0 + first, x1 + second + number


@triton.jit
def _unit(word):
    """The upper 24 bits as a float32 in [0, 1), exactly. (They fit in int32, whose conversion is one instruction.)"""
    return (word >> 8).to(tl.int32).to(tl.float32) * (1.0 / 16777216)


@triton.jit(do_not_specialize=["low", "high", "out", "count"])
def _uniform(low, high, out, count, BLOCK: tl.constexpr):
    """out (N, count): the first words of counters 0..half-1, then the second words; an odd count drops the last."""
    half = (count + 1) // 2
    parts = tl.cdiv(half, BLOCK)
    program = tl.program_id(0).to(tl.int64)
    model = program // parts
    places = (program % parts).to(tl.int32) * BLOCK + tl.arange(0, BLOCK)
    a = tl.load(low + model).to(tl.uint32, bitcast=True)
    b = tl.load(high + model).to(tl.uint32, bitcast=True)
    c = a ^ b ^ 0x1BD11BDA
    x0 = places.to(tl.uint32) + a
    x1 = tl.zeros((BLOCK,), tl.uint32) + b
    x0, x1 = _four_rounds(x0, x1, b, c, 1)
    x0, x1 = _four_rounds(x0, x1, c, a, 2)
    x0, x1 = _four_rounds(x0, x1, a, b, 3)
    x0, x1 = _four_rounds(x0, x1, b, c, 4)
    x0, x1 = _four_rounds(x0, x1, c, a, 5)
    row = out + model * count
    tl.store(row + places, _unit(x0), mask=places < half)
    tl.store(row + half + places, _unit(x1), mask=places < count - half)


def uniform(low: Tensor, high: Tensor, count: int) -> Tensor:
    """(N, count) float32 in [0, 1): what `draws.uniform` gives for the keys (low, high), int32 (N,) each.

    Raises ValueError for keys that are not two int32 vectors of one length, or a negative count.
    """
    if low.dtype != torch.int32 or high.dtype != torch.int32 or low.ndim != 1 or low.shape != high.shape:
        got = f"{low.dtype} {tuple(low.shape)} and {high.dtype} {tuple(high.shape)}"
        raise ValueError(f"uniform: got keys {got}, expected int32 (N,) twice")
    if count < 0:
        raise ValueError(f"uniform: got count {count}, expected at least 0")
    out = torch.empty(len(low), count, dtype=torch.float32, device=low.device)
    programs = len(low) * triton.cdiv((count + 1) // 2, BLOCK)
    if programs:
        with torch.cuda.device(low.device) if low.is_cuda else contextlib.nullcontext():  # where Triton launches
            _uniform[(programs,)](low.contiguous(), high.contiguous(), out, count, BLOCK=BLOCK, num_warps=4)
    return out
