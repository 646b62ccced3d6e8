"""Which rows, and which windows of them, a part of the training may read.

A window covers rows [s, s + S + H) of a series: S rows are read, H are forecast. Its name is its first row.
"""

import numpy as np

from lab.errors import DataError, unknown
from lab.series.series import Rows, Series, share
from lab.settings.data import DataConfig

ROLES = ("train", "before_meta", "meta", "validation", "test", "worker", "controller", "joint")


def window_starts(series: Series, data: DataConfig, role: str) -> np.ndarray:
    """First rows of every window of a role: (windows,) int64, ascending.

    Roles: 'train', windows wholly in the training rows; 'meta', wholly in the last `meta_fraction` of them,
    lookback included; 'before_meta', wholly before those; 'validation' and 'test', targets wholly in the
    split, while the lookback may reach up to S rows back; 'worker', 'controller' and 'joint', whichever of
    these the settings choose for them.
    Raises:
        DataError: the role's rows hold no window.
        ConfigError: no such role.
    """
    chosen = resolve_role(data, role)
    first, end = role_rows(series, data, chosen)
    seq_len, pred_len = data.seq_len, data.pred_len
    reach = seq_len if chosen in ("validation", "test") else 0
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
        other = {"meta": "larger", "before_meta": "smaller"}.get(chosen) if enough else None
        also = f", or a {other} data.meta_fraction" if other else ""
        raise DataError(
            f"{series.name}: '{chosen}' has {have}, a window needs {need}; "
            f"take a smaller data.seq_len or data.pred_len{also}"
        )
    return np.arange(start, stop, dtype=np.int64)


def resolve_role(data: DataConfig, role: str) -> str:
    """The split that a role reads: 'worker', 'controller' and 'joint' are what the settings choose."""
    if role not in ROLES:
        raise unknown("role", role, ROLES)
    if role == "controller":
        return data.controller_rows
    if role == "joint" and data.joint_rows == "worker_and_meta":
        return "train"
    return data.worker_rows if role in ("worker", "joint") else role


def role_rows(series: Series, data: DataConfig, role: str) -> Rows:
    """The rows [first, end) of a role; of validation and test, those of the targets."""
    chosen = resolve_role(data, role)
    first, end = series.train
    meta = end - share(data.meta_fraction, end - first)
    return {
        "train": (first, end),
        "before_meta": (first, meta),
        "meta": (meta, end),
        "validation": series.validation,
        "test": series.test,
    }[chosen]
