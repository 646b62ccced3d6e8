"""AdamW on flat blocks with the model axis: step counts, moments, decay and skipping are per model and group.

Formula: Loshchilov & Hutter, "Decoupled weight decay regularization" (ICLR 2019), in torch's order of operations.
"""

from dataclasses import dataclass

import torch
from torch import Tensor

from dynonet import kernels

BETA1, BETA2, EPS = 0.9, 0.999, 1e-8


@dataclass
class Moments:
    """What AdamW remembers of one block."""

    mean: Tensor  # as the block
    square: Tensor  # as the block
    steps: Tensor  # (N, G) int64, updates made of each group

    @classmethod
    def zeros(cls, flat: Tensor, groups: int) -> "Moments":
        steps = torch.zeros(flat.shape[0], groups, dtype=torch.int64, device=flat.device)
        return cls(torch.zeros_like(flat), torch.zeros_like(flat), steps)

    def models(self, index: slice | Tensor) -> "Moments":
        return Moments(self.mean[index], self.square[index], self.steps[index])


def spread(per_group: Tensor, group_index: Tensor | None) -> Tensor:
    """(N, G) numbers laid over a block's elements: by index, or (workers, G of them) along the last axis."""
    return per_group[..., None] if group_index is None else per_group[:, group_index]


def adamw(
    flat: Tensor,
    grad: Tensor,
    moments: Moments,
    steps: Tensor,
    lr: Tensor,
    weight_decay: Tensor,
    group_index: Tensor | None,
) -> tuple[Tensor, Tensor, Tensor]:
    """What one AdamW step of every group would make of a block: parameters and both moments. Changes nothing.

    Differentiable by the gradient and the learning rate; the moments before the step are constants. Where a second
    moment is 0, so were all gradients so far: such an element is cut off from the loss (by weights that are 0 further
    on), and the slope of its update, which would be lr / eps, is left out.

    Args:
        flat, grad: a block, (N, P) or (N, C, P), and its gradient.
        steps: (N, G) int64, updates made of each group, this one included.
        lr, weight_decay: (N, G).
        group_index: (P,) the group of each element; None for the workers, each a group.
    """
    steps = steps.clamp_min(1).double()
    correction1 = (1 - BETA1**steps).to(flat.dtype)
    correction2 = (1 - BETA2**steps).sqrt().to(flat.dtype)

    mean = torch.lerp(moments.mean, grad, 1 - BETA1)
    square = BETA2 * moments.square + (1 - BETA2) * grad * grad
    if square.requires_grad:
        live = square > 0
        mean = torch.where(live, mean, mean.detach())
        root = torch.where(live, torch.where(live, square, 1.0).sqrt(), 0.0)  # sqrt's own slope at 0 makes NaN
    else:
        root = square.sqrt()
    denominator = root / spread(correction2, group_index) + EPS
    decayed = flat * spread(1 - lr * weight_decay, group_index)
    return decayed - spread(lr / correction1, group_index) * mean / denominator, mean, square


def adamw_(
    flat: Tensor,
    grad: Tensor,
    moments: Moments,
    active: Tensor,
    lr: Tensor,
    weight_decay: Tensor,
    group_index: Tensor | None,
) -> None:
    """One AdamW step in place; see `adamw`.

    Args:
        active: (N, G) bool; a group that is not active keeps parameters, moments and step count as they are.
    """
    moments.steps += active
    if (kernel := kernels.fused(flat)) is not None:
        constants = BETA1, BETA2, EPS
        mean, square, steps = moments.mean, moments.square, moments.steps
        return kernel.adamw_(flat, grad, mean, square, steps, active, lr, weight_decay, group_index, constants)
    updated, mean, square = adamw(flat, grad, moments, moments.steps, lr, weight_decay, group_index)
    on = spread(active, group_index)
    torch.where(on, updated, flat, out=flat)
    torch.where(on, mean, moments.mean, out=moments.mean)
    torch.where(on, square, moments.square, out=moments.square)
