"""Whether the kernels are right: their errors against float64, before anything is timed."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace
from typing import Any

import torch
from torch import Tensor

from dynonet.network.gru import _torch_gru
from lab.compute.draws import random_bits, seed_keys
from scripts.bench.card.machine import Machine, Sizes
from scripts.bench.gru import NAMES, tensors

OUTPUT_ERROR, GRADIENT_ERROR = 1e-5, 1e-4  # most that is accepted, of each array's largest number
OTHERS = ((1, 1), (16, 16), (20, 5), (49, 7), (64, 64), (100, 7), (128, 128))  # hidden units and inputs


def kernel_call(tensors: list[Tensor], last_only: bool, needs_x: bool, precision: str = "float32") -> list[Tensor]:
    """Output and gradients (of the sum of the output) by the GPU kernel."""
    from dynonet.kernels import gru_triton

    output, kept = gru_triton.forward(*tensors, last_only, True, precision)
    told = torch.ones_like(output), last_only, needs_x, True, precision
    return [output, *gru_triton.backward(*tensors, kept, *told)]


def exact(path: Callable[..., Tensor], tensors: list[Tensor], last_only: bool) -> list[Tensor]:
    """The same by an autograd path, in float64."""
    leaves = [t.double().requires_grad_() for t in tensors]
    output = path(*leaves, last_only=last_only)
    output.backward(torch.ones_like(output))
    return [output.detach(), *(leaf.grad for leaf in leaves if leaf.grad is not None)]


def error(ours: Tensor, truth: Tensor) -> float:
    """The largest, relative to the array's largest number."""
    return float(((ours.double() - truth).abs().max() / truth.abs().max()).item())


def check_precision(sizes: Sizes, machine: Machine, found: dict[str, Any]) -> None:
    """The kernels' errors. `good`: whether all are small enough."""
    print(f"\nPrecision against float64, relative to each array's largest number (at most {OUTPUT_ERROR:g} for the")
    print(f"output, {GRADIENT_ERROR:g} for gradients)")
    names, device = ("output", "x", *NAMES), machine.device
    print(f"{'':34s}" + "".join(f"{name:>11s}" for name in names))
    shapes = [replace(c, groups=2 * c.groups, last_only=last) for c in sizes.cases() for last in (False, True)]
    others = {"groups": 2, "steps": min(24, sizes.gru_steps or 24), "last_only": False}
    shapes += [replace(shapes[0], name=f"D={d}, I={i}", hidden=d, inputs=i, **others)
               for d, i in (OTHERS if device.type == "cuda" else OTHERS[::3])]  # fmt: skip
    good = True
    rows = found["errors"] = {}
    for case in shapes:
        inputs = [t.to(device) for t in tensors(case)]
        got, expected = kernel_call(inputs, case.last_only, True), exact(_torch_gru, inputs, case.last_only)
        errors = [error(a, b) for a, b in zip(got, expected, strict=True)]
        fits = errors[0] <= OUTPUT_ERROR and all(each <= GRADIENT_ERROR for each in errors[1:])
        good &= fits  # a NaN does not fit
        title = f"{case.name}, {'last state' if case.last_only else 'all states'}"
        print(f"{title:34s}" + "".join(f"{each:11.1e}" for each in errors) + ("" if fits else "  TOO LARGE"))
        rows[title] = dict(zip(names, errors, strict=True))
    from lab.compute import draws_triton

    keys = seed_keys(torch.arange(3, device=device))
    plain = ((random_bits(keys, (10_001,)) >> 8) & 0xFFFFFF).to(torch.float32) * 2.0**-24
    same = torch.equal(draws_triton.uniform(*keys, 10_001), plain)
    print(f"draws, bit for bit: {'the same' if same else 'NOT THE SAME'}")
    found["good"] = bool(good and same)
