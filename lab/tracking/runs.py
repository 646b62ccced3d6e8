"""What a tracker is told of runs, and which of those on record it has been told of. Nothing here needs a tracker.

A tracker's run stands for one run of ours in one place of a study: an arm and cell, or a trial. Its id is a hash of
these, so whoever sends it, now or later, from here or elsewhere, goes on with the same one. When it has arrived as it
is on record, a mark is put into the store: `tracking/STUDY/DESTINATION/ID-aATTEMPT.json`, `-test` before the dot if a
reading of test went along.
"""

import hashlib
import json
from collections import defaultdict
from collections.abc import Collection, Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from datetime import datetime
from pathlib import PurePosixPath
from typing import Any

from lab.references.titles import TITLES
from lab.store.columns import is_range
from lab.store.objects.checksums import plain
from lab.store.schema import BARS
from lab.store.tables import Results

# Columns of table `runs` that tell how a run went (so do ranges), and those that tell where it came from.
SUMMARY = (
    "status", "val_mse", "val_mae", "best_epoch", "epochs", "parameters", "cpu_seconds", "gpu_seconds", "wall_seconds",
    "peak_memory_bytes", "stack_size", "error", "started", "ended",
)  # fmt: skip
PROVENANCE = ("git_commit", "git_dirty", "data_sha256", "host", "device", "kernel")
SEEN = ("run", "attempt", "status")
RUNNING = "running"  # the status of a run that still trains, and is on no record


@dataclass(frozen=True)
class Member:
    """A run's place in a study: a row of table `members`."""

    study: str
    role: str
    run: str
    trial: str | None = None
    arm: str | None = None
    cell: str | None = None

    @classmethod
    def of(cls, row: Mapping[str, Any]) -> "Member":
        return cls(row["study"], row["role"], row["run"], row["trial"], row["arm"], row["cell"])

    @property
    def id(self) -> str:
        """Of the W&B run: the same in every call, on every machine."""
        return run_id(self.study, self.arm or self.trial, self.cell, self.run)


@dataclass(frozen=True)
class TrackedRun:
    """A run as the records have it, or as far as it is known while it trains."""

    member: Member
    row: Mapping[str, Any]  # of table `runs`
    readings: Mapping[str, float] = field(default_factory=dict)  # test_mse, test_mse/OT for channel OT
    history: Sequence[tuple[int, Mapping[str, float]]] = ()  # (epoch, metric -> value), epoch after epoch

    @property
    def id(self) -> str:
        return self.member.id

    @property
    def mark(self) -> str:
        return mark_name(self.member, self.row["attempt"], bool(self.readings))

    @property
    def last_step(self) -> int:
        return max((step for step, _ in self.history), default=0)

    @property
    def name(self) -> str:
        """What W&B shows."""
        member = self.member
        if member.role == "baseline":
            parts = [TITLES.get(self.row["model"], self.row["model"])]
        else:
            parts = [member.arm or member.trial or member.role, "final" if member.role == "final" else ""]
        parts.append(f"in {member.cell}" if member.cell not in (None, "main") else "")
        parts.append("" if self.row["seed"] is None else f"seed {self.row['seed']}")
        return " ".join(part for part in parts if part)

    @property
    def tags(self) -> list[str]:
        return [tag for tag in (self.member.role, self.row["dataset"], self.row["protocol"]) if tag]

    @property
    def config(self) -> dict[str, Any]:
        """Every setting in its section, which W&B shows by its dotted key; the run's place in the study; provenance."""
        row, member = self.row, self.member
        settings = json.loads(row["config"])
        if settings["data"].get("path"):  # of a file its name alone: its folder may be somebody's home
            settings["data"]["path"] = PurePosixPath(settings["data"]["path"]).name
        if row["model"] in BARS:  # of the settings these read the data's alone
            settings = {"data": settings["data"]}
        place = {
            "study": member.study, "role": member.role, "trial": member.trial, "arm": member.arm, "cell": member.cell,
            "run": member.run, "attempt": row["attempt"], "seed": row["seed"], "protocol": row["protocol"],
            "dataset": row["dataset"], "kind": row["model"],
        }  # fmt: skip
        origin = {
            "provenance": {name: row[name] for name in PROVENANCE if row[name] is not None},
            "versions": json.loads(row["versions"] or "{}"),
        }
        return {**settings, **{key: value for key, value in place.items() if value is not None}, **origin}

    @property
    def summary(self) -> dict[str, Any]:
        """How it went. A number that is missing on record is missing here."""
        found = {name: value for name, value in self.row.items() if tells_how_it_went(name)}
        for metric in ("val_mse", "val_mae"):
            channels, values = self.row["channels"] or (), self.row[f"{metric}_channels"] or ()
            found |= {f"{metric}/{channel}": value for channel, value in zip(channels, values, strict=False)}
        found |= self.readings
        return {
            name: value.isoformat() if isinstance(value, datetime) else value
            for name, value in found.items()
            if value is not None
        }

    @property
    def ended(self) -> bool:
        return bool(self.row["status"] != RUNNING)

    @property
    def exit_code(self) -> int:
        """W&B shows a run that ended with another one than 0 as failed."""
        return 1 if self.row["status"] == "failed" else 0


