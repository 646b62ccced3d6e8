"""Rows for the tables by hand: runs, trials, and a whole study."""

from pathlib import Path
from typing import Any

import pyarrow as pa
import pyarrow.parquet as pq

from dynonet.config import Config
from lab.store.schema import SCHEMA_VERSION, VERSION_KEY
from lab.store.tables import Results, run_params

PARAMS = run_params(Config.create({"model.worker_hidden": 16, "signals.lr_scale": "off"}))


def a_run(run: str = "r1", attempt: int = 1, status: str = "complete", **more: Any) -> dict[str, Any]:
    return {**PARAMS, "run": run, "attempt": attempt, "status": status, "model": "dynonet", **more}


def event(number: int, study: str = "study") -> dict[str, Any]:
    return {"study": study, "trial": f"t{number}", "number": number, "event": "proposed"}


def numbers(results: Results, study: str | None = "study") -> list[int]:
    return sorted(results.table("trials", study)["number"].to_pylist())


def root(store: Results) -> Path:
    return Path(store.storage.root)


def write_file(path: Path, table: pa.Table, version: int | None = SCHEMA_VERSION) -> None:
    path.parent.mkdir(parents=True, exist_ok=True)
    footer = {} if version is None else {VERSION_KEY: str(version).encode()}
    pq.write_table(table.replace_schema_metadata(footer), path)


def fill(store: Results, study: str = "study") -> None:
    """Trials t0 and t1 of two seeds, t2 failed; t0 read on test for channel OT and overall."""
    for trial in range(2):
        for seed in range(2):
            run = f"r{trial}{seed}"
            score = 0.5 + 0.1 * trial + 0.01 * seed
            store.add("runs", [a_run(run, 1, "stopped", val_mse=9.0), a_run(run, 2, val_mse=score, best_epoch=3)])
            store.add("members", [{"study": study, "trial": f"t{trial}", "role": "search", "run": run}])
            lines = [{"run": run, "attempt": 2, "step": n, "metric": "val_mse", "value": 1 / n} for n in (1, 2)]
            store.add("history", lines)
            reading = {"run": run, "attempt": 2, "split": "test", "metric": "mse", "purpose": "final"}
            if trial == 0:
                store.add("evaluations", [reading | {"value": 0.7 + seed}, reading | {"channel": "OT", "value": 0.2}])
            store.add("evaluations", [reading | {"attempt": 1, "value": 99.0}])
    store.add("runs", [a_run("bad", 1, "failed", error="Traceback ...\nRuntimeError: boom")])
    store.add("members", [{"study": study, "trial": "t2", "role": "search", "run": "bad"}])
    store.add("members", [{"study": study, "role": "final", "run": "not yet there"}])
    store.add("runs", [a_run("elsewhere")])
    store.add("studies", [{"study": study, "settings": {"trials": 3}}])
