"""The command, end to end through real Ray: whole studies, killed ones, broken stacks."""

import os
import signal
import time
from collections import Counter
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import pytest

from ablations.findings.collect import findings_of
from ablations.report import main as main_report
from ablations.report import render
from ablations.run import main
from ablations.study.reading import create_study, load_study
from dynonet.config import Config
from lab.series import load_series
from lab.series.bars import fit_linear
from lab.store.frames import load
from lab.store.pruning import prune
from lab.store.tables import Results
from lab.training.trainer import StackTrainer, evaluate_weights
from lab.training.window_errors import window_errors
from tests.ablations.tiny import TINY, check_complete, checkpoints, write
from tests.processes import Driver, drivers, gone


@pytest.fixture
def begin(tmp_path: Path) -> Iterator[Callable[..., Driver]]:
    """Starts studies in `tmp_path`; none of their processes outlives the test."""
    with drivers("ablations.run", tmp_path) as start:
        yield start


@pytest.mark.slow
def test_a_whole_study_and_what_is_not_trained_again(begin: Callable[..., Driver], tmp_path: Path) -> None:
    results = Results(tmp_path / "results")
    driver = begin(write(tmp_path), "--stack-size", "4")
    assert driver.wait() == 0, driver.said()
    said = driver.said()
    assert "Traceback" not in said and "\x1b" not in said
    assert "2 of 3 comparisons are alive" in said and "no_lr_scale (cell main): inert against full" in said
    assert "21 runs, 21 different ones, 0 on record, 21 to train" in said and "6 stacks of 3 to 4 models" in said
    for part in ("linear baseline", "no_trend", "python -m ablations.report tiny"):
        assert part in said
    check_complete(results, "tiny", 21)
    frame = load("tiny", tmp_path / "results")
    assert set(frame.loc[frame["role"] == "arm", "arm"]) == {"full", "no_film", "no_trend"}
    assert frame.loc[frame["role"] == "arm", "stack_size"].isin([3, 4]).all() and (frame["cell"] == "main").all()

    # The runs are those that the written configs give, alone.
    study = create_study(TINY)
    for arm, seed in (("full", 1), ("no_trend", 6)):
        config = Config.from_yaml(tmp_path / f"results/artifacts/tiny/configs/main/{arm}.yaml")
        config = config.override({"training.seed": seed})
        assert config == study.config("main", arm, seed)
        series = load_series(config.data)
        (run,) = StackTrainer([config], series).train()
        row = results.runs([run.run])[run.run]
        assert row["val_mse"] == pytest.approx(run.best["mse"], rel=1e-6) and row["best_epoch"] == run.best_epoch
        assert run.weights is not None
        test = evaluate_weights(config, run.weights, series, "test")
        kept = window_errors(results, run.run)
        assert kept is not None and kept == pytest.approx(test.mse_windows[0].numpy(), rel=1e-4)
        assert float(np.mean(kept)) == pytest.approx(test.mse[0].item(), rel=1e-5)
        moved = {name.split(".")[1]: row[name] for name in row if name.startswith("signal_range.")}
        still = {"lr_scale", "wd_scale", "grad_clip", "loss_weight", "freeze_prob"}
        still |= {"input_noise"} if arm == "no_trend" else set()  # nothing of it is left in what workers read
        assert {name for name, value in moved.items() if value == 0} == still

    # The same command again trains nothing; nor does another study that asks for the same runs.
    before = {f.name: f.effects for f in findings_of(results, "tiny").findings}
    files = set(results.storage.list("runs"))
    again = begin("tiny.yaml")
    assert again.wait() == 0 and "nothing is left to train" in again.said() and "starting Ray" not in again.said()
    other = begin(write(tmp_path, name="other", arms=["no_trend"], seeds=6))
    assert other.wait() == 0 and "12 different ones, 12 on record, 0 to train" in other.said(), other.said()
    assert set(results.storage.list("runs")) == files
    assert {f.name: f.effects for f in findings_of(results, "tiny").findings} == before
    assert {reading.purpose for reading in findings_of(results, "other").ledger} == {"ablation tiny", "baseline"}

    # Pruned of what nothing needs, both reports are the same, and nothing below misses it.
    pages = [render(findings_of(results, name)) for name in ("tiny", "other")]
    freed = prune(results, ["tiny", "other"]).freed
    assert len(freed) == 14 and all(path.startswith("weights/") for path in freed), "those of the arms but full"
    assert [render(findings_of(results, name)) for name in ("tiny", "other")] == pages

    # Seeds by hand, after the verdicts: only they are trained, and the study says what it has become.
    more = begin("tiny.yaml", "--seeds", "8")
    assert more.wait() == 0 and "24 runs, 24 different ones, 21 on record, 3 to train" in more.said(), more.said()
    assert "EXPLORATORY: seeds were added by hand, from 7 to 8, after verdicts had been read" in more.said()
    check_complete(results, "tiny", 24)


