"""Who puts the runs of a trial on record that ASHA has stopped: its own process. The driver's loop decides, no more."""

import logging
import queue
from collections.abc import Callable, Sequence
from types import TracebackType
from typing import Any

import ray
from ray import tune as ray_tune
from ray.exceptions import RayActorError

from lab.console.interrupts import Background
from lab.errors import ConfigError, DataError
from lab.machines.queue import DriverOnly
from lab.machines.trial import TrialSpec
from lab.store.tables import Results
from lab.training.origins_run import Stack, stacks_run
from lab.training.stack_run import StackRun
from tune.proposals import Proposal, Proposals

logger = logging.getLogger(__name__)

UNUSABLE = (ConfigError, DataError, RuntimeError, MemoryError)  # of a stack that cannot be built here

StacksOf = Callable[[Proposal], list[Stack]]  # what a trial trains at each origin


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
