"""Where a trend layer of `model.trend_start: closed_form` starts: at the ridge solution of what it reads."""

import numpy as np
import torch

from dynonet.network.layers import moving_average_matrix
from lab.series import Series
from lab.series.bars.ridge import smoothed_maps
from lab.series.bars.windows import Moments
from lab.settings.data import DataConfig

_FLOAT64 = torch.empty(0, dtype=torch.float64)
_TRENDS: dict[tuple[object, ...], np.ndarray] = {}


def fit_trend(series: Series, data: DataConfig, role: str, moving_average: int, centred: bool) -> np.ndarray:
    """The trend layer's weight in closed form: the map of `fit_linear`, from what the layer reads of a window.

    Fitted once in a process for the same data and settings.

    Args:
        role: whose windows are fitted; the penalty is chosen on validation.
        moving_average: kernel of the average through which the layer reads the window; 1: the window itself.
        centred: each window is taken less its own mean, as behind RevIN.
    Returns:
        (H, S) float64, read-only.
    Raises:
        DataError: as `fit_linear`.
    """
    key = (series.identity, data.model_dump_json(), role, moving_average, centred)
    if key not in _TRENDS:
        kernel = moving_average_matrix(data.seq_len, moving_average, _FLOAT64).numpy()
        train, validation = (Moments.of(series, data, rows, centred) for rows in (role, "validation"))
        weights = [weight for _, weight in smoothed_maps(train, kernel)]
        best = np.ascontiguousarray(min(weights, key=lambda weight: validation.mse(kernel.T @ weight)).T)
        best.setflags(write=False)
        _TRENDS[key] = best
    return _TRENDS[key]
