"""The GRU's kernels alone, beside torch.nn.GRU and two limits.

`memory`: the bytes that any implementation must move that keeps the states in memory, at the rate of a large copy;
`arithmetic`: the products' operations at the rate of a large float32 product (`tf32x3` on tensor cores may go below).
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace
from typing import Any

import torch

from scripts.bench.card.machine import Machine, Sizes, columns, milliseconds
from scripts.bench.gru import Case, modules, tensors


def bytes_moved(case: Case, backward: bool) -> int:
    """Floats that must be read or written, times 4: x, states (once each way where backward needs them), gradients."""
    windows = case.groups * case.batch
    x, states = windows * case.steps * case.inputs, windows * case.steps * case.hidden
    output = windows * case.hidden if case.last_only else states
    if not backward:
        return 4 * (x + output)
    gradients = output + (0 if case.last_only else x)
    return 4 * (x + states + x + states + gradients)


def calls(case: Case, backward: bool, device: torch.device, precision: str = "float32") -> Callable[[], object]:
    """One call of our kernel for all groups; in training, x needs a gradient unless it is a first layer."""
    from dynonet.kernels import gru_triton

    inputs, last_only = [t.to(device) for t in tensors(case)], case.last_only
    if not backward:
        return lambda: gru_triton.forward(*inputs, last_only, False, precision)
    shape = (case.groups, case.hidden, case.batch) if last_only else (*inputs[0].shape[:2], case.hidden, case.batch)
    grad = torch.ones(shape, device=device)

    def step() -> None:
        _, kept = gru_triton.forward(*inputs, last_only, True, precision)
        gru_triton.backward(*inputs, kept, grad, last_only, not last_only, True, precision)

    return step


def show_kernels(sizes: Sizes, machine: Machine, found: dict[str, Any]) -> None:
    print("\nGRU kernels alone, ms (stock: torch.nn.GRU for one model, times the models, one after the other)")
    print(f"{'':30s}" + columns(models=7, ours=10, memory=10, arithmetic=11, x_limit=9, stock=10, ratio=8))
    for case in sizes.cases():
        for backward in (True, False):
            title = f"{case.name}, {'forward+backward' if backward else 'forward'}"
            stock = milliseconds(modules(case, backward, machine.device), machine.device, sizes.repeats)
            for count in sizes.models:
                stack = replace(case, groups=count * case.groups)
                try:
                    ours = milliseconds(calls(stack, backward, machine.device), machine.device, sizes.repeats)
                except torch.cuda.OutOfMemoryError:
                    print(f"{title:30s}{count:>7d}   out of memory")
                    continue
                memory, arithmetic = machine.limits(bytes_moved(stack, backward), stack.products(backward))
                row = f"{title:30s}{count:>7d}{ours:>10.3f}{memory:>10.3f}{arithmetic:>11.3f}"
                worst = max(memory, arithmetic)
                print(f"{row}{ours / worst:>9.1f}{count * stock:>10.2f}{count * stock / ours:>8.1f}", flush=True)
                found[f"{title}, {count}"] = {"ms": ours, "limit_ms": worst, "stock_ms": count * stock}
    print("(arithmetic counts every step of backward; where only the last state has a gradient, ours may stop earlier)")
