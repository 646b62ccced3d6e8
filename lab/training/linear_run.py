"""The closed-form linear baseline as a run on record, beside what was trained."""

import hashlib
import io
import json
import time

import numpy as np

from lab.ledger.looks import looking
from lab.provenance import code_provenance, host_name
from lab.series import Series
from lab.series.linear import fit_linear
from lab.settings.config import RESULTS_VERSION, Config
from lab.store.schema import run_params, series_columns
from lab.store.tables import Results
from lab.training.window_errors import keep_window_errors, window_errors

METRICS = ("mse", "mae")


def record_baseline(results: Results, study: str, base: Config, series: Series, cell: str | None = None) -> str:
    """Records the linear baseline on this data as a run of its own, with its reading of test. Returns its id.

    `cell`: of an ablation, where the baseline stands beside the arms.
    """
    keys = ("data.seq_len", "data.pred_len", "data.split")
    data = {key: value for key, value in base.canonical().items() if key in keys}
    content = {"model": "linear", "data": data, "data_sha256": series.identity, "results_version": RESULTS_VERSION}
    run = hashlib.sha256(json.dumps(content, sort_keys=True).encode()).hexdigest()[:20]
    member = {"study": study, "role": "baseline", "cell": cell, "run": run}
    if not any(member.items() <= row.items() for row in results.table("members", study).to_pylist()):
        results.add("members", [member], key="baseline")
    done = bool(results.done([run]))
    if done and window_errors(results, run) is not None:
        return run
    started, cpu = time.time(), time.process_time()
    linear = fit_linear(series, base.data)
    with looking(series, "baseline", ids=[run], study=study, results=results):
        test = linear.evaluate(series, base.data, "test")
    keep_window_errors(results, run, test.mse_windows)
    if done:  # by a version that did not keep them
        return run
    buffer = io.BytesIO()
    np.savez(buffer, weight=linear.weight, penalty=linear.penalty)
    key = {"run": run, "attempt": 1}
    readings = {"split": "test", "purpose": "baseline", **key}
    rows = []
    for metric in METRICS:
        readings["windows"] = test.windows
        rows.append({**readings, "metric": metric, "channel": None, "value": getattr(test, metric)})
        per_channel = getattr(test, f"{metric}_channels")
        rows += [
            {**readings, "metric": metric, "channel": channel, "value": float(value)}
            for channel, value in zip(series.channels, per_channel, strict=True)
        ]
    if not results.of_runs("evaluations", [run]).num_rows:  # an earlier call may have been killed after it
        results.add("evaluations", rows)
    validation = linear.validation
    # Of the settings the map reads the data's alone: a model's stay empty, so that no query takes it for one.
    params = {
        key: value
        for key, value in run_params(base).items()
        if key.startswith("params.data.") or not key.startswith("params.")
    }
    params["protocol"] = None
    results.add("runs", [{
        **params, **code_provenance(), **key, "model": "linear", "status": "complete", "seed": None,
        "val_mse": validation.mse, "val_mae": validation.mae,
        "val_mse_channels": list(validation.mse_channels), "val_mae_channels": list(validation.mae_channels),
        **series_columns(series), "parameters": linear.weight.size, "stack_size": 1,
        "cpu_seconds": time.process_time() - cpu, "wall_seconds": time.time() - started, "started": started,
        "ended": time.time(), "host": host_name(), "device": "cpu",
        "weights": results.put_blob(f"weights/{run}.npz", buffer.getvalue()),
    }])  # fmt: skip
    return run
