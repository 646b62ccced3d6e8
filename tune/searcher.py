"""How Ray Tune meets Optuna: a searcher over the recorded proposals, and ASHA whose rungs come from the records.

Tune's own OptunaSearch tells a trial that ASHA stopped as complete, with the loss of the epoch it was stopped at, and
cannot be rebuilt after a kill; this one tells it as pruned, and knows only what is on record.
"""

import time
from collections.abc import Callable, Iterable, Mapping
from types import MappingProxyType, SimpleNamespace
from typing import Any

from ray.tune.schedulers import AsyncHyperBandScheduler
from ray.tune.search import ConcurrencyLimiter, Searcher

from tune.proposals import Proposal, Proposals


class DriverOnly:
    """Lives in the driver alone. Tune pickles what it is given for a restore that is never used here."""

    def __getstate__(self) -> dict[str, Any]:
        return {}


class ProposalSearcher(DriverOnly, Searcher):
    """Gives Tune the study's proposals and records what Tune says of them."""

    def __init__(self, proposals: Proposals, trial_config: Mapping[str, Any], on_pruned: Any):
        """`trial_config` goes to every trial; `on_pruned(proposal)` is called for a trial that ASHA stopped."""
        super().__init__()
        self.proposals, self.trial_config, self.on_pruned = proposals, dict(trial_config), on_pruned
        self._trials: dict[str, str] = {}  # Tune's id to ours

    def suggest(self, trial_id: str) -> Any:
        proposal = self.proposals.propose()
        if proposal is None:
            return Searcher.FINISHED
        self._trials[trial_id] = proposal.trial
        configs = [config.to_json() for config in proposal.configs(self.proposals.replicates)]
        return {**self.trial_config, "trial": proposal.trial, "configs": configs}

    def on_trial_complete(self, trial_id: str, result: dict[str, Any] | None = None, error: bool = False) -> None:
        if error or not result or "state" not in result:
            return  # a failure is recorded by FailureRecorder, which sees the error
        proposal = self.proposals.all[self._trials[trial_id]]
        state = "complete" if result["state"] == "complete" else "pruned"
        values = [result["value"]] if "value" in result else []
        if "parameters" in self.proposals.objectives and values:
            values.append(result["parameters"])
        if state == "complete" and not values:
            state = "pruned"
        self.proposals.finish(proposal.trial, state, values, result["reports"])
        if result["state"] == "running":
            self.on_pruned(proposal)

    def save(self, checkpoint_path: str) -> None:
        """Nothing: the records are the searcher's state."""

    def restore(self, checkpoint_path: str) -> None:
        """Nothing: see `save`."""


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


def _named(trial: str) -> Any:
    """What the rungs know of a trial: its id."""
    return SimpleNamespace(trial_id=trial)


class RecordedASHA(AsyncHyperBandScheduler):
    """Asynchronous successive halving (Li et al., arXiv 1810.05934) that knows the trials of earlier drivers.

    Trials are known by their id in the records, so a trial that goes on after a kill is not counted twice.
    """

    def __init__(self, recorded: Iterable[Proposal], *, max_epochs: int, grace_epochs: int, reduction_factor: float):
        super().__init__(
            time_attr="epoch", metric="value", mode="min", max_t=max_epochs,
            grace_period=min(grace_epochs, max_epochs), reduction_factor=reduction_factor, stop_last_trials=False,
        )  # fmt: skip
        for proposal in recorded:
            for epoch, value in proposal.reports:
                self._brackets[0].on_result(_named(proposal.trial), epoch, -value)

    @staticmethod
    def _known(trial: Any) -> Any:
        return _named(trial.config["trial"])

    def on_trial_add(self, tune_controller: Any, trial: Any) -> None:
        super().on_trial_add(tune_controller, self._known(trial))

    def on_trial_result(self, tune_controller: Any, trial: Any, result: dict[str, Any]) -> str:
        known = self._known(trial)
        for epoch, value in result.get("reports", ())[:-1]:  # a trial that goes on reports earlier epochs here first
            self._brackets[0].on_result(known, epoch, -value)
        return super().on_trial_result(tune_controller, known, result)

    def on_trial_complete(self, tune_controller: Any, trial: Any, result: dict[str, Any]) -> None:
        super().on_trial_complete(tune_controller, self._known(trial), result)

    def on_trial_remove(self, tune_controller: Any, trial: Any) -> None:
        super().on_trial_remove(tune_controller, self._known(trial))
