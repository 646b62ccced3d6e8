"""Who is best of several models over cells, and how sure that is. Pure functions of arrays.

Two questions. On these cells: an entrant's error in a cell is uncertain by its seeds (Student's t of their mean) and by
the test windows that there happen to be (`lab.training.over_time.time_draws`: all entrants together, for they are read
on the same ones). Draws of both say between which its rank lies, and in which share of them each has the lowest
error: that is how often noise puts it first, and no probability that it is the best, which would need a prior. On other
series: ranks over series are all there is, after Demšar (2006): Friedman's test, and Nemenyi's critical difference of
two average ranks. With few series it is wide, and says so; cells of one series count once, by their average rank.
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import ArrayLike
from scipy import stats

from ablations.judging.reach import Bounds
from ablations.judging.statistics import Array
from lab.training.over_time import time_draws

DRAWS = 4000
LEVEL = 0.95
SEED = 20  # of the draws: the same records give the same page


@dataclass(frozen=True, eq=False)
class Sample:
    """The errors of an entrant in a cell."""

    seeds: Array  # (n,); one for what has no seeds; NaN: a run diverged
    windows: Array | None  # (t,) of test windows in their order, mean over seeds; None: not on record

    @property
    def mean(self) -> float:
        return float(np.mean(self.seeds))


@dataclass(frozen=True, eq=False)
class Place:
    """One entrant."""

    name: str
    errors: Mapping[str, float]  # cell -> mean error; NaN with a diverged run, which is the worst rank
    rank: float  # mean over cells, series alike; 1 is the best
    ranks: Bounds  # 95% of its mean rank on these cells, over seeds and windows
    best: float  # share of draws in which its error is lowest on these cells: relative to each cell's mean
    best_in: Mapping[str, float]  # cell -> share of draws in which its error is lowest there
    above: Mapping[str, tuple[float, Bounds]]  # cell -> error less that of the cell's reference, 95%; {} without one


@dataclass(frozen=True, eq=False)
class Ranking:
    places: tuple[Place, ...]  # the best mean rank first
    cells: tuple[str, ...]
    series: int
    difference: float | None  # of two mean ranks that is significant over series at 5% (Nemenyi); None with one series
    friedman_p: float | None  # that all are alike over series
    over_time: tuple[str, ...]  # cells in which the uncertainty of windows is counted


def rank(
    entrants: Mapping[str, Mapping[str, Sample]],
    series: Mapping[str, str],
    memory: Mapping[str, float],
    references: Mapping[str, str] | None = None,
) -> Ranking:
    """
    Args:
        entrants: name -> cell -> its errors; the same cells for each.
        series: cell -> the series that it is of.
        memory: cell -> the longest correlation time of windows (`time_draws`).
        references: cell -> the entrant that others are held against there.
    Raises:
        ValueError: fewer than two entrants, no cells, or entrants of unlike cells.
    """
    names, cells = list(entrants), list(next(iter(entrants.values()), {}))
    if len(names) < 2 or not cells or any(set(of) != set(cells) for of in entrants.values()):
        raise ValueError("two entrants or more are needed, with errors in the same cells")
    rng, over_time = np.random.default_rng(SEED), []
    means, drawn = np.empty((len(cells), len(names))), np.empty((len(cells), DRAWS, len(names)))
    for place, cell in enumerate(cells):
        samples = [entrants[name][cell] for name in names]
        means[place] = [sample.mean for sample in samples]
        drawn[place] = means[place] + _over_seeds(samples, rng)
        shifts = _over_windows(samples, memory[cell], rng)
        if shifts is not None:
            drawn[place] += shifts
            over_time.append(cell)
    worst = np.where(np.isnan(drawn), np.inf, drawn)
    by_cell = stats.rankdata(np.where(np.isnan(means), np.inf, means), axis=-1)
    which = [series[cell] for cell in cells]
    ranks = _over_series(by_cell, which)
    uncertain = _over_series(stats.rankdata(worst, axis=-1), which).mean(0)  # (draws, names)
    # Relative to the cell's mean of all, so that a series of large errors decides no more than another.
    relative = _over_series(worst / np.nanmean(np.where(np.isfinite(means), means, np.nan), -1)[:, None, None], which)
    found = tuple(
        Place(
            name=name, errors=dict(zip(cells, means[:, at].tolist(), strict=True)), rank=float(ranks[:, at].mean()),
            ranks=_bounds(uncertain[:, at]), best=_lowest(relative.mean(0), at),
            best_in={cell: _lowest(worst[place], at) for place, cell in enumerate(cells)},
            above={
                cell: _above(means[place], drawn[place], at, names.index(references[cell]))
                for place, cell in enumerate(cells)
                if references and cell in references
            },
        )
        for at, name in enumerate(names)
    )  # fmt: skip
    count = len(ranks)
    difference = critical_difference(len(names), count) if count > 1 else None
    p = friedman_p(ranks) if count > 1 else None
    places = tuple(sorted(found, key=lambda each: each.rank))
    return Ranking(places, tuple(cells), count, difference, p, tuple(over_time))


def critical_difference(entrants: int, blocks: int, alpha: float = 0.05) -> float:
    """Nemenyi's: two average ranks over so many blocks that lie further apart differ, all pairs together at alpha."""
    quantile = float(stats.studentized_range.isf(alpha, entrants, np.inf)) / np.sqrt(2)
    return quantile * float(np.sqrt(entrants * (entrants + 1) / (6 * blocks)))


