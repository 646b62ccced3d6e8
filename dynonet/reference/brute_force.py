"""The controller's gradient in mode unrolled beside brute force: move a parameter, take the workers' step, look again.

`after_by_hand` is the workers' step written out once more, formula by formula, with freezing by its expectation; it
shares the forward pass with the network and nothing with `dynonet.learning.unrolled`.
"""

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any
from unittest.mock import patch

import torch
from torch import Tensor

import dynonet.network.model
import dynonet.network.workers
from dynonet.config import Config
from dynonet.learning.steps import unrolled_step
from dynonet.learning.unrolled import lookahead
from dynonet.learning.update import Batch, ModeGroup, TrainState
from dynonet.network.parameters import Parameters
from dynonet.parts import SIGNALS
from dynonet.reference.small import CPU, draws_of, make_batch, make_group, small_config
from lab.compute.draws import Draws
from lab.compute.draws import uniform as drawn_uniform

CHANNELS = 2
ALONE = {"model.film": False, "model.context": False, **{f"signals.{name}": "off" for name in SIGNALS}}
# Which signals are adaptive: each alone (others neutral, FiLM and context off), and all together.
CASES: dict[str, dict[str, Any]] = {
    **{name: {**ALONE, f"signals.{name}": "adaptive"} for name in SIGNALS},
    "together": {},
    "lr_scale on the step": {**ALONE, "signals.lr_scale": "adaptive", "training.lr_scale_on": "step"},
    "together, on the step": {"training.lr_scale_on": "step"},
    "together, one worker": {"model.worker_scope": "all"},
    "together, two layers": {"model.num_layers": 2},
}
# Of windows and targets: gradients that are all longer than the bounds, and all shorter.
SIZES = {"active": (1.0, 20.0), "inactive": (0.1, 0.1)}
STEPS = (1, 10)  # of training, at which the gradient is checked
DIFFERENCES = (3e-3, 3e-4, 3e-5, 3e-6, 3e-7)


@dataclass(frozen=True)
class Row:
    """One group of the controller's parameters in one case: along each of its biases, and one random direction."""

    case: str
    clipping: str
    step: int
    group: str
    slope: float  # norm of the slopes by brute force
    off: float  # |ours - brute force| / |brute force|; absolute where that is 0


def check(case: str, clipping: str) -> list[Row]:
    """A small model in float64, trained in mode unrolled for ten steps; every group that a gradient should reach."""
    config = small_config(CASES[case], mode="unrolled", lr=0.01, weight_decay=0.05, controller_lr_ratio=0.3, seed=11)
    group, state = make_group([config], CHANNELS)
    one, rows = torch.ones(1).double(), []
    with (
        patch.object(dynonet.network.workers, "uniform", _fixed),
        patch.object(dynonet.network.model, "uniform", _fixed),
    ):
        for step in range(1, STEPS[-1] + 1):
            draws = draws_of([config.training.seed], 1, step)
            batch, held_out = batches(config, step, SIZES[clipping])
            if step in STEPS:
                gradient = lookahead(group, state, batch, given(held_out), draws, one)[2]
                assert gradient is not None
                names, along = directions(group)
                expected, clipped = brute_force(config, state, batch, held_out, step, along)
                assert clipped.all() if clipping == "active" else not clipped.any()
                assert not gradient[0][~_in_groups(group, set(names))].any(), "a group that is held has a gradient"
                ours = along @ gradient[0]
                for name in dict.fromkeys(names):
                    mine = torch.tensor([other == name for other in names])
                    slope, apart = expected[mine].norm().item(), (ours - expected)[mine].norm().item()
                    rows.append(Row(case, clipping, step, name, slope, apart / (slope or 1.0)))
            unrolled_step(group, state, batch, given(held_out), draws, one)
    return rows


def given(batch: Batch) -> Callable[[], Batch]:
    return lambda: batch


def batches(config: Config, step: int, size: tuple[float, float] = (1.0, 1.0), models: int = 1) -> tuple[Batch, Batch]:
    """Of a step: the workers' and the controller's, windows and targets stretched."""
    (x, y), (later_x, later_y) = (make_batch(config, CHANNELS, models, seed=2 * step + role) for role in (0, 1))
    return (size[0] * x, size[1] * y), (size[0] * later_x, size[1] * later_y)


def directions(group: ModeGroup) -> tuple[list[str], Tensor]:
    """Of every group that learns: each element of its biases, and one random direction in all of it, (R, P)."""
    layout, random = group.layout, torch.Generator().manual_seed(4)
    learns = dict(zip(layout.groups("controller"), group.trained_ahead[0].tolist(), strict=True))
    names, rows = [], []
    for name in (name for name, on in learns.items() if on):
        noise = torch.randn(layout.size("controller"), generator=random, dtype=torch.float64)
        names.append(name)
        rows.append(torch.where(_in_groups(group, {name}), 0.3 * noise, 0.0))
    start, unit = 0, torch.eye(layout.size("controller"), dtype=torch.float64)
    for entry in layout.entries["controller"]:
        if entry.name.endswith(".bias") and learns[entry.group]:
            names += [entry.group] * entry.size
            rows += list(unit[start : start + entry.size])
        start += entry.size
    return names, torch.stack(rows)


