"""Bars as runs on record, beside what was trained: those of lab.series.bars, and networks before their first step."""

import hashlib
import io
import json
import time
from collections.abc import Iterable, Mapping, Sequence
from contextlib import nullcontext
from dataclasses import dataclass
from typing import Any

import numpy as np

from lab.ledger.looks import looking
from lab.provenance import code_provenance, host_name
from lab.series import Series
from lab.series.bars import BARS, Bar, FittedBar, Metrics, fit_bars
from lab.settings.config import RESULTS_VERSION, Config
from lab.store.schema import START, run_params, series_columns
from lab.store.tables import Results
from lab.training.window_errors import keep_window_errors, window_errors

METRICS = ("mse", "mae")
Row = dict[str, Any]


@dataclass(frozen=True)
class _Found:
    """What a bar came to: its own columns of table `runs`, its errors, and its map as a file, where it is one."""

    row: Row
    validation: Metrics
    test: Metrics
    map: bytes | None = None


def record_bars(
    results: Results, study: str, base: Config, series: Series, cell: str | None = None,
    bars: Iterable[Bar] = tuple(BARS.values()), lookbacks: Sequence[int] = (),
) -> list[str]:  # fmt: skip
    """Records every bar that this data can have as a run of its own, with its reading of test.

    `cell`: of an ablation, where bars stand beside the arms. `lookbacks`: rows that windows reach back, each with bars
    of its own (`lab.references.standing` lets validation choose); else those of `base`.
    Returns a line for each that it cannot have, with the reason.
    """
    bars = tuple(bars)
    at = [base.override({"data.seq_len": steps}) for steps in lookbacks] or [base]
    without = [_record_bars(results, study, config, series, cell, bars) for config in at]
    return [
        f"no bar '{BARS[name].title}' here: {reason}"
        for name, reason in without[-1].items()
        if all(name in reasons for reasons in without)
    ]


def _record_bars(
    results: Results, study: str, base: Config, series: Series, cell: str | None, bars: Sequence[Bar]
) -> dict[str, str]:
    """Why there is no such bar, by its name."""
    ids = {bar.name: bar_run(bar, base, series.identity) for bar in bars}
    known = _known(results, ids.values())
    lacking = [name for name, run in ids.items() if run not in known]
    fits: dict[str, tuple[FittedBar, float]] = {}  # with the CPU seconds that each took
    reasons, began = {}, time.process_time()
    for name, fitted in zip(lacking, fit_bars(series, base.data, [BARS[name] for name in lacking]), strict=True):
        if isinstance(fitted, FittedBar):
            fits[name] = fitted, time.process_time() - began
        else:
            reasons[name] = str(fitted)
        began = time.process_time()
    found = {}
    look = looking(series, "baseline", ids=[ids[name] for name in fits], study=study, results=results)
    with look if fits else nullcontext():
        for name, (fitted, took) in fits.items():
            found[ids[name]] = _fitted(fitted, base, series, time.process_time() - took)
    _record(results, found, series)
    _join(results, study, [run for name, run in ids.items() if name not in reasons], cell)
    return reasons


def bar_run(bar: Bar, base: Config, data_sha256: str) -> str:
    """The content id of a bar on the series of that identity: 20 hexadecimal digits."""
    keys = ("data.seq_len", "data.pred_len", "data.split")
    data = {key: value for key, value in base.canonical().items() if key in keys}
    if bar.periodic and base.data.period is not None:
        data["data.period"] = base.data.period
    content = {"model": bar.name, "data": data, "data_sha256": data_sha256, "results_version": RESULTS_VERSION}
    if bar.version > 1:
        content["bar_version"] = bar.version
    return _named(content)


