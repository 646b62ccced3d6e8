"""W&B online, against a server of our own: what arrives, what is refused, and what is sent later."""

import os
import signal
import subprocess
import sys
import time
from collections import Counter
from collections.abc import Callable
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest
import wandb

from dynonet.config import Config
from lab.machines.trial import TrialSpec
from lab.results import main
from lab.series import load_series
from lab.store.objects.lease import Lease
from lab.store.tables import Results, run_params
from lab.tracking import tracker as tracking
from lab.tracking.client import end_service
from lab.tracking.options import Tracking
from lab.tracking.runs import Member, members_of, tracked
from lab.tracking.sink import WandbSink
from lab.tracking.tracker import EndedTrials, Tracker
from lab.training.readings import read_test
from tests import wandb_file
from tests.lab.tracking.sent import NOWHERE, OFFLINE, ONLINE, TINY, check_files, check_server, send, train_on
from tests.processes import ROOT
from tests.wandb_server import ENTITY, KEY, WandbServer

# Online ---------------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("study", ["search", pytest.param("parts", marks=pytest.mark.slow)])
def test_a_server_gets_what_parquet_holds(out: Results, server: WandbServer, study: str) -> None:
    assert send(out, study, ONLINE) == len(members_of(out, study))
    check_server(out, study, server)
    run = next(iter(server.runs.values()))
    assert run.fields["jobType"] in ("search", "arm", "final", "baseline") and run.fields["program"] == "dynonet"
    assert run.fields["entity"] == ENTITY and "host" not in run.fields and "repo" not in run.fields
    assert send(out, study, ONLINE) == 0
    assert send(out, study, Tracking("online", "dynonet", ENTITY)) == 0, "the account's own entity"
    # Sent again, and after its test was read and more was trained: the same runs, no epoch twice.
    assert send(out, study, ONLINE, again=True) == len(members_of(out, study))
    if study == "search":
        read_test(out, train_on(out), "later")
        assert send(out, study, ONLINE) == 2
    check_server(out, study, server)
    folder = Path(out.storage.root) / "wandb"
    assert {path.name for path in folder.iterdir()} <= {"cache", "data"}, "nothing is left behind"


def test_a_run_that_a_kill_cut_off_goes_on(out: Results, server: WandbServer) -> None:
    """The server has some epochs, and no mark was put: the rest is sent, and what is there is not sent again."""
    run = next(r for r in tracked(out, members_of(out, "search")) if r.name == "t0 seed 1")
    with WandbSink(ONLINE, out) as sink:
        sink._connect()
        opened = sink._init(run)
        for step, values in run.history[:4]:
            opened.log({"epoch": step, **values}, step=step)
        opened.finish(exit_code=255)
    assert server.runs[run.id].exit_code == 255 and len(server.runs[run.id].received) == 4
    assert send(out, "search", ONLINE) == 6
    check_server(out, "search", server)


