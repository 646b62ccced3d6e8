"""One training step of a stack: the workers' phase and the controller's phase, each a named function.

Models of one mode stand together in a stack (a `ModeGroup`), and each phase runs on its group alone.
Source: section 2 of the published network's training; every departure says why.
"""

from collections.abc import Callable, Sequence
from dataclasses import dataclass

import torch
from torch import Tensor

from dynonet.config import Config
from dynonet.controller import Signals
from dynonet.draws import AnyDraws, uniform
from dynonet.model import DynoNetStack, trained_groups
from dynonet.optimiser import Moments, adamw_
from dynonet.parameters import BLOCKS, Layout, Parameters

CLIP_EPS = 1e-6  # torch's clip_grad_norm_
Batch = tuple[Tensor, Tensor]  # windows (N, S, C, B), targets (N, C, H, B)


@dataclass
class TrainState:
    """What training changes: parameters and AdamW's memory of each block. Leading axis N everywhere."""

    params: Parameters
    moments: dict[str, Moments]

    @classmethod
    def initial(cls, params: Parameters) -> "TrainState":
        layout = params.layout
        count = {b: layout.workers if b == "workers" else len(layout.groups(b)) for b in BLOCKS}
        return cls(params, {name: Moments.zeros(flat, count[name]) for name, flat in params.blocks()})

    def models(self, index: slice | Tensor) -> "TrainState":
        """Some models: views for a slice (a step on them changes this state), copies for an index."""
        return TrainState(self.params.models(index), {b: m.models(index) for b, m in self.moments.items()})


class ModeGroup:
    """N models of one training mode: their network and their settings as tensors."""

    def __init__(self, configs: Sequence[Config], channels: int, device: torch.device, dtype: torch.dtype):
        def numbers(values: Sequence[float]) -> Tensor:
            return torch.tensor(values, dtype=dtype, device=device)

        self.mode = configs[0].training.mode
        self.net = DynoNetStack(configs, channels, device, dtype)
        layout = self.layout = self.net.layout
        training = [c.training for c in configs]
        self.lr = numbers([t.lr for t in training])
        self.weight_decay = numbers([t.weight_decay for t in training])
        self.controller_lr = numbers([t.lr * t.controller_lr_ratio for t in training])
        self.controller_decay = numbers([t.weight_decay * t.controller_wd_ratio for t in training])
        trained = [trained_groups(c) for c in configs]
        self.trained = {
            block: torch.tensor([[g in t[block] for g in layout.groups(block)] for t in trained], device=device)
            for block in ("controller", "shared")
        }
        self.trained["workers"] = torch.tensor([[bool(t["workers"])] * layout.workers for t in trained], device=device)
        self.group_index = {block: layout.group_index(block).to(device) for block in ("controller", "shared")}
        # RevIN's pair is not decayed: a weight drawn towards 0 is divided by when the forecast is denormalised.
        decayed = [0.0 if group == "revin" else 1.0 for group in layout.groups("shared")]
        self.shared_decay = self.weight_decay[:, None] * numbers(decayed)

    def update_workers(
        self,
        state: TrainState,
        grads: tuple[Tensor | None, Tensor | None],
        signals: Signals,
        draws: AnyDraws,
        factor: Tensor,
    ) -> None:
        """AdamW on everything but the controller, steered by wd_scale, grad_clip and freeze_prob.

        Args:
            grads: of the shared and the workers' block (None where no model has such a part on).
            factor: (N,) the schedule's share of the learning rate.
        """
        params, lr = state.params, (self.lr * factor)[:, None]
        grad_shared, grad_workers = grads
        if grad_workers is not None:
            scale, clip, freeze = (
                getattr(signals, name).detach().mean(-1) for name in ("wd_scale", "grad_clip", "freeze_prob")
            )  # (N, C) each
            if self.layout.workers == 1:  # one worker for all channels
                scale, clip, freeze = (signal.mean(1, keepdim=True) for signal in (scale, clip, freeze))
            # The gradient of 0.5 * weight_decay * wd_scale * ||parameters of the worker||^2.
            grad = grad_workers + (self.weight_decay[:, None] * scale)[..., None] * params.workers
            norm = grad.norm(dim=-1)
            grad = grad * (clip / (norm + CLIP_EPS)).clamp_max(1.0)[..., None]
            frozen = uniform(draws.stream("freeze"), (self.layout.workers,)).to(freeze.dtype) < freeze
            active = self.trained["workers"] & ~frozen
            decay = self.weight_decay[:, None].expand_as(active)
            adamw_(params.workers, grad, state.moments["workers"], active, lr.expand_as(active), decay, None)
        if grad_shared is not None:
            active = self.trained["shared"]
            rate = lr.expand_as(active)
            index = self.group_index["shared"]
            adamw_(params.shared, grad_shared, state.moments["shared"], active, rate, self.shared_decay, index)

    def update_controller(self, state: TrainState, grad: Tensor | None) -> None:
        """AdamW on the controller alone, with its own learning rate and decay, unclipped."""
        if grad is None:
            return
        active = self.trained["controller"]
        rate, decay = (t[:, None].expand_as(active) for t in (self.controller_lr, self.controller_decay))
        index = self.group_index["controller"]
        adamw_(state.params.controller, grad, state.moments["controller"], active, rate, decay, index)


