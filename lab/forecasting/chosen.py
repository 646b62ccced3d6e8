"""Which runs are to forecast: a run on record, the best of a study, or what is in a folder of `lab.train`."""

import json
import os
import statistics
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path
from typing import Any

from lab.console.printing import one_line
from lab.errors import ConfigError, DataError, nearest, unknown
from lab.forecasting.members import Weights
from lab.registry import DEFAULT, forecaster
from lab.settings.config import Config
from lab.store.frames import open_results
from lab.store.outcomes import over_origins
from lab.store.schema import BARS, ResultsError
from lab.store.tables import Results
from lab.training.checkpoint import current, read_file
from lab.training.readings import load_weights

Row = Mapping[str, Any]


@dataclass(frozen=True)
class Chosen:
    """Runs of one config, a seed each."""

    configs: tuple[Config, ...]
    read: Callable[[], tuple[Weights, ...]]  # their weights, which a bar in their place does without
    epochs: tuple[int, ...]  # that each one's choice took
    runs: tuple[str, ...]
    identity: str  # of the series that they saw
    text: str  # which they are, as a sentence calls them
    study: str | None = None
    results: Results | None = None

    @cached_property
    def weights(self) -> tuple[Weights, ...]:
        """Raises DataError where they are not there."""
        return self.read()


def chosen_of(
    place: str | os.PathLike[str],
    study: str | None = None,
    run: str | None = None,
    arm: str | None = None,
    cell: str | None = None,
) -> Chosen:
    """Runs of results, or of a folder of `lab.train` where neither study nor run is named."""
    if study is not None and run is not None:
        raise ConfigError(f"study {study} and run {run} each say what forecasts; name one")
    if study is None and (arm is not None or cell is not None):
        raise ConfigError("an arm or a cell is one of a study; give the study, too (--study NAME)")
    if study is not None:
        return of_study(open_results(place), study, arm, cell)
    return of_folder(Path(place)) if run is None else of_run(open_results(place), run)


def of_run(results: Results, run: str) -> Chosen:
    """A run on record, by its id or the beginning of it. Raises ResultsError: no such run, or none with weights."""
    known = results.table("runs", columns=["run"])["run"].unique().to_pylist()
    found = [each for each in known if each.startswith(run)] if run else []
    if len(found) != 1:
        many = f"{len(found)} runs begin so; type more of it" if found else f"no such run{nearest(run, known)}"
        raise ResultsError(f"run '{one_line(run)}': {many} (in {results.storage.url})")
    row = results.runs(found)[found[0]]
    return _of_rows(results, [row], f"run {row['run']}", None)


def of_study(results: Results, study: str, arm: str | None = None, cell: str | None = None) -> Chosen:
    """The final seeds of a search's best trial (its own seeds where it has none yet); or those of an arm.

    Args:
        arm: of an ablation; `full` by default.
        cell: of an ablation with several.
    Raises:
        ResultsError: no such study or arm, nothing complete, or several cells and none named.
    """
    results.check_known(study)
    members = results.table("members", study).to_pylist()
    rows = {run: row for run, row in results.runs({m["run"] for m in members}).items() if row["model"] not in BARS}
    members = [member for member in members if member["run"] in rows and member["role"] != "baseline"]
    if not members:
        raise ResultsError(f"study {study}: no run recorded yet")
    if any(member["role"] == "search" for member in members):
        if arm is not None or cell is not None:
            raise ConfigError(f"study {study} is a search: it has no {'arms' if arm is not None else 'cells'}")
        return _of_search(results, study, members, rows)
    return _of_arm(results, study, members, rows, arm, cell)


def _of_search(results: Results, study: str, members: Sequence[Row], rows: Mapping[str, Row]) -> Chosen:
    losses: dict[str, dict[str, list[float | None]]] = {}
    searched = [member for member in members if member["role"] == "search"]
    for member in searched:
        row = rows[member["run"]]
        loss = row["val_mse"] if row["status"] == "complete" else None
        losses.setdefault(member["trial"], {}).setdefault(member["cell"] or "", []).append(loss)
    scores = {}
    for trial, by_origin in losses.items():
        means = [statistics.fmean(v for v in each if v is not None) for each in by_origin.values() if None not in each]
        if len(means) == len(by_origin):
            scores[trial] = over_origins(means)
    if not scores:
        raise ResultsError(f"study {study}: no trial has come to its end yet, so none is best")
    best = min(scores, key=lambda trial: scores[trial])
    finals = _ids(member for member in members if member["role"] == "final" and member["trial"] == best)
    done = [rows[run] for run in finals if rows[run]["status"] == "complete"]
    if done:
        return _of_rows(results, done, f"the final seeds of {best}, the best trial of {study}", study)
    latest = max({member["cell"] or "" for member in searched}, key=lambda name: (len(name), name))
    mine = _ids(m for m in searched if m["trial"] == best and (m["cell"] or "") == latest)
    text = f"the seeds of {best}, the best trial of {study}, which has no final ones yet"
    return _of_rows(results, [rows[run] for run in mine], text, study)


