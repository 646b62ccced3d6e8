"""An interval of the mean of consecutive values that hang together in time, when there are few stretches of them.

The errors of test windows are a series: each shares rows with the next ones, and what the weather or the market did
stays for weeks. The mean of such a series varies by its lowest frequencies, of which a test split holds a handful. So
the variance is estimated from the first q cosine transforms alone (Müller 2004; Lazarus, Lewis, Stock and Watson 2018),
and the critical value is not Student's but the one that covers at every correlation exp(-|s - t| / m) up to the longest
`memory` that is allowed for, in the manner of Müller and Watson (2022). Where correlation is shorter it covers more.

It has an interval at any horizon, and honest widths: with 20 memories to a series half of it is 2.9 standard errors,
with five 5, with two 8. Below one there is none, for then nothing in the series repeats. Where correlation lasts twice
as long as `memory` it covers 87 to 92% for 95% (`python -m scripts.verdicts.simulate`).

An effect is a mean over seeds x windows, and two things would come out otherwise another time: training (seeds) and the
stretch of rows that test happens to be (windows). With d[s, w] = effect + seed[s] + window[w] + rest[s, w] the two are
told apart by the margins of the table: the means of seeds deviate by training, the series of window means by time.
Each margin holds the rest once, so that it is counted twice in the interval over both (`crossed`): it errs towards
wide. It is put together from those of the margins by their squares (MOVER: Zou and Donner 2008; Graybill and Wang
1980), which keeps the seeds' interval exact and lopsided where it is. In the same simulations it covers 95% and more
where Satterthwaite's t, on so few degrees of freedom over time, does not always. Where correlation outlasts what the
interval over windows allows for (S + H rows), it covers 93% and more.
"""

from functools import lru_cache

import numpy as np
from numpy.typing import ArrayLike, NDArray
from scipy import optimize, stats

_GRID = 300  # points at which the correlation is integrated
# The longest memory, as a share of the series -> the number of cosines that makes the interval shortest (of 1 to 12).
COSINES = ((0.03, 10), (0.07, 6), (0.15, 5), (0.35, 4), (1.0, 3))


def time_interval(values: ArrayLike, memory: float, level: float = 0.95) -> tuple[float, float]:
    """(t,) consecutive values -> the interval of their mean. `memory`: the longest correlation time, in values.

    Raises:
        ValueError: values that are not finite, a series shorter than `memory`, or a level outside (0, 1).
    """
    x = np.asarray(values, float)
    if x.ndim != 1:
        raise ValueError("losses of windows must be finite, in one row")
    transforms, reach = _transformed(x, memory, level)
    half = reach * np.sqrt((transforms**2).mean())
    return float(x.mean() - half), float(x.mean() + half)


def crossed(middle: float, seeds: tuple[float, float], windows: tuple[float, float]) -> tuple[float, float]:
    """The interval over seeds and windows: `middle` less and plus the root of the sum of squared distances.

    `seeds`: around `middle`, over seeds. `windows`: over test windows, around its own middle.
    """
    of_windows = (windows[0] + windows[1]) / 2
    below = np.hypot(middle - seeds[0], of_windows - windows[0])
    above = np.hypot(seeds[1] - middle, windows[1] - of_windows)
    return float(middle - below), float(middle + above)


def time_draws(
    values: ArrayLike, memory: float, count: int, rng: np.random.Generator, level: float = 0.95
) -> NDArray[np.float64]:
    """(k, t) series over the same time -> (count, k) draws of how far their means may be off, all k together.

    Of any difference of two of them, such draws have the interval of `time_interval` at this level (and to 2% at those
    from 50 to 98%): normal ones with the transforms' covariance, as wide as Student's t, and wider by what correlation
    asks for. Raises ValueError as it.
    """
    x = np.atleast_2d(np.asarray(values, float))
    transforms, reach = _transformed(x, memory, level)
    cosines = transforms.shape[-1]
    wider = reach / stats.t.isf((1 - level) / 2, cosines)
    tails = np.sqrt(cosines / rng.chisquare(cosines, (count, 1)))
    found = rng.standard_normal((count, cosines)) @ transforms.T
    return np.asarray(wider * tails * found / np.sqrt(cosines))


def _transformed(x: NDArray[np.float64], memory: float, level: float) -> tuple[NDArray[np.float64], float]:
    """(..., t) -> the lowest cosine transforms of each, (..., q), and the critical value."""
    if not np.isfinite(x).all():
        raise ValueError("losses of windows must be finite, in one row")
    if not 0 < level < 1:
        raise ValueError(f"level must be between 0 and 1, got {level}")
    length = x.shape[-1]
    share = max(memory, 1) / max(length, 1)
    if share > 1:
        raise ValueError(f"{length} windows hold less than one block of {memory:g}: no interval over time can be had")
    cosines = min(next(count for most, count in COSINES if share <= most), length - 1)
    frequencies = np.pi * np.arange(1, cosines + 1)[:, None] * (np.arange(length) + 0.5) / length
    transforms = np.sqrt(2) * (x - x.mean(-1, keepdims=True)) @ np.cos(frequencies).T / length
    # Rounded up, so that a window more or less does not solve it anew.
    return transforms, critical_value(min(float(np.ceil(share * 200) / 200), 1.0), cosines, level)


@lru_cache(maxsize=1024)
def critical_value(share: float, cosines: int, level: float) -> float:
    """Of |mean| / root mean square of the transforms, at any correlation time up to `share` of the series' length."""
    covariances = [_covariance(share * part, cosines) for part in (1.0, 0.5, 0.25, 0.0)]

    def uncovered(log: float) -> float:
        return max(_exceeds(covariance, float(np.exp(log))) for covariance in covariances) - (1 - level)

    return float(np.exp(optimize.brentq(uncovered, -3, 12)))


def _covariance(memory: float, cosines: int) -> NDArray[np.float64]:
    """Of the mean and the transforms, up to a factor; memory 0: independent values."""
    if memory == 0:
        return np.eye(cosines + 1)
    at = (np.arange(_GRID) + 0.5) / _GRID
    waves = np.sqrt(2) * np.cos(np.pi * np.arange(cosines + 1)[:, None] * at) / _GRID
    waves[0] /= np.sqrt(2)
    return np.asarray(waves @ np.exp(-np.abs(at[:, None] - at) / memory) @ waves.T)


def _exceeds(covariance: NDArray[np.float64], reach: float) -> float:
    """P(Y_0^2 > reach^2 mean(Y_1^2, ..., Y_q^2)) of normal Y (Bakirov and Székely 2005): one eigenvalue is positive."""
    count = len(covariance) - 1
    form = np.diag([1.0, *[-(reach**2) / count] * count])
    root = np.linalg.cholesky(covariance + 1e-14 * np.trace(covariance) * np.eye(count + 1))
    values = np.linalg.eigvalsh(root.T @ form @ root)
    ratios = -values[:-1] / values[-1]
    sine, weights = _nodes()
    inside = sine**count / np.sqrt((sine[:, None] ** 2 + np.maximum(ratios, 0)).prod(-1))
    return float(weights @ inside / 2)  # (2 / pi) * (pi / 4) * sum


@lru_cache
def _nodes() -> tuple[NDArray[np.float64], NDArray[np.float64]]:
    nodes, weights = np.polynomial.legendre.leggauss(96)
    return np.sin((nodes + 1) * np.pi / 4), weights