@pytest.mark.slow
def test_cells_of_one_file_are_trained_each_on_its_own(begin: Callable[..., Driver], tmp_path: Path) -> None:
    """Cells that differ in the split, the channels or the date column alone: each run equals that one trained alone,
    its baseline the linear map fitted alone; what the file is not as it should be stands on the page."""
    generator = np.random.default_rng(0)
    values = np.sin(np.arange(400)[:, None] / [3.8, 3.9, 4.0]) + generator.normal(size=(400, 3))
    values[-80:, 2] = 0.5  # the test split of one cell alone
    frame = pd.DataFrame(values, columns=["a", "b", "still"])
    frame.insert(0, "date", pd.date_range("2020", periods=400, freq="h"))
    frame.to_csv(tmp_path / "mine.csv", index=False)
    own = {"data.path": "mine.csv", "training.max_epochs": 1}
    name = write(
        tmp_path, baseline={k: v for k, v in TINY["baseline"].items() if "synthetic" not in k} | own, arms=["no_trend"],
        seeds=8,
        cells={
            "early": {"data.split": [0.5, 0.2, 0.2]}, "late": {"data.split": [0.6, 0.2, 0.2]},
            "b": {"data.channels": ["b"]}, "ba": {"data.channels": ["b", "a"]},
        },
    )  # fmt: skip
    driver = begin(name)
    assert driver.wait() == 0, driver.said()
    results = Results(tmp_path / "results")
    rows = results.runs({row["run"] for row in results.table("members", "tiny").to_pylist()})
    readings = results.table("evaluations", "tiny").to_pylist()
    test = {row["run"]: row["value"] for row in readings if row["metric"] == "mse" and row["channel"] is None}
    study = load_study(tmp_path / name)
    identities = set()
    for cell in study.cell_names:
        config = study.config(cell, "full", 3)
        series = load_series(config.data)
        (run,) = StackTrainer([config], series).train()
        assert run.weights is not None and rows[run.run]["data_sha256"] == series.identity
        alone = evaluate_weights(config, run.weights, series, "test").mse[0].item()
        assert test[run.run] == pytest.approx(alone, rel=1e-5)
        linear = findings_of(results, "tiny").cell(cell).linear["test_mse"]
        assert linear == pytest.approx(fit_linear(series, config.data).evaluate(series, config.data, "test").mse)
        identities.add(series.identity)
    assert len(identities) == 4
    assert "note: data of cell late: channel still is constant over the test rows" in driver.said()
    assert "data of cell late: channel still" in " ".join(findings_of(results, "tiny").notes)
    assert main_report(["tiny", "--results", str(tmp_path / "results"), "--out", str(tmp_path / "page")]) == 0
    page = (tmp_path / "page" / "report.html").read_text()
    assert "mine" in page and str(tmp_path) not in page


