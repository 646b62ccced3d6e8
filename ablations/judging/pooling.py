"""An arm's effect over series and origins, which are random, with seeds nested in them. Pure functions of arrays.

A cell is a series with an origin. An effect is in percent of the mean error of `full` in its cell, paired by seed,
positive where the part helps. Of a series it is the mean over its origins and seeds, and series count alike.

The interval is Student's t over the means of series (with one series: over those of its origins). Where a mixed model's
estimates stay off 0 it is that model's. Of independent means it asks normal noise but not one deviation: with heavier
tails, other seeds' noise by series or fewer origins of some it covers more (Ibragimov and Müller 2010); what origins of
one series share, their mean holds. Simulated (`python -m scripts.verdicts.pooled`: 2 to 8 series, 1 to 3 origins,
9 seeds; series that deviate by 0 to 20 times what a seed does), it covers 93.9 to 99.1%; a mixed model by REML, which
takes a deviation for 0 that is not, down to 87.4%; a hierarchical Bayesian model in the manner of Benavoli et al.
(2017) covers what its prior on the deviation over series allows: all where series are alike, and less than half where
they deviate much more than was believed, as they do here (1% on one series, 17% on the next).

What few series cannot show. Two series: the interval reaches 12.7 standard errors to either side; 0 is outside it only
where both effects lie within 8% of their mean. Three: where their deviation is under 40% of it; four: 63%. Only a prior
makes it shorter, and it is right for no more parts than the prior is. That all k help is a coin's luck once in 2^k.
Origins of one series share rows and drift: where neighbours correlate by 0.4 to 0.7, the interval over three of them
covers 89 to 78%, over eight 83 to 61%, so that no verdict rests on it. The family costs: `reached`.

A run that diverged hides in no mean: where a cell holds one, the pooled effect of its seed is NaN, every pooled number
is NaN or None, and only the cells keep theirs, of their whole pairs. What decides over seeds is then `evidence` alone,
on `over_cells` of either side's losses, in which a diverged run is the worst outcome; no verdict reaches other series.
"""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Literal

import numpy as np
from numpy.typing import ArrayLike, NDArray
from scipy import stats

from ablations.judging.reach import Bounds
from ablations.judging.signed_ranks import pseudo_median, signed_rank_interval
from ablations.judging.statistics import Array, checked, standard_error, t_interval
from ablations.judging.verdicts import HELPS, HURTS, NO_EFFECT, ON_THESE_SERIES, holm

LEVEL = 0.95
NOWHERE = (np.nan, np.nan)


@dataclass(frozen=True, eq=False)
class CellEffect:
    """An arm in one cell."""

    cell: str
    series: str
    origin: int  # the row where training ends
    by_seed: Array  # (n,) percent, positive: the part helps; NaN: a run of the pair diverged


@dataclass(frozen=True)
class CellEstimate:
    """A line of a forest plot."""

    cell: str
    series: str
    origin: int
    effect: float  # percent: the pseudo-median over seeds whose pair is whole; NaN with fewer than two
    seeds: Bounds  # its exact 95%
    diverged: int  # pairs that are not whole


@dataclass(frozen=True, eq=False)
class Pooled:
    """An arm over all cells, in percent; with a diverged run anywhere, NaN or None but for `by_seed` and `cells`."""

    by_seed: Array  # (n,) NaN where a run of the seed diverged in some cell
    typical: float  # the pseudo-median over seeds
    seeds: Bounds  # its exact 95%: these series and origins, other seeds
    mean: float  # equal weight a series
    over: Literal["series", "origins", ""]  # what the interval generalises to; "": one series at one origin
    interval: Bounds | None  # 95%, of the mean over such series (or origins), seeds nested
    p: float  # that this mean is 0, two-sided: `interval_at` excludes 0 exactly at an alpha from p on; NaN: no interval
    helps_on: int  # series (or origins) on which the effect is positive; of those without a diverged run
    of: int
    means: tuple[float, ...]  # by series (or origin), in the order of the cells; NaN with a diverged run
    next_series: float | None  # the chance that the effect is positive on the next series like these
    next_origin: float | None  # at the next origin of one of these series
    spread: tuple[float, float]  # deviation over series, and over origins within a series; NaN where there is one each
    cells: tuple[CellEstimate, ...]

    def interval_at(self, alpha: float) -> Bounds | None:
        """As `interval`, at another level: 1 - alpha."""
        return None if self.interval is None else _t_interval(self.means, alpha)

    def equivalence_p(self, margin: float) -> float:
        """That the mean over such series lies within ±`margin` percent: twice the larger p of two one-sided t tests, at
        most alpha exactly where `interval_at(alpha)` lies within. 1 where there is no interval."""
        return 1.0 if self.interval is None else float(equivalence_p(self.means, margin))