def test_a_run_that_is_refused_keeps_none_back(
    out: Results, server: WandbServer, capsys: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    """As one that was deleted at W&B, whose id cannot be used again."""
    refused = members_of(out, "search")[0].id
    answer = server.answer
    monkeypatch.setattr(
        server,
        "answer",
        lambda op, query, variables: None if variables.get("name") == refused else answer(op, query, variables),
    )
    assert main(["wandb", "search", "--results", out.storage.root]) == 2
    assert "5 runs were sent, and the same command goes on from there" in capsys.readouterr().err
    assert len(server.runs) == 5 and refused not in server.runs
    server.unknown.clear()


def test_a_failed_run_that_was_then_completed(out: Results, server: WandbServer) -> None:
    base = Config.create(TINY)
    row = {**run_params(base), "run": "x", "status": "failed", "model": "dynonet", "error": "boom", "attempt": 1}
    out.add("runs", [row])
    out.add("members", [{"study": "one", "role": "search", "trial": "t0", "run": "x"}])
    assert send(out, "one", ONLINE) == 1
    (run,) = server.runs.values()
    assert run.exit_code == 1 and run.summary["error"] == "boom"
    out.add("runs", [{**row, "status": "complete", "error": None, "attempt": 2}])
    assert send(out, "one", ONLINE) == 1
    assert run.exit_code == 0 and run.summary.get("error") is None and run.summary["status"] == "complete"
    assert run.config["attempt"] == 2


def sync(*folders: Path) -> str:
    command = [str(Path(sys.executable).with_name("wandb")), "sync", *map(str, folders)]
    done = subprocess.run(command, capture_output=True, text=True, cwd=folders[0].parent)
    assert done.returncode == 0, done.stderr
    return done.stderr


def test_offline_runs_are_synced_by_wandb_sync(out: Results, server: WandbServer) -> None:
    folder = Path(out.storage.root) / "wandb"
    send(out, "search")
    sync(*sorted(folder.glob("offline-run-*")))
    check_server(out, "search", server)
    assert all(run.fields["entity"] for run in server.runs.values())
    # Runs that go on after that are written from where they stood, and continue there.
    train_on(out)
    assert send(out, "search") == 2
    sync(*sorted(folder.glob("offline-run-*")))
    check_server(out, "search", server)
    # Sent online after all, nothing is repeated.
    assert send(out, "search", ONLINE) == 6
    check_server(out, "search", server)


# When W&B does not take it --------------------------------------------------------------------------------------------


def of(name: str, failing: Any) -> Callable[[str], Any]:
    """Fails in one of its operations alone."""
    return lambda what: failing if what == name else None


FAILURES: dict[str, Any] = {
    "401": 401, "no answer": 100.0, "stream 500": of("file_stream", 500),
}  # fmt: skip
MORE_FAILURES: dict[str, Any] = {
    "429": 429, "500": 500, "no answer to a stream": of("file_stream", 100.0), "stream 401": of("file_stream", 401),
    "stream 429": of("file_stream", 429), "looking up 500": of("Runs", 500), "files 500": of("CreateRunFiles", 500),
    "resuming 500": of("RunResumeStatus", 500), "creating 500": of("UpsertBucket", 500),
}  # fmt: skip


@pytest.mark.parametrize("name", [*FAILURES, *(pytest.param(name, marks=pytest.mark.slow) for name in MORE_FAILURES)])
def test_a_server_that_misbehaves(
    out: Results, server: WandbServer, name: str, monkeypatch: pytest.MonkeyPatch, capsys: Any
) -> None:
    """One warning, little time, the records as before, and all is sent later."""
    monkeypatch.setattr(tracking, "PATIENCE_SECONDS", 2.0)
    monkeypatch.setattr("lab.tracking.sink.LOOKS", (0.0, 0.1))
    tables = {path for path in out.storage.list() if path.endswith(".parquet")}
    started = time.monotonic()
    with server.misbehaving((FAILURES | MORE_FAILURES)[name]):
        with Tracker(ONLINE, out) as tracker:
            tracker.follow("search")
        assert time.monotonic() - started < 60, "nobody waits for it"
    said = capsys.readouterr()
    assert said.err.count("\n") == 1 and said.err.startswith("warning: W&B (online): "), said.err
    assert f"python -m tune.results wandb search --results {out.storage.url}" in said.err
    assert {path for path in out.storage.list() if path.endswith(".parquet")} == tables
    assert main(["wandb", "search", "--results", out.storage.root]) == 0, capsys.readouterr().err
    check_server(out, "search", server)
    assert f"runs sent to {ENTITY}/dynonet, group search" in capsys.readouterr().out


def test_no_server(out: Results, monkeypatch: pytest.MonkeyPatch, capsys: Any) -> None:
    monkeypatch.setenv("WANDB_API_KEY", KEY)
    monkeypatch.setattr("lab.tracking.sink.CONNECT_SECONDS", 1.0)
    with Tracker(ONLINE, out) as tracker:
        tracker.follow("search")
    said = capsys.readouterr()
    assert said.err.count("warning") == 1 and f"{NOWHERE} does not answer" in said.err, said.err
    assert main(["wandb", "search", "--results", out.storage.root]) == 2
    error = capsys.readouterr().err
    assert error.startswith(f"error: W&B (online): {NOWHERE} does not answer") and "0 runs were sent" in error


def test_a_service_that_does_not_end_is_killed() -> None:
    service = wandb.setup().ensure_service()._proc._process
    os.kill(service.pid, signal.SIGSTOP)
    end_service(0.5)
    assert service.wait(60) == -signal.SIGKILL
    assert wandb.setup().ensure_service()._proc._process.pid != service.pid  # the next one is its own


def test_no_key_is_said_before_anything_is_computed(out: Results, capsys: Any, monkeypatch: pytest.MonkeyPatch) -> None:
    with Tracker(ONLINE, out) as tracker:
        assert "there is no API key" in capsys.readouterr().err
        tracker.follow("search")
        assert not tracker.callbacks("search", lambda config, ids: []) and tracker._thread is None
    assert capsys.readouterr().err == ""
    assert main(["wandb", "search", "--results", out.storage.root]) == 2 and "no API key" in capsys.readouterr().err
    monkeypatch.setenv("WANDB_API_KEY", "short")
    Tracker(ONLINE, out)
    assert "API key must have 40+ characters, has 5" in capsys.readouterr().err


def test_a_key_in_netrc(out: Results, server: WandbServer, monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    monkeypatch.delenv("WANDB_API_KEY")
    netrc = tmp_path / "home/netrc"
    netrc.write_text(f"machine {server.url.removeprefix('http://')}\n  login user\n  password {KEY}\n")
    netrc.chmod(0o600)
    assert send(out, "parts", ONLINE) == len(members_of(out, "parts"))


def test_w_and_b_comes_back_during_a_study(
    out: Results, server: WandbServer, monkeypatch: pytest.MonkeyPatch, capsys: Any
) -> None:
    monkeypatch.setattr(tracking, "PAUSE_SECONDS", 0.01)
    with Tracker(ONLINE, out) as tracker:
        with server.misbehaving(401):
            tracker.follow("search")
            while not tracker._failing:
                time.sleep(0.01)
        time.sleep(0.3)
    check_server(out, "search", server)
    said = capsys.readouterr()
    assert said.err.count("warning") == 1 and "W&B: 6 runs sent" in said.out


# While a study runs ---------------------------------------------------------------------------------------------------


def test_a_trial_that_has_ended_is_sent(out: Results, capsys: Any) -> None:
    config = Config.create({**TINY, "training.seed": 1})
    sha = load_series(config.data).identity
    trial = SimpleNamespace(config=TrialSpec((config.to_json(),), sha, trial="t0").to_dict())
    told: list[Any] = []
    callback = EndedTrials(told.extend, lambda ended, ids: [Member("search", "search", i, ended.trial) for i in ids])
    callback.on_trial_complete(0, [], trial)
    assert not told, "its runs may not be on record yet"
    callback.on_step_end(0, [])
    callback.on_step_end(1, [])
    assert [member.id for member in told] == [m.id for m in members_of(out, "search") if m.run == config.run_id(sha)]
    with Tracker(OFFLINE, out) as tracker:
        (made,) = tracker.callbacks("search", lambda ended, ids: told)
        tracker.follow("parts")
        made.on_trial_error(0, [], trial)
        made.on_step_end(0, [])
    runs = wandb_file.read_all(Path(out.storage.root) / "wandb")
    assert Counter(run.fields["group"] for run in runs) == {"search": 1, "parts": len(members_of(out, "parts"))}
    assert capsys.readouterr().out.startswith(f"W&B: {len(runs)} runs written; to send them: wandb sync ")


def test_a_driver_that_lost_its_lease_sends_nothing(out: Results, capsys: Any) -> None:
    with Tracker(OFFLINE, out, SimpleNamespace(lost=True)) as tracker:  # type: ignore[arg-type]
        tracker.follow("search")
    assert not wandb_file.read_all(Path(out.storage.root))


@pytest.mark.slow
def test_off_imports_nothing_of_it() -> None:
    code = "import sys, tune.search, ablations.run, lab.results; sys.exit('wandb' in sys.modules)"
    assert subprocess.run([sys.executable, "-c", code], cwd=ROOT).returncode == 0


def test_the_command(out: Results, capsys: Any) -> None:
    assert main(["wandb", "serach", "--offline", "--results", out.storage.root]) == 2
    assert "did you mean 'search'?" in capsys.readouterr().err
    with Lease(out.storage, "search"):
        assert main(["wandb", "search", "--offline", "--results", out.storage.root]) == 2
    assert "study 'search' is held by" in capsys.readouterr().err
    for arguments, count in (([], 6), ([], 0), (["--all"], 6)):
        assert main(["wandb", "search", "--offline", "--results", out.storage.root, *arguments]) == 0
        assert f"W&B: {count} runs written" in capsys.readouterr().out
    check_files(out, "search")


def test_on_an_object_store(s3_url: str, out: Results, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    remote = Results(s3_url)
    for path in out.storage.list():
        remote.storage.put(path, out.storage.get(path))
    assert send(remote, "search") == 6 and send(remote, "search") == 0
    check_files(remote, "search", tmp_path / "wandb")


# Whole searches -------------------------------------------------------------------------------------------------------
