"""Where a trend layer of `model.trend_start: closed_form` starts: at the ridge solution of what it reads."""

import numpy as np
import torch

from dynonet.network.layers import moving_average_matrix
from lab.series import Series, window_starts
from lab.series.linear import map_errors, ridge
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
        smooth = None if moving_average == 1 else moving_average_matrix(data.seq_len, moving_average, _FLOAT64).numpy()
        weights = [weight for _, weight in ridge(series, data, window_starts(series, data, role), smooth, centred)]

        def validation_mse(weight: np.ndarray) -> float:
            whole = weight if smooth is None else smooth.T @ weight
            return map_errors(whole, series, data, "validation", centred).mse

        best = np.ascontiguousarray(min(weights, key=validation_mse).T)
        best.setflags(write=False)
        _TRENDS[key] = best
    return _TRENDS[key]
