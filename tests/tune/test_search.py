"""The command, end to end through real Ray: whole searches, killed ones, broken trials, and what it refuses."""

import json
import os
import pickle
import re
import signal
import subprocess
import sys
import time
from collections import Counter
from collections.abc import Callable, Collection, Iterator
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest
import torch
from processes import ROOT, Driver, drivers, gone, lost_ctrl_c, marked, signal_all

from dynonet.commands import command_named
from dynonet.config import Config
from dynonet.sizes import machine_bytes
from tune import ray_session
from tune.checksums import plain
from tune.driver import Search
from tune.nodes import Node
from tune.progress import params_text
from tune.pruning import prune
from tune.report import render
from tune.results import Results, bars, load
from tune.search import main, parser
from tune.search_records import findings_of
from tune.settings import SearchSettings, read_settings


@pytest.fixture
def begin(tmp_path: Path) -> Iterator[Callable[..., Driver]]:
    """Starts searches in `tmp_path`; none of their processes outlives the test."""
    with drivers("tune.search", tmp_path, "--preset", "smoke") as start:
        yield start


def settings_of(*arguments: str) -> tuple[SearchSettings, Any]:
    args = parser().parse_args(["--preset", "smoke", *arguments])
    return read_settings(args), args


def rows(results: Results, table: str, study: str | None = "smoke") -> list[dict[str, Any]]:
    return results.table(table, study).to_pylist()


def outcomes(results: Results) -> dict[str, dict[str, Any]]:
    return {row["trial"]: row for row in rows(results, "trials") if row["event"] == "outcome"}


def check_complete(
    results: Results, trials: int, replicates: int, epochs: int, finals: int, pruned: Collection[str] = ()
) -> None:
    """A finished study: every table whole, and all of them saying the same. `pruned`: what was since deleted of it."""
    events = rows(results, "trials")
    proposed = {row["trial"]: row for row in events if row["event"] == "proposed"}
    ended = outcomes(results)
    assert sorted(proposed) == sorted(ended) == [f"t{n:05d}" for n in range(trials)] and len(events) == 2 * trials
    assert len({row["params"] for row in proposed.values()}) == trials, "nothing is proposed twice"
    runs, members = rows(results, "runs"), rows(results, "members")
    attempts = Counter((row["run"], row["attempt"]) for row in runs)
    assert set(attempts.values()) == {1}
    done = Counter(row["run"] for row in runs if row["status"] in ("complete", "diverged"))
    assert set(done.values()) == {1}, "every run is done once"
    assert {row["run"] for row in runs} == {row["run"] for row in members}
    assert Counter(row["role"] for row in members if row["role"] == "search") == {"search": trials * replicates}
    latest = results.runs()
    history = rows(results, "history")
    for trial, row in ended.items():
        mine = [latest[m["run"]] for m in members if m["trial"] == trial and m["role"] == "search"]
        assert len(mine) == replicates and row["state"] in ("complete", "pruned")
        assert {r["status"] for r in mine} == ({"complete"} if row["state"] == "complete" else {"stopped"})
        assert row["values"][0] == pytest.approx(sum(r["val_mse"] for r in mine) / replicates)
        assert [r["epoch"] for r in row["reports"]] == list(range(1, max(r["epochs"] for r in mine) + 1))
        assert row["reports"][-1]["value"] == row["values"][0]
        assert (
            json.loads(row["params"] or proposed[trial]["params"]).items()
            <= Config.from_json(mine[0]["config"]).flat().items()
        )
    for run, row in latest.items():
        if row["model"] == "dynonet":
            steps = [(h["step"], h["metric"]) for h in history if (h["run"], h["attempt"]) == (run, row["attempt"])]
            assert len(steps) == len(set(steps)) and {s for s, _ in steps} == set(range(1, row["epochs"] + 1))
            assert row["epochs"] <= epochs and row["host"] and row["device"] == "cpu" and row["git_commit"]
    tested = {row["run"] for row in rows(results, "evaluations")}
    read = Counter((r["run"], r["metric"], r["channel"]) for r in rows(results, "evaluations") if r["split"] == "test")
    assert set(read.values()) == {1}, "test is read once"
    best = min((r for r in ended.values() if r["state"] == "complete"), key=lambda r: r["values"][0])
    final = {m["run"] for m in members if m["role"] == "final" and m["trial"] == best["trial"]}
    assert len(final) == finals and final <= tested
    assert not tested & {m["run"] for m in members if m["role"] == "search"}, "no searched run sees test"
    stopped = {f"checkpoints/runs/{run}/state.pt" for run, row in latest.items() if row["status"] == "stopped"}
    assert set(map(plain, results.storage.list("checkpoints"))) == stopped - set(pruned)