def record_starts(
    results: Results, study: str, configs: Sequence[Config], series: Series, cell: str | None = None
) -> list[str]:
    """Records networks before their first step, each with its reading of test, where they start from a closed form.

    `configs`: of one stack. Returns their runs; none where they do not start from one.
    """
    from lab.references.starts import Starts, starts_closed  # what records no start does without torch

    if not configs or not starts_closed(configs[0]):
        return []
    runs = {start_run(config.run_id(series.identity)): config for config in configs}
    there = _known(results, runs)
    lacking = {run: config for run, config in runs.items() if run not in there}
    if lacking:
        spent, began = time.process_time(), time.time()
        starts = Starts(list(lacking.values()), series)
        validation = starts.evaluate("validation")
        with looking(series, "baseline", ids=list(lacking), study=study, results=results):
            test = starts.evaluate("test")
        share = (time.process_time() - spent) / len(lacking)
        found = {}
        for place, (run, config) in enumerate(lacking.items()):
            own = {"model": START, "seed": config.training.seed, "parameters": starts.parameters}
            row = _columns(config) | own | {"cpu_seconds": share, "wall_seconds": time.time() - began}
            found[run] = _Found(row, validation[place], test[place])
        _record(results, found, series)
    _join(results, study, runs, cell)
    return list(runs)


def start_run(run: str) -> str:
    """The id of the start of a run: of its network before the first step."""
    return _named({"model": START, "run": run})


def _fitted(fitted: FittedBar, base: Config, series: Series, since: float) -> _Found:
    test = fitted.evaluate(series, base.data, "test")
    buffer = io.BytesIO()
    np.savez(buffer, **{"weight": fitted.weight, **dict[str, Any](fitted.solution.choices)})
    own = {"model": fitted.bar.name, "seed": None, "parameters": fitted.num_weights}
    cost = {"cpu_seconds": time.process_time() - since, "wall_seconds": fitted.seconds}
    return _Found(_columns(base) | own | cost, fitted.validation, test, buffer.getvalue())


def _columns(config: Config) -> Row:
    """Of the settings those of the data alone: a model's stay empty, so that no query takes a bar for one."""
    row = {
        key: value
        for key, value in run_params(config).items()
        if key.startswith("params.data.") or not key.startswith("params.")
    }
    return row | {"protocol": None}


def _named(content: Mapping[str, Any]) -> str:
    return hashlib.sha256(json.dumps(content, sort_keys=True).encode()).hexdigest()[:20]


def _known(results: Results, runs: Iterable[str]) -> set[str]:
    """Those of which all is on record; a version of before kept no errors of windows."""
    return {run for run in results.done(list(runs)) if window_errors(results, run) is not None}


def _join(results: Results, study: str, runs: Iterable[str], cell: str | None) -> None:
    """They belong to the study, which says so of each once."""
    there = {(row["run"], row["cell"]) for row in results.table("members", study).to_pylist()}
    members = [
        {"study": study, "role": "baseline", "cell": cell, "run": run} for run in runs if (run, cell) not in there
    ]
    if members:
        results.add("members", members, key="baseline")


def _record(results: Results, found: Mapping[str, _Found], series: Series) -> None:
    for run, each in found.items():
        keep_window_errors(results, run, each.test.mse_windows)
    done = results.done(list(found))  # by a version that did not keep them
    found = {run: each for run, each in found.items() if run not in done}
    if not found:
        return
    # An earlier call may have been killed after them.
    read = set(results.of_runs("evaluations", list(found)).column("run").to_pylist())
    readings = [row for run, each in found.items() if run not in read for row in _readings(run, each.test, series)]
    if readings:
        results.add("evaluations", readings)
    now, code = time.time(), code_provenance()
    results.add("runs", [{
        **each.row, **code, "run": run, "attempt": 1, "status": "complete",
        "val_mse": each.validation.mse, "val_mae": each.validation.mae,
        "val_mse_channels": each.validation.mse_channels.tolist(),
        "val_mae_channels": each.validation.mae_channels.tolist(),
        **series_columns(series), "stack_size": 1, "started": now - each.row["wall_seconds"], "ended": now,
        "host": host_name(), "device": "cpu",
        "weights": None if each.map is None else results.put_blob(f"weights/{run}.npz", each.map),
    } for run, each in found.items()])  # fmt: skip


def _readings(run: str, test: Metrics, series: Series) -> list[Row]:
    key = {"run": run, "attempt": 1, "split": "test", "purpose": "baseline", "windows": test.windows}
    rows: list[Row] = []
    for metric in METRICS:
        values = [
            (None, getattr(test, metric)),
            *zip(series.channels, getattr(test, f"{metric}_channels"), strict=True),
        ]
        rows += [{**key, "metric": metric, "channel": channel, "value": float(value)} for channel, value in values]
    return rows
