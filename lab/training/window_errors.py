"""The error of every window of a run, of test or of sealed rows: where it is kept, and what a difference owes to the
windows there are."""

import io
from collections.abc import Sequence
from typing import NamedTuple

import numpy as np
from numpy.typing import ArrayLike

from lab.store.tables import Results
from lab.training.over_time import time_interval


class WindowDifference(NamedTuple):
    """Of the test MSE of some runs less that of others."""

    mean: float
    interval: tuple[float, float]  # 95%, over test windows


def windows_path(run: str, split: str = "test") -> str:
    """A folder for each run, so that its errors are found without a list of everybody's."""
    return f"{split}_windows/{run}/mse.npy"


def _old_path(run: str) -> str:
    """Where they were kept before their names stated checksums."""
    return f"test_windows/{run}.npy"


def keep_window_errors(results: Results, run: str, errors: np.ndarray, split: str = "test") -> None:
    """`errors`: (windows,), the MSE over channels and steps of each window of the split, in the order of the series."""
    buffer = io.BytesIO()
    np.save(buffer, errors.astype(np.float32))
    results.put_blob(windows_path(run, split), buffer.getvalue())


def window_errors(results: Results, run: str, split: str = "test") -> np.ndarray | None:
    """What is kept of a run, (windows,) float32; None where there is nothing that can be read."""
    for path in (windows_path(run, split), *([_old_path(run)] if split == "test" else [])):
        found = results.read_blob(path, _parsed)
        if found is not None:
            return found
    return None


def windows_object(results: Results, run: str, split: str = "test") -> tuple[str, bytes] | None:
    """The object of a run, to be put elsewhere: its path there, and what it holds; None as of `window_errors`."""
    for path in (windows_path(run, split), *([_old_path(run)] if split == "test" else [])):
        data = results.read_blob(path, lambda data: data if _parsed(data) is not None else None)
        if data is not None:
            return windows_path(run, split), data
    return None


def _parsed(data: bytes) -> np.ndarray:
    errors = np.load(io.BytesIO(data), allow_pickle=False)
    if not isinstance(errors, np.ndarray) or errors.ndim != 1 or errors.dtype != np.float32:
        raise ValueError("no errors of test windows: expected one row of 32-bit numbers")
    return errors


def window_difference(
    results: Results, runs: Sequence[str], others: Sequence[str], block: int
) -> WindowDifference | None:
    """The mean error of `runs` less that of `others`, of the windows that both were read on.

    `block`: as for `window_interval`. None where the errors of a run are not on record, or too few for an interval.
    """
    sides = [[window_errors(results, run) for run in ids] for ids in (runs, others)]
    kept = [[errors for errors in side if errors is not None] for side in sides]
    if kept != sides or not all(kept) or len({len(errors) for side in kept for errors in side}) > 1:
        return None
    ours, theirs = (np.mean(np.asarray(side, float), axis=0) for side in kept)
    try:
        interval = window_interval(ours, theirs, block)
    except ValueError:
        return None
    return WindowDifference(float((ours - theirs).mean()), interval)


def window_interval(ours: ArrayLike, theirs: ArrayLike, block: int, level: float = 0.95) -> tuple[float, float]:
    """The interval over time of a mean difference over test windows, for trained models (see `over_time`).

    `ours`, `theirs`: (windows,) or (seeds, windows) losses of consecutive windows, one row of the series apart; seeds
    are averaged, since they are not what varies here. `block`: rows, at least S + H, so that windows further apart
    share none: it is the longest correlation time that is allowed for. A series of ETT's length holds 2 to 7 such
    blocks, and so few are few observations: the interval is wide, and covers.

    Raises:
        ValueError: unlike shapes, losses that are not finite, or fewer windows than one block.
    """
    first, second = np.asarray(ours, float), np.asarray(theirs, float)
    if first.shape != second.shape or first.ndim not in (1, 2):
        raise ValueError(f"expected (windows,) or (seeds, windows) losses, twice; got {first.shape} and {second.shape}")
    return time_interval(np.atleast_2d(first - second).mean(0), block, level)
