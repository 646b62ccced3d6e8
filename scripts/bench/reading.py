"""Results as a search leaves them, many of them, and how long it takes to read them (see bench.orchestration)."""

import contextlib
import hashlib
import tempfile
import time
from collections.abc import Callable, Iterator
from typing import Any

import numpy as np
import pyarrow as pa

from dynonet.config import Config
from dynonet.parts import SIGNALS
from lab.store.files import encode, file_path
from lab.store.frames import history, load
from lab.store.schema import file_schema, to_table
from lab.store.tables import Results, run_params

METRICS = ("train_loss", "controller_loss", "val_loss", "val_mse", "val_mae", "lr", "best_val_mse")
METRICS += tuple(f"signal.{name}" for name in SIGNALS)
EPOCHS = 10  # of the runs whose results are read
SEGMENT_RUNS = 20_000


def run_ids(count: int) -> list[str]:
    return [hashlib.sha256(str(number).encode()).hexdigest()[:20] for number in range(count)]


def run_row(config: Config, run: str, value: float) -> dict[str, Any]:
    """A row of `runs` as a trial writes it."""
    now = time.time()
    return {
        **run_params(config), "run": run, "attempt": 1, "model": "dynonet", "status": "complete", "val_mse": value,
        "val_mae": value, "val_mse_channels": [value] * 7, "val_mae_channels": [value] * 7,
        "channels": [f"c{i}" for i in range(7)], "best_epoch": 3, "epochs": EPOCHS, "parameters": 94_000,
        "cpu_seconds": 1.0, "wall_seconds": 1.0, "peak_memory_bytes": 1 << 30, "stack_size": 3, "started": now,
        "ended": now, "git_commit": "a" * 40, "git_dirty": False, "versions": "{}", "data_sha256": "b" * 64,
        "host": "bench", "device": "cpu", "weights": f"weights/{run}.pt",
    }  # fmt: skip


def write_segments(results: Results, runs: int) -> None:
    """Compacted tables of so many runs: trials of three seeds, ten learning rates, each config and number its own."""
    chance = np.random.default_rng(0)
    base = Config.create({})
    one = to_table("runs", [run_row(base, "x", 0.0)])
    one = one.select([name for name in one.column_names if name in file_schema("runs").names or "." in name])
    text, rate = base.to_json().replace(" ", ""), f'"lr":{base.training.lr}'
    assert rate in text
    everyone = run_ids(runs)
    for first in range(0, runs, SEGMENT_RUNS):
        ids = everyone[first : first + SEGMENT_RUNS]
        rates = np.round(0.001 * (1 + (np.arange(first, first + len(ids)) // 3) % 10), 6)
        seeds = np.arange(first, first + len(ids)) % 3
        table = one.take(pa.array(np.zeros(len(ids), np.int64)))
        columns = {
            "run": ids, "val_mse": chance.random(len(ids)), "weights": [f"weights/{run}.pt" for run in ids],
            "seed": seeds, "params.training.seed": seeds, "params.training.lr": rates,
            "config": [text.replace(rate, f'"lr":{r},"of":{n}') for n, r in enumerate(rates, first)],
        }  # fmt: skip
        for name, values in columns.items():
            place = table.schema.get_field_index(name)
            table = table.set_column(place, name, pa.array(values, table.schema.field(name).type))
        numbers = EPOCHS * len(METRICS)
        lines = pa.table({
            "run": pa.array(np.repeat(np.array(ids), numbers)), "attempt": np.ones(len(ids) * numbers, np.int64),
            "step": np.tile(np.repeat(np.arange(1, EPOCHS + 1), len(METRICS)), len(ids)),
            "metric": np.tile(np.array(METRICS), len(ids) * EPOCHS), "value": chance.random(len(ids) * numbers),
        })  # fmt: skip
        members = pa.table({
            "trial": [f"t{(first + i) // 3:05d}" for i in range(len(ids))], "arm": pa.nulls(len(ids), pa.string()),
            "role": ["search"] * len(ids), "run": ids,
            "time": pa.array([int(time.time() * 1e6)] * len(ids), pa.timestamp("us", tz="UTC")),
        })  # fmt: skip
        for folder, rows, each in (
            ("runs", table, 1),
            ("history", lines, numbers),
            ("members/study=bench", members, 1),
        ):
            sources = [(hashlib.sha256(f"{folder}{run}".encode()).hexdigest()[:16], each) for run in ids]
            data = encode(rows, sources)
            results.storage.put(file_path(folder, "segment-000001", data), data, durable=False)


def write_files(results: Results, runs: int) -> None:
    """One file per run, history and member, as a search leaves them (but for the fsyncs)."""
    base = Config.create({})
    for number, run in enumerate(run_ids(runs)):
        config = base.override({"training.seed": number % 3, "training.lr": 0.001 * (1 + number // 3 % 10)})
        key = {"run": run, "attempt": 1}
        lines = [{**key, "step": s, "metric": m, "value": number / s} for s in range(1, EPOCHS + 1) for m in METRICS]
        member = {"study": "bench", "trial": f"t{number // 3:05d}", "role": "search", "run": run}
        for table, rows in (("history", lines), ("runs", [run_row(config, run, 0.5)]), ("members", [member])):
            for path, data in results.files(table, rows).items():
                results.storage.put(path, data, durable=False)


@contextlib.contextmanager
def timed(name: str, limit: str = "") -> Iterator[list[float]]:
    found: list[float] = []
    start, cpu = time.perf_counter(), time.process_time()
    yield found
    found += [time.perf_counter() - start, time.process_time() - cpu]
    print(f"{name:<44s}{found[0]:>10.2f}{found[1]:>10.2f}{limit:>16s}")


def read_all(out: str, limit: str) -> None:
    """Loads a study's runs and histories and aggregates both, each timed, and their sum."""
    steps: dict[str, Callable[[], Any]] = {}
    frames: dict[str, Any] = {}

    def aggregate() -> None:
        frame = frames["load"]
        groups = [name for name in frame if name.startswith("params.") and name != "params.training.seed"]
        scores = frame.groupby(groups, dropna=False)["val_mse"].agg(["mean", "std", "count"])
        assert scores["count"].sum() == len(frame)

    def curves() -> None:
        frames["history"].groupby(["metric", "step"])["value"].agg(["mean", "std"])

    steps["load"] = lambda: frames.update(load=load("bench", out))
    steps["mean and std by configuration"] = aggregate
    steps["history"] = lambda: frames.update(history=history("bench", out))
    steps["mean and std by metric and epoch"] = curves
    total = [0.0, 0.0]
    for name, step in steps.items():
        with timed(f"  {name}") as took:
            step()
        total = [a + b for a, b in zip(total, took, strict=True)]
    print(f"{'  together':<44s}{total[0]:>10.2f}{total[1]:>10.2f}{limit:>16s}")


def bench_results(compacted: int, single: int) -> None:
    numbers = EPOCHS * len(METRICS)
    print(f"\n{'reading results':<44s}{'wall s':>10s}{'CPU s':>10s}{'target':>16s}")
    for count, write, limit in ((compacted, write_segments, "< 5"), (single, write_files, "< 10")):
        with tempfile.TemporaryDirectory() as folder:
            results = Results(folder)
            write(results, count)
            kind = "compacted" if write is write_segments else "as single files"
            print(f"{count:,d} runs, {kind} ({count * numbers:,d} rows of history)")
            read_all(folder, limit)
            if write is write_files:
                with timed("  compact"):
                    results.compact()
