"""Bi-level training that looks one step ahead: the controller sees what the workers' update makes of its signals.

The controller's parameters phi go down on the held-out loss V after the workers' step, V(theta'(phi), phi), with

    theta' = theta - (1 - p) * update,    update = lr * s * (m' / c1 / (sqrt(v') / c2 + eps) + weight_decay * theta)
    m', v' = AdamW's moments after k * (g + weight_decay * wd_scale * theta),    k = min(1, grad_clip / norm)

where g is the gradient of the workers' loss, which lr_scale, loss_weight and the forward signals shape; p is
freeze_prob: theta' is the expectation over freezing, for a draw has no slope; s is lr_scale where it acts on the
step, else 1; k is differentiated on the branch that the step takes. The moments before the step are constants. Then

    dV/dphi = V_phi(theta', phi) + [dtheta'/dsignals]' w dsignals/dphi + [d(g' u)/dsignals] dsignals/dphi
    w = V_theta(theta', phi),    u = [dtheta'/dg]' w

This is the one-step approximation of bi-level optimisation of DARTS (Liu, Simonyan & Yang, ICLR 2019,
arXiv 1806.09055, equations 6 to 8), with AdamW in the place of gradient descent. The mixed second derivative
d(g' u)/dsignals is taken by central differences along u, as there (section 2.3): g' u is the slope of the workers'
loss L along u, so that

    d(g' u)/dsignals = (L_signals(theta + e u) - L_signals(theta - e u)) / 2e

and each kernel need be differentiable once. Signals, not phi, are what L is differentiated by, so that the
controller's GRU (the dearest part) runs over the training windows once, not in each of the differences.

One step ahead is a short horizon: what pays at once is preferred to what pays in the end. Wu, Ren, Liao & Grosse
("Understanding short-horizon bias in stochastic meta-optimization", ICLR 2018, arXiv 1803.02021) show that learning
rates chosen so come out too small; stronger clipping, decay or freezing can look good for the same reason.
"""

import math
from collections.abc import Callable, Collection, Sequence
from dataclasses import fields, replace

import torch
from torch import Tensor

from dynonet.config import Config
from dynonet.learning.optimiser import adamw, spread
from dynonet.learning.update import Batch, ModeGroup, TrainState, gradients, plain_loss, with_leaves
from dynonet.network.controller import Signals
from dynonet.network.parameters import Parameters
from dynonet.parts import FREEZE_START
from lab.compute.draws import AnyDraws

# What the update reads besides the gradient, and what the workers' loss reads.
ON_UPDATE = ("wd_scale", "grad_clip", "freeze_prob", "lr_scale")
IN_ORDER = tuple(f.name for f in fields(Signals))
IN_LOSS = frozenset(IN_ORDER) - {"wd_scale", "grad_clip", "freeze_prob"}

Grads = tuple[Tensor | None, Tensor | None]  # of the shared and the workers' block


def unrolled_step(
    group: ModeGroup, state: TrainState, batch: Batch, held_out: Callable[[], Batch], draws: AnyDraws, factor: Tensor
) -> tuple[Tensor, Tensor]:
    """The controller one step ahead, then the workers' step with freezing as drawn. Both losses (N,)."""
    worker, held_out_loss, grad, grads, signals = lookahead(group, state, batch, held_out, draws, factor)
    group.update_workers(state, grads, signals, draws, factor)
    group.update_controller(state, grad, ahead=True)
    return worker, held_out_loss


def lookahead(
    group: ModeGroup, state: TrainState, batch: Batch, held_out: Callable[[], Batch], draws: AnyDraws, factor: Tensor
) -> tuple[Tensor, Tensor, Tensor | None, Grads, Signals]:
    """Losses, the controller's gradient, the workers' and the signals of their windows. Changes nothing."""
    params, (phi,) = with_leaves(state.params, "controller")
    said = group.net.signals(params, batch[0])  # with a graph to phi
    signals = said.constants()

    params, leaves = with_leaves(state.params, "shared", "workers")
    forecast, _ = group.net.forward(params, batch[0], draws, signals=signals)
    worker_loss = group.worker_loss(forecast, batch[1], signals)
    shared, workers = gradients(worker_loss, leaves)
    grads = shared, workers
    del forecast, params, leaves

    # theta' with a graph to the gradients and the signals that the update reads.
    reached = {name for name in IN_ORDER if getattr(said, name).requires_grad}
    steering = _leaves_of(signals, reached & set(ON_UPDATE))
    inputs = [None if g is None else g.requires_grad_() for g in grads]
    after = expected_update(group, state, (inputs[0], inputs[1]), replace(signals, **steering), factor)

    params, (direct, *after_leaves) = with_leaves(after, "controller", "shared", "workers")
    window, target = held_out()
    forecast, _ = group.net.forward(params, window, draws, phase="controller")
    loss = plain_loss(forecast, target)
    grad, *adjoints = gradients(loss, [direct, *after_leaves])
    del forecast, params

    # Back through the update: to the signals it reads, and to the gradients, which makes u.
    pairs = [
        (flat, w)
        for flat, w in zip((after.shared, after.workers), adjoints, strict=True)
        if w is not None and flat.requires_grad
    ]
    slopes: dict[str, Tensor] = {}
    along: list[Tensor | None] = [None, None]
    if pairs:
        sources = [*steering.values(), *(g for g in inputs if g is not None)]
        outputs, weights = zip(*pairs, strict=True)
        found = iter(torch.autograd.grad(outputs, sources, weights, allow_unused=True))
        slopes = {name: slope for name in steering if (slope := next(found)) is not None}
        along = [None if g is None else next(found) for g in inputs]
    grads = tuple(None if g is None else g.detach() for g in grads)  # type: ignore[assignment]

    for name, mixed in mixed_product(group, state.params, along, batch, draws, signals, reached & IN_LOSS).items():
        slopes[name] = slopes[name] + mixed if name in slopes else mixed
    if slopes:
        outputs = tuple(getattr(said, name) for name in slopes)
        (through,) = torch.autograd.grad(outputs, phi, list(slopes.values()))
        grad = through if grad is None else grad + through
    return worker_loss.detach(), loss.detach(), grad, grads, signals


