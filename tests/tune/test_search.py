"""The command, end to end through real Ray: whole searches, killed ones, broken trials."""

import json
import os
import re
import signal
import subprocess
import sys
import time
from collections import Counter
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest

from dynonet.config import Config
from lab.pages.formats import counted
from lab.series.bars import BARS
from lab.settings.sizes import machine_bytes
from lab.store.frames import bars, load
from lab.store.objects.checksums import plain
from lab.store.pruning import prune
from lab.store.tables import Results
from tests.processes import ROOT, Driver, drivers, gone, marked, signal_all
from tests.tune.running import check_complete, outcomes, rows, settings_of
from tune.driver import Search
from tune.findings.collect import findings_of
from tune.report import render
from tune.search import main


@pytest.fixture
def begin(tmp_path: Path) -> Iterator[Callable[..., Driver]]:
    """Starts searches in `tmp_path`; none of their processes outlives the test."""
    with drivers("tune.search", tmp_path, "--preset", "smoke") as start:
        yield start


@pytest.mark.slow
def test_a_whole_search_and_more_trials_after_it(begin: Callable[..., Driver], tmp_path: Path, capsys: Any) -> None:
    arguments = ("--results", "out", "--final-replicates", "2")
    first = begin(*arguments, "--trials", "3")
    assert first.wait() == 0, first.said()
    assert "\x1b" not in first.said() and "Traceback" not in first.said()
    for part in ("best: t0000", "best config, 2 fresh seeds", "linear baseline", "±", "best.yaml"):
        assert part in first.said(), first.said()
    results = Results(tmp_path / "out")
    check_complete(results, 3, 2, 4, 2)
    before = {(row["run"], row["attempt"]): row for row in rows(results, "runs")}
    best = min((r for r in outcomes(results).values() if r["state"] == "complete"), key=lambda r: r["values"][0])
    yaml = tmp_path / "out/artifacts/smoke/best.yaml"
    assert yaml.exists() and best["trial"] in first.said()
    frame = load("smoke", tmp_path / "out")
    assert len(frame) == 3 * 2 + 2 and set(frame["role"]) == {"search", "final"}
    assert list(bars("smoke", tmp_path / "out")["model"]) == list(BARS)
    assert frame.loc[frame["role"] == "final", "test_mse"].notna().all()

    # Settings that do not mix are refused with the difference, before Ray starts; nothing changes.
    files = results.storage.list()
    started = time.monotonic()
    refused = ["--preset", "smoke", "--results", str(tmp_path / "out"), "--replicates", "3", "training.patience=2"]
    assert main(refused) == 2 and main([*refused, "--dry-run"]) == 2
    error = capsys.readouterr().err
    assert (
        "search.replicates: 2 -> 3" in error
        and "settings.training.patience: 4 -> 2" in error
        and "--study OTHER" in error
    )
    assert [f for f in results.storage.list() if "leases" not in f] == [f for f in files if "leases" not in f]
    assert time.monotonic() - started < 60, "before Ray starts"

    # Pruned of what nothing needs, its report is the same, and nothing below misses it.
    page = render(findings_of(results, "smoke"))
    pruned = set(map(plain, prune(results, ["smoke"]).freed))
    assert len([path for path in pruned if path.startswith("weights/")]) >= 4
    assert render(findings_of(results, "smoke")) == page

    # The same command with more trials trains only what is new.
    second = begin(*arguments, "--trials", "5")
    assert second.wait() == 0, second.said()
    assert "going on: 3 trials on record, 0 resumed" in second.said()
    check_complete(results, 5, 2, 4, 2, pruned)
    after = {(row["run"], row["attempt"]): row for row in rows(results, "runs")}
    assert before.items() <= after.items()
    # And once more, with nothing left to do.
    third = begin(*arguments, "--trials", "5")
    assert third.wait() == 0, third.said()
    assert {(row["run"], row["attempt"]): row for row in rows(results, "runs")} == after

    train = [
        sys.executable,
        "-m",
        "lab.train",
        "--config",
        str(yaml),
        "--max_epochs",
        "1",
        "--out",
        str(tmp_path / "run"),
    ]
    done = subprocess.run(
        train, cwd=tmp_path, env={**os.environ, "PYTHONPATH": str(ROOT)}, capture_output=True, text=True
    )
    assert done.returncode == 0, done.stderr
    assert gone(first.mark)


