"""An arm's effect over series and origins: series and origins are random, seeds nested in them. Pure functions of arrays.

A cell is a series with an origin. An effect is in percent of the mean error of `full` in its cell, paired by seed,
positive where the part helps. A seed's pooled effect is its mean over the origins of a series, then over series, each
series as heavy as the others.

A run that diverged hides in no mean: where a cell holds one, the pooled effect of its seed is NaN, every pooled number
is NaN or None, and only the cells keep theirs, of their whole pairs. What decides over seeds is then `evidence` alone,
on `over_cells` of either side's losses, in which a diverged run is the worst outcome; no verdict reaches other series.
"""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Literal

import numpy as np
from numpy.typing import ArrayLike
from scipy import stats

from ablations.judging.reach import Bounds
from ablations.judging.signed_ranks import pseudo_median, signed_rank_interval
from ablations.judging.statistics import Array, standard_error, t_interval

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
        interval=_t_interval(means, 1 - LEVEL) if known else None, p=_p(means) if known else np.nan,
        helps_on=int((means > 0).sum()), of=len(means), means=tuple(means.tolist()),
        next_series=_next_one(means) if whole and over == "series" else None,
        next_origin=_next_origin(by_cell, series) if whole else None,
        spread=(_deviation(apart), _within(by_cell, series)),
        cells=tuple(_estimate(one) for one in effects),
    )  # fmt: skip


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


def _p(means: Array) -> float:
    error, mean = standard_error(means), means.mean()
    t = mean / error if error > 0 else np.inf * mean if mean else 0.0
    return float(2 * stats.t.sf(abs(t), len(means) - 1))


def _next_one(means: Array) -> float:
    return _chance(float(means.mean()), float(means.std(ddof=1)) * np.sqrt(1 + 1 / len(means)), len(means) - 1)


def _next_origin(by_cell: Array, series: Sequence[str]) -> float | None:
    """At the next origin of one of these series, all alike likely; deviations over origins are pooled over series."""
    groups = [by_cell[[name == one for one in series]] for name in dict.fromkeys(series)]
    freedom, deviation = len(by_cell) - len(groups), _within(by_cell, series)
    if not freedom:
        return None
    return float(np.mean([_chance(g.mean(), deviation * np.sqrt(1 + 1 / len(g)), freedom) for g in groups]))


def _chance(mean: float, deviation: float, freedom: int) -> float:
    """That what Student's t predicts is positive."""
    if deviation <= 0:
        return 0.5 + 0.5 * float(np.sign(mean))
    return float(stats.t.cdf(mean / deviation, freedom))


def _deviation(x: Array) -> float:
    return float(x.std(ddof=1)) if len(x) > 1 else np.nan


def _within(by_cell: Array, series: Sequence[str]) -> float:
    groups = [by_cell[[name == one for one in series]] for name in dict.fromkeys(series)]
    freedom = len(by_cell) - len(groups)
    return float(np.sqrt(sum(((g - g.mean()) ** 2).sum() for g in groups) / freedom)) if freedom else np.nan
