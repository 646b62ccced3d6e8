"""Batches of windows, gathered from one tensor that holds the whole series on the device, and their evaluation."""

from dataclasses import dataclass

import numpy as np
import torch
from torch import Tensor

from dynonet.network.model import DynoNetStack
from dynonet.network.parameters import Parameters
from lab.compute.draws import Key, permutations


class Windows:
    """The z-scored series on a device and what is cut from it."""

    def __init__(self, scaled: np.ndarray, seq_len: int, pred_len: int, device: torch.device, dtype: torch.dtype):
        """`scaled` is (rows, C)."""
        self.series = torch.as_tensor(np.array(scaled), dtype=dtype, device=device)
        self.seq_len, self.pred_len = seq_len, pred_len

    def gather(self, starts: Tensor) -> tuple[Tensor, Tensor]:
        """Windows that begin at rows (N, B): inputs (N, S, C, B) and targets (N, C, H, B)."""
        every = self.series.unfold(0, self.seq_len + self.pred_len, 1)  # (rows, C, S + H), a view
        block = every[starts].permute(0, 3, 2, 1).contiguous()  # (N, S + H, C, B)
        return block[:, : self.seq_len], block[:, self.seq_len :].transpose(1, 2)


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
    batch_mean_mse: Tensor  # (N,) mean over batches, a short last one weighing as much: the published criterion
    signals: dict[str, Tensor]  # mean over windows and channels of each signal, (N,)
    signal_bounds: dict[str, Tensor]  # smallest and largest value over windows and channels, (2, N)
    mse_windows: Tensor  # (N, windows) float32, in the order of the series

    def cpu(self) -> "Evaluation":
        """The same in the host's memory."""
        return Evaluation(
            self.mse.cpu(), self.mae.cpu(), self.mse_channels.cpu(), self.mae_channels.cpu(),
            self.batch_mean_mse.cpu(), {name: mean.cpu() for name, mean in self.signals.items()},
            {name: bounds.cpu() for name, bounds in self.signal_bounds.items()}, self.mse_windows.cpu(),
        )  # fmt: skip


@torch.no_grad()
def evaluate(net: DynoNetStack, params: Parameters, windows: Windows, starts: Tensor, batch: int) -> Evaluation:
    """Evaluates N models on the windows at `starts` (M,), none dropped, `batch` at a time."""
    squared, absolute, batch_means, by_window = [], [], [], []
    sums: dict[str, Tensor] = {}
    bounds: dict[str, Tensor] = {}
    for part in starts.split(batch):
        window, target = windows.gather(part[None])
        forecast, signals = net.forward(params, window)
        error = (forecast - target).double()
        window_errors = error.square().mean(2)  # (N, C, B)
        by_window.append(window_errors.mean(1).float())
        squared.append(window_errors.sum(-1))  # (N, C)
        absolute.append(error.abs().mean(2).sum(-1))
        batch_means.append(squared[-1].mean(1) / len(part))
        for name, mean in signals.means().items():
            sums[name] = sums.get(name, 0) + mean.double() * len(part)
        for name, (low, high) in signals.bounds().items():
            so_far = bounds.get(name, torch.stack([low, high]))
            bounds[name] = torch.stack([so_far[0].minimum(low), so_far[1].maximum(high)])
    total = len(starts)
    mse_channels, mae_channels = torch.stack(squared).sum(0) / total, torch.stack(absolute).sum(0) / total
    return Evaluation(
        mse_channels.mean(1), mae_channels.mean(1), mse_channels, mae_channels,
        torch.stack(batch_means).mean(0), {name: value / total for name, value in sums.items()},
        bounds, torch.cat(by_window, dim=1),
    )  # fmt: skip
