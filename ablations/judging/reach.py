"""Runs that are far out of an arm's, and means without the tails. Pure functions of arrays.

How far an effect reaches, over seeds and over test windows, is put together by `lab.training.over_time.crossed`.
"""

import numpy as np
from numpy.typing import ArrayLike, NDArray

from ablations.judging.statistics import Array

Bounds = tuple[float, float]

FAR = 3.5  # robust deviations above an arm's median (Iglewicz and Hoaglin 1993)
_NORMAL = 1.4826  # a normal standard deviation in median absolute ones


def outlying_runs(losses: ArrayLike, least: float) -> NDArray[np.bool_]:
    """(n,) losses of one arm -> (n,) whether a run is far worse than its others: above their median by more than FAR
    robust deviations, and by more than `least`, relative to it, for less does not matter. NaN is none.

    It is there to be looked at, no test: normal noise has such a run in 7% of arms with 10 seeds. With fewer than six
    runs none is told apart.
    """
    x = np.asarray(losses, float)
    known = x[np.isfinite(x)]
    if len(known) < 6:
        return np.zeros(x.shape, bool)
    middle = np.median(known)
    spread = _NORMAL * np.median(np.abs(known - middle))
    with np.errstate(invalid="ignore"):
        return np.asarray(x - middle > max(FAR * spread, least * abs(middle)))


def middle_mean(values: ArrayLike) -> Array:
    """The interquartile mean, (..., n) -> (...): of what is left without the lowest and highest quarter (rounded down),
    as in rliable (Agarwal et al. 2021)."""
    x = np.sort(np.asarray(values, float), axis=-1)
    cut = int(0.25 * x.shape[-1])
    return np.asarray(x[..., cut : x.shape[-1] - cut].mean(-1))