@pytest.mark.slow
def test_a_driver_killed_twice_and_one_turned_away(begin: Callable[..., Driver], tmp_path: Path, capsys: Any) -> None:
    arguments = ("--results", "out", "--trials", "4", "--max-epochs", "12", "--final-replicates", "1")
    results = Results(tmp_path / "out")
    driver = begin(*arguments)
    driver.until(lambda: [p for p in results.storage.list("checkpoints") if "/runs/" not in p])
    with driver.held():
        # A second driver is refused.
        assert main(["--preset", "smoke", "--results", str(tmp_path / "out"), *arguments[2:]]) == 2
        assert f"study 'smoke' is held by process {driver.process.pid} on " in capsys.readouterr().err
        driver.kill()
        killed_at = time.time()
    assert gone(driver.mark), "Ray's processes outlive the driver"
    started_at = {row["trial"]: row["params"] for row in rows(results, "trials") if row["event"] == "proposed"}
    ended = len(outcomes(results))

    driver = begin(*arguments)
    driver.until(lambda: len(outcomes(results)) > ended)
    driver.until(lambda: [p for p in results.storage.list("checkpoints") if "/runs/" not in p])
    resumed = len(started_at) - ended
    assert f"going on: {counted(ended, 'trial')} on record, {resumed} resumed" in driver.said() and resumed >= 1, (
        driver.said()
    )
    first = dict(outcomes(results))
    driver.kill()
    assert gone(driver.mark)

    driver = begin(*arguments)
    assert driver.wait() == 0, driver.said()
    check_complete(results, 4, 2, 12, 1)
    proposed = {row["trial"]: row["params"] for row in rows(results, "trials") if row["event"] == "proposed"}
    assert started_at.items() <= proposed.items() and first.items() <= outcomes(results).items()
    assert {row["attempt"] for row in rows(results, "runs")} == {1}, "a killed run goes on, it does not begin again"
    # The runs that were killed went on from their checkpoint: they began before the first kill.
    trained = [row for row in rows(results, "runs") if row["model"] == "dynonet"]
    assert any(row["started"].timestamp() < killed_at < row["ended"].timestamp() for row in trained)


# A window of it fits into memory, which is all that is asked beforehand, and a batch of them does not.
HUGE = machine_bytes() // 56 | 1
BREAKING = f"model.moving_average: {{choice: [5, {HUGE}]}}\nmodel.worker_hidden: {{int: [2, 4]}}\n"


@pytest.mark.slow
def test_a_killed_trial_goes_on_and_a_broken_one_is_recorded(begin: Callable[..., Driver], tmp_path: Path) -> None:
    (tmp_path / "space.yaml").write_text(BREAKING)
    results = Results(tmp_path / "out")
    driver = begin(
        "--results", "out", "--space", "space.yaml", "--trials", "4", "--max-epochs", "15", "--replicates", "1",
        "--seed", "2", "--max-failures", "1", "--final-replicates", "0", "--grace-epochs", "15",
    )  # fmt: skip
    pid = driver.until(lambda: driver.trials() if results.storage.list("checkpoints") else None)[0]
    os.kill(pid, signal.SIGKILL)
    killed_at = time.time()
    assert driver.wait() == 0, driver.said()
    said = driver.said()
    ended = outcomes(results)
    states = Counter(row["state"] for row in ended.values())
    assert states["failed"] >= 1 and states["complete"] >= 1 and sum(states.values()) == 4, said
    assert "ended for want of memory" in said
    assert {row["kind"] for row in rows(results, "events")} == {"process_died", "memory_short"}
    kernels = {
        r["trial"]: json.loads(r["params"])["model.moving_average"] for r in rows(results, "trials") if r["params"]
    }
    for trial, row in ended.items():
        assert (row["state"] == "failed") == (kernels[trial] == HUGE), said
        if row["state"] == "failed":
            assert "can't allocate memory" in row["error"] and re.search(
                rf"^{trial} failed after 2 tries: .*memory", said, re.M
            )
    runs = [row for row in rows(results, "runs") if row["model"] == "dynonet"]
    assert {row["attempt"] for row in runs} == {1}
    assert any(row["started"].timestamp() < killed_at and row["status"] == "complete" for row in runs)
    assert gone(driver.mark)


