"""What leagues on record measured of other models on some data and horizon, to stand beside what papers report.

A league is a study of models (ablations/study/models.py); here it is read by its records alone: of the store that is
asked, and of those that the house keeps with its code.
"""

import json
import math
import statistics
from collections import defaultdict
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from lab.errors import ConfigError
from lab.ledger.looks import TEST
from lab.references.titles import title_with
from lab.registry import DEFAULT, forecaster, league_records
from lab.store.objects.storage import StorageError
from lab.store.schema import ResultsError
from lab.store.tables import Results

MODELS, BASELINE = "models", "full"  # the kind of such a study, and its arm that has no entry of its own
_COLUMNS = ("run", "status", "data_sha256", "val_mse", "parameters", "params.data.pred_len")
_READ = ("test_mse", "test_mae")


@dataclass(frozen=True)
class Measured:
    """A model as a league has it: errors by run that is complete."""

    title: str
    study: str
    errors: Mapping[str, tuple[float, ...]]  # by metric
    asked: int  # runs; more than there are errors where some failed
    parameters: int

    @property
    def runs(self) -> int:
        return len(self.errors["test_mse"])

    @property
    def mse(self) -> float:
        return self.mean("test_mse")

    def mean(self, metric: str) -> float:
        found = self.errors[metric]
        return statistics.fmean(found) if found else math.nan

    def deviation(self, metric: str) -> float:
        found = self.errors[metric]
        return statistics.stdev(found) if len(found) > 1 else math.nan

    def text(self, metric: str) -> str:
        spread = f" ± {self.deviation(metric):.4f}" if self.runs > 1 else ""
        return f"{self.mean(metric):.4f}{spread}" if self.errors[metric] else "-"


def measured(results: Results | None, data_sha256: str, pred_len: int) -> tuple[Measured, ...]:
    """On the series of that identity, so many steps ahead; the lowest test MSE first, each model once.

    `results`: whose leagues come before the house's. What cannot be read is not among them.
    """
    found: dict[str, Measured] = {}
    stores = [] if results is None else [results.storage.url]
    for url in dict.fromkeys((*stores, *map(str, _kept()))):
        # One of its own: what is damaged of another study is not said of the page that asks.
        for each in _of_store(Results(url, create=False), data_sha256, pred_len):
            if each.title not in found:
                found[each.title] = each
    return tuple(sorted(found.values(), key=lambda each: (each.mse, each.title)))


def _kept() -> list[Path]:
    folder = league_records()
    return [folder] if folder.is_dir() else []


def _of_store(results: Results, data_sha256: str, pred_len: int) -> Iterator[Measured]:
    try:
        leagues = _leagues(results)
        for study, content in leagues.items():
            yield from _of_league(results, study, content, data_sha256, pred_len)
    except (StorageError, ResultsError):
        return


def _leagues(results: Results) -> dict[str, Mapping[str, Any]]:
    """What each was begun with."""
    found = {}
    for row in results.table("studies", columns=["study", "settings"]).to_pylist():
        try:
            content = json.loads(row["settings"])["study"]
            if content.get("kind") == MODELS:
                found[row["study"]] = content
        except (ValueError, TypeError, KeyError, AttributeError):  # an event, or a study of another kind
            continue
    return dict(sorted(found.items()))


def _of_league(
    results: Results, study: str, content: Mapping[str, Any], data_sha256: str, pred_len: int
) -> Iterator[Measured]:
    members = [row for row in results.table("members", study).to_pylist() if row["role"] == "arm"]
    rows = {
        row["run"]: row
        for row in results.latest({row["run"] for row in members}, _COLUMNS).to_pylist()
        if (row["data_sha256"], row["params.data.pred_len"]) == (data_sha256, pred_len)
    }
    arms: dict[str, list[Mapping[str, Any]]] = defaultdict(list)
    for arm, run in dict.fromkeys((row["arm"], row["run"]) for row in members if row["run"] in rows):
        arms[arm].append(rows[run])
    readings: dict[str, dict[str, float]] = defaultdict(dict)
    for row in results.of_runs("evaluations", rows).to_pylist() if rows else ():
        if row["split"] == TEST and row["channel"] is None and math.isfinite(row["value"]):
            readings[row["run"]].setdefault(f"test_{row['metric']}", row["value"])
    for arm, runs in arms.items():
        whole = [row for row in runs if row["status"] == "complete" and set(_READ) <= readings[row["run"]].keys()]
        if whole:
            errors = {metric: tuple(readings[row["run"]][metric] for row in whole) for metric in _READ}
            errors["val_mse"] = tuple(row["val_mse"] for row in whole if row["val_mse"] is not None)
            yield Measured(_title(arm, content), study, errors, len(runs), whole[0]["parameters"] or 0)


def _title(arm: str, content: Mapping[str, Any]) -> str:
    """As the league's page calls it."""
    plain, _, tuned = arm.partition("@")
    entry = {"model": content.get("model", DEFAULT)} if plain == BASELINE else content.get("models", {}).get(plain, {})
    model = str(entry.get("model", plain))
    try:
        name = forecaster(model).title
    except ConfigError:  # a module of somebody's that is not here
        name = model
    title = title_with(name, entry.get("preset"), entry.get("settings", {}))
    return f"{title}, {tuned}" if tuned else title


def titles_of(found: Sequence[Measured]) -> frozenset[str]:
    """The models that are measured, whatever their settings."""
    return frozenset(each.title.partition(" (")[0].partition(",")[0] for each in found)
