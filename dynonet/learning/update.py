"""N models of one training mode and what training changes of them: what every kind of step is made of."""

from collections.abc import Sequence
from dataclasses import dataclass

import torch
from torch import Tensor

from dynonet import kernels
from dynonet.config import Config
from dynonet.learning.optimiser import Moments, adamw_
from dynonet.network.controller import Signals, Switch
from dynonet.network.model import DynoNetStack
from dynonet.network.parameters import BLOCKS, Parameters
from dynonet.network.purposes import Purpose
from dynonet.parts import SIGNALS
from dynonet.traits.trained import trained_groups
from lab.compute.draws import AnyDraws, uniform

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


@dataclass(frozen=True)
class Steered:
    """The workers' gradient as the signals have made it, and what they say of the step."""

    grad: Tensor  # (N, workers, P), with the L2 term, clipped
    freeze: Tensor  # (N, workers), the chance to skip the update
    rate: Tensor  # (N, workers), the learning rate


class ModeGroup:
    """N models of one training mode: their network and their settings as tensors."""

    def __init__(self, configs: Sequence[Config], channels: int, device: torch.device, dtype: torch.dtype):
        def numbers(values: Sequence[float] | Sequence[list[float]]) -> Tensor:
            return torch.tensor(values, dtype=dtype, device=device)

        self.mode, self.unroll_every = configs[0].training.mode, configs[0].training.unroll_every
        self.precision = configs[0].training.precision
        self.net = DynoNetStack(configs, channels, device, dtype)
        layout = self.layout = self.net.layout
        training = [c.training for c in configs]
        self.lr = numbers([t.lr for t in training])
        self.weight_decay = numbers([t.weight_decay for t in training])
        self.scales_step = Switch.of([t.lr_scale_on == "step" for t in training], device)
        steering = [name in SIGNALS and SIGNALS[name].acts_on != "forward" for name in layout.groups("controller")]
        self.controller_lr = numbers(
            [[t.lr * (t.steering_lr_ratio if head else t.controller_lr_ratio) for head in steering] for t in training]
        )  # (N, groups)
        # Decay would draw these heads' biases towards 0: freeze_prob to a half, say, and not to where it is off.
        self.controller_decay = numbers(
            [[0.0 if head else t.weight_decay * t.controller_wd_ratio for head in steering] for t in training]
        )  # (N, groups)

        def states(block: str, groups: Sequence[dict[str, frozenset[str]]]) -> Tensor:
            return torch.tensor([[g in of[block] for g in layout.groups(block)] for of in groups], device=device)

        # A step that does not look ahead has no gradient for the heads that only steer the update.
        trained = [trained_groups(c, lookahead=False) for c in configs]
        self.trained = {block: states(block, trained) for block in ("controller", "shared")}
        self.trained["workers"] = torch.tensor([[bool(t["workers"])] * layout.workers for t in trained], device=device)
        self.trained_ahead = states("controller", [trained_groups(c, lookahead=True) for c in configs])
        self.group_index = {block: layout.group_index(block).to(device) for block in ("controller", "shared")}
        # RevIN's pair is not decayed: a weight drawn towards 0 is divided by when the forecast is denormalised.
        decayed = [0.0 if group == "revin" else 1.0 for group in layout.groups("shared")]
        self.shared_decay = self.weight_decay[:, None] * numbers(decayed)

    def worker_loss(self, forecast: Tensor, target: Tensor, signals: Signals) -> Tensor:
        """(N,): mean over windows, steps and channels of squared error * lr_scale * loss_weight.

        Where lr_scale acts on the step (`training.lr_scale_on`), it leaves the loss alone.
        """
        weight = signals.lr_scale * signals.loss_weight
        if self.scales_step.any:
            weight = self.scales_step.pick(signals.loss_weight, weight)
        if (kernel := kernels.fused(forecast)) is not None:
            return (kernel.squared_error(forecast, target) * weight).sum(dim=(1, 2)) / forecast[0].numel()
        return ((forecast - target).square() * weight[:, :, None]).mean(dim=(1, 2, 3))

    def steered(self, workers: Tensor, grad: Tensor, signals: Signals, factor: Tensor) -> Steered:
        """What wd_scale, grad_clip, freeze_prob and (on the step) lr_scale make of the workers' gradient.

        Each signal is its mean over windows, and over channels too where one worker serves all.

        Args:
            workers, grad: the workers' block and its gradient, (N, workers, P).
            factor: (N,) the schedule's share of the learning rate.
        """
        names = ("wd_scale", "grad_clip", "freeze_prob", "lr_scale")
        means = [getattr(signals, name).mean(-1) for name in names]  # (N, C) each
        if self.layout.workers == 1:  # one worker for all channels
            means = [mean.mean(1, keepdim=True) for mean in means]
        scale, clip, freeze, pace = means
        # The gradient of 0.5 * weight_decay * wd_scale * ||parameters of the worker||^2.
        grad = grad + (self.weight_decay[:, None] * scale)[..., None] * workers
        norm = grad.norm(dim=-1)
        grad = grad * (clip / (norm + CLIP_EPS)).clamp_max(1.0)[..., None]
        rate = (self.lr * factor)[:, None].expand_as(scale)
        if self.scales_step.any:
            rate = self.scales_step.pick(rate * pace, rate)
        return Steered(grad, freeze, rate)

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
        params = state.params
        grad_shared, grad_workers = grads
        if grad_workers is not None:
            steered = self.steered(params.workers, grad_workers, signals.constants(), factor)
            drawn = uniform(draws.stream(Purpose.FREEZE), (self.layout.workers,)).to(steered.freeze.dtype)
            active = self.trained["workers"] & ~(drawn < steered.freeze)
            decay = self.weight_decay[:, None].expand_as(active)
            adamw_(params.workers, steered.grad, state.moments["workers"], active, steered.rate, decay, None)
        if grad_shared is not None:
            active = self.trained["shared"]
            rate = (self.lr * factor)[:, None].expand_as(active)
            index = self.group_index["shared"]
            adamw_(params.shared, grad_shared, state.moments["shared"], active, rate, self.shared_decay, index)

    def update_controller(self, state: TrainState, grad: Tensor | None, *, ahead: bool = False) -> None:
        """AdamW on the controller alone, with learning rates and a decay of its own, unclipped.

        Args:
            ahead: the gradient is of a step that looked ahead, so that it reaches the heads that steer the update.
        """
        if grad is None:
            return
        active = self.trained_ahead if ahead else self.trained["controller"]
        rate, decay, index = self.controller_lr, self.controller_decay, self.group_index["controller"]
        adamw_(state.params.controller, grad, state.moments["controller"], active, rate, decay, index)


def plain_loss(forecast: Tensor, target: Tensor) -> Tensor:
    """(N,): mean over windows, steps and channels of squared error."""
    if (kernel := kernels.fused(forecast)) is not None:
        squares: Tensor = kernel.squared_error(forecast, target)
        return squares.sum(dim=(1, 2)) / forecast[0].numel()
    return (forecast - target).square().mean(dim=(1, 2, 3))


def gradients(loss: Tensor, leaves: Sequence[Tensor]) -> list[Tensor | None]:
    """Of the models' losses (N,), by leaves with the model axis; None where none depends on a leaf."""
    # The sum over models keeps them apart: no model's loss reads another's parameters.
    if not loss.requires_grad:
        return [None] * len(leaves)
    return list(torch.autograd.grad(loss.sum(), leaves, allow_unused=True))


def with_leaves(params: Parameters, *blocks: str) -> tuple[Parameters, list[Tensor]]:
    """The parameters with some blocks as leaves of a fresh graph."""
    leaves = {block: getattr(params, block).detach().requires_grad_() for block in blocks}
    rest = {block: flat.detach() for block, flat in params.blocks() if block not in blocks}
    return Parameters(params.layout, **leaves, **rest), list(leaves.values())
