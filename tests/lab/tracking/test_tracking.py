"""W&B, fed from the records: offline files read back, a local server that answers the real client, and its failures."""

import json
import math
import os
import re
import resource
import shutil
import signal
import subprocess
import sys
import time
import zlib
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
from lab.settings.files import dotted
from lab.store.objects.lease import Lease
from lab.store.tables import Results, run_params
from lab.tracking import tracker as tracking
from lab.tracking.client import end_service
from lab.tracking.options import Tracking
from lab.tracking.runs import Member, TrackedRun, members_of, tracked, unsent
from lab.tracking.sink import WandbSink
from lab.tracking.tracker import EndedTrials, Tracker
from lab.training.readings import read_test
from lab.training.stack_run import StackRun
from tests import wandb_file
from tests.processes import ROOT, Driver, drivers, gone, marked
from tests.wandb_server import ENTITY, KEY, WandbServer
from tune.conclusion import record_baseline

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


@pytest.fixture(autouse=True)
def alone(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[None]:
    home = tmp_path / "home"
    home.mkdir()
    for name, value in surroundings(home).items():
        monkeypatch.setenv(name, value) if value else monkeypatch.delenv(name, raising=False)
    yield
    end_service()


@pytest.fixture
def server(monkeypatch: pytest.MonkeyPatch) -> Iterator[WandbServer]:
    with WandbServer() as found:
        monkeypatch.setenv("WANDB_BASE_URL", found.url)
        monkeypatch.setenv("WANDB_API_KEY", KEY)
        yield found
        assert not found.unknown


@pytest.fixture(scope="module")
def recorded(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A search, with a trial that was stopped, finals read on test and the baseline; and an ablation over its runs."""
    folder = tmp_path_factory.mktemp("recorded") / "out"
    results, base = Results(folder), Config.create(TINY)
    series = load_series(base.data)

    def train(configs: list[Config], epochs: int = 100) -> list[str]:
        stack = StackRun(results, configs, series=series)
        for _ in range(epochs):
            if stack.step().state != "running":
                break
        else:
            stack.close("stopped")
        return stack.ids

    def seeds(*numbers: int, **settings: Any) -> list[Config]:
        return [base.override({"training.seed": n, **settings}) for n in numbers]

    first = train(seeds(1, 2))
    second = train(seeds(1, 2, **{"training.lr": 0.005}), epochs=2)
    finals = train(seeds(1001))
    read_test(results, finals, "final", series=series)
    wide = base.override({"training.seed": 1, "model.film": False})
    odd = wide.run_id(series.identity)  # by hand: what training seldom gives
    key = {"run": odd, "attempt": 1}
    results.add("history", [
        {**key, "step": 1, "metric": "val_mse", "value": 1.5}, {**key, "step": 1, "metric": "train_loss", "value": 2.0},
        {**key, "step": 2, "metric": "train_loss", "value": math.inf},
        {**key, "step": 2, "metric": "val_mse", "value": math.nan},
    ])  # fmt: skip
    row = {**run_params(wide), **key, "status": "diverged", "model": "dynonet", "epochs": 2, "val_mse": 1.5}
    results.add("runs", [row | {"error": "the loss is inf", "best_epoch": 1}])
    for trial, role, runs in (("t0", "search", first), ("t1", "search", second), ("t0", "final", finals)):
        results.add("members", [{"study": "search", "trial": trial, "role": role, "run": run} for run in runs])
    record_baseline(results, "search", base, series)
    for arm, runs in (("full", first), ("no_film", [odd]), ("no_mixer", [first[0]])):
        rows = [{"study": "parts", "role": "arm", "arm": arm, "cell": "main", "run": run} for run in runs]
        results.add("members", [*rows, rows[0] | {"cell": "short"}] if arm == "full" else rows)
    record_baseline(results, "parts", base, series, "main")
    return folder


@pytest.fixture
def out(recorded: Path, tmp_path: Path) -> Results:
    shutil.copytree(recorded, tmp_path / "out")
    return Results(tmp_path / "out")


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


# What W&B is told -----------------------------------------------------------------------------------------------------


def test_ids_are_the_same_everywhere_and_differ_by_place() -> None:
    one = Member("study", "arm", "run", arm="full", cell="main")
    assert one.id == "2edba5ab7ba23043c06e"
    others = [
        Member("other", "arm", "run", arm="full", cell="main"), Member("study", "arm", "run", arm="no", cell="main"),
        Member("study", "arm", "run", arm="full", cell="b"), Member("study", "arm", "run2", arm="full", cell="main"),
        Member("study", "search", "run", trial="t0"), Member("study", "baseline", "run"),
    ]  # fmt: skip
    assert len({one.id, *(other.id for other in others)}) == 7


def test_names_tags_and_kinds(out: Results) -> None:
    runs = {
        (r.member.study, r.member.role, r.name): r
        for s in ("search", "parts")
        for r in tracked(out, members_of(out, s))
    }
    assert {name for study, role, name in runs if study == "search"} == {
        "t0 seed 1", "t0 seed 2", "t1 seed 1", "t1 seed 2", "t0 final seed 1001", "linear baseline",
    }  # fmt: skip
    assert ("parts", "arm", "full in short seed 1") in runs and ("parts", "arm", "no_film seed 1") in runs
    assert runs["parts", "baseline", "linear baseline"].tags == ["baseline", "synthetic"]
    assert not {"model", "signals", "training"} & runs["parts", "baseline", "linear baseline"].config.keys()
    failed = TrackedRun(Member("s", "arm", "r"), {"status": "failed"})
    assert failed.exit_code == 1 and runs["parts", "arm", "no_film seed 1"].exit_code == 0


def test_what_is_sent_again(out: Results) -> None:
    """What has another attempt, or a reading of test, since it was sent; and nothing that is not on record."""
    members = members_of(out, "search")
    sent = {run.mark for run in tracked(out, members)}
    assert not unsent(out, members, sent) and len(unsent(out, members, set())) == len(members) == 6
    assert not unsent(out, [Member("search", "search", "unknown")], set())
    trained = train_on(out)
    assert [member.run for member in unsent(out, members, sent)] == trained
    sent |= {run.mark for run in tracked(out, members)}
    read_test(out, trained[:1], "later")
    assert [member.run for member in unsent(out, members, sent)] == trained[:1]


# Offline --------------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("study", ["search", "parts"])
def test_offline_files_hold_what_parquet_holds(out: Results, study: str) -> None:
    assert send(out, study) == len(members_of(out, study))
    check_files(out, study)
    assert send(out, study) == 0, "twice adds nothing"
    check_files(out, study)
    folder = Path(out.storage.root) / "wandb"
    assert {path.name.split("-")[0] for path in folder.iterdir()} <= {"offline", "cache", "data"}
    assert [run.fields["entity"] for run in wandb_file.read_all(folder)] == [""] * len(members_of(out, study))


def log_of(records: list[bytes]) -> bytes:
    """A LevelDB log after W&B's header, as the format says: with seven bytes left in a block, the first piece of a
    record is empty."""
    log = bytearray(b":W&B\xe1\xbe\x00")
    for record in records:
        rest, first = record, True
        while first or rest:
            room = wandb_file.BLOCK - len(log) % wandb_file.BLOCK
            if room < 7:
                log += bytes(room)
                continue
            piece, rest = rest[: room - 7], rest[room - 7 :]
            typed = bytes([(1 if not rest else 2) if first else (4 if not rest else 3)]) + piece
            log += zlib.crc32(typed).to_bytes(4, "little") + len(piece).to_bytes(2, "little") + typed
            first = False
    return bytes(log)


@pytest.mark.parametrize("left", range(10))
def test_records_that_start_at_the_end_of_a_block(left: int) -> None:
    """W&B's own records do so only now and then: how long they are depends on the time of day."""
    from lab.tracking.log_file import records

    block = wandb_file.BLOCK
    wanted = [b"a" * (block - 7 - 7 - left), b"b" * 2 * block, b"c"]  # the first: after both headers
    log = log_of(wanted)
    assert list(records(log)) == wandb_file.chunks(log) == wanted
    torn = log[: block + 9]
    assert list(records(torn)) == wandb_file.chunks(torn) == wanted[:1]


def test_a_long_history_with_a_torn_end(out: Results, tmp_path: Path) -> None:
    """Over many blocks of the file; and what is torn off is seen."""
    from lab.tracking.log_file import read_back

    run, base = "long", Config.create(TINY)
    rows = [
        {"run": run, "attempt": 1, "step": step, "metric": f"metric{n}", "value": step / 3 + n}
        for step in range(1, 301)
        for n in range(12)
    ]
    out.add("history", rows)
    out.add("runs", [{**run_params(base), "run": run, "attempt": 1, "status": "complete", "model": "dynonet"}])
    out.add("members", [{"study": "long", "role": "search", "trial": "t0", "run": run}])
    assert send(out, "long") == 1
    check_files(out, "long")
    (path,) = (Path(out.storage.root) / "wandb").rglob("run-*.wandb")
    assert path.stat().st_size > 3 * wandb_file.BLOCK
    assert read_back(path.parent).steps == list(range(1, 301)) and read_back(path.parent).ended
    path.write_bytes(path.read_bytes()[:70000])
    torn = read_back(path.parent)
    assert 0 < len(torn.steps) < 300 and not torn.ended and torn.steps == [s for s, _ in wandb_file.read(path).history]


def test_a_run_that_goes_on_after_it_was_written(out: Results) -> None:
    send(out, "search")
    train_on(out)
    assert send(out, "search") == 2
    check_files(out, "search")  # one folder a run, with every epoch


def test_a_run_that_goes_on_after_it_was_synced(out: Results) -> None:
    send(out, "search")
    folder = Path(out.storage.root) / "wandb"
    stopped = [m for m in members_of(out, "search") if m.trial == "t1"]
    for place, member in enumerate(stopped):
        (before,) = folder.glob(f"offline-run-*-{member.id}")
        shutil.rmtree(before) if place else (before / f"run-{member.id}.wandb.synced").touch()
    train_on(out)
    assert send(out, "search") == 2
    files = {member.id: [r for r in wandb_file.read_all(folder) if r.id == member.id] for member in stopped}
    for place, runs in enumerate(files.values()):
        steps = [[step for step, _ in run.history] for run in runs]
        assert steps == [[1, 2], [3, 4, 5, 6]][place:], "what was synced, and removed since, is not written again"
    assert send(out, "search", again=True) == 6
    check_files(out, "search")


def test_killed_between_a_folder_and_its_mark_or_in_the_middle_of_it(out: Results) -> None:
    send(out, "search")
    for path in out.storage.list("tracking")[:3]:
        out.storage.delete(path)
    torn = Path(out.storage.root) / "wandb/.unfinished-search/wandb/offline-run-20260101_000000-abc"
    torn.mkdir(parents=True)
    (torn / "run-abc.wandb").write_bytes(b":W&B\xe1\xbe\x00torn")
    assert send(out, "search") == 3
    check_files(out, "search")
    assert not torn.exists()


def test_a_full_disk(out: Results, tmp_path: Path) -> None:
    command = [sys.executable, "-m", "tune.results", "wandb", "search", "--offline", "--results", out.storage.root]
    env = {**os.environ, "PYTHONPATH": str(ROOT)}

    def limit() -> None:
        resource.setrlimit(resource.RLIMIT_FSIZE, (2048, 2048))  # bytes of a file; marks are smaller

    done = subprocess.run(command, env=env, capture_output=True, text=True, preexec_fn=limit, cwd=tmp_path)
    assert done.returncode == 2 and "Traceback" not in done.stderr
    assert re.search("could not be written whole|File too large", done.stderr), done.stderr
    assert "0 runs were sent, and the same command goes on from there" in done.stderr
    done = subprocess.run(command, env=env, capture_output=True, text=True, cwd=tmp_path)
    assert done.returncode == 0 and "W&B: 6 runs written" in done.stdout, done.stderr
    check_files(out, "search")


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
    assert len(members_of(results, "smoke")) == 4 * 2 + 1 + 1
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
    assert send(results, "smoke", ONLINE) == 4 * 2 + 2 + 1
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
    assert Counter(m.arm for m in members) == {"full": 7, "no_film": 7, "no_trend": 7, None: 1}
    assert {run.tags[0] for run in tracked(results, members) if run.readings} == {"arm", "baseline"}
    check_files(results, "tiny")
    assert send(results, "tiny") == 0
