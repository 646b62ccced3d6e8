"""The errors of windows of a run, on test or on sealed rows: how they are kept, and what a difference owes to the
windows there are.

Kept are means over blocks of consecutive windows, FEWEST blocks or more. An interval over time reads a mean and the ten
lowest frequencies of a split (`over_time`): the mean is the same to rounding, and of the frequencies so many blocks
keep all but a thousandth. A run takes 2 KiB, however long the series is.
"""

import io
from collections.abc import Sequence
from typing import NamedTuple

import numpy as np
from numpy.typing import ArrayLike

from lab.store.tables import Results
from lab.training.over_time import time_interval

FEWEST = 256  # blocks of a split, and twice as many at most; of a split of fewer windows each is kept
BLOCK = np.dtype([("mse", "<f4"), ("windows", "<u4")])  # a block's mean, and of how many windows
_MOST = 2**25  # windows of a split that a file may tell of: 128 MiB as numbers


class WindowDifference(NamedTuple):
    """Of the test MSE of some runs less that of others."""

    mean: float
    interval: tuple[float, float]  # 95%, over test windows


def windows_path(run: str, split: str = "test") -> str:
    """A folder for each run, so that its errors are found without a list of everybody's."""
    return f"{split}_windows/{run}/blocks.npy"


def _old_paths(run: str) -> tuple[str, str]:
    """Where the error of every test window was kept, and where before names stated checksums."""
    return f"test_windows/{run}/mse.npy", f"test_windows/{run}.npy"


def keep_window_errors(results: Results, run: str, errors: np.ndarray, split: str = "test") -> None:
    """`errors`: (windows,), the MSE over channels and steps of each window of the split, in the order of the series."""
    results.put_blob(windows_path(run, split), _encoded(errors))


def window_errors(results: Results, run: str, split: str = "test") -> np.ndarray | None:
    """What is kept of a run, (windows,) float32, each window with the mean of its block.

    None where there is nothing that can be read. What versions of before kept of every window is read in blocks, too.
    """
    for path in (windows_path(run, split), *(_old_paths(run) if split == "test" else ())):
        found = results.read_blob(path, _parsed)
        if found is not None:
            return found
    return None


def windows_object(results: Results, run: str, split: str = "test") -> tuple[str, bytes] | None:
    """What to put elsewhere for a run: its path there, and what it holds; None as of `window_errors`.

    The error of every window, as versions of before kept it, goes as means over blocks, too.
    """
    errors = window_errors(results, run, split)
    return None if errors is None else (windows_path(run, split), _encoded(errors))


def _encoded(errors: np.ndarray) -> bytes:
    buffer = io.BytesIO()
    np.save(buffer, _blocks(errors))
    return buffer.getvalue()


def _blocks(errors: np.ndarray) -> np.ndarray:
    """(windows,) -> (blocks,) of BLOCK. The blocks of equally many windows are the same, so differences stay paired."""
    length = max(len(errors) // FEWEST, 1)
    first = np.arange(0, len(errors), length)
    blocks = np.empty(len(first), BLOCK)
    blocks["windows"] = np.diff(first, append=len(errors))
    blocks["mse"] = np.add.reduceat(np.asarray(errors, float), first) / blocks["windows"] if len(first) else []
    return blocks


def _parsed(data: bytes) -> np.ndarray:
    found = np.load(io.BytesIO(data), allow_pickle=False)
    if isinstance(found, np.ndarray) and found.ndim == 1:
        if found.dtype == np.float32:  # of a version of before; as the others, or no difference from them is paired
            found = _blocks(found)
        if found.dtype == BLOCK and found["windows"].sum(dtype=np.uint64) <= _MOST:
            return np.repeat(found["mse"], found["windows"])
    raise ValueError("no errors of test windows: expected one row of 32-bit numbers, or of means over blocks of them")


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
