"""What happened to a study on the way, beside its training: on record, and in its reports."""

import logging
from collections import Counter
from dataclasses import dataclass
from datetime import datetime

from lab.provenance import host_name
from lab.store.beside.writer import Writer
from lab.store.objects.patient_storage import PatientStorage
from lab.store.tables import Results, StorageError

SHOWN = 40  # events that a report tells one by one

logger = logging.getLogger(__name__)


@dataclass(frozen=True)
class Event:
    time: datetime
    kind: str  # one of schema.EVENTS
    text: str  # one sentence
    trial: str  # of a search, or `stack N` of an ablation; '' if it befell none
    host: str  # that noticed it


def record_event(results: Results | Writer, study: str, kind: str, text: str, trial: str | None = None) -> None:
    """Puts an event on record, or gives it to a writer. A storage that can't take it costs the event, not the study."""
    row = {"study": study, "kind": kind, "text": text, "trial": trial, "host": host_name()}
    try:
        results.add("events", [row], key=kind)
    except StorageError as error:
        logger.warning("not on record: %s (%s)", text, error)


def record_outages(results: Results | Writer, study: str, trial: str | None = None) -> list[str]:
    """Puts on record, and returns, when the storage of a study was full or gone for a while."""
    storage = (results.results if isinstance(results, Writer) else results).storage
    outages = storage.take_outages() if isinstance(storage, PatientStorage) else []
    texts = [f"the storage was out of reach for {outage.seconds:.0f} s ({outage.cause})" for outage in outages]
    for text in texts:
        record_event(results, study, "storage_outage", text, trial)
    return texts


def wait_for_events(writer: Writer, seconds: float | None) -> None:
    """Until those given to it are on record, or so long; what is not then is not tried any more."""
    try:
        if not writer.wait(seconds):
            logger.warning("not all that happened is on record: the storage took too long")
    except StorageError as error:
        logger.warning("not all that happened is on record: %s", error)
    writer.drop()


def events_of(results: Results, study: str) -> list[Event]:
    """A study's events in order of time."""
    rows = results.table("events", study).to_pylist()
    return [Event(row["time"], row["kind"], row["text"], row["trial"] or "", row["host"] or "") for row in rows]


def incidents(results: Results, study: str) -> tuple[str, ...]:
    """A study's events as lines for a report: how many there were of each kind, then each with its time."""
    found = events_of(results, study)
    if not found:
        return ()
    counts = Counter(event.kind.replace("_", " ") for event in found)
    lines = [", ".join(f"{kind}: {count}" for kind, count in counts.most_common())]
    lines += [f"{event.time:%Y-%m-%d %H:%M:%S}: {event.text}" for event in found[:SHOWN]]
    if len(found) > SHOWN:
        lines.append(f"and {len(found) - SHOWN} more, in the table `events` of the results")
    return tuple(lines)
