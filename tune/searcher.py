"""How Ray Tune meets Optuna: a searcher over the recorded proposals, and ASHA whose rungs come from the records.

Tune's own OptunaSearch tells a trial that ASHA stopped as complete, with the loss of the epoch it was stopped at, and
cannot be rebuilt after a kill; this one tells it as stopped, and knows only what is on record.
"""

import logging
import queue
from collections.abc import Callable, Iterable, Sequence
from dataclasses import replace
from types import SimpleNamespace, TracebackType
from typing import Any

import ray
from ray import tune as ray_tune
from ray.exceptions import RayActorError
from ray.tune.schedulers import AsyncHyperBandScheduler
from ray.tune.search import Searcher

from lab.console.interrupts import Background
from lab.errors import ConfigError, DataError
from lab.machines.faults import FaultWatch
from lab.machines.progress import trial_error
from lab.machines.queue import DriverOnly
from lab.machines.trial import TrialSpec
from lab.store.tables import Results
from lab.training.origins_run import Stack, stacks_run
from lab.training.stack_run import StackRun
from tune.proposals import Proposal, Proposals

logger = logging.getLogger(__name__)

UNUSABLE = (ConfigError, DataError, RuntimeError, MemoryError)  # of a stack that cannot be built here
StacksOf = Callable[[Proposal], list[Stack]]  # what a trial trains at each origin


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


# Who puts the runs of a trial on record that ASHA has stopped: its own process. The driver's loop decides, no more.


def close(
    results: Results, proposal: Proposal, stacks: Sequence[Stack], status: str, error: str | None = None
) -> None:  # fmt: skip
    """Puts the runs of a trial that ended early on record, from its last checkpoint."""
    try:
        stacks_run(results, stacks).close(status, error)
    except UNUSABLE as problem:
        logger.warning("%s: its runs could not be recorded as %s: %s", proposal.trial, status, problem)


def close_left(results: Results, proposal: Proposal, stacks: StacksOf, there: Callable[[str], object]) -> None:
    """Puts the runs of an ended trial on record whose checkpoints' folder is still `there`: it goes last."""
    left = [
        (configs, series)
        for configs, series in stacks(proposal)
        if there(StackRun.folder_of([config.run_id(series.identity) for config in configs]))
    ]
    if left:
        status = "failed" if proposal.state == "failed" else "stopped"
        close(results, proposal, left, status, proposal.error)


def close_left_over(results: Results, proposals: Proposals, stacks: StacksOf) -> None:
    """A driver killed between a trial's outcome and its runs' records left a checkpoint: record them now."""
    folders = {"/".join(path.split("/")[:2]) for path in results.storage.list("checkpoints")}
    for proposal in proposals.outcomes:
        close_left(results, proposal, stacks, folders.__contains__)


class Closing(DriverOnly, ray_tune.Callback):
    """Has each stopped trial's process put its runs on record, and does it here where that process could not.

    The loop asks and goes on; a thread hears the answers, and does here what was not done. A process begins its next
    trial when it has answered, so no more answers are to come than there are processes. Nothing is lost by a kill in
    between: the trial's outcome was on record before, and its last checkpoint goes when its runs are (`close_left`).
    As a context manager it waits until all is on record, but for an end by an error: the next driver does the rest.

    Raises StorageError: on leaving, where the storage is out of reach.
    """

    def __init__(self, results: Results, stacks: StacksOf):
        self._results, self._stacks = Results(results.storage), stacks  # a cache of its own: this has a thread
        self._stopped: dict[str, Proposal] = {}  # whose process is to be asked as soon as Tune says which it is
        self._underway: set[str] = set()
        self._left: list[Proposal] = []  # could not be done here either
        self._answers: queue.SimpleQueue[tuple[Proposal, Any] | None] = queue.SimpleQueue()
        self._thread = Background(self._hear, "closing")
        self._here = True  # what a process could not do is done here

    def stopped(self, proposal: Proposal) -> None:
        """ASHA has stopped this trial, and its outcome is on record."""
        self._stopped[proposal.trial] = proposal
        self._underway.add(proposal.trial)

    def underway(self, trial: str) -> bool:
        """Whether the runs of a trial are still to be put on record."""
        return trial in self._underway

    def on_trial_complete(self, iteration: int, trials: list[Any], trial: Any, **info: Any) -> None:
        """Before Tune gives the process another trial: what is asked of it is done in that order."""
        name = TrialSpec.of(trial).name
        proposal = self._stopped.pop(name, None)
        if proposal is not None:
            process = trial.temporary_state.ray_actor
            self._answers.put((proposal, None if process is None else process.close_stopped.remote(name)))

    def let_go(self) -> None:
        """This driver has lost the study: from now on it writes nothing."""
        self._here = False

    def __enter__(self) -> "Closing":
        self._thread.start()
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self._answers.put(None)
        if kind is not None:
            self.let_go()
            return
        self._thread.join()
        for proposal in [*self._left, *self._stopped.values()]:
            self._close(proposal)

    def _close(self, proposal: Proposal) -> None:
        if self._here:
            close_left(self._results, proposal, self._stacks, self._results.storage.list)

    def _hear(self) -> None:
        while (item := self._answers.get()) is not None:
            proposal, answer = item
            try:
                self._done(proposal, answer)
            except Exception as error:  # said, and tried once more at the end: this thread has others to hear
                logger.warning("%s: its runs are not on record yet: %s", proposal.trial, error)
                self._left.append(proposal)
            self._underway.discard(proposal.trial)

    def _done(self, proposal: Proposal, answer: Any) -> None:
        try:
            if answer is not None:
                ray.get(answer)
                return
        except RayActorError:  # said by who watches the processes
            pass
        except Exception as error:
            reason = (str(error).strip().splitlines() or [type(error).__name__])[-1]
            logger.warning("%s: its process could not put its runs on record: %s", proposal.trial, reason)
        self._close(proposal)