@pytest.mark.slow
def test_a_study_killed_twice_and_a_trial_killed(begin: Callable[..., Driver], tmp_path: Path, capsys: Any) -> None:
    results = Results(tmp_path / "results")
    baseline = {**TINY["baseline"], "training.max_epochs": 14, "training.patience": 14}
    name = write(tmp_path, baseline=baseline, arms=["no_film", "no_trend"])
    driver = begin(name, "--stack-size", "6")
    driver.until(lambda: checkpoints(results))
    with driver.held():
        assert main([str(tmp_path / name), "--results", str(tmp_path / "results")]) == 2
        assert f"study 'tiny' is held by process {driver.process.pid} on " in capsys.readouterr().err
        driver.kill()
        killed_at = time.time()
    assert gone(driver.mark), "Ray's processes outlive the driver"
    on_record = len(results.runs())

    driver = begin(name, "--stack-size", "6")
    pid = driver.until(lambda: driver.trials() if checkpoints(results) else None)[0]
    os.kill(pid, signal.SIGKILL)  # a trial dies, and goes on
    driver.until(lambda: len(results.runs()) > on_record)
    driver.kill()
    assert gone(driver.mark)

    driver = begin(name, "--stack-size", "6")
    assert driver.wait() == 0, driver.said()
    check_complete(results, "tiny", 21)
    trained = [row for row in results.runs().values() if row["model"] == "dynonet"]
    assert any(row["started"].timestamp() < killed_at < row["ended"].timestamp() for row in trained)


@pytest.mark.slow
def test_a_killed_stack_goes_on_though_some_of_its_runs_had_ended(begin: Callable[..., Driver], tmp_path: Path) -> None:
    """What is left of it would be planned as another stack, and another stack begins at epoch 0."""
    results = Results(tmp_path / "results")
    baseline = {**TINY["baseline"], "training.max_epochs": 200, "training.patience": 3, "training.lr": 0.02,
                "training.schedule": "constant"}  # fmt: skip
    name = write(tmp_path, baseline=baseline, arms=["no_trend"], seeds=9)
    driver = begin(name)

    def some_have_ended() -> bool:  # two stacks of nine, both of which have begun
        done = [row for row in results.runs().values() if row["model"] == "dynonet"]
        return 11 <= len(done) <= 16 and bool(checkpoints(results))

    driver.until(some_have_ended)
    driver.kill()
    assert gone(driver.mark)
    before = {run: row for run, row in results.runs().items() if row["model"] == "dynonet"}
    folders = {p.split("/")[1]: p for p in checkpoints(results)}
    assert before and folders

    driver = begin(name)
    seen: dict[str, str] = {}

    def watch() -> bool:
        for path in checkpoints(results):
            seen.setdefault(path.split("/")[1], path)
        return driver.process.poll() is not None

    deadline = time.monotonic() + 150
    while not watch():
        assert time.monotonic() < deadline, driver.said()
        time.sleep(0.02)
    assert driver.wait() == 0, driver.said()
    assert set(seen) <= set(folders), "no stack was made anew"
    check_complete(results, "tiny", 18)
    after = results.runs()
    assert all(after[run]["ended"] == row["ended"] for run, row in before.items())
    assert len({row["stack_size"] for row in after.values() if row["model"] == "dynonet"}) == 1


@pytest.mark.slow
def test_a_hang_up_and_a_time_budget_end_it_and_it_goes_on(begin: Callable[..., Driver], tmp_path: Path) -> None:
    results = Results(tmp_path / "results")
    name = write(tmp_path, baseline={**TINY["baseline"], "training.max_epochs": 30, "training.patience": 30})
    driver = begin(name, "--time-budget", "0.1")
    assert driver.wait() == 0 and "the time budget is spent after 0:00:" in driver.said(), driver.said()
    driver = begin(name)
    driver.until(driver.trials)
    os.killpg(driver.process.pid, signal.SIGHUP)  # to the whole group, Ray's processes too
    assert driver.wait() == 129, driver.said()
    assert f"Go on with the same command:\n  python -m ablations.run {name}" in driver.said()
    assert "Traceback" not in driver.said() and gone(driver.mark)
    driver = begin(name)
    assert driver.wait() == 0, driver.said()
    check_complete(results, "tiny", 21)


