"""Where a trend layer starts that does not start at drawn weights: at the ridge of what it reads, or at a bar."""

import numpy as np
import torch

from dynonet.config import BAR_STARTS, ModelConfig
from dynonet.network.layers import moving_average_matrix
from lab.series import Series
from lab.series.bars import BARS, Bar, fit_bar
from lab.series.bars.ridge import smoothed_maps
from lab.series.bars.windows import Moments
from lab.settings.data import DataConfig

_FLOAT64 = torch.empty(0, dtype=torch.float64)
_FOUND: dict[tuple[object, ...], np.ndarray] = {}


def trend_weight(series: Series, data: DataConfig, role: str, model: ModelConfig) -> np.ndarray:
    """The trend layer's weight by `model.trend_start`: (H, S) float64, read-only.

    Args:
        role: whose windows are fitted.
    Raises:
        DataError: no windows, or the bar cannot be had of them (no period, say).
    """
    if model.trend_start in BAR_STARTS:
        return fit_bar_trend(series, data, role, BARS[BAR_STARTS[model.trend_start]], model.revin)
    return fit_trend(series, data, role, 1 if model.window_trend else model.moving_average, model.revin)


def fit_trend(series: Series, data: DataConfig, role: str, moving_average: int, centred: bool) -> np.ndarray:
    """The trend layer's weight in closed form: the map of `fit_linear`, from what the layer reads of a window.

    Fitted once in a process for the same data and settings.

    Args:
        role: whose windows are fitted; the penalty is chosen on validation, of `series.chosen_on` where there is one.
        moving_average: kernel of the average through which the layer reads the window; 1: the window itself.
        centred: each window is taken less its own mean, as behind RevIN.
    Returns:
        (H, S) float64, read-only.
    Raises:
        DataError: as `fit_linear`.
    """
    key = (*_seen(series), data.model_dump_json(), role, moving_average, centred)
    if key not in _FOUND:
        kernel = moving_average_matrix(data.seq_len, moving_average, _FLOAT64).numpy()
        judge = series.chosen_on or series
        train, validation = (Moments.of(judge, data, rows, centred) for rows in (role, "validation"))
        maps = dict(smoothed_maps(train, kernel))
        penalty = min(maps, key=lambda penalty: validation.mse(kernel.T @ maps[penalty]))
        if judge is not series:
            maps = dict(smoothed_maps(Moments.of(series, data, role, centred), kernel))
        _FOUND[key] = _kept(maps[penalty])
    return _FOUND[key]


def fit_bar_trend(series: Series, data: DataConfig, role: str, bar: Bar, centred: bool) -> np.ndarray:
    """The weight with which a layer on the window forecasts as a bar does: (H, S) float64, read-only.

    Fitted once in a process for the same data and settings.

    Args:
        role: whose windows are fitted; what there is to choose is chosen on validation.
        centred: the layer reads each window less its own mean, as behind RevIN. A bar takes that mean off itself: its
            (x - m) W + m is x (W + (1 - sum of W) / S) of a window as it is.
    Raises:
        DataError: as `lab.series.bars.fit_bar`.
    """
    key = (*_seen(series), data.model_dump_json(), role, bar.name, centred)
    if key not in _FOUND:
        weight = fit_bar(series, data, bar, role).weight
        _FOUND[key] = _kept(weight if centred else weight + (1 - weight.sum(axis=0)) / len(weight))
    return _FOUND[key]


def _seen(series: Series) -> tuple[str, ...]:
    return (series.identity, *([] if series.chosen_on is None else _seen(series.chosen_on)))


def _kept(weight: np.ndarray) -> np.ndarray:
    """(S, H) -> (H, S), read-only."""
    turned = np.ascontiguousarray(weight.T)
    turned.setflags(write=False)
    return turned
