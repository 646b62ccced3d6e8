"""Each formula that `step_triton` computes in one launch each way, before (torch) and after, in a CUDA graph each."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor
from torch.nn.functional import gelu

from dynonet.learning.optimiser import BETA1, BETA2, EPS, adamw
from dynonet.learning.optimiser import Moments as Memory
from dynonet.network.layers import dropout, layer_norm
from dynonet.network.workers import DROPOUT_EPS
from scripts.bench.card.machine import Machine, Sizes, columns, forget, graphed, launches, milliseconds
from scripts.bench.card.steps import CONTROL, HIDDEN, HORIZON, WORKER_STEPS
from scripts.bench.step import CHANNELS


@dataclass(frozen=True)
class Formula:
    name: str
    before: Callable[..., Tensor]
    after: Callable[..., Tensor]
    inputs: list[Tensor]  # that have gradients
    constants: list[Tensor]

    def both_ways(self, path: Callable[..., Tensor]) -> Callable[[], object]:
        leaves = [t.requires_grad_() for t in self.inputs]
        grad = torch.ones_like(path(*leaves, *self.constants))
        return lambda: torch.autograd.grad(path(*leaves, *self.constants), leaves, grad)


def input_in_torch(residual: Tensor, weight: Tensor, bias: Tensor, position: Tensor, gates: Tensor) -> Tensor:
    lanes = residual.permute(0, 2, 1, 3).unsqueeze(3)
    x = weight[:, :, None, :, None] * lanes + (bias[:, :, None] + position)[..., None]
    return (x * gates[:, :, None]).flatten(0, 1)


def modulated_in_torch(
    x: Tensor, gamma: Tensor, beta: Tensor, weight: Tensor, bias: Tensor, rate: Tensor, draws: Tensor
) -> Tensor:
    out = gamma[:, :, None] * x + beta[:, :, None]
    out = layer_norm(out, weight[:, :, None, :, None], bias[:, :, None, :, None])
    return dropout(out, rate[:, :, None, None], draws, DROPOUT_EPS)


def formulas(n: int, sizes: Sizes, device: torch.device) -> Iterator[Formula]:
    """Those of a step of n models at the published setting."""
    from dynonet.kernels import step_triton as kernel

    def draw(*shape: int) -> Tensor:
        return torch.rand(*shape, device=device)

    c, d, b = CHANNELS, HIDDEN, sizes.batch
    w, h = (min(full, sizes.gru_steps or full) for full in (WORKER_STEPS, HORIZON))
    each = [draw(n, w, c, b), draw(n, c, d), draw(n, c, d), draw(n, c, w, d), draw(n, c, d, b)]
    yield Formula("workers' input", input_in_torch, kernel.workers_input, each, [])
    for name, steps in (("last layer", 1), ("other layers", w)):
        each = [draw(n, c, steps, d, b), draw(n, c, d, b), draw(n, c, d, b), draw(n, c, d), draw(n, c, d)]
        yield Formula(
            f"FiLM, norm, dropout: {name}", modulated_in_torch, lambda *t: kernel.modulated(*t, DROPOUT_EPS),
            [*each, draw(n, c, b) / 2], [draw(n, c, steps, d, b)],
        )  # fmt: skip
    wide = n, 4 * c, h * b
    yield Formula(
        "mixer's GELU and dropout", lambda x, u, r: dropout(gelu(x), r[:, None, None], u),
        lambda x, u, r: kernel.gelu_dropout(x, r, u), [draw(*wide)], [draw(*wide), draw(n) / 2],
    )  # fmt: skip
    yield Formula(
        "loss and its weights", lambda f, s, t: ((f - t).square() * s[:, :, None]).mean(dim=(1, 2, 3)),
        lambda f, s, t: (kernel.squared_error(f, t) * s).sum(dim=(1, 2)) / f[0].numel(),
        [draw(n, c, h, b), draw(n, c, b)], [draw(n, c, h, b)],
    )  # fmt: skip


def updates(n: int, device: torch.device) -> tuple[Callable[[], object], Callable[[], object]]:
    """AdamW on the three blocks of n models, in torch and by the kernel. Sizes are those of preset h96, about."""
    from dynonet.kernels import step_triton as kernel

    control = 3 * CONTROL * (CONTROL + CHANNELS + 2) + 250 * CONTROL
    blocks = [((n, control), 12), ((n, 50_000), 3), ((n, CHANNELS, 2_300), CHANNELS)]
    told = []
    for shape, groups in blocks:
        flat, grad = torch.rand(shape, device=device), torch.rand(shape, device=device)
        index = torch.arange(shape[-1], device=device) % groups if len(shape) == 2 else None
        on = torch.ones(n, groups, dtype=torch.bool, device=device)
        rate = torch.full((n, groups), 1e-3, device=device)
        told.append((flat, grad, Memory.zeros(flat, groups), on, rate, rate, index))

    def before() -> None:
        for flat, grad, memory, on, rate, decay, index in told:
            memory.steps += on
            updated, mean, square = adamw(flat, grad, memory, memory.steps, rate, decay, index)
            where = on[..., None] if index is None else on[:, index]
            torch.where(where, updated, flat, out=flat)
            torch.where(where, mean, memory.mean, out=memory.mean)
            torch.where(where, square, memory.square, out=memory.square)

    def after() -> None:
        for flat, grad, memory, on, rate, decay, index in told:
            memory.steps += on
            kernel.adamw_(
                flat, grad, memory.mean, memory.square, memory.steps, on, rate, decay, index, (BETA1, BETA2, EPS)
            )

    return before, after


def show_formulas(sizes: Sizes, machine: Machine, found: dict[str, Any]) -> None:
    print("\nFormulas of a step, there and back, ms and launches (before: torch; after: one kernel each way)")
    print(f"{'':34s}" + columns(models=7, before=10, after=10, ratio=8, launches=10, after_=8))

    def row(name: str, count: int, before: Callable[[], object], after: Callable[[], object]) -> None:
        device, times, launched = machine.device, [], []
        for run in (before, after):
            forget(device)
            launched.append(launches(run, device) if device.type == "cuda" else 0)
            times.append(milliseconds(graphed(run, device), device, sizes.repeats))
        ratio = times[0] / times[1]
        line = f"{name:34s}{count:>7d}{times[0]:>10.3f}{times[1]:>10.3f}{ratio:>8.1f}"
        print(f"{line}{launched[0]:>10d}{launched[1]:>8d}", flush=True)
        found[f"{name}, {count}"] = {"before_ms": times[0], "after_ms": times[1], "launches": launched}

    for count in sizes.ends if machine.device.type == "cuda" else sizes.ends[:1]:
        for each in formulas(count, sizes, machine.device):
            row(each.name, count, each.both_ways(each.before), each.both_ways(each.after))
        row("AdamW, three blocks", count, *updates(count, machine.device))
