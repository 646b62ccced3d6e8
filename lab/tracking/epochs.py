"""The epochs of runs that train, on their way from a trial to a tracker, whoever writes the records.

A trial's reports reach the driver anyway. Where a tracker shows runs while they train, each carries the epochs that
were not told yet; the first of a process carries them all, since a killed driver may have missed any of them.
"""

from collections.abc import Iterable, Mapping, Sequence
from typing import Protocol, TypeAlias

MOST = 50  # runs that are shown at once: a tracker holds each open, and a stack may have thousands
TOLD = "epochs"  # in a trial's result
Told: TypeAlias = tuple[str, Mapping[str, float]]  # a run, and metric -> value of one of its epochs, "epoch" among them


class Trains(Protocol):
    """As `lab.training.run.Run` is."""

    @property
    def run(self) -> str: ...
    @property
    def history(self) -> Sequence[Mapping[str, float]]: ...


class Telling:
    """What a trial has told of its runs. `ids`: of these, in their order; no more than the first `most` are shown."""

    def __init__(self, ids: Sequence[str], most: int = MOST):
        self._told = dict.fromkeys(ids[:most], 0)  # rows of each run's history

    def news(self, runs: Iterable[Trains]) -> list[Told]:
        """The epochs since the last call. A run that fell back to its checkpoint tells again what it trains again."""
        found: list[Told] = []
        for run in runs:
            if run.run in self._told:
                found += [(run.run, row) for row in run.history[self._told[run.run] :]]
                self._told[run.run] = len(run.history)
        return found