def brute_force(
    config: Config, state: TrainState, batch: Batch, held_out: Batch, step: int, along: Tensor
) -> tuple[Tensor, Tensor]:
    """Slopes of the held-out loss after the step along directions (R, P), and whose gradient was clipped.

    Central differences of fourth order at steps of several sizes. The one that the next smaller differs from least is
    taken: large ones curve, small ones round.
    """
    count, offsets = len(along), (-2.0, -1.0, 1.0, 2.0)
    group = ModeGroup([config] * (len(offsets) * count), CHANNELS, CPU, torch.float64)
    many = state.models(torch.zeros(len(offsets) * count, dtype=torch.long))
    draws = draws_of([config.training.seed] * (len(offsets) * count), 1, step)
    start, estimates = many.params.controller, []
    x, y, later_x, later_y = (t.expand(len(start), -1, -1, -1) for t in (*batch, *held_out))
    for h in DIFFERENCES:
        many.params.controller = start + torch.cat([h * offset * along for offset in offsets])
        after, clipped = after_by_hand(group, config, many, (x, y), draws)
        with torch.no_grad():
            forecast, _ = group.net.forward(after, later_x, draws, phase="controller")
        low2, low, high, high2 = forecast.split(count)

        def apart(one: Tensor, other: Tensor) -> Tensor:
            # Of squares, as a product: the difference of two means would round away.
            return ((one - other) * (one + other - 2 * later_y[:count])).mean((1, 2, 3))

        estimates.append((8 * apart(high, low) - apart(high2, low2)) / (12 * h))
    table = torch.stack(estimates)
    change = (table[1:] - table[:-1]).abs()
    best = change.argmin(0, keepdim=True)
    return table.gather(0, best)[0], clipped


def after_by_hand(
    group: ModeGroup, config: Config, state: TrainState, batch: Batch, draws: Draws
) -> tuple[Parameters, Tensor]:
    """The parameters after the workers' step, freezing by its expectation, and whose gradient was clipped."""
    x, y = batch
    training, params, layout = config.training, state.params, state.params.layout
    shared, workers = (t.detach().requires_grad_() for t in (params.shared, params.workers))
    at = Parameters(layout, params.controller.detach(), shared, workers)
    forecast, signals = group.net.forward(at, x, draws, controller_grad=False)
    weight = signals.loss_weight * (signals.lr_scale if training.lr_scale_on == "loss" else 1)
    loss = ((forecast - y) ** 2 * weight[:, :, None]).mean((1, 2, 3)).sum()
    grad_shared, grad_workers = torch.autograd.grad(loss, (shared, workers))
    means = {name: getattr(signals, name).mean(-1) for name in SIGNALS if name != "gate_masks"}
    if layout.workers == 1:
        means = {name: mean.mean(1, keepdim=True) for name, mean in means.items()}
    means = {name: mean[..., None] for name, mean in means.items()}
    grad_workers = grad_workers + training.weight_decay * means["wd_scale"] * workers
    norm, bound = grad_workers.norm(dim=-1, keepdim=True), means["grad_clip"]
    clipped = norm > bound
    grad_workers = torch.where(clipped, grad_workers * bound / (norm + 1e-6), grad_workers)

    def adamw(theta: Tensor, grad: Tensor, block: str, steps: int, decay: Tensor | float) -> Tensor:
        memory = state.moments[block]
        mean = (0.9 * memory.mean + 0.1 * grad) / (1 - 0.9**steps)
        square = (0.999 * memory.square + 0.001 * grad**2) / (1 - 0.999**steps)
        return training.lr * (mean / (square.sqrt() + 1e-8) + decay * theta)

    step = int(state.moments["shared"].steps.max()) + 1
    revin = [entry.group == "revin" for entry in layout.entries["shared"] for _ in range(entry.size)]
    decay = torch.where(torch.tensor(revin), 0.0, training.weight_decay)
    updates = []
    for worker in range(layout.workers):  # each has skipped as many steps as it was frozen
        steps = int(state.moments["workers"].steps[0, worker]) + 1
        updates.append(adamw(workers, grad_workers, "workers", steps, training.weight_decay)[:, worker])
    update = torch.stack(updates, dim=1)
    if training.lr_scale_on == "step":
        update = means["lr_scale"] * update
    return Parameters(
        layout, params.controller.detach(),
        (shared - adamw(shared, grad_shared, "shared", step, decay)).detach(),
        (workers - (1 - means["freeze_prob"]) * update).detach(),
    ), clipped  # fmt: skip


def _fixed(keys: Any, shape: tuple[int, ...]) -> Tensor:
    """Dropout keeps what it keeps whatever the rate: a mask that flips would make the loss jump."""
    return torch.where(drawn_uniform(keys, shape) >= 0.2, 2.0, -1.0)


def _in_groups(group: ModeGroup, names: set[str]) -> Tensor:
    """(P,) bool: the elements of the controller's block in these groups."""
    wanted = torch.tensor([name in names for name in group.layout.groups("controller")])
    return wanted[group.layout.group_index("controller")]
