"""What the records say of each study at first sight, without finding out what it found."""

import math
from collections import Counter
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from datetime import datetime
from typing import Any

from lab.errors import ConfigError, DataError
from lab.store.columns import PARAMS
from lab.store.objects.lease import Lease
from lab.store.schema import BARS
from lab.store.tables import Results, ResultsError, StorageError
from lab.unsealing.settled import is_ablation, told, unsettled

SEARCH, ABLATION = "search", "ablation"
RUNNING = "running"
_HORIZON = f"{PARAMS}data.pred_len"
_COLUMNS = ("run", "model", "status", "dataset", "val_mse", "ended", _HORIZON)
READ_FAULTS = (ConfigError, DataError, ResultsError, StorageError, OSError)  # what reading records may raise


@dataclass(frozen=True)
class Entry:
    """A study on the page of all."""

    study: str
    kind: str
    data: str  # `ETTh1, H=96`, each that its runs are of
    models: str
    statuses: str  # of its trained runs
    lowest: float  # validation MSE of a run; NaN: none
    state: str  # running, finished, or what is still open
    changed: datetime | None  # when its last run ended

    @property
    def running(self) -> bool:
        return self.state.startswith(RUNNING)


def entries(results: Results) -> list[Entry]:
    """Those that run first, then by what changed last."""
    runs = {row["run"]: row for row in results.latest(columns=_COLUMNS).to_pylist()}
    members: dict[str, set[str]] = {name: set() for name in results.studies()}
    for member in results.table("members", columns=["study", "run"]).to_pylist():
        members.setdefault(member["study"], set()).add(member["run"])
    found = [_entry(results, study, [runs[run] for run in ids if run in runs]) for study, ids in members.items()]
    found.sort(key=lambda entry: entry.study)
    return sorted(found, key=lambda entry: (not entry.running, -entry.changed.timestamp() if entry.changed else 0.0))


def running(results: Results, study: str) -> str:
    """`running on HOST`, or nothing, as far as this machine's clock can tell."""
    holder = Lease(results.storage, study).holder()
    return "" if holder is None else f"{RUNNING} on {holder.host}"


def _entry(results: Results, study: str, rows: list[dict[str, Any]]) -> Entry:
    networks = [row for row in rows if row["model"] not in BARS]
    kind, state = SEARCH, ""
    try:
        events = told(results, study)
        if is_ablation(events):
            kind = ABLATION
        state = running(results, study) or unsettled(results, study) or "finished"
    except (*READ_FAULTS, StopIteration, KeyError, TypeError, ValueError) as error:  # one bad record hides no other
        state = f"its records cannot be read: {type(error).__name__}"
    errors = [row["val_mse"] for row in networks if row["val_mse"] is not None]
    return Entry(
        study, kind, "; ".join(_distinct(_data(row) for row in networks)),
        ", ".join(_distinct(row["model"] for row in networks)),
        ", ".join(f"{count} {status}" for status, count in sorted(Counter(r["status"] for r in networks).items())),
        min(errors, default=math.nan), state, max((row["ended"] for row in networks if row["ended"]), default=None),
    )  # fmt: skip


def _data(row: Mapping[str, Any]) -> str:
    horizon = row.get(_HORIZON)
    return f"{row['dataset']}, H={horizon}" if horizon else str(row["dataset"])


def _distinct(names: Iterable[str]) -> list[str]:
    return sorted(dict.fromkeys(names))
