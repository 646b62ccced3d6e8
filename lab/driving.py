"""What the commands that train share: how one begins, whose study it is, how it stops, and what it says at its end."""

import logging
import tempfile
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

from lab.console.commands import command_line, refused
from lab.console.printing import VERBOSE, log_to_stderr, print, verbosity
from lab.errors import ConfigError, DataError
from lab.machines.options import Call
from lab.machines.processes import missed
from lab.machines.progress import duration
from lab.machines.session import STOPPED, Stop
from lab.store.objects.lease import Lease, LeaseHeld, lease_folder
from lab.store.objects.patient_storage import PatientStorage
from lab.store.studies.begun import check_whole
from lab.store.tables import Results, ResultsError, StorageError
from lab.tracking.tracker import Tracker


@dataclass
class Drive:
    """One call that holds a study: nobody else writes to it meanwhile."""

    study: str
    call: Call
    results: Results  # waits out a storage that is full or gone
    lease: Lease
    tracker: Tracker
    _started: float = 0.0

    @contextmanager
    def training(self) -> Iterator[tuple[Stop, Path]]:
        """What ends the trials before their time, whose clock begins here, and a folder that goes at the end."""
        self._started = time.monotonic()
        stop = Stop(self.call.resources.time_budget, self.lease)
        with tempfile.TemporaryDirectory(prefix="dynonet-") as scratch:
            yield stop, Path(scratch)

    def stopped(self, stop: Stop, module: str, stands: str = "") -> int:
        """Says why it was stopped, how the study stands, and how to go on. Returns the exit code."""
        assert stop.reason is not None, "it was not"
        self.tracker.hurry()
        after = duration(time.monotonic() - self._started)
        print(f"{STOPPED[stop.reason]} after {after}{stands and f': {stands}'}")
        print(f"Go on with the same command:\n  {command_line(module)}")
        return stop.exit_code


@contextmanager
def driving(study: str, call: Call) -> Iterator[Drive]:
    """Holds a study's lease, and feeds W&B where it is asked for. Raises LeaseHeld."""
    results, patience = Results(call.place.url), call.resources.storage_patience
    check_whole(results, study)
    with (
        Lease(results.storage, study, outage=patience) as lease,
        Tracker(call.tracking, results, lease) as tracker,
    ):
        storage = PatientStorage(results.storage.url, patience, lease_folder(study))
        storage.ours = lease.stands
        yield Drive(study, call, Results(storage), lease, tracker)


def run_command(module: str, work: Callable[[], int]) -> int:
    """A command that trains, from its quiet start to Ray's end: its exit code, 2 with one line on stderr for what it
    refuses. Other ends are `lab.console.commands`'s."""
    log_to_stderr()
    for name in ("ray", "ray.tune"):
        logging.getLogger(name).setLevel(logging.WARNING if verbosity() == VERBOSE else logging.CRITICAL)
    try:
        with missed(module):
            return work()
    except (ConfigError, DataError, ResultsError, StorageError, LeaseHeld) as error:
        return refused(error)
