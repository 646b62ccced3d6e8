"""Which runs of a study are to be read on which sealed rows: those at the latest origin of each series."""

import json
from collections import defaultdict
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

import numpy as np

from lab.errors import DataError
from lab.references.runs import start_run
from lab.references.standing import chosen
from lab.registry import DEFAULT, forecaster
from lab.series import Series, load_series
from lab.series.sealed import unsealed
from lab.settings.config import Config
from lab.settings.data import MOVES, DataConfig
from lab.store.schema import BARS, START, ResultsError
from lab.store.tables import Results
from lab.unsealing.settled import best_trial

Row = Mapping[str, Any]


@dataclass(frozen=True)
class Run:
    """A run to be read: what was trained, a bar, or a network before its first step."""

    row: Row
    config: Config  # of a bar the data's alone, of a start that of the run it is the start of

    @property
    def run(self) -> str:
        return str(self.row["run"])

    @property
    def model(self) -> str:
        return str(self.row["model"])


@dataclass(frozen=True)
class Sealed:
    """Sealed rows, and all that is to be read on them."""

    series: Series  # with them
    runs: dict[str, Run] = field(default_factory=dict)

    @property
    def rows(self) -> np.ndarray:
        assert self.series.sealed is not None
        return self.series.values[slice(*self.series.sealed)]


def planned(results: Results, study: str) -> list[Sealed]:
    """Everything that a study has to read on sealed rows: its complete arms, or the best trial's final replicates, the
    bars beside them and their starts.

    Raises:
        ResultsError: none of its series has sealed rows.
        DataError: a series that is not there, or is another one by now.
    """
    members = results.table("members", study).to_pylist()
    best = best_trial(results, study)
    wanted = [
        row["run"] for row in members
        if row["role"] in ("arm", "baseline") or (row["role"] == "final" and row["trial"] == best)
    ]  # fmt: skip
    complete = {run: row for run, row in results.runs(wanted).items() if row["status"] == "complete"}
    rows = _with_chosen_bars(complete, members)
    found: dict[str, Sealed] = {}
    without: set[str] = set()  # identities
    for run in _runs(rows):
        identity = run.row["data_sha256"]
        if identity not in found and identity not in without:
            if load_series(run.config.data).sealed is None:
                without.add(identity)
            else:
                found[identity] = Sealed(_unsealed(run))
        if identity in found:
            found[identity].runs[run.run] = run
    latest = _latest(list(found.values()))
    if not latest:
        raise ResultsError(
            f"study '{study}': no rows of its series are sealed; data.sealed=ROWS sets the last ones aside, before a "
            "study is begun"
        )
    return latest


def _with_chosen_bars(rows: Mapping[str, Row], members: Sequence[Row]) -> dict[str, Row]:
    """Less those of each bar that look back other rows than validation chose in their cell."""
    beside: dict[str | None, list[Row]] = defaultdict(list)  # bars by cell
    for member in members:
        if member["run"] in rows and _is_bar(rows[member["run"]]):
            beside[member["cell"]].append(rows[member["run"]])
    kept = {row["run"] for there in beside.values() for row in chosen(there)}
    return {run: row for run, row in rows.items() if run in kept or not _is_bar(row)}


def _is_bar(row: Row) -> bool:
    return row["model"] in BARS and row["model"] != START


def _runs(rows: Mapping[str, Row]) -> Iterator[Run]:
    starts = {start_run(run): run for run in rows}
    for run, row in rows.items():
        if row["model"] == START and run not in starts:
            continue  # of a run that is not complete
        beside = rows[starts[run]] if row["model"] == START else row
        if beside["config"]:
            yield Run(row, _config_of_data(row) if _is_bar(row) else _config_of(beside))


def _config_of(row: Row) -> Config:
    """A study may be of several models."""
    return forecaster(row["model"] or DEFAULT).config.from_json(row["config"])


def _config_of_data(row: Row) -> Config:
    """Of a bar the data alone, which is the same whatever model it was first recorded beside."""
    content = json.loads(row["config"])["data"]
    return Config.create({"data": {key: value for key, value in content.items() if key in DataConfig.model_fields}})


def _unsealed(run: Run) -> Series:
    """The series that a run saw, with its sealed rows."""
    series = unsealed(run.config.data)
    if series.identity != run.row["data_sha256"]:
        raise DataError(
            f"{series.name}: run {run.run} was trained on other values than those there now (identity "
            f"{str(run.row['data_sha256'])[:12]} on record, {series.identity[:12]} now)"
        )
    return series


def _latest(found: list[Sealed]) -> list[Sealed]:
    """Of each series' sealed rows what was trained up to the latest row before them."""
    by_rows: dict[str, list[Sealed]] = defaultdict(list)
    for each in found:
        data = next(iter(each.runs.values())).config.data
        source = {name: value for name, value in data.source().items() if name not in (*MOVES, "channels")}
        by_rows[str((sorted(source.items(), key=str), each.series.sealed))].append(each)
    return [
        each
        for group in by_rows.values()
        for each in group
        if each.series.train[1] == max(other.series.train[1] for other in group)
    ]
