"""Arrays in, numbers out: effects, intervals and tests. What a family of arms makes of them is in `verdicts.py`.

An effect is loss(arm) - loss(full), paired by seed, in units of the loss: positive where removing the part raised the
loss. Seeds are the last axis, n long; any leading axes (arms, channels, simulated studies) are carried along. No row's
numbers depend on its neighbours or on the order of the seeds, and what is drawn is drawn from a given seed.

What decides is in `signed_ranks.py`, and how far it reaches in `reach.py`. Here are the mean effect, which is shown
beside the typical one, its bootstrap-t interval, standardised effects and the contrasts of a factorial.
"""

from collections.abc import Callable, Sequence
from itertools import combinations

import numpy as np
from numpy.typing import ArrayLike, NDArray
from scipy import special, stats

Array = NDArray[np.float64]
Interval = tuple[Array, Array]  # lower and upper bounds

_TIE = 1e-12  # relative to the largest effect: nearer to 0 than this is 0, for rounding must not decide
_CELLS = 2**22  # numbers held at once where rows meet resamples


def paired_effects(arm: ArrayLike, full: ArrayLike) -> Array:
    """(..., n) losses of arms and (n,) or (..., n) of `full` -> (..., n) effects.

    Raises:
        ValueError: unlike seeds, fewer than two, or a loss that is not finite.
    """
    arms, baseline = np.asarray(arm, float), np.asarray(full, float)
    if arms.shape[-1:] != baseline.shape[-1:]:
        raise ValueError(
            f"a pair needs the same seed twice: got losses of shape {arms.shape}, of full {baseline.shape}"
        )
    return checked(arms - baseline)


def t_interval(effects: ArrayLike, level: float = 0.95) -> Interval:
    """The paired-t interval of the mean effect, (..., n) -> two of (...): mean ± t sd / sqrt(n), n - 1 df.

    It is for one arm and a number of seeds fixed beforehand: neither the family nor looks are counted in it.

    Raises:
        ValueError: effects that are not finite, fewer than two, or a level outside (0, 1).
    """
    x = checked(effects)
    reach = stats.t.ppf(0.5 + fraction("level", level) / 2, x.shape[-1] - 1) * standard_error(x)
    return x.mean(-1) - reach, x.mean(-1) + reach


def bootstrap_t_interval(effects: ArrayLike, level: float = 0.95, resamples: int = 9999, seed: int = 0) -> Interval:
    """The studentised bootstrap interval of the mean effect, (..., n) -> two of (...).

    Efron and Tibshirani (1993), section 12.5: quantiles of (mean* - mean) / error* take the place of Student's. One set
    of draws resamples every row, its effects sorted. With two or three seeds the bounds are infinite: too many
    resamples hold one seed n times, which leaves nothing to studentise by.

    Raises:
        ValueError: effects that are not finite, fewer than two, or a level outside (0, 1).
    """
    x = np.sort(checked(effects), axis=-1)
    n, tail = x.shape[-1], (1 - fraction("level", level)) / 2
    counts = np.random.default_rng(seed).multinomial(n, np.full(n, 1 / n), size=resamples).astype(float)
    one_seed = counts.max(-1) == n

    def quantiles(centred: Array) -> Array:  # (r, n) -> (r, 2)
        means = centred @ counts.T / n
        variances = np.maximum(centred**2 @ counts.T / n - means**2, 0) / (n - 1)  # of the means
        infinite = one_seed | (variances <= _TIE * (centred**2).max(-1, keepdims=True))  # no spread but rounding's
        t = np.where(infinite, np.copysign(np.inf, means), means / np.sqrt(np.where(infinite, 1, variances)))
        return np.quantile(t, [tail, 1 - tail], axis=-1, method="closest_observation").T

    mean, error = x.mean(-1), standard_error(x)
    t = by_rows(quantiles, x - mean[..., None], resamples)
    reach = np.zeros(t.shape)  # stays 0, not infinity times 0, where the effects are all the same
    reach[error > 0] = t[error > 0] * error[error > 0, None]
    return mean - reach[..., 1], mean - reach[..., 0]