def tells_how_it_went(name: str) -> bool:
    """Whether a column of table `runs` is part of a W&B run's summary."""
    return name in SUMMARY or is_range(name)


def run_id(*place: str | None) -> str:
    """Of a W&B run, from what tells it from all others."""
    return hashlib.sha256(json.dumps(place).encode()).hexdigest()[:20]


def mark_name(member: Member, attempt: int, tested: bool) -> str:
    return f"{member.id}-a{attempt}{'-test' if tested else ''}"


def members_of(results: Results, study: str) -> list[Member]:
    """Every place of a run in the study, each once."""
    return list(dict.fromkeys(Member.of(row) for row in results.table("members", study).to_pylist()))


def unsent(results: Results, members: Iterable[Member], sent: Collection[str]) -> list[Member]:
    """Those whose run is on record and not among the marks as it stands there: its latest attempt, its test read."""
    members = list(members)
    ids = {member.run for member in members}
    runs = {row["run"]: row for row in results.latest(ids).select(SEEN).to_pylist()}
    tested = _readings(results, runs)
    return [
        member
        for member in members
        if member.run in runs
        and mark_name(member, runs[member.run]["attempt"], bool(tested.get(member.run))) not in sent
    ]


def over(results: Results, runs: Iterable[str]) -> set[str]:
    """Those that have come to their end, and are not trained again."""
    rows = results.latest(set(runs)).select(SEEN).to_pylist()
    return {row["run"] for row in rows if row["status"] in ("complete", "diverged")}


def tracked(results: Results, members: Sequence[Member]) -> list[TrackedRun]:
    """What W&B is told of these; one whose run is not on record is left out."""
    rows = results.runs({member.run for member in members})
    readings = _readings(results, rows)
    epochs: dict[str, dict[int, dict[str, float]]] = defaultdict(lambda: defaultdict(dict))
    for number in results.of_runs("history", rows).to_pylist():
        if number["attempt"] == rows[number["run"]]["attempt"] and number["value"] is not None:
            epochs[number["run"]][number["step"]][number["metric"]] = number["value"]
    found = []
    for member in members:
        if member.run not in rows:
            continue
        run = TrackedRun(member, rows[member.run], readings.get(member.run, {}), sorted(epochs[member.run].items()))
        try:
            _ = run.config
        except (ValueError, TypeError, KeyError, AttributeError, RecursionError) as error:
            results.skip({f"runs, the config of {member.run}": f"no settings of ours ({type(error).__name__})"})
            continue
        found.append(run)
    return found


def _readings(results: Results, rows: Mapping[str, Mapping[str, Any]]) -> dict[str, dict[str, float]]:
    """Each run's readings of test, as `tune.results.load` shows them: the latest of the attempt counts."""
    found: dict[str, dict[str, float]] = defaultdict(dict)
    for reading in results.of_runs("evaluations", rows).to_pylist():  # in order of time
        attempt = rows[reading["run"]]["attempt"]
        if reading["split"] == "test" and reading["attempt"] in (None, attempt) and reading["value"] is not None:
            channel = "" if reading["channel"] is None else f"/{reading['channel']}"
            found[reading["run"]][f"test_{reading['metric']}{channel}"] = reading["value"]
    return found


# Marks ---------------------------------------------------------------------------------------------------------------


def marks_folder(study: str, destination: str) -> str:
    return f"tracking/{study}/{destination}"


def sent_marks(results: Results, study: str, destination: str) -> set[str]:
    return {PurePosixPath(plain(path)).stem for path in results.storage.list(marks_folder(study, destination))}


def put_mark(results: Results, destination: str, run: TrackedRun, where: str) -> None:
    content = {"run": run.member.run, "last_step": run.last_step, "where": where}
    path = f"{marks_folder(run.member.study, destination)}/{run.mark}.json"
    results.put_blob(path, json.dumps(content).encode())


def last_step_sent(results: Results, destination: str, member: Member, sent: Iterable[str]) -> int:
    """The last epoch that went along with any mark of this W&B run; 0 if it was never sent."""
    mine = [mark for mark in sent if mark.startswith(f"{member.id}-a")]
    folder = marks_folder(member.study, destination)
    steps = [
        results.read_blob(f"{folder}/{mark}.json", lambda data: int(json.loads(data)["last_step"])) for mark in mine
    ]
    return max((step for step in steps if step is not None), default=0)
