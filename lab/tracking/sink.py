"""Runs on their way to a tracker, whichever it is.

Parquet is the truth and a tracker is fed from it: a run that is on record is shown as it stands there, with its whole
history, and is marked as sent only after the tracker was seen to have it. What a kill, a full disk or a server that
does not answer keeps from arriving is sent later, by the next call or by `python -m tune.results wandb` or `track`.

While it trains a run is shown as far as its trial has told (see `lab.tracking.live`). No epoch goes twice, and none is
left out: a tracker that has a run to some epoch, from whatever call, gets those that come after it.

One more tracker is a subclass of three methods and a row of `lab.tracking.options`.
"""

import importlib
import re
from abc import ABC, abstractmethod
from collections.abc import Callable, Iterable, Sequence

from lab.store.tables import Results
from lab.tracking.options import TrackerError, Tracking, reason
from lab.tracking.runs import Member, TrackedRun, members_of, put_mark, sent_marks, tracked, unsent

BATCH = 20  # runs that are read, sent and looked up together
FAILURES = 2  # in a row after which the rest of a batch is not tried


class Sink(ABC):
    """All runs that this process shows in one tracker. Not for several threads at once.

    Args:
        patience: seconds that any one call to a server may take in all.
        stopped: tells whether to send no more; asked between two runs.
    """

    def __init__(
        self,
        options: Tracking,
        results: Results,
        patience: float = 20.0,
        stopped: Callable[[], bool] = lambda: False,
    ):
        self.options, self.results, self.patience, self.stopped = options, results, patience, stopped
        self.sent = 0  # runs that were seen to have arrived, in all
        self.ended: list[Member] = []  # those among them since somebody emptied it
        self._marks: dict[str, set[str]] = {}  # by study

    # What each tracker says -----------------------------------------------------------------------------------------

    @property
    @abstractmethod
    def place(self) -> list[str | None]:
        """What tells where runs are sent to from everywhere else."""

    @abstractmethod
    def show(self, run: TrackedRun, again: bool = False) -> None:
        """Makes the tracker's run what this one is: begun, with the epochs that it does not have, ended where it has.

        Raises whatever the tracker's client raises. `again`: also what was sent before.
        """

    @abstractmethod
    def said(self, *studies: str) -> str:
        """What was sent where, in a line."""

    @classmethod  # noqa: B027
    def check(cls, options: Tracking, results: Results) -> None:
        """Before anything is computed, and without a network. Raises TrackerError where it cannot work."""

    @classmethod
    def shows_training(cls, options: Tracking) -> bool:
        """Whether runs are shown while they train, too."""
        return True

    def connect(self) -> None:  # noqa: B027
        """Raises TrackerError where nobody answers."""

    def arrived(self, runs: Sequence[TrackedRun]) -> list[TrackedRun]:
        """Those of the runs shown, all of them ended, that the tracker has to their end."""
        return list(runs)

    def close(self) -> None:  # noqa: B027
        """Leaves what was begun and has not ended as it is: the next call goes on with it."""

    # The same for all -----------------------------------------------------------------------------------------------

    @property
    def destination(self) -> str:
        """Names a place that runs are sent to, in the paths of marks."""
        return re.sub(r"[^A-Za-z0-9._]+", "-", "-".join(part for part in self.place if part))

    def send(self, study: str, members: Iterable[Member] | None = None, again: bool = False) -> int:
        """Sends what is on record of a study and was not sent yet; returns the number of runs.

        Args:
            members: only these.
            again: also what was sent before.
        Raises:
            TrackerError: not all has arrived. What has is marked.
        """
        self.connect()
        if study not in self._marks:
            self._marks[study] = sent_marks(self.results, study, self.destination)
        marks = self._marks[study]
        members = members_of(self.results, study) if members is None else members
        left = unsent(self.results, members, set() if again else marks)
        count, problem = 0, ""
        while left and not self.stopped():
            size = BATCH if self.sent else FAILURES  # not much before one is seen to arrive
            found, failed = self._send_batch(tracked(self.results, left[:size]), marks, again)
            count, left, problem = count + found, left[size:], problem or failed
            if failed and not found:
                break
        if problem:
            raise TrackerError(problem)
        return count

    def _send_batch(self, runs: Sequence[TrackedRun], marks: set[str], again: bool) -> tuple[int, str]:
        """Returns how many have arrived, and what was wrong with others."""
        shown: list[TrackedRun] = []
        problem: Exception | None = None
        failures = 0
        for run in runs:
            if self.stopped() or failures >= FAILURES:
                break
            try:
                self.show(run, again)
                shown.append(run)
                failures = 0
            except Exception as error:  # whatever a client raises: a study must not end for it
                problem = error
                failures += 1
        try:
            found = self.arrived(shown)
        except Exception as error:
            found, problem = [], problem or error
        for run in found:
            put_mark(self.results, self.destination, run, self.options.mode)
            marks.add(run.mark)
        self.sent += len(found)
        self.ended += [run.member for run in found]
        why = "" if problem is None else reason(problem)
        if not why and (missing := len(shown) - len(found)):
            why = f"{missing} runs were sent, and the server does not have them as finished"
        return len(found), why

    def __enter__(self) -> "Sink":
        return self

    def __exit__(self, *_: object) -> None:
        self.close()


def sink_of(
    options: Tracking, results: Results, patience: float = 20.0, stopped: Callable[[], bool] = lambda: False
) -> Sink:
    """What shows runs where the options say. Raises TrackerError where its client cannot be imported."""
    return sink_class(options)(options, results, patience, stopped)


def sink_class(options: Tracking) -> type[Sink]:
    module, _, name = options.kind.sink.partition(":")
    found: type[Sink] = getattr(importlib.import_module(module), name)
    return found
