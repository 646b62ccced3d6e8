"""A tracker while a study runs: one thread of the driver that feeds it, and never holds the study up.

Trials know nothing of it, but that their reports are to carry their runs' epochs. While a run trains it is shown as far
as these have told; when its trial has ended, its runs are on record, and their places in the study are queued; at the
end of a call everything on record that was not sent is. If the tracker does not take it, the study goes on after one
warning, tries again now and then, and whatever is still missing can be sent later (see `Tracking.command`).
"""

import queue
import sys
import threading
import time
from collections.abc import Callable, Sequence
from types import TracebackType
from typing import Any, TypeAlias

from ray import tune as ray_tune

from lab.console.printing import print
from lab.machines.queue import DriverOnly
from lab.machines.trial import TrialSpec
from lab.store.objects.lease import Lease
from lab.store.tables import Results
from lab.tracking.epochs import TOLD, Told
from lab.tracking.live import LiveRuns
from lab.tracking.options import TrackerError, Tracking
from lab.tracking.runs import Member, over
from lab.tracking.sink import FAILURES, Sink, sink_class, sink_of

PATIENCE_SECONDS = 20.0  # for any one call to a server
PAUSE_SECONDS = 120.0  # before the tracker is tried again, doubled each time
STALLED_SECONDS = 30.0  # without a run having arrived, at the end of a call
HURRY_SECONDS = 3.0  # at the end of a call that was interrupted
# Runs that train are shown in turns: so often at most, and no more than this share of the driver's CPU time goes into
# it. What has to wait is shown by a later turn, or with the rest of its run when that is on record.
TURN_SECONDS = 1.0
SHARE = 0.05

MembersOf = Callable[[TrialSpec, Sequence[str]], Sequence[Member]]
# What the thread is told: of a study whose records are to be sent, all or those of some members; of a trial that
# begins; of epochs; of the end.
Item: TypeAlias = tuple[str, Sequence[Member] | None] | tuple[TrialSpec, MembersOf] | list[Told] | None


