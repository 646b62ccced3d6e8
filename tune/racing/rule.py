"""The rule of a race: which trials get more seeds, from the losses of those that have all. Numbers in, a verdict out.

As in F-race and irace (Birattari et al. 2002; López-Ibáñez et al. 2016, Operations Research Perspectives 3),
blocks are seeds, and a trial is compared with the best so far on the seeds that both have. Two things differ:

- What is asked is what decides a search with fixed replicates: whose mean over its R seeds is the lower. Of those R a
  trial has k, so that the mean difference over the k stands for that over the R with the variance of a sample without
  replacement, 2 s² (1/k - 1/R) (Cochran 1977, Sampling Techniques, chapter 2). Nothing is asked beyond these seeds, so
  that a best trial that was lucky in them changes no rate: it would have been as lucky against R seeds.
- With one seed a difference has no spread of its own. s² is what losses of trials that have all R seeds do beside what
  their trial and their seed have in common: the residual of the table of C trials by R seeds, with (C - 1)(R - 1)
  degrees of freedom. As long as fewer than two have all their seeds nobody is excluded.

The test is one-sided, at ALPHA over all looks together (Bonferroni): of trials whose mean over R seeds would have been
lower than the best's, about so many at most are lost. It supposes that s² is the same for all: a trial whose seeds
differ more than those of others is lost more often, one whose seeds differ less is trained for longer than it need be.
"""

import math
from collections.abc import Sequence
from dataclasses import dataclass

from scipy import stats

ALPHA = 0.05


def looks(replicates: int) -> list[int]:
    """How many seeds a trial has where it is judged, and all of them last: 1, 2, 4, ..., replicates.

    Doubling, for seeds that are trained side by side cost less than one after the other, on a GPU far less.
    """
    found = [1]
    while found[-1] < replicates:
        found.append(min(2 * found[-1], replicates))
    return found


@dataclass(frozen=True)
class Judged:
    """A trial against the best so far, on the seeds that it has.

    Attributes:
        seeds: that it has, of `replicates`.
        mean: of its losses.
        best: the best trial so far; None where there is none.
        difference: mean loss above that of the best on the same seeds; NaN where there is no best.
        bound: what excludes a trial that is further above; infinite where too few have all their seeds.
    """

    seeds: int
    replicates: int
    mean: float
    best: str | None = None
    difference: float = math.nan
    bound: float = math.inf

    @property
    def excluded(self) -> bool:
        return self.difference > self.bound

    @property
    def text(self) -> str:
        """Why it gets more seeds, or none."""
        here = f"{'raced out' if self.excluded else 'raced on'} after {self.seeds} of {self.replicates} seeds"
        if self.best is None:
            return f"{here}: no trial has them all"
        side = "above" if self.difference > 0 else "below"
        said = f"{here}: {self.mean:.4f}, {abs(self.difference):.4f} {side} {self.best} on the same"
        if not math.isfinite(self.bound):
            return f"{said}; too few trials have them all to exclude one"
        return f"{said}; more than {self.bound:.4f} excludes"


class Race:
    """The trials of a study that have all their seeds. To add or to judge one takes as long however many there are."""

    def __init__(self, replicates: int, alpha: float = ALPHA):
        self.replicates, self.alpha = replicates, alpha
        self.best: tuple[float, str] | None = None  # mean and name
        self._losses: Sequence[float] = ()  # of the best, by seed
        self._trials = 0
        self._squares = 0.0  # of losses about their trial's mean
        self._columns = [0.0] * replicates  # the same, summed by seed

    def add(self, trial: str, losses: Sequence[float]) -> None:
        """Takes in a trial that has all its seeds."""
        if len(losses) != self.replicates:
            raise ValueError(f"{trial}: {self.replicates} losses are needed, got {len(losses)}")
        mean = math.fsum(losses) / len(losses)
        if self.best is None or (mean, trial) < self.best:
            self.best, self._losses = (mean, trial), tuple(losses)
        self._trials += 1
        self._squares += math.fsum((loss - mean) ** 2 for loss in losses)
        self._columns = [column + loss - mean for column, loss in zip(self._columns, losses, strict=True)]

    @property
    def degrees(self) -> int:
        """Of freedom, of the variance."""
        return max(0, self._trials - 1) * (self.replicates - 1)

    @property
    def variance(self) -> float:
        """s², of one loss beside what its trial and its seed have in common; NaN where nothing tells it."""
        if not self.degrees:
            return math.nan
        residual = self._squares - math.fsum(column**2 for column in self._columns) / self._trials
        return max(0.0, residual) / self.degrees

    def judge(self, losses: Sequence[float]) -> Judged:
        """A trial by the losses of its first seeds, fewer than all."""
        k = len(losses)
        if not 0 < k < self.replicates:
            raise ValueError(f"from 1 to {self.replicates - 1} losses can be judged, got {k}")
        mean = math.fsum(losses) / k
        if self.best is None:
            return Judged(k, self.replicates, mean)
        difference = mean - math.fsum(self._losses[:k]) / k
        bound = math.inf
        if self.degrees:
            tail = self.alpha / (len(looks(self.replicates)) - 1)
            error = math.sqrt(2 * self.variance * (1 / k - 1 / self.replicates))
            bound = float(stats.t.ppf(1 - tail, self.degrees)) * error
        return Judged(k, self.replicates, mean, self.best[1], difference, bound)