def hedges_g(effects: ArrayLike) -> Array:
    """The standardised effect, (..., n) -> (...): mean / sd of the effects (Cohen's d_z), made unbiased for normal
    effects by the exact factor of Hedges (1981). NaN without spread or with fewer than three seeds.

    Raises:
        ValueError: effects that are not finite, or fewer than two.
    """
    x = checked(effects)
    n, error = x.shape[-1], standard_error(x)
    if n < 3:
        return np.full(x.shape[:-1], np.nan)
    factor = np.exp(special.gammaln((n - 1) / 2) - special.gammaln((n - 2) / 2)) / np.sqrt((n - 1) / 2)
    return np.where(error > 0, factor * x.mean(-1) / np.where(error > 0, error * np.sqrt(n), 1), np.nan)


def factorial_contrasts(losses: ArrayLike, parts: Sequence[str]) -> dict[tuple[str, ...], Array]:
    """A full 2^k design with seeds as blocks: (2, ..., 2, n) losses -> each effect's (n,) values, one per seed.

    The axes follow `parts`; index 0 is the part off, 1 on. The value of a set of parts is the mean loss of the cells
    with an even number of them on, less that of the others (Box, Hunter and Hunter 2005, chapter 5, with off as plus).
    So a main effect is loss(off) - loss(on), averaged over the other parts, and two parts interact by half the
    difference of one's effect where the other is off and where it is on: positive where they stand in for each other,
    negative where they need each other. All functions above take these as effects; the family is all 2^k - 1 of them.

    Raises:
        ValueError: a shape that does not fit the parts, a part named twice, fewer than two seeds, a loss not finite.
    """
    x, names = checked(losses), tuple(parts)
    if x.shape[:-1] != (2,) * len(names) or len(set(names)) < len(names) or not names:
        raise ValueError(f"parts {names} need losses of shape {(2,) * len(names)} and seeds, got {x.shape}")
    contrasts = {}
    for chosen in (chosen for size in range(1, len(names) + 1) for chosen in combinations(range(len(names)), size)):
        sign = (-1.0) ** np.indices(x.shape[:-1])[list(chosen)].sum(0)
        contrasts[tuple(names[part] for part in chosen)] = np.tensordot(sign, x, len(names)) / 2 ** (len(names) - 1)
    return contrasts


def checked(values: ArrayLike) -> Array:
    """`values` as (..., n) numbers. Raises ValueError: fewer than two seeds, or one that is not finite."""
    x = np.asarray(values, float)
    if x.ndim == 0 or x.shape[-1] < 2:
        raise ValueError(f"at least two seeds are needed, got shape {x.shape}")
    if not np.isfinite(x).all():
        raise ValueError("values must be finite: a diverged run has no effect to average (see verdicts.evidence)")
    return x


def fraction(name: str, value: ArrayLike) -> Array:
    """`value`, or ValueError where it is not between 0 and 1."""
    x = np.asarray(value, float)
    if not ((x > 0) & (x < 1)).all():
        raise ValueError(f"{name} must be between 0 and 1, got {value!r}")
    return x


def standard_error(x: Array) -> Array:
    """(..., n) -> (...): of the mean, and exactly 0 where only rounding tells the effects apart."""
    sd = x.std(-1, ddof=1)
    return np.where(sd > _tie(x), sd, 0) / np.sqrt(x.shape[-1])


def _tie(x: Array) -> Array:
    return _TIE * np.abs(x).max(-1)


def by_rows(function: Callable[[Array], Array], x: Array, width: int) -> Array:
    """`function` of (r, n) rows, `width` numbers to a row, over all rows of (..., n) in chunks that fit memory."""
    rows, step = x.reshape(-1, x.shape[-1]), max(1, _CELLS // width)
    parts = [function(rows[at : at + step]) for at in range(0, max(len(rows), 1), step)]
    return np.concatenate(parts).reshape(x.shape[:-1] + parts[0].shape[1:])
