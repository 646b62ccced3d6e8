"""W&B while a study runs: one thread of the driver that feeds it from the records, and never holds the study up.

Trials know nothing of it. When one has ended, its runs are on record, and their places in the study are queued; at the
end of a call everything on record that was not sent is. If W&B does not take it, the study goes on after one warning,
tries again now and then, and whatever is still missing can be sent later by `python -m tune.results wandb STUDY`.
"""

import queue
import sys
import threading
import time
from collections.abc import Callable, Sequence
from types import TracebackType
from typing import Any

from ray import tune as ray_tune

from lab.console.printing import print
from lab.machines.queue import DriverOnly
from lab.machines.trial import TrialSpec
from lab.store.objects.lease import Lease
from lab.store.tables import Results
from lab.tracking.client import WandbError, check_key, client, local_folder
from lab.tracking.options import Tracking
from lab.tracking.runs import Member
from lab.tracking.sink import WandbSink

PATIENCE_SECONDS = 20.0  # for any one call to a server
PAUSE_SECONDS = 120.0  # before W&B is tried again, doubled each time
STALLED_SECONDS = 30.0  # without a run having arrived, at the end of a call
HURRY_SECONDS = 3.0  # at the end of a call that was interrupted

MembersOf = Callable[[TrialSpec, Sequence[str]], Sequence[Member]]


class Tracker:
    """Feeds W&B during one call of a command, as a context manager. Off, it does nothing and imports nothing.

    `lease`: of the study; nothing more is sent once another driver holds it.
    """

    def __init__(self, options: Tracking, results: Results, lease: Lease | None = None):
        self.options, self.lease = options, lease
        self._storage = results.storage
        self._studies: list[str] = []
        self._queue: queue.SimpleQueue[tuple[str, Sequence[Member] | None] | None] = queue.SimpleQueue()
        self._thread: threading.Thread | None = None
        self._warned = self._stop = False
        self._patience = STALLED_SECONDS
        self._sink: WandbSink | None = None
        self._failing = False  # the last that was sent has not arrived
        self.cpu_seconds = 0.0  # of the thread
        if not self.on:
            return
        try:
            client(local_folder(results.storage))
            if options.mode == "online":
                check_key()
        except WandbError as error:
            self._warn(str(error))
            self.options = Tracking()

    @property
    def on(self) -> bool:
        return self.options.mode != "off"

    def follow(self, study: str) -> None:
        """Sends what is on record of a study and was not sent, now and at the end."""
        if not self.on:
            return
        if study not in self._studies:
            self._studies.append(study)
        self._queue.put((study, None))
        if self._thread is None:
            self._thread = threading.Thread(target=self._work, name="wandb", daemon=True)
            self._thread.start()

    def callbacks(self, study: str, members_of: MembersOf) -> list[Any]:
        """For Ray Tune. `members_of`: the places in the study of a trial's runs, from its spec and their ids."""
        if not self.on:
            return []
        return [EndedTrials(lambda members: self._queue.put((study, members)), members_of)]

    def hurry(self) -> None:
        """The call ends before its time: it waits for little."""
        self._patience = HURRY_SECONDS

    def __enter__(self) -> "Tracker":
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        if kind is not None:
            self.hurry()
        self.close()

    def close(self) -> None:
        """Sends the rest, as long as runs arrive, and says how it stands."""
        if self._thread is None:
            return
        self._queue.put(None)
        arrived, since = self._arrived, time.monotonic()
        while self._thread.is_alive() and time.monotonic() - since < self._patience:
            self._thread.join(0.1)
            if self._arrived != arrived:
                arrived, since = self._arrived, time.monotonic()
        in_time = not self._thread.is_alive()
        self._stop = True
        self._thread.join(HURRY_SECONDS)
        if in_time and not self._failing and self._sink is not None:
            print(f"W&B: {self._sink.said(*self._studies)}")
        elif not self._warned and self._patience > HURRY_SECONDS:
            self._warn("not everything was sent in time")
        else:
            print(f"W&B: what is missing can be sent by {self._command()}")

    # In the thread --------------------------------------------------------------------------------------------------

    @property
    def _arrived(self) -> int:
        return 0 if self._sink is None else self._sink.sent

    def _stopped(self) -> bool:
        return self._stop or (self.lease is not None and self.lease.lost)

    def _work(self) -> None:
        pause, tries_again = PAUSE_SECONDS, 0.0
        results = Results(self._storage)  # of this thread alone
        closing = False
        while not closing:
            item = self._queue.get()
            closing = item is None
            if self._failing and time.monotonic() < tries_again:
                continue  # when it is tried again, everything missing is sent
            begun = time.thread_time()
            try:
                self._sink = self._sink or WandbSink(self.options, results, PATIENCE_SECONDS, self._stopped)
                if item is None or item[1] is None or self._failing:
                    for study in self._studies:
                        self._sink.send(study)
                else:
                    self._sink.send(*item)
                self._failing, pause = False, PAUSE_SECONDS
            except Exception as error:  # a study must not end for it
                self._failing = True
                tries_again, pause = time.monotonic() + pause, 2 * pause
                self._warn(str(error) if isinstance(error, WandbError) else f"{type(error).__name__}: {error}")
            self.cpu_seconds += time.thread_time() - begun
        if self._sink is not None:
            self._sink.close()

    # What is said ---------------------------------------------------------------------------------------------------

    def _warn(self, why: str) -> None:
        """Once a call."""
        if not self._warned:
            self._warned = True
            later = f"; what is missing can be sent later by {self._command()}" if self._studies else ""
            print(f"warning: W&B ({self.options.mode}): {why}. The study goes on{later}", file=sys.stderr, flush=True)

    def _command(self) -> str:
        return f"python -m tune.results wandb {self._studies[0]} --results {self._storage.url}"


class EndedTrials(DriverOnly, ray_tune.Callback):
    """Tells of the runs of trials that have ended, once Tune's step is over and they are on record."""

    def __init__(self, tell: Callable[[Sequence[Member]], None], members_of: MembersOf):
        self._tell, self._members_of = tell, members_of
        self._ended: list[TrialSpec] = []

    def on_trial_complete(self, iteration: int, trials: list[Any], trial: Any, **info: Any) -> None:
        self._ended.append(TrialSpec.of(trial))

    def on_trial_error(self, iteration: int, trials: list[Any], trial: Any, **info: Any) -> None:
        self._ended.append(TrialSpec.of(trial))

    def on_step_end(self, iteration: int, trials: list[Any], **info: Any) -> None:
        ended, self._ended = self._ended, []
        for spec in ended:
            self._tell(self._members_of(spec, spec.ids()))
