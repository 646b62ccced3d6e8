"""Batches of windows, gathered from one tensor that holds the whole series on the device, and their evaluation."""

from collections.abc import Callable
from dataclasses import dataclass

import numpy as np
import torch
from torch import Tensor

from lab.compute.draws import Key, permutations
from lab.forecaster import Inputs, Network
from lab.series.series import Series
from lab.settings.data import DataConfig


class Windows:
    """The z-scored series on a device and what is cut from it."""

    def __init__(
        self,
        scaled: np.ndarray,
        seq_len: int,
        pred_len: int,
        device: torch.device,
        dtype: torch.dtype,
        stretch: float = 1.0,
        calendar: np.ndarray | None = None,
    ):
        """`scaled` is (rows, C), `calendar` (rows, F); targets are multiplied by `stretch` (see Series.stretched)."""
        self.series = torch.as_tensor(np.array(scaled), dtype=dtype, device=device)
        self.seq_len, self.pred_len, self.stretch = seq_len, pred_len, stretch
        self._calendar = None if calendar is None else torch.as_tensor(np.array(calendar), dtype=dtype, device=device)

    @classmethod
    def of(
        cls, series: Series, data: DataConfig, device: torch.device, dtype: torch.dtype, calendar: bool = False
    ) -> "Windows":
        """The windows of a series as the settings cut them, with its calendar where that is asked for.

        Raises DataError where the series has no dates for a calendar.
        """
        dates = series.calendar if calendar else None
        return cls(series.scaled, data.seq_len, data.pred_len, device, dtype, series.stretch, dates)

    def gather(self, starts: Tensor) -> tuple[Tensor, Tensor]:
        """Windows that begin at rows (N, B): inputs (N, S, C, B) and targets (N, C, H, B)."""
        block = self._cut(self.series, starts)  # (N, S + H, C, B)
        window, target = block[:, : self.seq_len], block[:, self.seq_len :].transpose(1, 2)
        return window, target if self.stretch == 1.0 else self.stretch * target

    def inputs(self, starts: Tensor) -> tuple[Inputs, Tensor]:
        """What a forecast may read of the windows that begin at rows (N, B), and their targets (N, C, H, B)."""
        window, target = self.gather(starts)
        calendar = None if self._calendar is None else self._cut(self._calendar, starts)
        return Inputs(window, starts, calendar), target

    def _cut(self, rows: Tensor, starts: Tensor) -> Tensor:
        """(rows, F) and starts (N, B) -> (N, S + H, F, B)."""
        every = rows.unfold(0, self.seq_len + self.pred_len, 1)  # (rows, F, S + H), a view
        return every[starts].permute(0, 3, 2, 1).contiguous()


def epoch_batches(starts: Tensor, keys: Key, batch: int) -> Tensor:
    """Shuffled windows of one epoch, (N, batches, batch): every model its own order, the last partial batch dropped."""
    order = permutations(keys, len(starts))
    batches = len(starts) // batch
    return starts[order[:, : batches * batch]].view(-1, batches, batch)


@dataclass(frozen=True)
class Evaluation:
    """Errors of N models on the z-scored scale, over every window of a split."""

    mse: Tensor  # (N,) float64
    mae: Tensor  # (N,)
    mse_channels: Tensor  # (N, C)
    mae_channels: Tensor  # (N, C)
    batch_mean_mse: Tensor  # (N,) mean over batches, a short last one weighing as much
    means: dict[str, Tensor]  # of each diagnostic over windows and whatever else it has an axis for, (N,)
    bounds: dict[str, Tensor]  # of each diagnostic, smallest and largest value, (2, N)
    mse_windows: Tensor  # (N, windows) float32, in the order of the series

    def cpu(self) -> "Evaluation":
        """The same in the host's memory."""
        return self._each(Tensor.cpu)

    def clone(self) -> "Evaluation":
        """A copy with memory of its own."""
        return self._each(Tensor.clone)

    def _each(self, change: Callable[[Tensor], Tensor]) -> "Evaluation":
        return Evaluation(
            change(self.mse), change(self.mae), change(self.mse_channels), change(self.mae_channels),
            change(self.batch_mean_mse), {key: change(mean) for key, mean in self.means.items()},
            {key: change(bounds) for key, bounds in self.bounds.items()}, change(self.mse_windows),
        )  # fmt: skip


@torch.no_grad()
def evaluate(network: Network, windows: Windows, starts: Tensor, batch: int) -> Evaluation:
    """Evaluates N models on the windows at `starts` (M,), none dropped, `batch` at a time."""
    squared, absolute, batch_means, by_window = [], [], [], []
    sums: dict[str, Tensor] = {}
    bounds: dict[str, Tensor] = {}
    for part in starts.split(batch):
        inputs, target = windows.inputs(part[None])
        forecast, diagnostics = network.forecast(inputs)
        error = (forecast - target).double()
        window_errors = error.square().mean(2)  # (N, C, B)
        by_window.append(window_errors.mean(1).float())
        squared.append(window_errors.sum(-1))  # (N, C)
        absolute.append(error.abs().mean(2).sum(-1))
        batch_means.append(squared[-1].mean(1) / len(part))
        for key, value in diagnostics.items():
            values = value.reshape(len(value), -1)
            sums[key] = sums.get(key, 0) + values.mean(1).double() * len(part)
            low, high = torch.aminmax(values, dim=1)
            so_far = bounds.get(key, torch.stack([low, high]))
            bounds[key] = torch.stack([so_far[0].minimum(low), so_far[1].maximum(high)])
    total = len(starts)
    mse_channels, mae_channels = torch.stack(squared).sum(0) / total, torch.stack(absolute).sum(0) / total
    return Evaluation(
        mse_channels.mean(1), mae_channels.mean(1), mse_channels, mae_channels,
        torch.stack(batch_means).mean(0), {key: value / total for key, value in sums.items()},
        bounds, torch.cat(by_window, dim=1),
    )  # fmt: skip