def test_dry_run_shows_the_plan_and_leaves_nothing(begin: Callable[..., Driver], tmp_path: Path) -> None:
    driver = begin("--dry-run", "--out", "out", "--trials", "3", "model.worker_hidden=3")
    assert driver.wait() == 0, driver.said()
    said = driver.said()
    for part in (
        "study smoke in out: 0 trials on record, 0 to resume",
        "3 trials to come x 2 replicates = 6 runs of at most 4 epochs",
        "model.control_hidden",
        "int: 4 to 8",
        "0.001 to 0.01 (log)",
        "objectives val_mse; sampler tpe",
    ):
        assert part in said, said
    assert "model.worker_hidden" not in said
    assert len(re.findall(r"^  control_hidden=\d lr=0.\d+$", said, re.M)) == 3
    assert [path.name for path in tmp_path.iterdir()] == [driver.log.name]
    assert gone(driver.mark)


def test_the_plan_of_a_study_under_way(tmp_path: Path) -> None:
    search = Search(*settings_of("--out", str(tmp_path / "out"), "--trials", "5"))
    search._session = SimpleNamespace(resources="2 CPUs, 0 GPUs", gpus=0.0, concurrent=2)  # type: ignore[assignment]
    results = Results(tmp_path / "out")
    proposals = search.proposals(results, None)
    done, waiting = proposals.propose(), proposals.propose()
    assert done is not None and waiting is not None
    proposals.finish(done.trial, "complete", [1.0], [(1, 1.0)])
    files = results.storage.list()
    lines = search.plan()
    assert "1 trials on record, 1 to resume" in lines[0] and any(line.startswith("4 trials to come") for line in lines)
    first = lines[lines.index("first proposals:") + 1 :]
    assert len(first) == len(set(first)) == 3 and first[0] == f"  {params_text(waiting.params)}"
    assert f"  {params_text(done.params)}" not in first and results.storage.list() == files
    # What it shows is what the search then proposes.
    again = search.proposals(results, None)
    assert [f"  {params_text(again.propose().params)}" for _ in range(3)] == first  # type: ignore[union-attr]


def test_the_data_is_put_into_the_object_store_once(monkeypatch: pytest.MonkeyPatch) -> None:
    search = Search(*settings_of())
    put: list[Any] = []
    monkeypatch.setattr(ray_session.ray, "put", lambda value: put.append(value) or f"reference {len(put)}")
    monkeypatch.setattr(ray_session.RaySession, "_connect", lambda self, address: None)
    monkeypatch.setattr(ray_session.ray, "cluster_resources", lambda: {"CPU": 2.0})
    monkeypatch.setattr(ray_session, "living_nodes", lambda: [Node("a", "127.0.0.1", 2.0, 0.0, 1e9)])
    search.start_ray()
    series = search.series
    assert [search.session.data(series.identity) for _ in range(2)] == ["reference 1"] * 2 and put == [series]
    assert "scaled" in vars(pickle.loads(pickle.dumps(search.series))), "scaled once, too"