def friedman_p(ranks: ArrayLike) -> float:
    """(blocks, k) ranks -> that all are alike: Friedman's statistic in the form of Iman and Davenport (1980)."""
    x = np.asarray(ranks, float)
    blocks, entrants = x.shape
    between = blocks * ((x.mean(0) - (entrants + 1) / 2) ** 2).sum()
    whole = ((x - (entrants + 1) / 2) ** 2).sum()
    rest = whole - between
    if rest <= 1e-9 * max(whole, 1):  # every block ranks alike
        return 1.0 if whole == 0 else 0.0
    return float(stats.f.sf((blocks - 1) * between / rest, entrants - 1, (entrants - 1) * (blocks - 1)))


def _over_seeds(samples: Sequence[Sample], rng: np.random.Generator) -> Array:
    """(draws, k) of how far each mean may be off by its seeds."""
    found = np.zeros((DRAWS, len(samples)))
    for at, sample in enumerate(samples):
        n = len(sample.seeds)
        if n > 1:
            found[:, at] = rng.standard_t(n - 1, DRAWS) * float(np.std(sample.seeds, ddof=1)) / np.sqrt(n)
    return found


def _over_windows(samples: Sequence[Sample], memory: float, rng: np.random.Generator) -> Array | None:
    """Likewise by the windows; None where those of one are not on record, or too few."""
    whole = [at for at, sample in enumerate(samples) if np.isfinite(sample.seeds).all()]
    kept = [each for at in whole if (each := samples[at].windows) is not None]
    if not kept or len(kept) < len(whole) or len({len(each) for each in kept}) > 1:
        return None
    found = np.zeros((DRAWS, len(samples)))
    try:
        found[:, whole] = time_draws(np.array(kept, float), memory, DRAWS, rng)
    except ValueError:
        return None
    return found


def _over_series(values: Array, series: Sequence[str]) -> Array:
    """(cells, ...) -> (series, ...), the mean of each one's cells."""
    return np.stack([values[[name == one for one in series]].mean(0) for name in dict.fromkeys(series)])


def _lowest(errors: Array, at: int) -> float:
    """(draws, k) -> the share in which entrant `at` has the lowest."""
    lowest = errors.min(-1)
    return float(np.mean((errors[:, at] == lowest) & np.isfinite(lowest)))


def _above(means: Array, drawn: Array, at: int, reference: int) -> tuple[float, Bounds]:
    gap = drawn[:, at] - drawn[:, reference]
    return float(means[at] - means[reference]), _bounds(gap)


def _bounds(draws: Array) -> Bounds:
    if not np.isfinite(draws).all():
        return (np.nan, np.nan)
    low, high = np.quantile(draws, [(1 - LEVEL) / 2, (1 + LEVEL) / 2])
    return float(low), float(high)
