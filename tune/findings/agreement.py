"""How the ranking of trials at one origin agrees with that at the next: whether what was chosen there travels.

By validation errors alone, so that it may be looked at while trials are still to come. Pure functions of them.
"""

import math
import statistics
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from itertools import pairwise
from typing import Any

import numpy as np
from scipy import stats

from lab.store.outcomes import over_origins

LEAST_RANKED = 3  # trials below which a rank correlation is 1, -1 or nothing
LEAST_FOR_INTERVAL = 10  # below which its interval, which holds for many, says too little

Losses = Mapping[str, Mapping[str, float]]  # trial -> origin -> validation error; both in their order


@dataclass(frozen=True)
class Agreement:
    """Complete trials at the origins by which one chooses and at the one that follows.

    Attributes:
        chosen_by: one origin, or all before the last.
        here, there: errors of the trials, those `here` the geometric means over `chosen_by`.
        incumbents: after each trial, the place of the best one so far by `here`; the last is what was chosen.
    """

    chosen_by: tuple[str, ...]
    following: str
    trials: tuple[str, ...]  # in the order of the proposals
    here: tuple[float, ...]
    there: tuple[float, ...]
    correlation: float  # Spearman's; NaN of too few trials, or where all are equal
    interval: tuple[float, float] | None  # 95%
    incumbents: tuple[int, ...]

    @property
    def chosen(self) -> int:
        """The place of the trial of the lowest error `here`."""
        return self.incumbents[-1]

    @property
    def rank(self) -> int:
        """Of the chosen trial at the following origin: 1 where none is better there."""
        return 1 + sum(error < self.there[self.chosen] for error in self.there)

    @property
    def regret(self) -> float:
        """By how many percent the chosen trial's error at the following origin is above the lowest there."""
        return self._above(self.there[self.chosen], min(self.there))

    @property
    def by_chance(self) -> float:
        """The median regret of all trials: that of one drawn by chance."""
        return self._above(float(np.median(self.there)), min(self.there))

    @property
    def overtuning(self) -> float:
        """By how many percent the chosen trial is worse at the following origin than a trial that was chosen before it
        (Schneider, Bischl and Feurer 2025, arXiv 2506.19540): what was lost there by searching on."""
        return self._above(self.there[self.chosen], min(self.there[place] for place in self.incumbents))

    @staticmethod
    def _above(error: float, lowest: float) -> float:
        return 100 * (error / lowest - 1) if lowest > 0 else math.nan


def losses_at(
    origins: Sequence[str], trials: Iterable[str], members: Iterable[Mapping[str, Any]],
    runs: Mapping[str, Mapping[str, Any]],
) -> Losses:  # fmt: skip
    """Mean validation MSE over the seeds of each trial at each origin; a trial that lacks one is left out.

    `members`, `runs`: rows of the tables; the runs by their id.
    """
    ids: dict[tuple[str, str], dict[str, None]] = {}
    for row in members:
        if row["role"] == "search":
            ids.setdefault((row["trial"], row["cell"]), {})[row["run"]] = None
    found: dict[str, dict[str, float]] = {}
    for trial in trials:
        there: dict[str, list[float]] = {}
        for origin in origins:
            known = [runs.get(run, {}).get("val_mse") for run in ids.get((trial, origin), ())]
            there[origin] = [value for value in known if value is not None]
            if not known or len(there[origin]) < len(known):
                break
        else:
            if there:
                found[trial] = {origin: statistics.fmean(values) for origin, values in there.items()}
    return found


def agreements(losses: Losses) -> tuple[Agreement, ...]:
    """Of complete trials, by the order of their proposals: each origin against the next; then, of three or more, the
    mean of all before against the last. None of fewer than two trials or origins."""
    names = list(next(iter(losses.values()), ()))
    if len(losses) < 2 or len(names) < 2:
        return ()
    pairs: list[tuple[tuple[str, ...], str]] = [((before,), after) for before, after in pairwise(names)]
    if len(names) > 2:
        pairs.append((tuple(names[:-1]), names[-1]))
    return tuple(_agreement(losses, chosen_by, following) for chosen_by, following in pairs)


def _agreement(losses: Losses, chosen_by: tuple[str, ...], following: str) -> Agreement:
    here = tuple(over_origins([at[name] for name in chosen_by]) for at in losses.values())
    there = tuple(at[following] for at in losses.values())
    incumbents: list[int] = []
    for place, error in enumerate(here):
        better = not incumbents or error < here[incumbents[-1]]
        incumbents.append(place if better else incumbents[-1])
    correlation = rank_correlation(here, there)
    interval = correlation_interval(correlation, len(here))
    return Agreement(chosen_by, following, tuple(losses), here, there, correlation, interval, tuple(incumbents))


def rank_correlation(here: Sequence[float], there: Sequence[float]) -> float:
    """Spearman's, ties at their mean rank; NaN of too few, or where all of one are equal."""
    if len(here) < LEAST_RANKED or min(here) == max(here) or min(there) == max(there):
        return math.nan
    return float(stats.spearmanr(here, there).statistic)


def correlation_interval(correlation: float, count: int) -> tuple[float, float] | None:
    """95%, by Fisher's z with the variance of Bonett and Wright (2000, Psychometrika 65), (1 + r²/2) / (n - 3)."""
    if count < LEAST_FOR_INTERVAL or not abs(correlation) < 1:
        return None
    centre, half = math.atanh(correlation), 1.96 * math.sqrt((1 + correlation**2 / 2) / (count - 3))
    return math.tanh(centre - half), math.tanh(centre + half)
