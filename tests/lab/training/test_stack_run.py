"""A stack of runs on its way into the results: nothing trained twice, nothing lost, the same numbers to the bit."""

import io
import json
import os
import shutil
import subprocess
import sys
from collections import Counter
from pathlib import Path
from typing import Any

import pytest
import torch

from dynonet.config import Config
from dynonet.parts import SIGNALS
from lab.errors import DataError
from lab.machines.trainable import StackTrainable
from lab.machines.trial import TrialSpec
from lab.series import load_series
from lab.store.tables import Results
from lab.training import readings, stack_run
from lab.training.readings import load_weights, read_test, unread
from lab.training.stack_run import StackRun
from lab.training.trainer import StackTrainer, evaluate_weights
from lab.training.window_errors import window_errors
from tests.lab.training.stacks import EARLY, HUGE, attempts, checkpoints, named, seeds, train


def test_a_stack_comes_to_its_end_and_is_on_record(store: Results, tiny: Config, sha: str, epochs: Any) -> None:
    configs = seeds(tiny, 1, 2, 3, **EARLY)
    report = train(store, configs)
    rows = store.runs()
    assert set(rows) == {c.run_id(sha) for c in configs} and {r["status"] for r in rows.values()} == {"complete"}
    ends = sorted(row["epochs"] for row in rows.values())
    assert ends[0] < ends[-1] == report.epoch == len(epochs), "one stops earlier than another"
    assert (report.state, checkpoints(store), set(attempts(store))) == ("complete", [], {(run, 1) for run in rows})
    history = store.table("history").to_pylist()
    for config in configs:
        row = rows[config.run_id(sha)]
        assert Config.from_json(row["config"]) == config and row["seed"] == config.training.seed
        assert (row["stack_size"], row["device"], row["data_sha256"], row["attempt"]) == (3, "cpu", sha, 1)
        assert row["host"] and row["versions"] and row["started"] < row["ended"] and row["cpu_seconds"] > 0
        mine = {h["step"]: h["value"] for h in history if h["run"] == row["run"] and h["metric"] == "val_mse"}
        assert (
            sorted(mine) == list(range(1, row["epochs"] + 1))
            and min(mine.values()) == row["val_mse"] == mine[row["best_epoch"]]
        )
        assert sum(row["val_mse_channels"]) / len(row["channels"]) == pytest.approx(row["val_mse"], rel=1e-5)
    size = StackTrainer(configs[:1], load_series(tiny.data)).stack.weights([0])[0]
    assert report.parameters == rows[configs[0].run_id(sha)]["parameters"] > 100 and size


def test_reports_are_the_mean_of_the_best_so_far_at_every_epoch(store: Results, tiny: Config, tmp_path: Path) -> None:
    configs = seeds(tiny, 1, 2, 3, **EARLY)
    stack = StackRun(store, configs)
    reports = [stack.step()]
    while reports[-1].state == "running":
        reports.append(stack.step())
    history = store.table("history").to_pylist()
    ends = [row["epochs"] for row in store.runs().values()]
    assert min(ends) < max(ends), "or this shows nothing"
    for number, report in enumerate(reports, 1):
        assert report.epoch == number and report.reports == reports[-1].reports[:number], "what was reported stays"
        best: dict[str, float] = {}
        for row in history:
            if row["metric"] == "val_mse" and row["step"] <= number:
                best[row["run"]] = min(best.get(row["run"], float("inf")), row["value"])
        assert report.value == pytest.approx(sum(best.values()) / 3, rel=1e-12) and report.reports[-1] == (
            number,
            report.value,
        )
    # Whoever resumes at any epoch says the same.
    other = Results(tmp_path / "other")
    for number in range(1, len(reports)):
        train(other, configs, number)
        assert StackRun(other, configs).report() == reports[number - 1]
    assert train(other, configs) == reports[-1]


def test_a_diverged_replicate_ends_the_trial_and_spares_its_neighbours(store: Results, tiny: Config, sha: str) -> None:
    good, bad = seeds(tiny, 1, 2)
    bad = bad.override({"training.lr": HUGE})
    report = train(store, [good, bad])
    rows = store.runs()
    assert report.state == "diverged"
    assert rows[bad.run_id(sha)]["status"] == "diverged" and rows[good.run_id(sha)]["status"] == "stopped"
    stopped = rows[good.run_id(sha)]
    assert 0 < stopped["val_mse"] < 100 and stopped["weights"] and stopped["epochs"] == report.epoch
    assert report.value is None or 0 < report.value < float("inf")
    assert named(store) == [f"checkpoints/runs/{good.run_id(sha)}/state.pt"]
    # Asked for again: the diverged one is done, and the trial ends again without training it.
    again = train(store, [good, bad])
    assert again.state == "diverged" and attempts(store)[bad.run_id(sha), 1] == "diverged"
    assert (bad.run_id(sha), 2) not in attempts(store)
    # Alone, the neighbour goes on.
    assert train(store, [good]).state == "complete" and store.runs()[good.run_id(sha)]["epochs"] == 6


