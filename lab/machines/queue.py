"""What Ray Tune asks for trials: a queue of so many of a searcher's, as many at once as the machines hold."""

import time
from collections.abc import Callable, Mapping
from types import MappingProxyType
from typing import Any

from ray.tune.search import ConcurrencyLimiter, Searcher


class DriverOnly:
    """Lives in the driver alone. Tune pickles what it is given for a restore that is never used here."""

    def __getstate__(self) -> dict[str, Any]:
        return {}


class SlotSearcher(DriverOnly, Searcher):
    """A searcher that the queue tells, before each trial that it asks for, how many may begin now."""

    free = 1


class TrialQueue(DriverOnly, ConcurrencyLimiter):
    """So many trials of a searcher, no more at once than a limit that may change: machines join and leave.

    Tune gives up a trial whose process dies while it starts; `again` gives its config to a trial of Tune's that follows
    it, and the searcher sees one trial.
    """

    def __init__(self, searcher: Searcher, samples: int, limit: Callable[[], int], seconds: float = 2.0):
        super().__init__(searcher, max_concurrent=limit())
        self._left, self._limit, self._seconds, self._looked = samples, limit, seconds, time.monotonic()
        self._waiting: list[str] = []  # the first of Tune's ids of each trial that is to be begun again
        self._configs: dict[str, Any] = {}  # by that id
        self._first: dict[str, str] = {}  # of Tune's later ids

    def suggest(self, trial_id: str) -> Any:
        if time.monotonic() - self._looked >= self._seconds:
            self._looked, self.max_concurrent = time.monotonic(), self._limit()
        if self._waiting and len(self.live_trials) < self.max_concurrent:
            first = self._first[trial_id] = self._waiting.pop(0)
            self.live_trials.add(trial_id)
            return dict(self._configs[first])
        if isinstance(self.searcher, SlotSearcher):
            self.searcher.free = min(self._left, self.max_concurrent - len(self.live_trials))
        found = super().suggest(trial_id) if self._left else Searcher.FINISHED
        if found == Searcher.FINISHED:
            self._left = 0
            return None if self.live_trials else found  # what lives may have to be begun again
        if isinstance(found, dict):
            self._left -= 1
            self._configs[trial_id] = dict(found)
        return found

    def again(self, trial_id: str, changes: Mapping[str, Any] = MappingProxyType({})) -> None:
        """Begins a trial that Tune has given up once more, with changes of its config, the others that wait first."""
        first = self._first.get(trial_id, trial_id)
        self._configs[first] |= changes
        self._waiting.append(first)

    def on_trial_complete(self, trial_id: str, result: dict[str, Any] | None = None, error: bool = False) -> None:
        self.live_trials.discard(trial_id)
        self.searcher.on_trial_complete(self._first.get(trial_id, trial_id), result, error)

    def save(self, checkpoint_path: str) -> None:
        """Nothing, as its searcher."""

    def restore(self, checkpoint_path: str) -> None:
        """Nothing: see `save`."""