@pytest.mark.slow
def test_a_search_whose_trials_all_fail(
    begin: Callable[..., Driver], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    (tmp_path / "space.yaml").write_text(f"model.moving_average: {{choice: [{HUGE}, {HUGE - 2}]}}\n")
    arguments = ("--space", "space.yaml", "--trials", "2", "--max-failures", "0")
    monkeypatch.chdir(tmp_path)
    search = Search(*settings_of(*arguments))
    search.proposals(Results("out"), None).propose()  # an earlier driver was killed when it had proposed one
    driver = begin("--results", "out", *arguments)
    assert driver.wait() == 1, driver.said()
    assert "going on: 0 trials on record, 1 resumed" in driver.said() and "Traceback" not in driver.said()
    assert "no trial was complete (outcomes: failed)" in driver.said() and "failed 2" in driver.said()
    assert {row["state"] for row in outcomes(Results(tmp_path / "out")).values()} == {"failed"}


@pytest.mark.slow
def test_time_budget_then_ctrl_c_and_sigterm_then_to_the_end_with_two_objectives(
    begin: Callable[..., Driver], tmp_path: Path
) -> None:
    arguments = ("--results", "out", "--trials", "12", "--max-epochs", "12", "--final-replicates", "1")
    arguments += ("--objectives", "val_mse,parameters")
    results = Results(tmp_path / "out")
    driver = begin(*arguments, "--time-budget", "2")
    assert driver.wait() == 0, driver.said()
    assert "the time budget is spent after 0:00:" in driver.said() and "Go on with the same command:" in driver.said()
    assert len(outcomes(results)) < 12 and not (tmp_path / "out/artifacts").exists()

    driver = begin(*arguments)
    driver.until(lambda: "going on" in driver.said() and driver.trials() and outcomes(results))
    os.killpg(driver.process.pid, signal.SIGINT)  # as a terminal does, to the whole group
    assert driver.wait() == 130, driver.said()
    assert "interrupted after 0:00:" in driver.said() and "Traceback" not in driver.said()
    assert "python -m tune.search --preset smoke --results out --trials 12" in driver.said()
    first = dict(outcomes(results))
    assert 0 < len(first) < 12 and gone(driver.mark)

    driver = begin(*arguments)
    driver.until(lambda: "going on" in driver.said() and driver.trials())
    with driver.held():
        # As a service manager's to all processes of a command, in the order that is the worst for it.
        signal_all([pid for pid in marked(driver.mark) if pid != driver.process.pid], signal.SIGTERM)
        time.sleep(1.0)  # of which Ray's library would end a driver that lacks its raylet
        assert driver.process.poll() is None, driver.said()
        driver.process.send_signal(signal.SIGTERM)
        driver.until(lambda: "stopping; everything finished is kept" in driver.said())
    assert driver.wait() == 143, driver.said()
    assert "interrupted after 0:00:" in driver.said() and "Traceback" not in driver.said()
    deadline = time.monotonic() + 60
    while marked(driver.mark):
        assert time.monotonic() < deadline, "an agent or a worker of Ray's is left"
        time.sleep(0.1)

    driver = begin(*arguments)
    assert driver.wait() == 0, driver.said()
    check_complete(results, 12, 2, 12, 1)
    assert first.items() <= outcomes(results).items() and {row["attempt"] for row in rows(results, "runs")} == {1}
    front = json.loads((tmp_path / "out/artifacts/smoke/front.json").read_text())
    assert "Pareto front" in driver.said() and front
    complete = {t: row["values"] for t, row in outcomes(results).items() if row["state"] == "complete"}
    for row in front:
        mine = [row["val_mse"], row["parameters"]]
        assert complete[row["trial"]] == mine and f"{row['parameters']:,d}" in driver.said()
        assert not any(v[0] <= mine[0] and v[1] <= mine[1] and v != mine for v in complete.values())
    members = {m["trial"]: m["run"] for m in rows(results, "members") if m["role"] == "search"}
    assert all(results.runs()[members[t]]["parameters"] == v[1] for t, v in complete.items())


# An object store


@pytest.mark.slow
def test_on_an_object_store(begin: Callable[..., Driver], s3_url: str, tmp_path: Path) -> None:
    start = ("model.trend_start=closed_form", "training.mode=joint")  # a bar, which is recorded beside the final
    driver = begin("--results", s3_url, "--trials", "2", "--max-epochs", "2", "--final-replicates", "1", *start)
    assert driver.wait() == 0, driver.said()
    results = Results(s3_url)
    check_complete(results, 2, 2, 2, 1)
    begun = findings_of(results, "smoke").standing.start
    assert begun is not None and len(begun.runs) == 1
    row = ["before", "the", "first", "step", *(f"{begun.errors[name]:.4f}" for name in ("val_mse", "test_mse"))]
    assert any(line.split()[:6] == row for line in driver.said().splitlines()), driver.said()
    assert "Before its first step the best config has a test MSE of" in driver.said()
    best = tmp_path / "best.yaml"
    best.write_bytes(results.get_blob("artifacts/smoke/best.yaml"))
    assert Config.from_yaml(best).training.max_epochs == 2
    assert {path.name for path in tmp_path.iterdir()} == {driver.log.name, "best.yaml"}, "nothing is kept here"
    assert not results.storage.list("leases")
