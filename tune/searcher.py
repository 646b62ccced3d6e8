"""How Ray Tune meets Optuna: a searcher over the recorded proposals, and ASHA whose rungs come from the records.

Tune's own OptunaSearch tells a trial that ASHA stopped as complete, with the loss of the epoch it was stopped at, and
cannot be rebuilt after a kill; this one tells it as stopped, and knows only what is on record.
"""

from collections.abc import Callable, Iterable
from dataclasses import replace
from types import SimpleNamespace
from typing import Any

from ray import tune as ray_tune
from ray.tune.schedulers import AsyncHyperBandScheduler
from ray.tune.search import Searcher

from lab.machines.faults import FaultWatch
from lab.machines.progress import trial_error
from lab.machines.queue import DriverOnly
from lab.machines.trial import TrialSpec
from tune.proposals import Proposal, Proposals


class ProposalSearcher(DriverOnly, Searcher):
    """Gives Tune the study's proposals and records what Tune says of them."""

    def __init__(self, proposals: Proposals, spec: TrialSpec, on_stopped: Callable[[Proposal], Any]):
        """`spec` goes to every trial; `on_stopped` is called for a trial that ASHA stopped."""
        super().__init__()
        self.proposals, self.spec, self.on_stopped = proposals, spec, on_stopped
        self._trials: dict[str, str] = {}  # Tune's id to ours

    def begin(self, trials: int) -> int:
        """Of how many trials of Tune's so many of ours consist at most. Called before anything is suggested."""
        return trials

    def suggest(self, trial_id: str) -> Any:
        proposal = self.proposals.propose()
        return Searcher.FINISHED if proposal is None else self._given(trial_id, proposal)

    def _given(self, trial_id: str, proposal: Proposal) -> dict[str, Any]:
        self._trials[trial_id] = proposal.trial
        stacks = self.proposals.stacks(proposal)
        configs = tuple(config.to_json() for _, stack in stacks for config in stack)
        return replace(self.spec, trial=proposal.trial, configs=configs).to_dict()

    def on_trial_complete(self, trial_id: str, result: dict[str, Any] | None = None, error: bool = False) -> None:
        if error or not result or "state" not in result:
            return  # a failure is recorded by FailureRecorder, which sees the error
        proposal = self.proposals.all[self._trials[trial_id]]
        state = "complete" if result["state"] == "complete" else "stopped"
        values = [result["value"]] if "value" in result else []
        if "parameters" in self.proposals.objectives and values:
            values.append(result["parameters"])
        if state == "complete" and not values:
            state = "stopped"
        self._ended(proposal, state, values, result)
        if result["state"] == "running":
            self.on_stopped(proposal)

    def _ended(self, proposal: Proposal, state: str, values: list[float], result: dict[str, Any]) -> None:
        self.proposals.finish(proposal.trial, state, values, result["reports"])

    def save(self, checkpoint_path: str) -> None:
        """Nothing: the records are the searcher's state."""

    def restore(self, checkpoint_path: str) -> None:
        """Nothing: see `save`."""


class FailureRecorder(DriverOnly, ray_tune.Callback):
    """Puts a trial that raised once too often on record, with its error."""

    def __init__(self, proposals: Proposals, watch: FaultWatch, close: Callable[[Proposal, str], None]):
        self.proposals, self.watch, self.close = proposals, watch, close

    def on_trial_error(self, iteration: int, trials: list[Any], trial: Any, **info: Any) -> None:
        if self.watch.forgives(trial):
            return
        error = trial_error(trial)
        proposal = self.proposals.all[TrialSpec.of(trial).name]
        result = trial.last_result or {}
        self.close(proposal, error)
        self.proposals.finish(proposal.trial, "failed", (), result.get("reports", ()), error)


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
        return _named(TrialSpec.of(trial).name)

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
