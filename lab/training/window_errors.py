"""The error of every test window of a run: where it is kept, and what a difference owes to the windows there are."""

import io
from collections.abc import Sequence
from typing import NamedTuple

import numpy as np
from numpy.typing import ArrayLike
from scipy import stats

from lab.store.tables import Results


class WindowDifference(NamedTuple):
    """Of the test MSE of some runs less that of others."""

    mean: float
    interval: tuple[float, float]  # 95%, over test windows


def windows_path(run: str) -> str:
    """A folder for each run, so that its errors are found without a list of everybody's."""
    return f"test_windows/{run}/mse.npy"


def _old_path(run: str) -> str:
    """Where they were kept before their names stated checksums."""
    return f"test_windows/{run}.npy"


def keep_window_errors(results: Results, run: str, errors: np.ndarray) -> None:
    """`errors`: (windows,), the MSE over channels and steps of each test window, in the order of the series."""
    buffer = io.BytesIO()
    np.save(buffer, errors.astype(np.float32))
    results.put_blob(windows_path(run), buffer.getvalue())


def window_errors(results: Results, run: str) -> np.ndarray | None:
    """What is kept of a run, (windows,) float32; None where there is nothing that can be read."""
    for path in (windows_path(run), _old_path(run)):
        found = results.read_blob(path, _parsed)
        if found is not None:
            return found
    return None


def windows_object(results: Results, run: str) -> tuple[str, bytes] | None:
    """The object of a run, to be put elsewhere: its path there, and what it holds; None as of `window_errors`."""
    for path in (windows_path(run), _old_path(run)):
        data = results.read_blob(path, lambda data: data if _parsed(data) is not None else None)
        if data is not None:
            return windows_path(run), data
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


def window_interval(
    ours: ArrayLike, theirs: ArrayLike, block: int, resamples: int = 9999, seed: int = 0
) -> tuple[float, float]:
    """A moving-block bootstrap (Künsch 1989) 95% interval of a mean difference over test windows, for trained models.

    `ours`, `theirs`: (windows,) or (seeds, windows) losses of consecutive windows, one row of the series apart; seeds
    are averaged, since they are not what is resampled. `block`: rows, at least S + H, so that windows further apart
    share none. A series of ETT's length holds 2 to 7 such blocks, and so few are few observations: the plain interval
    covered 76 to 84% in simulations with 6 blocks and 50 to 60% with 2, for a nominal 95%. Hence deviations are taken
    from the resamples' own mean and stretched by sqrt(k / (k - 1)) t_{k-1} / z for k = windows / block, the t
    interval's factors for k observations; that covered 90 to 96% with 6 blocks, and is wide and covers more than 99%
    with 2.

    Raises:
        ValueError: unlike shapes, losses that are not finite, or fewer windows than two blocks.
    """
    first, second = np.asarray(ours, float), np.asarray(theirs, float)
    if first.shape != second.shape or first.ndim not in (1, 2):
        raise ValueError(f"expected (windows,) or (seeds, windows) losses, twice; got {first.shape} and {second.shape}")
    x = np.atleast_2d(first - second).mean(0)
    if not np.isfinite(x).all():
        raise ValueError("losses of windows must be finite")
    windows, tail = len(x), 0.025
    if block < 1 or windows < 2 * block:
        raise ValueError(
            f"{windows} windows hold fewer than two blocks of {block}: no interval over windows can be had"
        )
    whole, rest = divmod(windows, block)
    starts = np.random.default_rng(seed).integers(0, windows - block + 1, (resamples, whole + 1))
    sums = np.concatenate([[0], np.cumsum(x)])
    lengths = np.array([block] * whole + [rest])
    means = (sums[starts + lengths] - sums[starts]).sum(-1) / windows
    blocks = windows / block
    stretch = np.sqrt(blocks / (blocks - 1)) * stats.t.isf(tail, blocks - 1) / stats.norm.isf(tail)
    low, high = x.mean() + stretch * np.quantile(means - means.mean(), [tail, 1 - tail])
    return float(low), float(high)