def over_cells(values: ArrayLike, series: Sequence[str]) -> Array:
    """(cells, n) values and each cell's series -> (n,) means over the origins of a series, then over series.

    Raises:
        ValueError: another number of cells than of their series, or none.
    """
    x = np.asarray(values, float)
    if x.ndim != 2 or len(x) != len(series) or not len(x):
        raise ValueError(f"a row a cell is needed, got values of shape {x.shape} and {len(series)} cells")
    return np.asarray(_by_series(x, series).mean(0))


def pool(effects: Sequence[CellEffect]) -> Pooled:
    """One arm's cells, which share their seeds, pooled.

    Raises:
        ValueError: no cells, a cell named twice, unlike seeds, or fewer than two.
    """
    names, lengths = [one.cell for one in effects], {len(one.by_seed) for one in effects}
    if not effects or len(set(names)) < len(names):
        raise ValueError(f"cells must be named once each, and be one at least: got {names}")
    if len(lengths) > 1 or min(lengths) < 2:
        raise ValueError(f"cells must share two seeds or more, got {sorted(lengths)}")
    table, series = np.stack([np.asarray(one.by_seed, float) for one in effects]), [one.series for one in effects]
    by_seed, by_cell = over_cells(table, series), table.mean(-1)
    apart = _by_series(table, series).mean(-1)
    over: Literal["series", "origins", ""] = "series" if len(apart) > 1 else "origins" if len(table) > 1 else ""
    means = apart if over == "series" else by_cell
    whole = bool(np.isfinite(by_seed).all())
    known = whole and over != ""
    typical, seeds = _over_seeds(by_seed) if whole else (np.nan, NOWHERE)
    return Pooled(
        by_seed=by_seed, typical=typical, seeds=seeds, mean=float(by_seed.mean()), over=over,
        interval=_t_interval(means, 1 - LEVEL) if known else None, p=float(over_p(means)) if known else np.nan,
        helps_on=int((means > 0).sum()), of=len(means), means=tuple(means.tolist()),
        next_series=_chance(means) if whole and over == "series" else None,
        next_origin=_next_origin(by_cell, series) if whole else None,
        spread=(_deviation(apart), _within(by_cell, series)),
        cells=tuple(_estimate(one) for one in effects),
    )  # fmt: skip


def over_p(means: ArrayLike) -> Array:
    """The two-sided p of Student's t that the mean over series (or origins) is 0, (..., k) -> (...)."""
    x = checked(means)
    return np.asarray(2 * stats.t.sf(np.abs(_t(x.mean(-1), standard_error(x))), x.shape[-1] - 1))


def equivalence_p(means: ArrayLike, margin: float) -> Array:
    """The p that the mean over series lies within ±margin, (..., k) -> (...)."""
    x = checked(means)
    inside = _t(margin - np.abs(x.mean(-1)), standard_error(x))
    return np.minimum(1, 2 * stats.t.sf(inside, x.shape[-1] - 1))


def chance_of_next(means: ArrayLike) -> Array:
    """That the effect is positive on the next series, of those on k that are like it: (..., k) -> (...).

    Student's t predicts, with the unit-information prior (Kass and Wasserman 1995): the mean over series is 0, give or
    take one deviation over series. So few series never promise much: where all agree to the last digit, it says 67% of
    one (as Laplace's rule of succession does), 79% of two, 91% of four, 98% of eight; a flat prior says 100%.
    """
    x = np.asarray(means, float)
    k, mean = x.shape[-1], x.mean(-1)
    squares = ((x - mean[..., None]) ** 2).sum(-1) + mean**2 * k / (k + 1)
    deviation = np.sqrt(squares / k * (k + 2) / (k + 1))
    return np.asarray(stats.t.cdf(_t(mean * k / (k + 1), deviation), k))