def test_the_series_can_be_handed_in_and_must_be_the_study_s(
    store: Results, tiny: Config, sha: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    series = load_series(tiny.data)
    monkeypatch.setattr(stack_run, "load_series", lambda data: pytest.fail("read again"))
    stack = StackRun(store, seeds(tiny, 1), series=series)
    assert stack.series is series and stack.ids == [seeds(tiny, 1)[0].run_id(sha)]
    spec = TrialSpec((tiny.to_json(),), "0" * 64, store.storage.url, trial="t0", provenance={"versions": "{}"})
    with pytest.raises(DataError, match=f"the data's identity is {sha}; the study's is 000"):
        StackTrainable(spec.to_dict()).step()
    assert store.runs() == {}


def test_an_actor_is_up_before_torch_is_imported() -> None:
    """Tune kills an actor that is still starting as soon as another falls free."""
    code = "import sys, lab.machines.trainable; assert 'torch' not in sys.modules and 'numba' not in sys.modules"
    subprocess.run([sys.executable, "-c", code], check=True, cwd=Path(__file__).parents[3])


def test_where_divergence_is_outlived_every_run_comes_to_its_own_end(store: Results, tiny: Config, sha: str) -> None:
    bad, good = seeds(tiny, 1, **{"training.lr": HUGE})[0], seeds(tiny, 2)[0]
    stack = StackRun(store, [bad, good], outlive_divergence=True)
    reports = [stack.step()]
    while reports[-1].state == "running":
        reports.append(stack.step())
    rows = store.runs()
    assert rows[bad.run_id(sha)]["status"] == "diverged" and rows[good.run_id(sha)]["status"] == "complete"
    assert [report.ended for report in reports] == [1] * (len(reports) - 1) + [2] and len(reports) == 6
    assert reports[-1].state == "complete" and not checkpoints(store)
    alone = Results(store.storage.root + "-alone")
    train(alone, [good])
    for name, tensor in load_weights(alone, alone.runs()[good.run_id(sha)])[1].items():
        torch.testing.assert_close(tensor, load_weights(store, rows[good.run_id(sha)])[1][name])
    # Asked for again: both are done.
    assert StackRun(store, [bad, good], outlive_divergence=True).step().state == "complete"


def test_what_a_signal_did_and_what_computed_it_are_on_record(store: Results, tiny: Config, sha: str) -> None:
    """Signals that get no gradient never moved, whether they were killed and resumed on the way or not."""
    config = seeds(tiny, 1, **{"signals.dropout_rate": 0.2, "training.lr": 0.02})[0]
    StackRun(store, [config]).advance()
    train(store, [config])
    row = store.runs()[config.run_id(sha)]
    ranges = {name.split(".")[1]: value for name, value in row.items() if name.startswith("signal_range.")}
    assert set(ranges) == set(SIGNALS)
    assert {name for name, value in ranges.items() if value > 0} == {"gate_masks", "input_noise"}
    assert all(value == 0 for name, value in ranges.items() if name not in ("gate_masks", "input_noise"))
    assert row["kernel"] == ("torch" if os.environ.get("DYNONET_KERNEL") == "torch" else "numba")


def test_best_weights_give_the_recorded_validation_error_again(store: Results, tiny: Config) -> None:
    train(store, seeds(tiny, 1, 2, **EARLY))
    series = load_series(tiny.data)
    for row in store.runs().values():
        config, weights = load_weights(store, row)
        assert config.training.seed == row["seed"]
        again = evaluate_weights(config, weights, series, "validation")
        assert again.mse[0].item() == pytest.approx(row["val_mse"], rel=1e-6)
        assert again.mae_channels[0].tolist() == pytest.approx(row["val_mae_channels"], rel=1e-6)


def test_test_is_read_once(store: Results, tiny: Config, sha: str, monkeypatch: pytest.MonkeyPatch) -> None:
    configs = seeds(tiny, 1, 2)
    train(store, configs)
    splits: list[str] = []
    evaluate = readings.evaluate_weights
    monkeypatch.setattr(
        readings, "evaluate_weights", lambda c, w, s, split, d: (splits.append(split), evaluate(c, w, s, split, d))[1]
    )
    ids = [config.run_id(sha) for config in configs]
    read_test(store, ids[:1], "final")
    read_test(store, ids, "final")
    read_test(store, ids, "curiosity")
    assert splits == ["test", "test"]
    rows = store.table("evaluations").to_pylist()
    channels = store.runs()[ids[0]]["channels"]
    expected = {(run, 1, "test", m, c, "final") for run in ids for m in ("mse", "mae") for c in (None, *channels)}
    found = [(r["run"], r["attempt"], r["split"], r["metric"], r["channel"], r["purpose"]) for r in rows]
    assert set(found) == expected and len(found) == len(expected)
    # Beside the records: every window's error, whose mean is the reading.
    mean = {r["run"]: r["value"] for r in rows if r["metric"] == "mse" and r["channel"] is None}
    for run in ids:
        kept = window_errors(store, run)
        assert kept is not None and kept.shape == (rows[0]["windows"],) == (300 // 5 - 4 + 1,)
        assert float(kept.mean(dtype=float)) == pytest.approx(mean[run], rel=1e-6)
    assert window_errors(store, "unknown") is None and unread(store, ids) == {}
    series = load_series(tiny.data)
    again = evaluate_weights(*load_weights(store, store.runs()[ids[0]]), series, "test").mse[0].item()
    assert (
        next(r["value"] for r in rows if r["run"] == ids[0] and r["metric"] == "mse" and r["channel"] is None) == again
    )


def test_only_done_runs_are_read_on_test(store: Results, tiny: Config, sha: str) -> None:
    train(store, seeds(tiny, 1), 2)
    StackRun(store, seeds(tiny, 1)).close("stopped")
    bad = tiny.override({"training.lr": HUGE})
    train(store, [bad])
    read_test(store, [seeds(tiny, 1)[0].run_id(sha), "unknown"], "final")
    assert store.table("evaluations").num_rows == 0


def test_a_trial_as_tune_runs_it(store: Results, tiny: Config, sha: str) -> None:
    texts = [config.to_json() for config in seeds(tiny, 1, 2)]
    provenance = {"git_commit": "abc", "git_dirty": True, "versions": "{}"}
    spec = TrialSpec(tuple(texts), sha, store.storage.url, "s", provenance=provenance, trial="t0")
    settings = spec.to_dict()
    actor = StackTrainable(settings)
    first = actor.step()
    assert (first["epoch"], first["state"], first["done"], len(first["reports"])) == (1, "running", False, 1)
    # The actor is used again for another trial, then for this one: it goes on.
    assert actor.reset_config({**settings, "configs": texts[:1]}) and actor.step()["epoch"] == 1
    assert actor.reset_config(settings) and actor.step()["epoch"] == 2
    while not (last := actor.step())["done"]:
        pass
    assert (last["epoch"], last["state"], last["value"]) == (6, "complete", last["reports"][-1][1])
    assert last["ended"] == 2 and store.table("evaluations").num_rows == 0, "a search does not see test"
    assert actor.reset_config({**settings, "test_purpose": "an arm"}) and actor.step()["done"]
    assert {row["purpose"] for row in store.table("evaluations").to_pylist()} == {"an arm"}
    assert {row["git_commit"] for row in store.runs().values()} == {"abc"} and torch.get_num_threads() == 1
    actor.cleanup()


def test_a_stopped_trial_is_put_on_record_from_memory_as_from_its_checkpoint(
    store: Results, tiny: Config, sha: str, tmp_path: Path
) -> None:
    configs = [*seeds(tiny, 1, 2), tiny.override({"training.seed": 3, "training.max_epochs": 1})]
    provenance = {"git_commit": "abc", "git_dirty": True, "versions": "{}"}
    texts = tuple(config.to_json() for config in configs)
    spec = TrialSpec(texts, sha, store.storage.url, "s", provenance=provenance, trial="t0")
    actor = StackTrainable(spec.to_dict())
    actor.step()
    actor.step()
    shutil.copytree(store.storage.root, tmp_path / "copy")
    read = Results(tmp_path / "copy")  # as a driver does it that has the checkpoint alone
    StackRun(read, configs).close("stopped")
    with pytest.raises(RuntimeError, match="t1 is not in the memory of this process"):
        actor.close_stopped("t1")
    actor.close_stopped("t0")

    def rows(results: Results, table: str) -> list[dict[str, Any]]:
        found = [{**row, "ended": None, "time": None} for row in results.table(table).to_pylist()]
        return sorted(found, key=lambda row: json.dumps(row, default=str))

    for table in ("runs", "history"):
        assert rows(store, table) == rows(read, table) and rows(store, table)
    assert Counter(row["status"] for row in rows(store, "runs")) == {"stopped": 2, "complete": 1}
    assert named(store) == named(read) and len(named(store)) == 2
    for path in named(store):
        mine, its = (torch.load(io.BytesIO(results.get_blob(path)), weights_only=True) for results in (store, read))
        for name, tensor in mine.pop("stack").items():
            assert torch.equal(tensor, its["stack"][name])
        assert str(mine) == str({key: value for key, value in its.items() if key != "stack"})
    with pytest.raises(RuntimeError, match="t0 is not in the memory"):
        actor.close_stopped("t0")
