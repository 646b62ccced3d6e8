"""When W&B does not take what it is sent, and while a study runs."""

import os
import signal
import subprocess
import sys
import time
from collections import Counter
from collections.abc import Callable, Iterator
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest
import wandb
import yaml

from dynonet.config import Config
from lab.machines.trial import TrialSpec
from lab.results import main
from lab.series import load_series
from lab.store.objects.lease import Lease
from lab.store.tables import Results
from lab.tracking import tracker as tracking
from lab.tracking.client import end_service
from lab.tracking.runs import Member, members_of, tracked
from lab.tracking.tracker import EndedTrials, Tracker
from lab.tracking.wandb_sink import WandbSink
from tests import wandb_file
from tests.lab.tracking.sent import NOWHERE, OFFLINE, ONLINE, TINY, check_files, check_server, send
from tests.processes import ROOT, Driver, drivers, gone, marked
from tests.wandb_server import ENTITY, KEY, WandbServer

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
    monkeypatch.setattr("lab.tracking.wandb_sink.LOOKS", (0.0, 0.1))
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
    monkeypatch.setattr("lab.tracking.wandb_sink.CONNECT_SECONDS", 1.0)
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
    underway = {"t0"}
    callback = EndedTrials(
        told.extend, lambda ended, ids: [Member("search", "search", i, ended.trial) for i in ids], underway.__contains__
    )
    callback.on_trial_complete(0, [], trial)
    callback.on_step_end(0, [])
    assert not told, "its runs are not on record yet"
    underway.clear()
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


@pytest.fixture
def begin(tmp_path: Path) -> Iterator[Callable[..., Driver]]:
    with drivers("tune.search", tmp_path, "--preset", "smoke", "--results", "results", "--trials", "4") as start:
        yield start


@pytest.mark.slow
@pytest.mark.parametrize("mode", ["offline", "online"])
def test_a_search_killed_and_continued(
    begin: Callable[..., Driver], tmp_path: Path, mode: str, server: WandbServer
) -> None:
    results = Results(tmp_path / "results")
    arguments = ("--wandb", mode, "--max-epochs", "12", "--final-replicates", "1")
    driver = begin(*arguments)
    driver.until(lambda: [p for p in results.storage.list("tracking") if p.count("-a1")][1:])
    driver.until(lambda: [p for p in results.storage.list("checkpoints") if "/runs/" not in p])
    driver.kill()
    assert gone(driver.mark), "neither Ray's processes nor W&B's outlive the driver"
    driver = begin(*arguments)
    assert driver.wait() == 0, driver.said()
    assert "Traceback" not in driver.said() and driver.said().count("W&B") == 1 and "warning" not in driver.said()
    assert gone(driver.mark)
    assert len(members_of(results, "smoke")) == 4 * 2 + 1 + 6, "four trials of two, a final run, six bars"
    check_files(results, "smoke") if mode == "offline" else check_server(results, "smoke", server)
    with WandbSink(OFFLINE if mode == "offline" else ONLINE, results) as sink:
        assert sink.send("smoke") == 0


@pytest.mark.slow
def test_a_search_while_w_and_b_hangs(begin: Callable[..., Driver], tmp_path: Path, server: WandbServer) -> None:
    """Its result is the same, and neither its end nor Ctrl-C waits for W&B for long."""
    results = Results(tmp_path / "results")
    with server.misbehaving(600.0):
        driver = begin("--wandb", "online")
        driver.until(lambda: results.storage.list("checkpoints"))  # by now W&B has been told of the study
        os.killpg(driver.process.pid, signal.SIGINT)
        started = time.monotonic()
        assert driver.wait() == 130 and time.monotonic() - started < 300, driver.said()
        # Whether it had given up on a call before the Ctrl-C is a matter of seconds; what to do is said anyway.
        assert driver.said().count("warning") <= 1 and "Traceback" not in driver.said()
        assert "python -m tune.results wandb smoke" in driver.said()
        driver = begin("--wandb", "online")
        assert driver.wait() == 0 and "linear baseline" in driver.said(), driver.said()
        assert driver.said().count("warning") == 1 and gone(driver.mark)
    assert not server.runs and not marked(driver.mark)
    assert send(results, "smoke", ONLINE) == 4 * 2 + 2 + 6
    check_server(results, "smoke", server)


@pytest.mark.slow
def test_an_ablation_killed_and_continued(tmp_path: Path) -> None:
    baseline = {**TINY, "training.max_epochs": 8}
    study = {
        "name": "tiny",
        "question": "Does tracking keep up?",
        "baseline": baseline,
        "arms": ["no_film", "no_trend"],
        "seeds": 7,
    }
    (tmp_path / "tiny.yaml").write_text(yaml.safe_dump(study))
    results = Results(tmp_path / "results")
    with drivers("ablations.run", tmp_path, "tiny.yaml", "--stack-size", "6", "--wandb", "offline") as start:
        driver = start()
        driver.until(lambda: [p for p in results.storage.list("tracking") if "-test" in p][1:])
        driver.kill()
        assert gone(driver.mark)
        driver = start()
        assert driver.wait() == 0, driver.said()
    assert "Traceback" not in driver.said() and "warning" not in driver.said()
    members = members_of(results, "tiny")
    assert Counter(m.arm for m in members) == {"full": 7, "no_film": 7, "no_trend": 7, None: 3}, (
        "three bars, whose periods fit into the windows"
    )
    assert {run.tags[0] for run in tracked(results, members) if run.readings} == {"arm", "baseline"}
    check_files(results, "tiny")
    assert send(results, "tiny") == 0