def _of_arm(
    results: Results, study: str, members: Sequence[Row], rows: Mapping[str, Row], arm: str | None, cell: str | None
) -> Chosen:
    arms = sorted({member["arm"] for member in members if member["arm"]})
    name = arm or "full"
    if name not in arms:
        raise unknown("arm", name, arms, ResultsError)
    cells = sorted({member["cell"] or "main" for member in members if member["arm"] == name})
    if cell is not None and cell not in cells:
        raise unknown("cell", cell, cells, ResultsError)
    if cell is None and len(cells) > 1:
        raise ResultsError(f"study {study} has several cells; name one with --cell: {', '.join(map(one_line, cells))}")
    where = cell or cells[0]
    ids = _ids(m for m in members if m["arm"] == name and (m["cell"] or "main") == where)
    done = [rows[run] for run in ids if rows[run]["status"] == "complete"]
    if not done:
        raise ResultsError(f"study {study}: no run of arm {name} has come to its end")
    return _of_rows(results, done, f"the seeds of arm {name} of {study}" + (f", cell {where}" if cell else ""), study)


def _ids(members: Iterable[Row]) -> list[str]:
    return list(dict.fromkeys(member["run"] for member in members))


def _of_rows(results: Results, rows: Sequence[Row], text: str, study: str | None) -> Chosen:
    for row in rows:
        if row["status"] != "complete":
            raise ResultsError(f"run {row['run']} is {row['status']}; a forecast needs one that is complete")
    rows = sorted(rows, key=lambda row: row["seed"] if row["seed"] is not None else -1)

    def read() -> tuple[Weights, ...]:
        try:
            return tuple(load_weights(results, row)[1] for row in rows)
        except DataError as error:  # pruned, or records alone were copied
            again = "lab.train of these settings makes them anew, for --from FOLDER; --bar best needs none"
            raise DataError(f"{error}; {again}") from None

    settings = [forecaster(row["model"] or DEFAULT).config for row in rows]
    return _checked(Chosen(
        tuple(each.from_json(row["config"]) for each, row in zip(settings, rows, strict=True)), read,
        tuple(row["best_epoch"] or 0 for row in rows), tuple(row["run"] for row in rows), rows[0]["data_sha256"],
        f"{text} ({_seeds(len(rows))})", study, results,
    ))  # fmt: skip


def of_folder(folder: Path) -> Chosen:
    """All seeds that `lab.train` left in a folder, or the one of a folder `seed-N` in it.

    Raises DataError: no such folder, or not one of these.
    """
    only = folder if folder.name.startswith("seed-") else None
    above = folder.parent if only else folder
    path = above / "checkpoint.pt"
    if not path.is_file():
        raise DataError(f"{one_line(folder)}: no folder of lab.train: there is no {one_line(path)}")
    try:
        state = current(read_file(path))
        said = [json.loads(each.read_text()) for each in sorted((only or above).glob("**/metrics.json"))]
    except DataError as error:
        raise DataError(f"{one_line(path)}: {error}") from None
    except Exception as error:  # whatever unpickling makes of a foreign file
        raise DataError(f"{one_line(path)}: cannot be read ({type(error).__name__})") from None
    models = {each["run"]: each["model"] for each in said}
    runs = [run for run in state["runs"] if run["run"] in models and run["weights"] is not None]
    runs = [run for run in runs if run["status"] == "complete"]
    if not runs:
        raise DataError(f"{one_line(folder)}: no run in it has come to its end; the command that trains it goes on")
    configs = tuple(forecaster(models[run["run"]]).config.from_json(run["config"]) for run in runs)
    return _checked(Chosen(
        configs, lambda: tuple(run["weights"] for run in runs), tuple(run["best_epoch"] for run in runs),
        tuple(run["run"] for run in runs), state["data_sha256"], f"what was trained in {folder} ({_seeds(len(runs))})",
    ))  # fmt: skip


def _checked(chosen: Chosen) -> Chosen:
    """Raises ConfigError where the runs differ in more than their seeds."""
    first = chosen.configs[0]
    for config in chosen.configs[1:]:
        if config.with_seed(first.training.seed) != first:
            raise ConfigError(f"{chosen.text} differ in more than their seeds; name one with --run")
    return chosen


def _seeds(count: int) -> str:
    return "one seed" if count == 1 else f"{count} seeds"