def worker_loss(forecast: Tensor, target: Tensor, signals: Signals) -> Tensor:
    """(N,): mean over windows, steps and channels of squared error * lr_scale * loss_weight."""
    weight = (signals.lr_scale * signals.loss_weight)[:, :, None]
    return ((forecast - target).square() * weight).mean(dim=(1, 2, 3))


def _gradients(loss: Tensor, leaves: Sequence[Tensor]) -> list[Tensor | None]:
    # The sum over models keeps them apart: no model's loss reads another's parameters.
    if not loss.requires_grad:
        return [None] * len(leaves)
    return list(torch.autograd.grad(loss.sum(), leaves, allow_unused=True))


def _leaves(params: Parameters, *blocks: str) -> tuple[Parameters, list[Tensor]]:
    """The parameters with some blocks as leaves of a fresh graph."""
    leaves = {block: getattr(params, block).detach().requires_grad_() for block in blocks}
    rest = {block: flat.detach() for block, flat in params.blocks() if block not in blocks}
    return Parameters(params.layout, **leaves, **rest), list(leaves.values())


def worker_step(group: ModeGroup, state: TrainState, batch: Batch, draws: AnyDraws, factor: Tensor) -> Tensor:
    """The workers learn from training windows under signals that are constants. Returns the loss (N,)."""
    params, leaves = _leaves(state.params, "shared", "workers")
    forecast, signals = group.net.forward(params, batch[0], draws, controller_grad=False)
    loss = worker_loss(forecast, batch[1], signals)
    shared, workers = _gradients(loss, leaves)
    group.update_workers(state, (shared, workers), signals, draws, factor)
    return loss.detach()


def controller_step(group: ModeGroup, state: TrainState, batch: Batch, draws: AnyDraws) -> Tensor:
    """The controller learns from held-out windows through the forecast, by the plain MSE. Returns it (N,)."""
    params, leaves = _leaves(state.params, "controller")
    forecast, _ = group.net.forward(params, batch[0], draws, phase="controller")
    loss = (forecast - batch[1]).square().mean(dim=(1, 2, 3))
    (grad,) = _gradients(loss, leaves)
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
    params, leaves = _leaves(state.params, "shared", "workers", "controller")
    forecast, signals = group.net.forward(params, batch[0], draws)
    signals = signals.weights_detached()
    loss = worker_loss(forecast, batch[1], signals)
    shared, workers, controller = _gradients(loss, leaves)
    group.update_workers(state, (shared, workers), signals, draws, factor)
    group.update_controller(state, controller)
    return loss.detach(), loss.detach()


STEPS = {"alternating": alternating_step, "joint": joint_step}


def mode_groups(
    configs: Sequence[Config], layout: Layout, device: torch.device, dtype: torch.dtype
) -> list[tuple[slice, ModeGroup]]:
    """The contiguous slices of equal mode in a stack, each with its group. Raises ValueError if modes are mixed up."""
    groups: list[tuple[slice, ModeGroup]] = []
    start = 0
    for stop in range(1, len(configs) + 1):
        if stop == len(configs) or configs[stop].training.mode != configs[start].training.mode:
            members = configs[start:stop]
            groups.append((slice(start, stop), ModeGroup(members, layout.channels, device, dtype)))
            start = stop
    if len({group.mode for _, group in groups}) != len(groups):
        raise ValueError("models of one mode must stand together in a stack")
    return groups
