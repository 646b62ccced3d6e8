"""How trained runs stand against the bars on record beside them and their own network before its first step."""

import math
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

import numpy as np
from scipy import stats

from lab.references.runs import start_run
from lab.references.titles import TITLES
from lab.series.bars import BARS
from lab.store.schema import START
from lab.store.tables import Results
from lab.training.over_time import crossed
from lab.training.window_errors import window_difference

METRICS = ("val_mse", "val_mae", "test_mse", "test_mae")

Interval = tuple[float, float]
Row = Mapping[str, Any]  # of table `runs`, with `test_mse` and `test_mae`


@dataclass(frozen=True)
class BarErrors:
    """A bar's errors; of a start the means over the seeds."""

    name: str  # column `model` of its runs
    errors: Mapping[str, float]  # of METRICS; NaN where there is none
    parameters: int | None
    runs: tuple[str, ...]
    lookback: int | None = None  # rows that its windows reach back

    @property
    def title(self) -> str:
        return TITLES.get(self.name, self.name)


@dataclass(frozen=True)
class Added:
    """The mean test MSE of trained runs less that of what they are held against: below 0, training lowered it.

    Intervals are 95%; None where too little is on record.
    """

    mean: float
    seeds: int  # that it is a mean over
    over_seeds: Interval | None = None  # paired t: what training again could change
    over_windows: Interval | None = None  # of these trained networks over stretches of time

    @property
    def over_both(self) -> Interval | None:
        if self.over_seeds is None or self.over_windows is None:
            return None
        return crossed(self.mean, self.over_seeds, self.over_windows)


@dataclass(frozen=True)
class Standing:
    bars: tuple[BarErrors, ...] = ()  # in the order of `lab.series.bars.BARS`
    start: BarErrors | None = None
    best: BarErrors | None = None  # of the bars, by validation MSE: what training has to beat is chosen before test
    over_start: Added | None = None  # paired by seed
    over_best: Added | None = None
    missing: tuple[str, ...] = field(default=())  # titles of bars that are not on record
    lookbacks: tuple[int, ...] = ()  # several: those among which validation chose, for each bar by itself

    @property
    def rows(self) -> tuple[BarErrors, ...]:
        return (*self.bars, *([] if self.start is None else [self.start]))


def standing_of(results: Results, study: str, trained: Sequence[str], block: int, cell: str | None = None) -> Standing:
    """From the records of a study.

    Args:
        trained: complete runs of one config, a seed each.
        block: as of `lab.training.window_errors.window_interval`.
        cell: of an ablation.
    """
    members = results.table("members", study).to_pylist()
    beside = dict.fromkeys(row["run"] for row in members if row["role"] == "baseline" and row["cell"] == cell)
    rows = _with_readings(results, [*beside, *trained])
    return _standing(
        results, [rows[run] for run in beside if run in rows], [rows[run] for run in trained if run in rows], block
    )


def starts_of(results: Results, trained: Mapping[tuple[str, str], Sequence[str]]) -> dict[tuple[str, str], BarErrors]:
    """The starts of several groups of runs, each of one config; of those of which every run has one on record."""
    ids = {run: start_run(run) for runs in trained.values() for run in runs}
    rows = _with_readings(results, list(ids.values()))
    return {
        group: _errors(START, [rows[ids[run]] for run in runs])
        for group, runs in trained.items()
        if runs and all(ids[run] in rows for run in runs)
    }


def _with_readings(results: Results, runs: Sequence[str]) -> Mapping[str, Row]:
    """The rows of table `runs` with each one's first reading of test."""
    rows: dict[str, dict[str, Any]] = results.runs(runs)
    for reading in results.of_runs("evaluations", runs).to_pylist():
        if reading["split"] == "test" and reading["channel"] is None and reading["run"] in rows:
            rows[reading["run"]].setdefault(f"test_{reading['metric']}", reading["value"])
    return rows


def chosen(bars: Iterable[Row]) -> list[Row]:
    """Of each bar the run that is best on validation: it may be there with several lookbacks."""
    best: dict[str, Row] = {}
    for row in bars:
        rival = best.setdefault(row["model"], row)
        if _number(row["val_mse"]) < _number(rival["val_mse"]):
            best[row["model"]] = row
    return list(best.values())


def _standing(results: Results, references: Iterable[Row], trained: Sequence[Row], block: int) -> Standing:
    by_model: dict[str, dict[str, Row]] = {}
    for row in references:
        by_model.setdefault(row["model"], {})[row["run"]] = row
    known = [row for name in BARS for row in by_model.get(name, {}).values()]
    bars = [_errors(row["model"], [row]) for row in chosen(known)]
    lookbacks = sorted({row["params.data.seq_len"] for row in known if row.get("params.data.seq_len")})
    validated = [bar for bar in bars if not math.isnan(bar.errors["val_mse"])]
    best = min(validated, key=lambda bar: bar.errors["val_mse"], default=None)
    starts = by_model.get(START, {})
    pairs = [(row, starts[start_run(row["run"])]) for row in trained if start_run(row["run"]) in starts]
    return Standing(
        tuple(bars), _errors(START, [start for _, start in pairs]) if pairs else None, best,
        _over_start(results, pairs, block), None if best is None else _over_best(results, best, trained, block),
        tuple(bar.title for name, bar in BARS.items() if name not in by_model) if bars else (),
        tuple(lookbacks) if len(lookbacks) > 1 else (),
    )  # fmt: skip


def _errors(name: str, rows: Iterable[Row]) -> BarErrors:
    rows = list(rows)
    means = {metric: float(np.mean([_number(row.get(metric)) for row in rows])) for metric in METRICS}
    runs, steps = tuple(row["run"] for row in rows), rows[0].get("params.data.seq_len")
    return BarErrors(name, means, rows[0].get("parameters"), runs, steps)


def _over_start(results: Results, pairs: Sequence[tuple[Row, Row]], block: int) -> Added | None:
    gaps = {
        (ours["run"], start["run"]): _number(ours.get("test_mse")) - _number(start.get("test_mse"))
        for ours, start in pairs
    }
    known = {pair: gap for pair, gap in gaps.items() if math.isfinite(gap)}
    if not known:
        return None
    ours, starts = zip(*known, strict=True)
    return _added(results, list(known.values()), ours, starts, block)


def _over_best(results: Results, best: BarErrors, trained: Sequence[Row], block: int) -> Added | None:
    gaps = [_number(row.get("test_mse")) - best.errors["test_mse"] for row in trained]
    if not gaps or not all(map(math.isfinite, gaps)):
        return None
    return _added(results, gaps, [row["run"] for row in trained], best.runs, block)


def _added(results: Results, gaps: Sequence[float], ours: Sequence[str], others: Sequence[str], block: int) -> Added:
    mean, over_seeds = float(np.mean(gaps)), None
    if len(gaps) > 1:
        reach = float(stats.t.isf(0.025, len(gaps) - 1) * np.std(gaps, ddof=1) / math.sqrt(len(gaps)))
        over_seeds = mean - reach, mean + reach
    found = window_difference(results, ours, others, block)
    return Added(mean, len(gaps), over_seeds, None if found is None else found.interval)


def _number(value: float | None) -> float:
    return math.nan if value is None else value
