"""W&B, fed from the records: what it is told, offline files read back, a local server that answers the real client."""

import os
import re
import resource
import shutil
import subprocess
import sys
import zlib
from pathlib import Path
from typing import Any

import pytest

from dynonet.config import Config
from lab.results import main
from lab.store.tables import Results, run_params
from lab.tracking.client import lean_settings
from lab.tracking.options import Tracking
from lab.tracking.runs import Member, TrackedRun, members_of, tracked, unsent
from lab.tracking.wandb_sink import WandbSink
from lab.training.readings import read_test
from tests import wandb_file
from tests.lab.tracking.sent import ONLINE, TINY, check_files, check_server, send, train_on
from tests.processes import ROOT
from tests.wandb_server import ENTITY, WandbServer

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
        "t0 seed 1", "t0 seed 2", "t1 seed 1", "t1 seed 2", "t0 final seed 1001",
        "linear baseline",
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
        sink.connect()
        opened = sink._init(run, lean_settings()).run
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
