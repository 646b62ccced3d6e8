"""AdamW on flat weights with the model axis, in torch's order of operations.

Formula: Loshchilov & Hutter, "Decoupled weight decay regularization" (ICLR 2019); equal to `torch.optim.AdamW`.
"""

from collections.abc import Sequence

import torch
from torch import Tensor

from lab.settings.config import TrainingConfig
from lab.training.schedule import schedule

BETA1, BETA2, EPS = 0.9, 0.999, 1e-8
CHUNK = 1 << 15  # numbers that a CPU core's cache holds four times over


def coefficients(training: Sequence[TrainingConfig], taken: Sequence[int], epoch: int, steps: int) -> Tensor:
    """(steps, N, 3) float64 for `adamw_` in each step of an epoch: what stays of a weight, its rate, the correction.

    Args:
        taken: steps that each model has taken before this epoch.
    """
    lr = torch.tensor([settings.lr for settings in training], dtype=torch.float64) * schedule(training, epoch, steps)
    decay = torch.tensor([settings.weight_decay for settings in training], dtype=torch.float64)
    count = torch.arange(1, steps + 1, dtype=torch.float64)[:, None] + torch.tensor(taken, dtype=torch.float64)
    return torch.stack([1 - lr * decay, lr / (1 - BETA1**count), (1 - BETA2**count).sqrt()], dim=2)


Coefficient = Tensor | float


def adamw_(
    flat: Tensor, grad: Tensor, mean: Tensor, square: Tensor,
    keep: Coefficient, rate: Coefficient, correction: Coefficient,
) -> None:  # fmt: skip
    """One step in place: weights (..., P), their gradient and both moments; coefficients are numbers or (..., 1)."""
    mean.lerp_(grad, 1 - BETA1)
    square.mul_(BETA2).addcmul_(grad, grad, value=1 - BETA2)
    denominator = square.sqrt().div_(correction).add_(EPS)
    flat.mul_(keep).sub_(denominator.reciprocal_().mul_(mean).mul_(rate))


def adamw_row_(flat: Tensor, grad: Tensor, mean: Tensor, square: Tensor, numbers: Sequence[float]) -> None:
    """The same of one model, (P,) each: on a CPU in pieces that stay in its cache from one operation to the next."""
    size = CHUNK if flat.device.type == "cpu" else len(flat)
    for piece in zip(*(each.split(size) for each in (flat, grad, mean, square)), strict=True):
        adamw_(*piece, *numbers)
