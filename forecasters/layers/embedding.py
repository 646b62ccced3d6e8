"""What tokens begin as: values, their place, and the calendar."""

import math

import torch
from torch import Tensor, nn


def sinusoids(length: int, d_model: int) -> Tensor:
    """(length, D): sines at even and cosines at odd places, of wavelengths from 2 pi to 10,000 * 2 pi (Vaswani et al.,
    NeurIPS 2017, section 3.5)."""
    at = torch.arange(length, dtype=torch.float32)[:, None]
    rate = torch.exp(torch.arange(0, d_model, 2, dtype=torch.float32) * -(math.log(10_000.0) / d_model))
    return torch.stack([torch.sin(at * rate), torch.cos(at * rate)], dim=-1).flatten(1)[:, :d_model]


class Positions(nn.Module):
    """Adds `sinusoids` to tokens (B, L, D) of one length."""

    table: Tensor

    def __init__(self, length: int, d_model: int):
        super().__init__()
        self.register_buffer("table", sinusoids(length, d_model), persistent=False)

    def forward(self, tokens: Tensor) -> Tensor:
        return tokens + self.table


class StepEmbedding(nn.Module):
    """A token for each step: its channels, with those of the steps beside it, and its calendar (Zhou et al., AAAI 2021,
    appendix B).

    Args:
        length: steps whose place is told; None: none is.
        calendar: numbers that a step's calendar has; 0: it is not read.
    """

    def __init__(self, channels: int, d_model: int, dropout: float, length: int | None = None, calendar: int = 4):
        super().__init__()
        # The series is closed to a ring, so that the first step has one before it.
        self.value = nn.Conv1d(channels, d_model, 3, padding=1, padding_mode="circular", bias=False)
        nn.init.kaiming_normal_(self.value.weight, mode="fan_in", nonlinearity="leaky_relu")
        self.calendar = nn.Linear(calendar, d_model, bias=False) if calendar else None
        self.positions = None if length is None else Positions(length, d_model)
        self.dropout = nn.Dropout(dropout)

    def forward(self, series: Tensor, calendar: Tensor) -> Tensor:
        """(B, L, C), (B, L, 4) -> (B, L, D)."""
        tokens = self.value(series.transpose(1, 2)).transpose(1, 2)
        if self.calendar is not None:
            tokens = tokens + self.calendar(calendar)
        return self.dropout(tokens if self.positions is None else self.positions(tokens))
