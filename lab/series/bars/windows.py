"""What bars read of the windows of a role: their second moments, and the errors of a map on them.

A map W (S, H) forecasts a W + m from a window x less its own mean m, a = x - m.
"""

from collections.abc import Iterator
from dataclasses import dataclass

import numpy as np
from numpy.lib.stride_tricks import sliding_window_view

from lab.series.roles import window_starts
from lab.series.series import Series
from lab.settings.data import DataConfig

_CHUNK = 1024  # windows of one channel in memory at once


@dataclass(frozen=True, eq=False)
class Metrics:
    """Errors on the z-scored scale, over all windows and steps of a split."""

    mse: float  # mean over the channels
    mae: float
    mse_channels: np.ndarray  # (C,)
    mae_channels: np.ndarray  # (C,)
    mse_windows: np.ndarray  # (windows,)

    @property
    def windows(self) -> int:
        return len(self.mse_windows)


@dataclass(frozen=True, eq=False)
class Moments:
    """All that a least squares, and the squared error of any map, needs of some windows: sums of products of steps."""

    past: np.ndarray  # (S, S), sum of a a^T over windows and channels
    cross: np.ndarray  # (S, H), sum of a t^T, t the targets less the window's mean
    future: float  # sum of t^2
    windows: int  # of one channel
    count: int  # of targets: windows x H x channels

    @classmethod
    def of(cls, series: Series, data: DataConfig, role: str, centred: bool = True) -> "Moments":
        """Of every window of a role, all channels pooled. `centred`: False takes no mean off.

        Raises DataError: the role's rows hold no window.
        """
        starts, steps = window_starts(series, data, role), data.seq_len
        total = np.zeros((steps + data.pred_len,) * 2)
        for channel in range(series.num_channels):
            total += _products(series.scaled[:, channel], int(starts[0]), int(starts[-1]) + 1, len(total))
        if centred:  # with P = I - 1 u^T, u the mean over the past: the sum of P y (P y)^T is P (sum of y y^T) P^T
            mean = total[:steps].mean(axis=0)
            total += mean[:steps].mean() - mean[:, None] - mean[None, :]
        past, cross = total[:steps, :steps].copy(), total[:steps, steps:].copy()
        future = float(np.trace(total[steps:, steps:]))
        return cls(past, cross, future, len(starts), len(starts) * data.pred_len * series.num_channels)

    def mse(self, weight: np.ndarray) -> float:
        """Of a map (S, H), up to rounding what `map_errors` says."""
        squares = np.sum(weight * (self.past @ weight - 2 * self.cross)) + self.future
        return float(squares) / self.count


def _products(values: np.ndarray, first: int, end: int, length: int) -> np.ndarray:
    """The sum of y y^T over the windows y of so many steps that begin at rows [first, end): (length, length).

    Products of steps i and j of all windows are those of steps i-1 and j-1 but for the first pair, which leaves, and
    one pair that comes: each diagonal follows from its first entry.
    """
    values = np.ascontiguousarray(values)
    total = np.empty((length, length))
    total[0] = values[first:end] @ sliding_window_view(values, length)[first:end]
    gone, came = values[first : first + length], values[end : end + length]
    for i in range(1, length):
        total[i, i:] = (
            total[i - 1, i - 1 : -1] - gone[i - 1] * gone[i - 1 : -1] + came[i - 1] * came[i - 1 : len(gone) - 1]
        )
    upper = np.triu(total)
    return upper + np.triu(upper, 1).T


def map_errors(weight: np.ndarray, series: Series, data: DataConfig, role: str, centred: bool = True) -> Metrics:
    """The errors of a map (S, H) over every window of a role; centred: each window is taken less its own mean."""
    starts = window_starts(series, data, role)
    squared, absolute = np.zeros(series.num_channels), np.zeros(series.num_channels)
    by_window = np.zeros((series.num_channels, len(starts)))
    for channel, first, past, future in _chunks(series, data, starts, centred):
        error = past @ weight - future  # a mean that was taken off is off both
        squares = np.square(error)
        by_window[channel, first : first + len(error)] = squares.mean(axis=1)
        squared[channel] += squares.sum()
        absolute[channel] += np.abs(error).sum()
    count = len(starts) * data.pred_len
    mse, mae = squared / count, absolute / count
    return Metrics(float(mse.mean()), float(mae.mean()), mse, mae, by_window.mean(axis=0))


def _chunks(
    series: Series, data: DataConfig, starts: np.ndarray, centred: bool
) -> Iterator[tuple[int, int, np.ndarray, np.ndarray]]:
    """Chunks of windows of one channel: channel, place of the first, past (B, S), future (B, H)."""
    length = data.seq_len + data.pred_len
    for channel in range(series.num_channels):
        windows = sliding_window_view(np.ascontiguousarray(series.scaled[:, channel]), length)
        for first in range(0, len(starts), _CHUNK):
            chunk = windows[starts[first : first + _CHUNK]]
            if centred:
                chunk = chunk - chunk[:, : data.seq_len].mean(axis=1, keepdims=True)
            yield channel, first, chunk[:, : data.seq_len], chunk[:, data.seq_len :]
