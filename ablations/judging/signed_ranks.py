"""The typical effect: the pseudo-median of paired effects, its exact test and interval. Pure functions of arrays.

Seeds are the last axis, n long; any leading axes are carried along. The pseudo-median (Hodges and Lehmann 1963) is the
median of the n (n + 1) / 2 Walsh averages (x_i + x_j) / 2, i <= j; test and interval are Wilcoxon's (1945) signed-rank
test, turned inside out. Under the null hypothesis each sign is a coin's, so that the sum of the ranks of positive
effects is a walk that is counted exactly, ties among the effects included, for any n up to 60.

What is asked of the noise: that the effects lie symmetrically about their pseudo-median, each seed's as widely as it
likes. Where they are skewed about it the rates are a little over alpha: `python -m scripts.verdicts.simulate` says how
much. Nothing here speaks of the mean: that of skewed noise hangs on rare runs that n seeds need not have met.
"""

from functools import lru_cache

import numpy as np
from numpy.typing import ArrayLike, NDArray

from ablations.judging.statistics import Array, Interval, by_rows, checked, fraction

MOST_SEEDS = 60
_DIGITS = 12  # relative to the largest effect: what only rounding tells apart is a tie


def pseudo_median(effects: ArrayLike) -> Array:
    """(..., n) -> (...): the median of the Walsh averages."""
    return np.asarray(np.median(_walsh(checked(effects)), axis=-1))


def signed_rank_p(effects: ArrayLike) -> Array:
    """The two-sided p of the exact signed-rank test that the pseudo-median is 0, (..., n) -> (...).

    Ties have mid-ranks; an effect of exactly 0 takes its rank with it (Pratt 1959). The smallest p is 2 / 2^n.

    Raises:
        ValueError: effects that are not finite, fewer than two or more than 60.
    """
    below, above = one_sided(effects)
    return np.minimum(1, 2 * np.minimum(below, above))


def one_sided(effects: ArrayLike) -> tuple[Array, Array]:
    """(..., n) -> two of (...): the p of the test against effects below 0, and against effects above 0."""
    x = _few(checked(effects))

    def tails(rows: Array) -> Array:  # (r, n) -> (r, 2)
        scale = np.abs(rows).max(-1, keepdims=True)
        even = np.round(rows / np.where(scale > 0, scale, 1), _DIGITS)
        size = np.abs(even)
        less, same = size[:, None, :] < size[:, :, None], size[:, None, :] == size[:, :, None]
        ranks = 2 * less.sum(-1) + same.sum(-1) + 1  # twice the mid-ranks: whole numbers
        ranks = np.where(size > 0, ranks, 0)
        walked = (ranks * (even > 0)).sum(-1)
        found = np.empty((len(rows), 2))
        patterns, which = np.unique(np.sort(ranks, axis=-1), axis=0, return_inverse=True)
        for place, pattern in enumerate(patterns):
            here = which.ravel() == place
            at_most, all_of_it = _at_most(tuple(pattern.tolist())), int(pattern.sum())
            found[here] = np.stack([at_most[walked[here]], at_most[all_of_it - walked[here]]], axis=-1)
        return found

    both = by_rows(tails, x, x.shape[-1] ** 2)
    return both[..., 0], both[..., 1]


def signed_rank_interval(effects: ArrayLike, alpha: ArrayLike) -> Interval:
    """The shifts that the signed-rank test does not reject at `alpha`, (..., n) -> two of (...).

    The k-th smallest and the k-th largest Walsh average, k the largest with P(W < k) <= alpha / 2, and infinite where
    there is none: so few seeds can reject nothing at such an alpha. It excludes 0 exactly where `signed_rank_p` is at
    most alpha; where effects are tied it may be a little wider. `alpha` is one number or one per row.

    Raises:
        ValueError: as `signed_rank_p`, or an alpha outside (0, 1).
    """
    x = _few(checked(effects))
    n = x.shape[-1]
    walsh = np.sort(_walsh(x), axis=-1)
    at_most = _at_most(tuple(range(2, 2 * n + 1, 2)))[::2]
    half = np.broadcast_to(fraction("alpha", alpha) / 2, x.shape[:-1])
    rank = np.searchsorted(at_most, half * (1 + 1e-12), side="right")[..., None]
    low = np.take_along_axis(walsh, np.maximum(rank - 1, 0), -1)[..., 0]
    high = np.take_along_axis(walsh, walsh.shape[-1] - np.maximum(rank, 1), -1)[..., 0]
    return np.where(rank[..., 0] > 0, low, -np.inf), np.where(rank[..., 0] > 0, high, np.inf)


def equivalence_p(effects: ArrayLike, margin: ArrayLike) -> Array:
    """The p that the pseudo-median lies within ±margin, (..., n) -> (...).

    Twice the larger p of the two one-sided signed-rank tests (Schuirmann 1987): at most alpha exactly where the
    two-sided interval at alpha lies within the margin, so that one interval decides about an effect and its absence.
    Once would do under symmetric noise; under skewed noise it shows 13% of false equivalences where 5% are meant.

    `margin` is in units of the loss, one number or one per row. Where it is a percent of `full`'s mean, that mean is
    taken as known; the error in it moves the margin by that percent of the error only.

    Raises:
        ValueError: as `signed_rank_p`, or a margin that is not positive.
    """
    x, limit = checked(effects), np.asarray(margin, float)
    if not (limit > 0).all():
        raise ValueError(f"an equivalence margin must be positive, got {limit.min()}")
    below, above = one_sided(x - limit[..., None])[0], one_sided(x + limit[..., None])[1]
    return np.minimum(1, 2 * np.maximum(below, above))


def probability_of_improvement(effects: ArrayLike) -> Array:
    """The share of seeds whose loss is higher without the part, (..., n) -> (...); an effect of 0 counts half."""
    x = checked(effects)
    return np.asarray(((x > 0) + 0.5 * (x == 0)).mean(-1))


def smallest_p(seeds: int) -> float:
    """Of a two-sided exact test on signs: all effects on one side."""
    return 2.0 / 2**seeds


def _few(x: Array) -> Array:
    if x.shape[-1] > MOST_SEEDS:
        raise ValueError(f"the signed-rank test takes at most {MOST_SEEDS} seeds, got {x.shape[-1]}")
    return x


def _walsh(x: Array) -> Array:
    first, second = np.triu_indices(x.shape[-1])
    return np.asarray((x[..., first] + x[..., second]) / 2)


@lru_cache(maxsize=4096)
def _at_most(ranks: tuple[int, ...]) -> NDArray[np.float64]:
    """P(W <= w) for w = 0, 1, ..., sum of `ranks`, each of which is added or not by a fair coin."""
    chances = np.zeros(sum(ranks) + 1)
    chances[0] = 1
    for rank in ranks:
        if rank:
            moved = np.concatenate([np.zeros(rank), chances[:-rank]])
            chances = (chances + moved) / 2
    return np.cumsum(chances)
