"""What is taken off a window before a network sees it, and put back on its forecast."""

from dataclasses import dataclass

import torch
from torch import Tensor, nn
from torch.nn.functional import avg_pool1d, pad

EPSILON = 1e-5  # added to a window's variance


@dataclass(frozen=True)
class Scale:
    """Mean and deviation of each channel over a window: reversible instance normalisation without weights (Kim et al.,
    ICLR 2022), as in the series stationarisation of Liu et al. (NeurIPS 2022)."""

    mean: Tensor  # (B, 1, C)
    deviation: Tensor  # (B, 1, C)

    @classmethod
    def of(cls, window: Tensor, on: bool = True, unbiased: bool = False) -> "Scale":
        """Of windows (B, S, C); 0 and 1 where it is off. The variance is over S, or S - 1 where it is unbiased."""
        mean = window.mean(dim=1, keepdim=True)
        if not on:
            return cls(torch.zeros_like(mean), torch.ones_like(mean))
        squares = (window - mean).square()
        variance = squares.sum(dim=1, keepdim=True) / (window.shape[1] - 1) if unbiased else squares.mean(1, True)
        return cls(mean, torch.sqrt(variance + EPSILON))

    def off(self, window: Tensor) -> Tensor:
        return (window - self.mean) / self.deviation

    def back(self, forecast: Tensor) -> Tensor:
        return forecast * self.deviation + self.mean


class Reversible(nn.Module):
    """`Scale` with a scale and a shift of each channel that are learned (Kim et al., ICLR 2022, eq. 2 and 3)."""

    def __init__(self, channels: int, on: bool = True, affine: bool = True):
        super().__init__()
        self.on = on
        self.scale = nn.Parameter(torch.ones(channels)) if on and affine else None
        self.shift = nn.Parameter(torch.zeros(channels)) if on and affine else None

    def off(self, window: Tensor) -> tuple[Tensor, Scale]:
        """The window (B, S, C) as a network reads it, and what was taken off."""
        taken = Scale.of(window, self.on)
        even = taken.off(window)
        return (even if self.scale is None or self.shift is None else even * self.scale + self.shift), taken

    def back(self, forecast: Tensor, taken: Scale) -> Tensor:
        if self.scale is not None and self.shift is not None:
            forecast = (forecast - self.shift) / (self.scale + EPSILON**2)
        return taken.back(forecast)


class Decomposition(nn.Module):
    """A series as trend and rest: the trend is a moving average over steps, the ends held as they are (Wu et al.,
    NeurIPS 2021, eq. 1)."""

    def __init__(self, steps: int):
        super().__init__()
        self.steps = steps

    def forward(self, series: Tensor) -> tuple[Tensor, Tensor]:
        """(B, L, D) -> rest and trend, each (B, L, D)."""
        before = (self.steps - 1) // 2
        held = pad(series.transpose(1, 2), (before, self.steps - 1 - before), "replicate")
        trend = avg_pool1d(held, self.steps, stride=1).transpose(1, 2)
        return series - trend, trend
