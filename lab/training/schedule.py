"""The learning rate over a training: each step's share of it."""

import math
from collections.abc import Sequence

import torch
from torch import Tensor

from lab.settings.config import TrainingConfig

COSINE_FLOOR = 0.01  # the cosine schedule ends at this share of lr
# lr is multiplied by these after each epoch from these on: the usual scripts count the epoch that has ended, so that
# halving begins with the third.
HALF, HALF_FROM = 0.5, 2
DECAY, FAST_DECAY, DECAY_FROM = 0.9, 0.8, 3


def schedule(training: Sequence[TrainingConfig], epoch: int, steps: int) -> Tensor:
    """(steps, N) float64: each step's share of the learning rate in `epoch` (from 1)."""
    return torch.stack([_shares(settings, epoch, steps) for settings in training], dim=1)


def _shares(settings: TrainingConfig, epoch: int, steps: int) -> Tensor:
    if settings.schedule == "cosine":
        done = (epoch - 1) * steps + torch.arange(steps, dtype=torch.float64)
        cosine = (1 + torch.cos(math.pi * done / (settings.max_epochs * steps))) / 2
        return COSINE_FLOOR + (1 - COSINE_FLOOR) * cosine
    shares = {
        "constant": 1.0,
        "halving": HALF ** max(0, epoch - HALF_FROM),
        "decay": DECAY ** max(0, epoch - DECAY_FROM),
        "fast_decay": FAST_DECAY ** max(0, epoch - DECAY_FROM),
    }
    return torch.full((steps,), shares[settings.schedule], dtype=torch.float64)
