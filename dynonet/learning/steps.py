"""One training step of a stack: the workers' phase and the controller's phase, each a named function.

Models of one mode stand together in a stack (a `ModeGroup`), and each phase runs on its group alone.
Source: section 2 of the published network's training; every departure says why.
"""

from collections.abc import Callable, Collection, Sequence
from typing import Any

import torch
from torch import Tensor

from dynonet.config import Config
from dynonet.learning.optimiser import Moments
from dynonet.learning.unrolled import unrolled_step
from dynonet.learning.update import Batch, ModeGroup, TrainState, gradients, plain_loss, with_leaves
from dynonet.network.parameters import Layout
from dynonet.traits.stacking import group_key
from lab.compute.draws import AnyDraws


def worker_step(group: ModeGroup, state: TrainState, batch: Batch, draws: AnyDraws, factor: Tensor) -> Tensor:
    """The workers learn from training windows under signals that are constants. Returns the loss (N,)."""
    params, leaves = with_leaves(state.params, "shared", "workers")
    forecast, signals = group.net.forward(params, batch[0], draws, controller_grad=False)
    loss = group.worker_loss(forecast, batch[1], signals)
    shared, workers = gradients(loss, leaves)
    group.update_workers(state, (shared, workers), signals, draws, factor)
    return loss.detach()


def controller_step(group: ModeGroup, state: TrainState, batch: Batch, draws: AnyDraws) -> Tensor:
    """The controller learns from held-out windows through the forecast, by the plain MSE. Returns it (N,)."""
    params, leaves = with_leaves(state.params, "controller")
    forecast, _ = group.net.forward(params, batch[0], draws, phase="controller")
    loss = plain_loss(forecast, batch[1])
    (grad,) = gradients(loss, leaves)
    group.update_controller(state, grad)
    return loss.detach()


def alternating_step(
    group: ModeGroup, state: TrainState, batch: Batch, held_out: Callable[[], Batch], draws: AnyDraws, factor: Tensor
) -> tuple[Tensor, Tensor]:
    """As published: the workers on training windows, then the controller on held-out ones. Both losses (N,)."""
    worker = worker_step(group, state, batch, draws, factor)
    return worker, controller_step(group, state, held_out(), draws)


def joint_step(
    group: ModeGroup, state: TrainState, batch: Batch, held_out: Callable[[], Batch], draws: AnyDraws, factor: Tensor
) -> tuple[Tensor, Tensor]:
    """Bi-level off: one backward pass, and the controller learns from the workers' own windows and loss.

    Signals that only weigh the loss or the update are constants for the controller's gradient.
    """
    params, leaves = with_leaves(state.params, "shared", "workers", "controller")
    forecast, signals = group.net.forward(params, batch[0], draws)
    signals = signals.weights_detached()
    loss = group.worker_loss(forecast, batch[1], signals)
    shared, workers, controller = gradients(loss, leaves)
    group.update_workers(state, (shared, workers), signals, draws, factor)
    group.update_controller(state, controller)
    return loss.detach(), loss.detach()


# `unrolled_step` at the steps that look ahead, `alternating_step` at the others of mode unrolled.
STEPS = {"alternating": alternating_step, "joint": joint_step, "unrolled": unrolled_step}


def step_of(group: ModeGroup, ahead: Collection[int]) -> Callable[..., tuple[Tensor, Tensor]]:
    """The step of a group where it is the turn of these `unroll_every` to look ahead."""
    waits = group.mode == "unrolled" and group.unroll_every not in ahead
    return STEPS["alternating" if waits else group.mode]


def mode_groups(
    configs: Sequence[Config], layout: Layout, device: torch.device, dtype: torch.dtype
) -> list[tuple[slice, ModeGroup]]:
    """The contiguous slices of equal `group_key` in a stack, each with its group.

    Raises ValueError if models of one key do not stand together.
    """
    groups: list[tuple[slice, ModeGroup]] = []
    keys: list[Any] = []
    start = 0
    for stop in range(1, len(configs) + 1):
        if stop == len(configs) or group_key(configs[stop]) != group_key(configs[start]):
            members = configs[start:stop]
            groups.append((slice(start, stop), ModeGroup(members, layout.channels, device, dtype)))
            keys.append(group_key(configs[start]))
            start = stop
    if len(set(keys)) != len(keys):
        raise ValueError("models of one mode must stand together in a stack")
    return groups


__all__ = [
    "STEPS", "Batch", "ModeGroup", "Moments", "TrainState", "alternating_step", "controller_step", "group_key",
    "joint_step", "mode_groups", "step_of", "unrolled_step", "worker_step",
]  # fmt: skip