@pytest.mark.slow
def test_more_seeds_only_where_nothing_is_decided(begin: Callable[..., Driver], tmp_path: Path) -> None:
    results = Results(tmp_path / "results")
    mild = {"name": "other_order", "claim": "an arm that hardly matters", "overrides": {"data.meta_fraction": 0.21}}
    name = write(tmp_path, arms=["no_revin", mild], seeds="auto", max_seeds=9, looks=2, margin_percent=0.0001)
    driver = begin(name)
    assert driver.wait() == 0, driver.said()
    findings = findings_of(results, "tiny")
    assert findings.looks == (8, 9)
    seeds = {runs.arm: len(runs.seeds) for runs in findings.arms}
    decided = {f.name for f in findings.findings if f.decision and f.decision.look == 1 and f.verdict != "undecided"}
    assert "other_order" not in decided and f"after 8 seeds {2 - len(decided)} of 2" in driver.said()
    assert seeds == {"full": 9, "other_order": 9, "no_revin": 8 if "no_revin" in decided else 9}
    events = findings.events
    again = begin(name)
    assert again.wait() == 0 and "verdicts were read at 9 seeds" in again.said()
    assert findings_of(results, "tiny").events == events, "looking again is no event"
    # What the budget does not allow is not begun.
    name = write(tmp_path, name="short", arms=["no_revin", mild], seeds="auto", max_seeds=10, looks=2,
                 margin_percent=0.0001)  # fmt: skip
    driver = begin(name, "--device-hours", "0.000001")
    assert driver.wait() == 0 and "a further look could take" in driver.said(), driver.said()
    assert findings_of(results, "short").look == 1


@pytest.mark.slow
def test_a_stack_that_fails_is_recorded_and_tried_again(begin: Callable[..., Driver], tmp_path: Path) -> None:
    results = Results(tmp_path / "results")
    baseline = {**TINY["baseline"], "training.max_epochs": 20, "training.patience": 20}
    name = write(tmp_path, baseline=baseline, arms=["no_trend"])
    driver = begin(name, "--stack-size", "5", "--max-failures", "0")
    pid = driver.until(lambda: driver.trials() if checkpoints(results) else None)[0]
    os.kill(pid, signal.SIGKILL)
    assert driver.wait() == 1, driver.said()
    said = driver.said()
    assert "failed: " in said and "the same command tries the rest again" in said and "Traceback" not in said
    findings = findings_of(results, "tiny")
    assert findings.findings[0].verdict == "incomplete" and "runs failed" in " ".join(findings.notes)
    statuses = Counter(row["status"] for row in results.runs().values() if row["model"] == "dynonet")
    assert 0 < statuses["failed"] <= 5 and statuses["failed"] + statuses["complete"] == 14
    errors = [row["error"] for row in results.runs().values() if row["status"] == "failed"]
    assert all(error and "died" in error for error in errors), errors

    again = begin(name)
    assert again.wait() == 0, again.said()
    assert f"{14 - statuses['failed']} on record, {statuses['failed']} to train" in again.said()
    assert findings_of(results, "tiny").findings[0].verdict != "incomplete"


@pytest.mark.slow
def test_each_arm_is_tuned_before_its_replicates(begin: Callable[..., Driver], tmp_path: Path) -> None:
    results = Results(tmp_path / "results")
    name = write(
        tmp_path, arms=["no_film"], nuisance=["training.lr", "model.dropout"], seeds=7,
        retune={"trials": 2, "replicates": 1, "seed_offset": 500},
    )  # fmt: skip
    driver = begin(name)
    assert driver.wait() == 0, driver.said()
    said = driver.said()
    assert "re-tuning full (cell main)" in said and "re-tuning no_film (cell main)" in said
    findings = findings_of(results, "tiny")
    assert [f.name for f in findings.findings] == ["no_film", "no_film@tuned"] and findings.family == 2
    assert {runs.arm: runs.complete for runs in findings.arms} == dict.fromkeys(
        ("full", "no_film", "full@tuned", "no_film@tuned"), 7
    )
    tuned = next(runs for runs in findings.arms if runs.arm == "no_film@tuned")
    assert set(tuned.difference) <= {"model.film", "training.lr", "model.dropout"} and len(tuned.difference) > 1
    searched = [row for row in results.runs().values() if row["seed"] == 500]
    assert len(searched) == 4 and not {row["run"] for row in searched} & {r.run for r in findings.ledger}
    again = begin(name)
    assert again.wait() == 0 and "re-tuning" not in again.said() and "nothing is left to train" in again.said()