def expected_update(group: ModeGroup, state: TrainState, grads: Grads, signals: Signals, factor: Tensor) -> Parameters:
    """theta': the parameters after the workers' step, in expectation over freezing. Changes nothing.

    Differentiable by the gradients and the signals.
    """
    params, moments = state.params, state.moments
    shared, workers = params.shared.detach(), params.workers.detach()
    grad_shared, grad_workers = grads
    if grad_workers is not None:
        steered, active = group.steered(workers, grad_workers, signals, factor), group.trained["workers"]
        steps, decay = moments["workers"].steps + active, group.weight_decay[:, None].expand_as(active)
        ahead, _, _ = adamw(workers, steered.grad, moments["workers"], steps, steered.rate, decay, None)
        ahead = workers + (1 - steered.freeze)[..., None] * (ahead - workers)
        workers = torch.where(active[..., None], ahead, workers)
    if grad_shared is not None:
        active, index = group.trained["shared"], group.group_index["shared"]
        steps, rate = moments["shared"].steps + active, (group.lr * factor)[:, None].expand_as(active)
        ahead, _, _ = adamw(shared, grad_shared, moments["shared"], steps, rate, group.shared_decay, index)
        shared = torch.where(spread(active, index), ahead, shared)
    return Parameters(params.layout, params.controller.detach(), shared, workers)


def mixed_product(
    group: ModeGroup,
    params: Parameters,
    along: Sequence[Tensor | None],
    batch: Batch,
    draws: AnyDraws,
    signals: Signals,
    names: Collection[str],
) -> dict[str, Tensor]:
    """d(g' u)/dsignals of the named signals: how the workers' loss's slope along u changes with each.

    Central differences, with a step of each model's own: theta moves by `difference_share` of its length.

    Args:
        along: u, of the shared and the workers' block; None where no model has such a part on.
    """
    blocks = params.shared, params.workers
    given = [(flat.detach(), u) for flat, u in zip(blocks, along, strict=True) if u is not None]
    if not given or not names:
        return {}
    # In float64: squares of small slopes would underflow.
    length, size = (
        torch.stack([t.flatten(1).norm(dim=1, dtype=torch.float64) for t in tensors]).norm(dim=0)
        for tensors in zip(*given, strict=True)
    )
    step = torch.where(size > 0, difference_share(blocks[0].dtype) * length / size, 1.0).to(blocks[0].dtype)
    sums: dict[str, Tensor] = {}
    for sign in (1, -1):
        moved = [
            flat.detach() if u is None else flat.detach() + sign * step.view(-1, *[1] * (u.dim() - 1)) * u
            for flat, u in zip(blocks, along, strict=True)
        ]
        leaves = _leaves_of(signals, names)
        now = replace(signals, **leaves)
        at = Parameters(params.layout, params.controller.detach(), *moved)
        forecast, _ = group.net.forward(at, batch[0], draws, signals=now)
        slopes = gradients(group.worker_loss(forecast, batch[1], now), list(leaves.values()))
        for name, slope in zip(leaves, slopes, strict=True):
            if slope is not None:
                sums[name] = sums[name] - slope if name in sums else slope
    return {name: total / _along_models(name, 2 * step, total) for name, total in sums.items()}


def difference_share(dtype: torch.dtype) -> float:
    """The share of theta's length by which it is moved: a third of the cube root of the rounding error.

    The cube root balances the two errors of a central difference, of the order share^2 (curvature) and rounding / share
    (Press et al., Numerical Recipes, section 5.7); the third, since a batch's mean rounds less than one number does.
    Relative to theta, and along a direction in which AdamW has made elements of unlike slopes alike, it suits every
    model: at the published setting on ETTh1 every head is within 3e-4 of float64 at steps 2 to 31, most within 1e-5
    (within 2e-2 at the first, where AdamW takes the sign alone, so that its slopes are next to nothing).
    """
    return float(torch.finfo(dtype).eps ** (1 / 3)) / 3


def thaw(params: Parameters, configs: Sequence[Config]) -> Parameters:
    """With freeze_prob at FREEZE_START where mode unrolled is to learn it and its logit is minus infinity."""
    learns = [c.training.mode == "unrolled" and c.signals.freeze_prob == "adaptive" for c in configs]
    if not any(learns):
        return params
    controller = params.controller.clone()
    bias = params.layout.unpack("controller", controller)["freeze_prob.bias"]  # a view
    shut = bias.isneginf() & torch.tensor(learns, device=bias.device)[:, None]
    bias.copy_(torch.where(shut, math.log(FREEZE_START / (1 - FREEZE_START)), bias))
    return Parameters(params.layout, controller, params.shared, params.workers)


def _leaves_of(signals: Signals, names: Collection[str]) -> dict[str, Tensor]:
    return {name: getattr(signals, name).detach().requires_grad_() for name in IN_ORDER if name in names}


def _along_models(name: str, numbers: Tensor, like: Tensor) -> Tensor:
    """(N,) numbers laid along a signal's model axis, which comes second in FiLM's."""
    return numbers.view(1, -1, *[1] * (like.dim() - 2)) if "film" in name else numbers.view(-1, *[1] * (like.dim() - 1))