def reached(
    verdict: ArrayLike, mean: ArrayLike, p: ArrayLike, equivalence_p: ArrayLike, alpha: float, family: int
) -> NDArray[np.str_]:
    """Verdicts of seeds alone, (..., family) -> (..., family): what does not reach over series is ON_THESE_SERIES.

    `mean`, `p`, `equivalence_p`: over series, by arm; NaN where there is none. Either p is a family at alpha (Holm
    1979), all arms counted, decided over seeds or not, lost ones too. A verdict must stand in both of its families,
    that of seeds and that of series: where parts come to nothing on average over series, some part is said to help or
    hurt beyond these in at most alpha of studies. 95% for each arm alone would say so in 45% of studies of 12 arms.
    """
    said, way = np.asarray(verdict), np.nan_to_num(np.asarray(mean, float))
    apart, same = (shared(one, family) <= alpha for one in (p, equivalence_p))
    carried = np.select(
        [said == HELPS, said == HURTS, said == NO_EFFECT], [apart & (way > 0), apart & (way < 0), same], True
    )
    return np.where(carried, said, ON_THESE_SERIES)


def shared(p: ArrayLike, family: int) -> Array:
    """The adjusted p over series, (..., k) -> (..., k); an arm without one counts as lost."""
    return holm(np.nan_to_num(np.asarray(p, float), nan=1), family)


def reached_by(
    verdicts: Sequence[str], arms: Sequence[Pooled | None], margin: float, alpha: float, family: int
) -> list[str]:
    """`reached`, of the pooled rows of a study; `margin` in percent; None: nothing is known of other series."""
    found = reached(
        list(verdicts),
        [np.nan if arm is None else arm.mean for arm in arms],
        [np.nan if arm is None else arm.p for arm in arms],
        [np.nan if arm is None else arm.equivalence_p(margin) for arm in arms],
        alpha, family,
    )  # fmt: skip
    return [str(one) for one in found]


def _t(distance: Array, error: Array) -> Array:
    """distance / error; where nothing deviates, infinite on the side of the distance."""
    return np.where(
        error > 0, distance / np.where(error > 0, error, 1), np.where(distance == 0, 0, np.copysign(np.inf, distance))
    )


def _estimate(one: CellEffect) -> CellEstimate:
    x = np.asarray(one.by_seed, float)
    known = x[np.isfinite(x)]
    effect, seeds = _over_seeds(known) if len(known) > 1 else (np.nan, NOWHERE)
    return CellEstimate(one.cell, one.series, one.origin, effect, seeds, len(x) - len(known))


def _over_seeds(x: Array) -> tuple[float, Bounds]:
    low, high = signed_rank_interval(x, 1 - LEVEL)
    return float(pseudo_median(x)), (float(low), float(high))


def _by_series(x: Array, series: Sequence[str]) -> Array:
    """(cells, n) -> (series, n), in the order in which they come first."""
    return np.stack([x[[name == one for one in series]].mean(0) for name in dict.fromkeys(series)])


def _t_interval(means: ArrayLike, alpha: float) -> Bounds:
    low, high = t_interval(means, 1 - alpha)
    return float(low), float(high)


def _chance(means: Array) -> float:
    return float(chance_of_next(means))


def _next_origin(by_cell: Array, series: Sequence[str]) -> float | None:
    groups = _groups(by_cell, series)
    return float(np.mean([_chance(group) for group in groups])) if len(groups) < len(by_cell) else None


def _groups(by_cell: Array, series: Sequence[str]) -> list[Array]:
    return [by_cell[[name == one for one in series]] for name in dict.fromkeys(series)]


def _deviation(x: Array) -> float:
    return float(x.std(ddof=1)) if len(x) > 1 else np.nan


def _within(by_cell: Array, series: Sequence[str]) -> float:
    groups = _groups(by_cell, series)
    freedom = len(by_cell) - len(groups)
    return float(np.sqrt(sum(((g - g.mean()) ** 2).sum() for g in groups) / freedom)) if freedom else np.nan
