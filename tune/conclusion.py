"""After the search: the linear baseline, fresh seeds of the best config, test read once, and the summary."""

import hashlib
import io
import json
import statistics
import time
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import ray

from lab.compute.device import device_for, use_threads
from lab.provenance import code_provenance, host_name
from lab.registry import configs_of_json, reported
from lab.series import Series
from lab.series.linear import fit_linear
from lab.settings.config import RESULTS_VERSION, Config
from lab.store.schema import series_columns
from lab.store.tables import Results, run_params
from lab.training.readings import read_test
from lab.training.stack_run import StackRun
from lab.training.window_errors import keep_window_errors, window_errors
from tune.progress import params_text
from tune.proposals import Proposal, Proposals

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
    # Of the settings the map reads the data's alone: the network's stay empty, so that no query takes it for one.
    params = {
        key: value
        for key, value in run_params(base).items()
        if not key.startswith(("params.model.", "params.signals."))
    }
    params = {key: value for key, value in params.items() if not key.startswith("params.training.")}
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


@ray.remote
def train_final(
    results: Results,
    model: str,
    configs: Sequence[str],
    series: Series,
    gpu: bool,
    threads: int,
    provenance: Mapping[str, Any],
    most: int,
) -> list[str]:
    """Trains the final replicates as one stack of so many at most, to the end, and reads test. Returns how often the
    stack was halved, a line each."""
    use_threads(threads)
    device = device_for(gpu)
    finals = configs_of_json(model, configs)
    # Every seed of the final is reported.
    stack = StackRun(results, finals, device, provenance, series, outlive_divergence=True, most=most)
    while stack.step().state == "running":
        pass
    read_test(results, stack.ids, "final", device, series)
    return stack.halvings


@dataclass(frozen=True)
class Scores:
    """Test errors of some runs of one kind."""

    name: str
    parameters: int
    mse: list[float]
    mae: list[float]

    def row(self) -> str:
        def text(values: list[float]) -> str:
            spread = f" ± {statistics.stdev(values):.4f}" if len(values) > 1 else ""
            return f"{statistics.fmean(values):.4f}{spread}" if values else "-"

        return f"{self.name:<34s}{text(self.mse):>18s}{text(self.mae):>18s}{self.parameters:>12,d}"


def scores_of(results: Results, name: str, ids: Sequence[str]) -> Scores:
    """The recorded test readings of some runs."""
    found: dict[str, dict[str, float]] = {metric: {} for metric in METRICS}
    for row in results.of_runs("evaluations", ids).to_pylist():
        if row["split"] == "test" and row["channel"] is None:
            found[row["metric"]].setdefault(row["run"], row["value"])
    runs = results.runs(ids)
    parameters = next((row["parameters"] for row in runs.values()), 0)
    return Scores(name, parameters, list(found["mse"].values()), list(found["mae"].values()))


def comparison_table(scores: Sequence[Scores], base: Config) -> list[str]:
    """Test errors beside the linear baseline and, where it applies, the published table."""
    lines = [f"{'test':<34s}{'MSE':>18s}{'MAE':>18s}{'parameters':>12s}"]
    lines += [score.row() for score in scores]
    for name, (mse, mae, size) in reported(base.data).items():
        lines.append(f"{name + ', as reported':<34s}{mse:>18.3f}{mae:>18.3f}{size:>12s}")
    return lines


def edges_text(proposals: Proposals, best: Proposal) -> list[str]:
    """One warning per searched setting whose best value lies at an end of its range."""
    lines = []
    for path, edge in proposals.space.edges(best.params).items():
        item = next(r for r in proposals.space.ranges if r.path == path)
        lines.append(
            f"note: the best {path} = {best.params[path]:g} is at the {edge} end of its range ({item.describe()}); "
            "a wider range may hold a better one"
        )
    return lines


def front_table(front: Sequence[Proposal]) -> list[str]:
    lines = [f"{'Pareto front':<14s}{'val MSE':>10s}{'parameters':>12s}  settings"]
    for proposal in front:
        value, size = proposal.values
        settings = params_text(proposal.params, type(proposal.config))
        lines.append(f"{proposal.trial:<14s}{value:>10.4f}{int(size):>12,d}  {settings}")
    return lines
