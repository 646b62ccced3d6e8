"""Which rows, and which windows of them, a part of the training may read.

A window covers rows [s, s + S + H) of a series: S rows are read, H are forecast. Its name is its first row.
"""

import numpy as np

from lab.errors import DataError
from lab.series.origins import Rows, share
from lab.series.series import Series
from lab.settings.data import SEALED, DataConfig


def window_starts(series: Series, data: DataConfig, role: str) -> np.ndarray:
    """First rows of every window of a role: (windows,) int64, ascending.

    Roles: 'train', windows wholly in the training rows, lookback included, and whatever share of them the settings
    name (`DataConfig.role`); 'validation' and 'test', targets wholly in the split, while the lookback may reach up to S
    rows back; 'sealed', likewise, of a series that `lab.series.sealed.unsealed` gave.
    Raises:
        DataError: the role's rows hold no window.
        ConfigError: no such role.
    """
    chosen = data.role(role)
    first, end = role_rows(series, data, role)
    seq_len, pred_len = data.seq_len, data.pred_len
    reach = seq_len if chosen.split != "train" else 0
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
        also += ", or other rows (data.origin and what goes with it)" if data.moved else ""
        raise DataError(
            f"{series.name}: '{chosen.name}' has {have}, a window needs {need}; "
            f"take a smaller data.seq_len or data.pred_len{also}"
        )
    return np.arange(start, stop, dtype=np.int64)


def role_rows(series: Series, data: DataConfig, role: str) -> Rows:
    """The rows [first, end) of a role; of validation, test and sealed rows, those of the targets.

    Raises:
        DataError: sealed rows of a series that has none, or that are still sealed.
    """
    chosen = data.role(role)
    if chosen.split == SEALED:
        if series.sealed is None:
            raise DataError(f"{series.name}: no rows are sealed; data.sealed sets the last ones aside")
        if series.sealed[1] > len(series.values):
            raise DataError(
                f"{series.name}: rows {series.sealed[0]} to {series.sealed[1]} are sealed, and read once a study is "
                "judged: lab.series.sealed.unsealed"
            )
        return series.sealed
    first, end = {"train": series.train, "validation": series.validation, "test": series.test}[chosen.split]
    if chosen.last is not None:
        return end - share(chosen.last, end - first), end
    if chosen.but_last is not None:
        return first, end - share(chosen.but_last, end - first)
    return first, end
