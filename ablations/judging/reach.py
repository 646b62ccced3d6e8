"""How far an effect reaches: over seeds, over test windows, over both. Pure functions of arrays.

An effect is a mean over seeds x windows, and two things would come out otherwise another time: training (seeds) and the
stretch of rows that test happens to be (windows). With d[s, w] = effect + seed[s] + window[w] + rest[s, w] the two are
told apart by the margins of the table: the means of seeds deviate by training, the series of window means by time.
Each margin holds the rest once, so that it is counted twice in the interval over both: it errs towards wide.

The interval over both is put together from those of the margins by their squares (MOVER: Zou and Donner 2008; Graybill
and Wang 1980), which keeps the seeds' interval exact and lopsided where it is. In simulations (`python -m
scripts.verdicts.simulate`) it covers 95% and more where Satterthwaite's t, on so few degrees of freedom over time, does
not always. Where correlation outlasts what the interval over windows allows for (S + H rows), it covers 93% and more.
"""

import numpy as np
from numpy.typing import ArrayLike, NDArray

from ablations.judging.statistics import Array

Bounds = tuple[float, float]


def crossed(typical: float, seeds: Bounds, windows: Bounds) -> Bounds:
    """The interval over seeds and windows: `typical` less and plus the root of the sum of squared distances.

    `seeds`: around `typical`, over seeds. `windows`: over test windows, around its own middle.
    """
    middle = (windows[0] + windows[1]) / 2
    below = np.hypot(typical - seeds[0], middle - windows[0])
    above = np.hypot(seeds[1] - typical, windows[1] - middle)
    return float(typical - below), float(typical + above)


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
