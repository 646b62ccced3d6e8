"""Studies copied into other results: what reports read of them, row by row, so that a copy can be gone on with.

What is there already is not written again, and what was written stays: a copy that was killed is finished by the same
command, and one that was made before is brought up to date by it. The rows by which a study is found come last.
"""

import json
from collections.abc import Iterable, Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc

from lab.references.forecasts import forecasts_object
from lab.store.columns import concat
from lab.store.files import encode, file_path
from lab.store.objects.storage import PUTS_AT_ONCE
from lab.store.row_keys import row_keys
from lab.store.schema import PARTITIONED, ResultsError
from lab.store.tables import Results
from lab.training.window_errors import windows_object

RUNS_AT_ONCE = 2000  # whose records are in memory at a time
# What tells two rows apart. Of tables with texts and lists in them: everything.
_SAME = {
    "runs": ("run", "attempt", "status", "ended"),
    "history": ("run", "attempt", "step", "metric"),
    "looks": ("look",),
    "evaluations": ("run", "attempt", "split", "metric", "channel", "value", "windows", "purpose", "time"),
}
# Rows of these that the source has not make the other study another one. (What befell a copy is its own affair.)
_OWN = ("studies", "trials", "members")


@dataclass(frozen=True)
class Copied:
    """What a call has written."""

    runs: int  # of which there was nothing before, or less
    rows: int
    windows: int  # runs whose errors by test window were not there
    forecasts: int = 0  # runs whose forecasts were not

    @property
    def nothing(self) -> bool:
        return not (self.rows or self.windows or self.forecasts)


def copy_studies(results: Results, studies: Iterable[str], to: Results) -> Copied:
    """Copies what is on record of some studies, the errors by test window, and the forecasts that pages show; weights
    and checkpoints stay behind.

    Raises:
        ResultsError: no such study, or another of that name in `to`; nothing is copied.
        StorageError: as `Results.add`; the same call goes on from there.
    """
    names = list(dict.fromkeys(studies))
    for study in names:
        results.check_known(study)
        _check_same(results, study, to)
    members = [results.table("members", study, ["run"]) for study in names]
    ids = pc.unique(concat(members)["run"]).to_pylist()
    rows = _copy_looks(results, names, ids, to)  # before what they were taken at
    new_runs, windows, forecasts = 0, 0, 0
    for start in range(0, len(ids), RUNS_AT_ONCE):
        some = ids[start : start + RUNS_AT_ONCE]
        windows += _copy_windows(results, some, to)
        forecasts += _copy_forecasts(results, some, to)
        for table in ("history", "evaluations", "runs"):  # the rows that make a run count last
            fresh = _fresh(table, results.of_runs(table, some), to.of_runs(table, some))
            rows += _write(to, table, table, fresh)
            if table == "runs":
                new_runs += len(pc.unique(fresh["run"]))
    for table in sorted(PARTITIONED, key=("events", "trials", "studies", "members").index):
        for study in names:
            fresh = _fresh(table, results.table(table, study), to.table(table, study))
            rows += _write(to, table, f"{table}/study={study}", fresh)
    return Copied(new_runs, rows, windows, forecasts)


def _check_same(results: Results, study: str, to: Results) -> None:
    """Raises ResultsError where `to` has a study of this name that is not this one, or has gone on by itself."""
    for table in _OWN:
        ours, theirs = results.table(table, study), to.table(table, study)
        if any(path.startswith(f"{table}/study={study}/") for path in results.skipped):
            continue  # what is damaged here may be whole there
        if other := _fresh(table, theirs, ours).num_rows:
            raise ResultsError(
                f"study '{study}' in {to.storage.url} is no copy of the one in {results.storage.url}: {other} rows of "
                f"its table '{table}' are not there; copy to another place"
            )


def _copy_looks(results: Results, studies: Sequence[str], runs: Sequence[str], to: Results) -> int:
    """The ledger of the series that these studies saw, whoever looked at them."""
    looks = results.table("looks")
    if not looks.num_rows:
        return 0
    seen = pc.unique(results.latest(runs, ["data_sha256"])["data_sha256"].drop_null())
    mine = pc.or_(pc.is_in(looks["series"], seen), pc.is_in(looks["read_for"], pa.array(studies, pa.string())))
    return _write(to, "looks", "looks", _fresh("looks", looks.filter(mine), to.table("looks")))


def _write(to: Results, table: str, folder: str, rows: pa.Table) -> int:
    if rows.num_rows:
        data = encode(rows.drop_columns("study") if table in PARTITIONED else rows)
        to.storage.put(file_path(folder, "copy", data), data)
    return rows.num_rows


def _copy_windows(results: Results, runs: Sequence[str], to: Results) -> int:
    objects = []
    for split in ("test", "sealed"):
        there = {path.split("/")[1].removesuffix(".npy") for path in to.storage.list(f"{split}_windows")}
        here = {*runs} if split == "test" else {path.split("/")[1] for path in results.storage.list(f"{split}_windows")}
        found = [windows_object(results, run, split) for run in runs if run in here and run not in there]
        objects += [item for item in found if item is not None]
    with ThreadPoolExecutor(PUTS_AT_ONCE) as pool:
        for done in [pool.submit(to.put_blob, *item) for item in objects]:
            done.result()
    return len(objects)


def _copy_forecasts(results: Results, runs: Sequence[str], to: Results) -> int:
    """Of the one run of each model of a league; other studies keep none."""
    here, there = ({path.split("/")[1] for path in of.storage.list("test_forecasts")} for of in (results, to))
    found = [forecasts_object(results, run) for run in runs if run in here - there]
    objects = [item for item in found if item is not None]
    for item in objects:
        to.put_blob(*item)
    return len(objects)


def _fresh(table: str, rows: pa.Table, known: pa.Table) -> pa.Table:
    """The rows that are not among the known ones."""
    if not rows.num_rows or not known.num_rows:
        return rows
    if table in _SAME:
        both = concat([part.select(_SAME[table]) for part in (rows, known)])
        keys = row_keys(both.unify_dictionaries(), _SAME[table])
        return rows.filter(pa.array(~np.isin(keys[: rows.num_rows], keys[rows.num_rows :])))
    texts = set(_texts(known))
    return rows.filter(pa.array([text not in texts for text in _texts(rows)], pa.bool_()))


def _texts(rows: pa.Table) -> Iterator[str]:
    for row in rows.to_pylist():
        yield json.dumps(row, sort_keys=True, default=_text)


def _text(value: Any) -> str:
    return str(value.isoformat())