@pytest.mark.slow
def test_a_whole_search_and_more_trials_after_it(begin: Callable[..., Driver], tmp_path: Path, capsys: Any) -> None:
    arguments = ("--out", "out", "--final-replicates", "2")
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
    assert list(bars("smoke", tmp_path / "out")["model"]) == ["linear"]
    assert frame.loc[frame["role"] == "final", "test_mse"].notna().all()

    # Settings that do not mix are refused with the difference, before Ray starts; nothing changes.
    files = results.storage.list()
    started = time.monotonic()
    refused = ["--preset", "smoke", "--out", str(tmp_path / "out"), "--replicates", "3", "training.patience=2"]
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
        "dynonet.train",
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
    arguments = ("--out", "out", "--trials", "4", "--max-epochs", "12", "--final-replicates", "1")
    results = Results(tmp_path / "out")
    driver = begin(*arguments)
    driver.until(lambda: [p for p in results.storage.list("checkpoints") if "/runs/" not in p])
    with driver.held():
        # A second driver is refused.
        assert main(["--preset", "smoke", "--out", str(tmp_path / "out"), *arguments[2:]]) == 2
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
    assert f"going on: {ended} trials on record, {resumed} resumed" in driver.said() and resumed >= 1, driver.said()
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
        "--out", "out", "--space", "space.yaml", "--trials", "4", "--max-epochs", "15", "--replicates", "1",
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
    driver = begin("--out", "out", *arguments)
    assert driver.wait() == 1, driver.said()
    assert "going on: 0 trials on record, 1 resumed" in driver.said() and "Traceback" not in driver.said()
    assert "no trial was complete (outcomes: failed)" in driver.said() and "failed 2" in driver.said()
    assert {row["state"] for row in outcomes(Results(tmp_path / "out")).values()} == {"failed"}


@pytest.mark.slow
def test_time_budget_then_ctrl_c_and_sigterm_then_to_the_end_with_two_objectives(
    begin: Callable[..., Driver], tmp_path: Path
) -> None:
    arguments = ("--out", "out", "--trials", "12", "--max-epochs", "12", "--final-replicates", "1")
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
    assert "python -m tune.search --preset smoke --out out --trials 12" in driver.said()
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


# What is refused before anything is computed


def refused(capsys: Any, *arguments: str) -> str:
    started = time.monotonic()
    assert main(["--preset", "smoke", *arguments]) == 2
    assert time.monotonic() - started < 60
    said = capsys.readouterr()
    assert said.err.startswith("error: ") and "Traceback" not in said.err and not said.out
    return said.err


def test_a_ctrl_c_that_python_swallows(capsys: Any) -> None:
    assert command_named("tune.search")(lambda _: ray_session.run_command("tune.search", lost_ctrl_c))() == 130
    assert "Go on with the same command" in capsys.readouterr().err


def test_bad_names_and_values(capsys: Any, tmp_path: Path) -> None:
    out = ("--out", str(tmp_path / "out"))
    assert "'model.worker_hiden'; did you mean 'model.worker_hidden'?" in refused(capsys, *out, "model.worker_hiden=8")
    assert "trials: got 0" in refused(capsys, *out, "--trials", "0")
    assert "study name 'a b'" in refused(capsys, *out, "--study", "a b")
    assert "synthetic" in refused(capsys, *out, "data.seq_len=2000")
    assert not (tmp_path / "out").exists()


def test_overrides_stand_where_they_like(capsys: Any, tmp_path: Path) -> None:
    arguments = ["model.dropout=0.3", "--trials", "0", "model.num_layers=2", "--out", str(tmp_path), "model.film=maybe"]
    assert "model.film: got 'maybe'" in refused(capsys, *arguments)


def test_a_space_that_no_proposal_can_be_drawn_from(capsys: Any, tmp_path: Path) -> None:
    def said(text: str, *more: str) -> str:
        (tmp_path / "space.yaml").write_text(text)
        return refused(capsys, "--space", str(tmp_path / "space.yaml"), "--out", str(tmp_path / "out"), *more)

    assert "space: with data.seq_len=2000: synthetic: " in said("data.seq_len: {choice: [32, 2000]}")
    assert "space: data.pred_len: errors at different horizons" in said("data.pred_len: {choice: [8, 16]}")
    few = said("model.num_layers: {int: [1, 2]}\nmodel.worker_hidden: {int: [2, 3]}", "--max-parameters", "9")
    assert "max-parameters: got 9, but the smallest model" in few
    none = said("model.trend: {choice: [false]}\nmodel.workers: {choice: [false]}")
    assert "space: of its values none are allowed together; take other ranges" in none
    assert not (tmp_path / "out").exists()


