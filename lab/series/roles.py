"""Which rows, and which windows of them, a part of the training may read.

A window covers rows [s, s + S + H) of a series: S rows are read, H are forecast. Its name is its first row.
"""

import numpy as np

from lab.errors import DataError
from lab.series.series import Rows, Series, share
from lab.settings.data import DataConfig


def window_starts(series: Series, data: DataConfig, role: str) -> np.ndarray:
    """First rows of every window of a role: (windows,) int64, ascending.

    Roles: 'train', windows wholly in the training rows, lookback included, and whatever share of them the settings
    name (`DataConfig.role`); 'validation' and 'test', targets wholly in the split, while the lookback may reach up to S
    rows back.
    Raises:
        DataError: the role's rows hold no window.
        ConfigError: no such role.
    """
    chosen = data.role(role)
    first, end = role_rows(series, data, role)
    seq_len, pred_len = data.seq_len, data.pred_len
    reach = seq_len if chosen.split in ("validation", "test") else 0
    start, stop = max(first - reach, 0), end - seq_len - pred_len + 1
    if start >= stop:
        if reach and end - first >= pred_len:
            have, need = f"{end} rows up to its end", f"S + H = {seq_len} + {pred_len}"
        elif reach:
            have, need = f"{end - first} rows", f"H = {pred_len}"
        else:
            have, need = f"{end - first} rows", f"S + H = {seq_len} + {pred_len} = {seq_len + pred_len}"
        rows = series.train[1] - series.train[0]
        enough = rows >= 2 * (seq_len + pred_len)  # so that both shares of the training rows can hold a window
        also = f", or {chosen.hint}" if chosen.hint and enough else ""
        raise DataError(
            f"{series.name}: '{chosen.name}' has {have}, a window needs {need}; "
            f"take a smaller data.seq_len or data.pred_len{also}"
        )
    return np.arange(start, stop, dtype=np.int64)


def role_rows(series: Series, data: DataConfig, role: str) -> Rows:
    """The rows [first, end) of a role; of validation and test, those of the targets."""
    chosen = data.role(role)
    first, end = {"train": series.train, "validation": series.validation, "test": series.test}[chosen.split]
    if chosen.last is not None:
        return end - share(chosen.last, end - first), end
    if chosen.but_last is not None:
        return first, end - share(chosen.but_last, end - first)
    return first, end
