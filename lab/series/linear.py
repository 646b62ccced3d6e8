"""The closed-form linear baseline (`python -m lab.baseline`).

Normalised windows and one shared linear layer, solved exactly. A model that doesn't beat it has not earned its
size, so every search and every study shows it beside its own results.

One linear map W (S, H), no intercept, shared by all channels, from each window normalised by its own mean m
and deviation s to the targets normalised alike: the least squares of the z-scored error with penalty lambda,
    W = (sum s^2 a a^T + lambda I)^-1 (sum s^2 a t^T),  a = (x - m) / s,  t = (y - m) / s,
with the forecast a W s + m. The deviation cancels in all three (s a = x - m), so it is never computed.
"""

import time
from collections.abc import Iterator
from dataclasses import dataclass

import numpy as np
from numpy.lib.stride_tricks import sliding_window_view

from lab.ledger.looks import look_at
from lab.series import Series, window_starts
from lab.settings.data import DataConfig

PENALTIES = tuple(10.0**power for power in range(-1, 6))  # lambda; validation MSE chooses
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
class LinearBaseline:
    """The fitted map. It holds no test figure: `evaluate(series, data, 'test')` reads test on request."""

    weight: np.ndarray  # (S, H) float64, read-only
    penalty: float  # lambda
    penalties: dict[float, float]  # each lambda tried -> its validation MSE
    validation: Metrics
    train_windows: int
    seconds: float  # of the fit

    @property
    def num_weights(self) -> int:
        return self.weight.size

    @property
    def penalty_at_edge(self) -> bool:
        """The best penalty is the smallest or the largest tried, so a better one may lie beyond."""
        return self.penalty in (PENALTIES[0], PENALTIES[-1])

    def forecast(self, windows: np.ndarray) -> np.ndarray:
        """(B, S, C) z-scored windows -> (B, H, C) forecasts."""
        mean = windows.mean(axis=1, keepdims=True)
        return np.einsum("bsc,sh->bhc", windows - mean, self.weight, optimize=True) + mean

    def evaluate(self, series: Series, data: DataConfig, role: str) -> Metrics:
        """The errors over every window of a role of `lab.series.window_starts`; of test, that is a look."""
        look_at(series, role, "linear baseline")
        return map_errors(self.weight, series, data, role)


def fit_linear(series: Series, data: DataConfig, role: str = "train") -> LinearBaseline:
    """Fits the map on every window of `role`, all channels pooled; the penalty is chosen on validation.

    Raises:
        DataError: the training or validation rows hold no window of this S and H.
    """
    began = time.perf_counter()
    starts = window_starts(series, data, role)
    tried: dict[float, float] = {}
    best: tuple[float, np.ndarray, Metrics] | None = None
    for penalty, weight in ridge(series, data, starts):
        validation = map_errors(weight, series, data, "validation")
        tried[penalty] = validation.mse
        if best is None or validation.mse < best[2].mse:
            best = (penalty, weight, validation)
    assert best is not None  # PENALTIES is not empty
    best[1].setflags(write=False)
    return LinearBaseline(best[1], best[0], tried, best[2], len(starts), time.perf_counter() - began)


def ridge(
    series: Series, data: DataConfig, starts: np.ndarray, smooth: np.ndarray | None = None, centred: bool = True
) -> Iterator[tuple[float, np.ndarray]]:
    """Each penalty and its map (S, H) from windows, or from `smooth` (S, S) times each window."""
    gram = np.zeros((data.seq_len, data.seq_len))
    cross = np.zeros((data.seq_len, data.pred_len))
    for _, _, past, future in _chunks(series, data, starts, centred):
        gram += past.T @ past
        cross += past.T @ future
    if smooth is not None:
        gram, cross = smooth @ gram @ smooth.T, smooth @ cross
    # One decomposition serves every penalty: (G + lambda I)^-1 = V (e + lambda)^-1 V^T.
    values, vectors = np.linalg.eigh(gram)
    rotated = vectors.T @ cross
    for penalty in PENALTIES:
        yield penalty, vectors @ (rotated / (np.maximum(values, 0) + penalty)[:, None])


def _chunks(
    series: Series, data: DataConfig, starts: np.ndarray, centred: bool = True
) -> Iterator[tuple[int, int, np.ndarray, np.ndarray]]:
    """Chunks of windows of one channel: channel, place of the first, past (B, S), future (B, H).

    Centred: less the past's mean.
    """
    length = data.seq_len + data.pred_len
    for channel in range(series.num_channels):
        windows = sliding_window_view(np.ascontiguousarray(series.scaled[:, channel]), length)
        for first in range(0, len(starts), _CHUNK):
            chunk = windows[starts[first : first + _CHUNK]]
            if centred:
                chunk = chunk - chunk[:, : data.seq_len].mean(axis=1, keepdims=True)
            yield channel, first, chunk[:, : data.seq_len], chunk[:, data.seq_len :]


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