def test_a_space_with_fewer_points_than_trials_is_used_up(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: Any
) -> None:
    (tmp_path / "space.yaml").write_text("model.num_layers: {int: [1, 2]}\n")
    arguments = ("--space", str(tmp_path / "space.yaml"), "--out", str(tmp_path / "out"), "--trials", "6")
    asked: list[int] = []

    def trained(self: Search, results: Any, proposals: Any, remaining: int, *rest: Any) -> None:
        asked.append(remaining)
        while (proposal := proposals.propose()) is not None:
            proposals.finish(proposal.trial, "complete", [1.0], [(1, 1.0)])

    monkeypatch.setattr(Search, "_tune", trained)
    stop = SimpleNamespace(reason=None)
    for first in (True, False):
        search = Search(*settings_of(*arguments))
        search._session = SimpleNamespace(resources="", gpus=0.0, concurrent=2)  # type: ignore[assignment]
        few = "the space has 2 points in all, and 6 trials are asked for: the search ends when it is used up"
        used_up = "the space is used up: 2 trials on record, 6 asked for, and no other point of it may be trained"
        assert search.few_points() == few, "before anything is on record"
        plan = "\n".join(search.plan())
        assert (few in plan and "2 trials to come" in plan) if first else (used_up in plan and "0 trials to" in plan)
        proposals, _ = search.search(Results(tmp_path / "out"), stop, tmp_path)  # type: ignore[arg-type]
        assert len(proposals.outcomes) == 2 and search.to_come(proposals) == 0 and proposals.best() is not None
        assert used_up in capsys.readouterr().out and asked == [2]
    assert Search(*settings_of(*arguments[:-1], "2")).few_points() == ""


def test_a_folder_that_cannot_be_written(capsys: Any, tmp_path: Path) -> None:
    (tmp_path / "file").write_text("")
    assert "is no folder" in refused(capsys, "--out", str(tmp_path / "file" / "out"))
    assert "cannot open storage 'nowhere://x'" in refused(capsys, "--out", "nowhere://x")


@pytest.mark.skipif(torch.cuda.is_available(), reason="this machine has a GPU")
def test_more_than_this_machine_has(begin: Callable[..., Driver], tmp_path: Path) -> None:
    driver = begin("--out", "out", "--gpus-per-trial", "1")
    assert driver.wait() == 2, driver.said()
    assert driver.said().splitlines()[1:] == ["error: a trial asks for 1 GPUs, and this machine has 0"]
    assert not Results(tmp_path / "out").studies() and gone(driver.mark)


@pytest.mark.parametrize(
    ("address", "said"),
    [
        ("127.0.0.1:1", "no Ray cluster answers at '127.0.0.1:1'"),
        ("ray://127.0.0.1:1", "address 'ray://127.0.0.1:1' is one of Ray Client"),
    ],
)
def test_a_cluster_that_does_not_answer(
    tmp_path: Path, capsys: pytest.CaptureFixture[str], address: str, said: str
) -> None:
    started = time.monotonic()
    assert main(["--preset", "smoke", "--out", str(tmp_path / "out"), "--address", address]) == 2
    assert capsys.readouterr().err.startswith(f"error: {said}") and time.monotonic() - started < 60
    assert not Results(tmp_path / "out").studies()


# An object store


@pytest.mark.slow
def test_on_an_object_store(begin: Callable[..., Driver], s3_url: str, tmp_path: Path) -> None:
    driver = begin("--out", s3_url, "--trials", "2", "--max-epochs", "2", "--final-replicates", "1")
    assert driver.wait() == 0, driver.said()
    results = Results(s3_url)
    check_complete(results, 2, 2, 2, 1)
    best = tmp_path / "best.yaml"
    best.write_bytes(results.get_blob("artifacts/smoke/best.yaml"))
    assert Config.from_yaml(best).training.max_epochs == 2
    assert {path.name for path in tmp_path.iterdir()} == {driver.log.name, "best.yaml"}, "nothing is kept here"
    assert not results.storage.list("leases")
