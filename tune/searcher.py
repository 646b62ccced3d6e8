"""How Ray Tune meets Optuna: a searcher over the recorded proposals, and ASHA whose rungs come from the records; and
who puts the runs of a trial on record that ended early (`Closing`).

Tune's own OptunaSearch tells a trial that ASHA stopped as complete, with the loss of the epoch it was stopped at, and
cannot be rebuilt after a kill; this one tells it as stopped, and knows only what is on record.
"""

import logging
import queue
from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass, replace
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
from lab.machines.queue import DriverOnly, SlotSearcher
from lab.machines.trial import TrialSpec
from lab.store.tables import Results
from lab.training.origins_run import Stack, stacks_run
from lab.training.stack_run import StackRun
from tune.proposals import Proposal, Proposals

logger = logging.getLogger(__name__)

LOOK_SECONDS = 0.1
UNUSABLE = (ConfigError, DataError, RuntimeError, MemoryError)  # of a stack that cannot be built here
StacksOf = Callable[[Proposal], list[Stack]]  # what a trial trains at each origin


class ProposalSearcher(SlotSearcher):
    """Gives Tune the study's proposals and records what Tune says of them."""

    def __init__(
        self, proposals: Proposals, spec: TrialSpec, on_stopped: Callable[[Proposal], Any],
        over: Callable[[], bool] = lambda: False,
    ):  # fmt: skip
        """`spec` goes to every trial; `on_stopped` is called for a trial that ASHA stopped; `over` says whether no
        more are to be begun."""
        super().__init__()
        self.proposals, self.spec, self.on_stopped, self.over = proposals, spec, on_stopped, over
        self._trials: dict[str, str] = {}  # Tune's id to ours
        self._under_way: set[str] = set()  # by Tune's id
        self._chosen: list[Proposal] = []  # wait until they are on record

    def begin(self, trials: int) -> int:
        """Of how many trials of Tune's so many of ours consist at most. Called before anything is suggested."""
        return trials

    def suggest(self, trial_id: str) -> Any:
        """The next trial, as soon as it is on record what it is to train: of others nobody would know after a kill.

        Where that takes its time, one is chosen for every free slot, so that they wait side by side."""
        while True:
            for proposal in filter(self._written, self._chosen):
                self._chosen.remove(proposal)
                return self._given(trial_id, proposal)
            # Of a thousand slots the first does not wait for a thousand draws.
            while len(self._chosen) < self.free and not (self._chosen and self._written(self._chosen[0])):
                chosen = self._choose()
                if not isinstance(chosen, Proposal):
                    if not self._chosen:
                        return chosen
                    break
                if self._written(chosen):
                    return self._given(trial_id, chosen)
                self._chosen.append(chosen)
            if self._under_way or not self._chosen:
                return None
            # Where nothing else is under way Tune would sleep for a second, and hear of no end for minutes.
            if not self._written(self._chosen[0], LOOK_SECONDS) and self.over():
                return Searcher.FINISHED

    def _written(self, proposal: Proposal, seconds: float = 0.0) -> bool:
        return self.proposals.writer.written(proposal.trial, seconds)

    def _choose(self) -> Proposal | str | None:
        """What is trained next: FINISHED at the end, None where there is nothing for now."""
        return self.proposals.propose() or Searcher.FINISHED

    def _given(self, trial_id: str, proposal: Proposal) -> dict[str, Any]:
        self._trials[trial_id] = proposal.trial
        self._under_way.add(trial_id)
        stacks = self.proposals.stacks(proposal)
        configs = tuple(config.to_json() for _, stack in stacks for config in stack)
        return replace(self.spec, trial=proposal.trial, configs=configs).to_dict()

    def on_trial_complete(self, trial_id: str, result: dict[str, Any] | None = None, error: bool = False) -> None:
        self._under_way.discard(trial_id)
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
    """Ends a trial that raised once too often, with its error."""

    def __init__(self, proposals: Proposals, watch: FaultWatch, closing: "Closing"):
        self.proposals, self.watch, self.closing = proposals, watch, closing

    def on_trial_error(self, iteration: int, trials: list[Any], trial: Any, **info: Any) -> None:
        if self.watch.forgives(trial):
            return
        proposal = self.proposals.all[TrialSpec.of(trial).name]
        reports = (trial.last_result or {}).get("reports", ())
        record = self.proposals.failed(proposal.trial, reports, trial_error(trial))
        self.closing.failed(proposal, record)


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


