"""The learning rate over a training: each step's share of it."""

import math
from collections.abc import Sequence

import torch
from torch import Tensor

from lab.settings.config import TrainingConfig

COSINE_FLOOR = 0.01  # the cosine schedule ends at this share of lr


def schedule(training: Sequence[TrainingConfig], epoch: int, steps: int) -> Tensor:
    """(steps, N) float64: each step's share of the learning rate in `epoch` (from 1)."""
    columns = []
    for settings in training:
        if settings.schedule == "constant":
            columns.append(torch.ones(steps, dtype=torch.float64))
            continue
        if settings.schedule == "halving":
            columns.append(torch.full((steps,), 0.5 ** (epoch - 1), dtype=torch.float64))
            continue
        done = (epoch - 1) * steps + torch.arange(steps, dtype=torch.float64)
        cosine = (1 + torch.cos(math.pi * done / (settings.max_epochs * steps))) / 2
        columns.append(COSINE_FLOOR + (1 - COSINE_FLOOR) * cosine)
    return torch.stack(columns, dim=1)
