"""Runs on their way to W&B: a client without an account, and what arrived against what is on record."""

import json
from pathlib import Path
from typing import Any

from dynonet.config import Config
from lab.settings.files import dotted
from lab.store.tables import Results
from lab.tracking.options import Tracking
from lab.tracking.runs import members_of
from lab.tracking.wandb_sink import WandbSink
from lab.training.stack_run import StackRun
from tests import wandb_file
from tests.wandb_server import WandbServer

TINY: dict[str, Any] = {
    "data.seq_len": 16, "data.pred_len": 4, "data.synthetic.rows": 300, "model.worker_seq_len": 8,
    "model.control_hidden": 4, "model.worker_hidden": 2, "model.moving_average": 5, "training.batch_size": 32,
    "training.max_epochs": 6,
}  # fmt: skip
OFFLINE, ONLINE = Tracking("offline"), Tracking("online")
NOWHERE = "http://127.0.0.1:9"  # nobody listens there
HERS = ("_timestamp", "_runtime", "_wandb", "_step", "_wandb/runtime")  # what the client adds of its own


def surroundings(folder: Path, **more: str) -> dict[str, str]:
    """An environment in which W&B's client finds no account and no network."""
    return {
        "HOME": str(folder), "NETRC": str(folder / "netrc"), "WANDB_CONFIG_DIR": str(folder / "config"),
        "WANDB_BASE_URL": NOWHERE, "WANDB_ERROR_REPORTING": "false", "WANDB_SILENT": "true", "WANDB_API_KEY": "",
        "WANDB_DATA_DIR": str(folder / "data"), "WANDB_CACHE_DIR": str(folder / "cache"), "WANDB_MODE": "",
        **more,
    }  # fmt: skip


def send(results: Results, study: str, options: Tracking = OFFLINE, again: bool = False, **more: Any) -> int:
    with WandbSink(options, results, **more) as sink:
        return sink.send(study, again=again)


def train_on(results: Results) -> list[str]:
    """The runs that were stopped, to their end: attempt 2."""
    configs = [Config.create({**TINY, "training.seed": seed, "training.lr": 0.005}) for seed in (1, 2)]
    stack = StackRun(results, configs)
    while stack.step().state == "running":
        pass
    return stack.ids


def same(number: Any, value: float) -> bool:
    """Whether W&B's number is the store's, to the last digit."""
    return float(str(number).replace("Infinity", "inf")) == value


def check(results: Results, study: str, arrived: dict[str, tuple[dict[str, Any], ...]]) -> None:
    """W&B's (history by step, config, summary) of each run against the Parquet rows, number by number."""
    members = members_of(results, study)
    assert sorted(arrived) == sorted(member.id for member in members), "one W&B run a run and place, and no other"
    rows = results.runs()
    history = results.table("history", study).to_pylist()
    readings = results.table("evaluations", study).to_pylist()
    for member in members:
        steps, config, summary = arrived[member.id]
        row = rows[member.run]
        wanted = {
            (h["step"], h["metric"]): h["value"]
            for h in history
            if (h["run"], h["attempt"]) == (member.run, row["attempt"]) and h["value"] is not None
        }
        found = {(step, key): value for step, values in steps.items() for key, value in values.items()}
        found = {place: value for place, value in found.items() if place[1] not in HERS}
        assert all(found.pop((step, "epoch")) == step for step in steps)
        assert found.keys() == wanted.keys()
        assert all(same(found[place], value) for place, value in wanted.items())
        for key, value in Config.from_json(row["config"]).flat().items() if row["model"] == "dynonet" else ():
            assert dotted(config)[key] == json.loads(json.dumps(value)), key
        place = {"study": study, "role": member.role, "run": member.run, "seed": row["seed"], "arm": member.arm}
        assert {key: config.get(key) for key in place} == place
        assert (config.get("trial"), config.get("cell")) == (member.trial, member.cell)
        for key in ("status", "val_mse", "best_epoch", "parameters", "cpu_seconds", "error", "signal_range.lr_scale"):
            assert summary.get(key) == row[key], key
        tests = {
            f"test_{r['metric']}{'/' + r['channel'] if r['channel'] else ''}": r["value"]
            for r in readings
            if r["run"] == member.run and r["split"] == "test"
        }
        assert {key: value for key, value in summary.items() if key.startswith("test_")} == tests
        assert "train_loss" not in summary and "signal.lr_scale" not in summary, "the best epoch's, not the last's"


def by_step(rows: list[tuple[int, dict[str, Any]]]) -> dict[int, dict[str, Any]]:
    assert len({step for step, _ in rows}) == len(rows), "no step twice"
    return dict(rows)


def check_files(results: Results, study: str, folder: Path | None = None) -> None:
    arrived: dict[str, Any] = {}
    for run in wandb_file.read_all(folder or Path(results.storage.root) / "wandb"):
        if run.fields["group"] == study:
            assert run.exit_code == 0 and run.metrics["epoch"] == ("", True)
            before, _, _ = arrived.get(run.id, ([], None, None))
            arrived[run.id] = ([*before, *run.history], run.config, run.summary)
    check(results, study, {key: (by_step(rows), *rest) for key, (rows, *rest) in arrived.items()})


def check_server(results: Results, study: str, server: WandbServer) -> None:
    arrived = {}
    for run in server.runs.values():
        if run.fields["groupName"] == study:
            assert run.exit_code == 0 and run.project == "dynonet"
            rows = [(row["_step"], row) for row in run.received]
            assert [step for step, _ in rows] == [row["_step"] for row in run.history]
            arrived[run.name] = (by_step(rows), run.config, run.summary)
    check(results, study, arrived)