# Who puts the runs of a trial on record that ended early: of one that ASHA has stopped its own process, of one that
# failed a thread. The driver's loop decides, no more.


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


@dataclass(frozen=True)
class _Task:
    trial: str
    work: Callable[[], None]
    again: Callable[[], None]  # what is tried at the end where it could not be done


class Closing(DriverOnly, ray_tune.Callback):
    """Has the runs of trials that ended early put on record: the loop asks and goes on.

    Those of a stopped trial by its own process, which begins its next trial when it has answered, so no more answers
    are to come than there are processes. A thread hears them, and does here what was not done, and what failed. A kill
    in between loses nothing: a stopped trial's last checkpoint goes when its runs are on record (`close_left`), and a
    failed one's outcome comes after them. As a context manager it waits until all is on record, or for `patience`
    seconds, or after an error not at all: the next driver does the rest.

    Raises StorageError: on leaving, where the storage is out of reach.
    """

    patience: float | None = None
    through = True  # all is on record

    def __init__(self, results: Results, stacks: StacksOf):
        self._results, self._stacks = Results(results.storage), stacks  # a cache of its own: this has a thread
        self._stopped: dict[str, Proposal] = {}  # whose process is to be asked as soon as Tune says which it is
        self._underway: set[str] = set()
        self._asked: queue.SimpleQueue[_Task | None] = queue.SimpleQueue()
        self._left: list[_Task] = []  # could not be done here either
        self._thread = Background(self._work, "closing")
        self._here = True  # what a process could not do is done here

    def stopped(self, proposal: Proposal) -> None:
        """ASHA has stopped this trial, and its outcome is with the writer."""
        self._stopped[proposal.trial] = proposal
        self._underway.add(proposal.trial)

    def failed(self, proposal: Proposal, record: Callable[[], None]) -> None:
        """This trial has failed; `record` puts its outcome on record, which is to come last."""
        self._underway.add(proposal.trial)
        self._ask(proposal, lambda: self._fail(proposal, record))

    def underway(self, trial: str) -> bool:
        """Whether the runs of a trial are still to be put on record."""
        return trial in self._underway

    def on_trial_complete(self, iteration: int, trials: list[Any], trial: Any, **info: Any) -> None:
        """Before Tune gives the process another trial: what is asked of it is done in that order."""
        name = TrialSpec.of(trial).name
        proposal = self._stopped.pop(name, None)
        if proposal is not None:
            process = trial.temporary_state.ray_actor
            answer = None if process is None else process.close_stopped.remote(name)
            self._ask(proposal, lambda: self._hear(proposal, answer), lambda: self._close(proposal))

    def let_go(self) -> None:
        """This driver has lost the study: from now on it writes nothing."""
        self._here = False

    def __enter__(self) -> "Closing":
        self._thread.start()
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        for proposal in self._stopped.values():  # of which Tune has not said which process it was
            self._ask(proposal, lambda proposal=proposal: self._close(proposal))  # type: ignore[misc]
        self._asked.put(None)
        if kind is None:
            self._thread.join(self.patience)
        if kind is not None or self._thread.is_alive():
            self.through = False
            self.let_go()
        elif self.patience is None:
            for task in self._left:
                task.again()
        else:
            self.through = not self._left

    def _ask(self, proposal: Proposal, work: Callable[[], None], again: Callable[[], None] | None = None) -> None:
        self._asked.put(_Task(proposal.trial, work, again or work))

    def _work(self) -> None:
        while (task := self._asked.get()) is not None:
            try:
                task.work()
            except Exception as error:  # said, and tried once more at the end: there are others to see to
                logger.warning("%s: its runs are not on record yet: %s", task.trial, error)
                self._left.append(task)
            self._underway.discard(task.trial)

    def _close(self, proposal: Proposal) -> None:
        if self._here:
            close_left(self._results, proposal, self._stacks, self._results.storage.list)

    def _fail(self, proposal: Proposal, record: Callable[[], None]) -> None:
        if self._here:
            close(self._results, proposal, self._stacks(proposal), "failed", proposal.error)
            record()

    def _hear(self, proposal: Proposal, answer: Any) -> None:
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
