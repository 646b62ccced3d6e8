"""Stacks of runs on their way into results, as the tests of a trial train and read them."""

from typing import Any

from dynonet.config import Config
from lab.store.objects.checksums import plain
from lab.store.tables import Results
from lab.training.readings import load_weights
from lab.training.stack_run import Report, StackRun

EARLY = {"training.lr": 0.3, "training.patience": 1, "training.schedule": "constant", "training.max_epochs": 8}
HUGE = 1e30  # a learning rate that cannot go well


def seeds(config: Config, *numbers: int, **settings: Any) -> list[Config]:
    return [config.override({"training.seed": n, **settings}) for n in numbers]


def train(results: Results, configs: list[Config], steps: int | None = None) -> Report:
    """Steps of a trial: to its end, or so many."""
    stack = StackRun(results, configs)
    report = stack.step()
    while report.state == "running" and (steps is None or report.epoch < steps):
        report = stack.step()
    return report


def numbers(results: Results, attempt: int | None = None) -> dict[str, Any]:
    """Everything of the runs on record that a second training must give again."""
    found: dict[str, Any] = {}
    timings = ("cpu_seconds", "gpu_seconds", "wall_seconds", "peak_memory_bytes")
    for run, row in results.runs().items():
        assert attempt is None or row["attempt"] == attempt
        same = ("status", "epochs", "best_epoch", "val_mse", "val_mae", "val_mse_channels", "val_mae_channels")
        found[run] = {name: row[name] for name in same}
        _, weights = load_weights(results, row)
        found[run]["weights"] = {name: tensor.tolist() for name, tensor in weights.items()}
        history = [h for h in results.table("history").to_pylist() if (h["run"], h["attempt"]) == (run, row["attempt"])]
        steps = [(h["step"], h["metric"]) for h in history]
        assert len(steps) == len(set(steps)), "each step of an attempt once"
        found[run]["history"] = {(h["step"], h["metric"]): h["value"] for h in history if h["metric"] not in timings}
    return found


def attempts(results: Results) -> dict[tuple[str, int], str]:
    rows = results.table("runs").to_pylist()
    assert len({(r["run"], r["attempt"]) for r in rows}) == len(rows) == len(results.storage.list("runs"))
    return {(r["run"], r["attempt"]): r["status"] for r in rows}


def checkpoints(results: Results) -> list[str]:
    return results.storage.list("checkpoints")


def named(results: Results) -> list[str]:
    """The checkpoints, as they were called when they were written."""
    return [plain(path) for path in checkpoints(results)]