class Tracker:
    """Feeds a tracker during one call of a command, as a context manager. Off, it does nothing and imports nothing.

    `lease`: of the study; nothing more is sent once another driver holds it.
    """

    def __init__(self, options: Tracking, results: Results, lease: Lease | None = None):
        self.options, self.lease = options, lease
        self._storage = results.storage
        self._studies: list[str] = []
        self._queue: queue.SimpleQueue[Item] = queue.SimpleQueue()
        self._thread: threading.Thread | None = None
        self._warned = self._stop = False
        self._patience = STALLED_SECONDS
        self._sink: Sink | None = None
        self._live = LiveRuns()
        self._turn = 0.0  # when runs that train were shown last
        self._failing = False  # the last that was sent has not arrived
        self._pause, self._tries_again = PAUSE_SECONDS, 0.0
        self.cpu_seconds = 0.0  # of the thread
        if not self.on:
            return
        try:
            sink_class(options).check(options, results)
        except TrackerError as error:
            self._warn(str(error))
            self.options = Tracking()

    @property
    def on(self) -> bool:
        return self.options.on

    @property
    def live(self) -> bool:
        """Whether trials are to tell of every epoch."""
        return self.on and sink_class(self.options).shows_training(self.options)

    def follow(self, study: str) -> None:
        """Sends what is on record of a study and was not sent, now and at the end."""
        if not self.on:
            return
        if study not in self._studies:
            self._studies.append(study)
        self._queue.put((study, None))
        if self._thread is None:
            self._thread = threading.Thread(target=self._work, name="tracker", daemon=True)
            self._thread.start()

    def callbacks(
        self, study: str, members_of: MembersOf, underway: Callable[[str], bool] = lambda trial: False
    ) -> list[Any]:
        """For Ray Tune. `members_of`: the places in the study of a trial's runs, from its spec and their ids;
        `underway`: whether those of an ended trial, by its name, are still to be put on record."""
        if not self.on:
            return []
        ended = EndedTrials(lambda members: self._queue.put((study, members)), members_of, underway)
        return [ended, *([TrainingTrials(self._queue.put, members_of)] if self.live else [])]

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
        title = self.options.kind.title
        if in_time and not self._failing and self._sink is not None:
            print(f"{title}: {self._sink.said(*self._studies)}")
        elif not self._warned and self._patience > HURRY_SECONDS:
            self._warn("not everything was sent in time")
        else:
            print(f"{title}: what is missing can be sent by {self._command()}")

    # In the thread --------------------------------------------------------------------------------------------------

    @property
    def _arrived(self) -> int:
        return 0 if self._sink is None else self._sink.sent

    def _stopped(self) -> bool:
        return self._stop or (self.lease is not None and self.lease.lost)

    def _work(self) -> None:
        results = Results(self._storage)  # of this thread alone
        closing = False
        while not closing:
            try:
                item = self._queue.get(timeout=self._until_turn())
            except queue.Empty:
                item = []
            closing, begun = item is None, time.thread_time()
            try:
                self._take_in(item, results)
                if not self._failing or time.monotonic() >= self._tries_again:
                    self._sink = self._sink or sink_of(self.options, results, PATIENCE_SECONDS, self._stopped)
                    self._send(item, self._sink)
            except Exception as error:  # a study must not end for it
                self._failing = True
                self._tries_again, self._pause = time.monotonic() + self._pause, 2 * self._pause
                self._warn(str(error) if isinstance(error, TrackerError) else f"{type(error).__name__}: {error}")
            self.cpu_seconds += time.thread_time() - begun
        if self._sink is not None:
            self._sink.close()

    def _take_in(self, item: Item, results: Results) -> None:
        """What is known of the runs that train, whether the tracker takes it now or not."""
        if isinstance(item, list):
            self._live.take(item)
        elif item is not None and isinstance(item[0], TrialSpec):
            spec, members_of = item
            ids = spec.ids()
            self._live.begin(spec, members_of(spec, ids), over(results, ids))
        elif item is not None and item[1] is not None:
            self._live.end(item[1])

    def _send(self, item: Item, sink: Sink) -> None:
        """Sends what an item asks for, or everything missing where something is. Raises what the sink raises."""
        asks = item is None or (not isinstance(item, list) and isinstance(item[0], str))
        if self._failing or item is None or (asks and item[1] is None):
            for study in self._studies:
                sink.send(study)
        elif asks:
            sink.send(*item)
        self._live.end(sink.ended)
        sink.ended.clear()
        if not asks and self._until_turn() == 0.0:
            self._show(sink)
        self._failing, self._pause = False, PAUSE_SECONDS

    def _show(self, sink: Sink) -> None:
        """A turn of the runs that train. One that is refused waits until it is on record."""
        sink.connect()
        failures, refused = 0, list[Member]()
        for member in list(self._live.news):
            if self._stopped():
                break
            try:
                sink.show(self._live.run(member))
                del self._live.news[member]
                failures = 0
            except Exception:
                refused.append(member)
                failures += 1
                if failures == FAILURES:
                    raise
        self._live.end(refused)
        self._turn = time.monotonic()

    def _until_turn(self) -> float | None:
        """Seconds until runs that train may be shown; None where none has news."""
        if not self._live.news:
            return None
        now, due = time.monotonic(), self._turn + TURN_SECONDS
        if self._failing:
            due = max(due, self._tries_again)
        if self.cpu_seconds > SHARE * time.process_time():
            due = max(due, now + TURN_SECONDS)
        return max(0.0, due - now)

    # What is said ---------------------------------------------------------------------------------------------------

    def _warn(self, why: str) -> None:
        """Once a call."""
        if not self._warned:
            self._warned = True
            later = f"; what is missing can be sent later by {self._command()}" if self._studies else ""
            print(f"warning: {self.options.title}: {why}. The study goes on{later}", file=sys.stderr, flush=True)

    def _command(self) -> str:
        return self.options.command(self._studies[0], self._storage.url)


class EndedTrials(DriverOnly, ray_tune.Callback):
    """Tells of the runs of trials that have ended, once Tune's step is over and they are on record. (Of those that are
    not when the last step is over, the tracker's end tells.)"""

    def __init__(
        self, tell: Callable[[Sequence[Member]], None], members_of: MembersOf,
        underway: Callable[[str], bool] = lambda trial: False,
    ):  # fmt: skip
        self._tell, self._members_of, self._underway = tell, members_of, underway
        self._ended: list[TrialSpec] = []

    def on_trial_complete(self, iteration: int, trials: list[Any], trial: Any, **info: Any) -> None:
        self._ended.append(TrialSpec.of(trial))

    def on_trial_error(self, iteration: int, trials: list[Any], trial: Any, **info: Any) -> None:
        self._ended.append(TrialSpec.of(trial))

    def on_step_end(self, iteration: int, trials: list[Any], **info: Any) -> None:
        ended, self._ended = self._ended, []
        for spec in ended:
            if self._underway(spec.name):
                self._ended.append(spec)
                continue
            self._tell(self._members_of(spec, spec.ids()))


class TrainingTrials(DriverOnly, ray_tune.Callback):
    """Tells of trials that begin, and of the epochs that their reports carry."""

    def __init__(self, tell: Callable[[Item], None], members_of: MembersOf):
        self._tell, self._members_of = tell, members_of

    def on_trial_start(self, iteration: int, trials: list[Any], trial: Any, **info: Any) -> None:
        self._tell((TrialSpec.of(trial), self._members_of))

    def on_trial_result(
        self, iteration: int, trials: list[Any], trial: Any, result: dict[str, Any], **info: Any
    ) -> None:
        if told := result.get(TOLD):
            self._tell(list(told))
