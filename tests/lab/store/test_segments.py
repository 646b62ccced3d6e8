"""Files and segments: every acknowledged row is read exactly once, whatever is killed, full, or runs beside it."""

import contextlib
import os
import signal
import subprocess
import sys
import time
import warnings
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pandas as pd
import pyarrow.dataset as ds
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from lab import results as results_command
from lab.store.frames import history, load
from lab.store.objects.storage import Storage
from lab.store.tables import Results, StorageError
from tests.lab.store.rows import a_run, event, fill, numbers, root

ROOT = Path(__file__).parents[3]


# Many processes, kills, a full disk


# One process imports everything once and forks a writer or a compactor for each line it reads.
_NURSERY = """
import os, signal, sys
from lab.store.tables import Results
signal.signal(signal.SIGCHLD, signal.SIG_IGN)
for line in sys.stdin:
    task, url, name, count, said = line.split()
    pid = os.fork()
    if pid:
        print(pid, flush=True)
        continue
    store = Results(url)
    with open(said, "wb", buffering=0) as file:
        while task == "compact":
            store.compact("study")
            file.write(b"0\\n")
        for n in range(int(name) * 1_000_000, int(name) * 1_000_000 + int(count)):
            store.add("trials", [{"study": "study", "trial": f"t{n}", "number": n, "event": "proposed"}])
            file.write(b"%d\\n" % n)
    os._exit(0)
"""


class Child:
    """A process that writes rows, or compacts for ever."""

    def __init__(self, pid: int, file: Path) -> None:
        self.pid, self.file = pid, file

    def said(self) -> list[int]:
        """The rows it has acknowledged."""
        text = self.file.read_text() if self.file.exists() else ""
        return [int(line) for line in text.splitlines(keepends=True) if line.endswith("\n")]

    def runs(self) -> bool:
        try:
            os.kill(self.pid, 0)
        except ProcessLookupError:
            return False
        return True

    def wait_for_word(self) -> None:
        deadline = time.monotonic() + 30
        while not self.said() and time.monotonic() < deadline:
            time.sleep(0.005)

    def kill(self) -> None:
        os.kill(self.pid, signal.SIGKILL)
        while self.runs():
            time.sleep(0.005)


@pytest.fixture(scope="module")
def nursery(s3_url: str) -> Iterator[subprocess.Popen[str]]:
    """Its children find the keys to the S3 server in the environment, hence `s3_url`."""
    command = [sys.executable, "-c", _NURSERY]
    pipes = {"stdin": subprocess.PIPE, "stdout": subprocess.PIPE}
    with subprocess.Popen(command, text=True, cwd=ROOT, **pipes) as process:
        yield process
        assert process.stdin
        process.stdin.close()


@pytest.fixture
def start(nursery: subprocess.Popen[str], tmp_path: Path) -> Callable[..., Child]:
    def start(task: str, store: Results, name: int = 0, count: int = 0) -> Child:
        assert nursery.stdin and nursery.stdout
        said = tmp_path / f"said-{task}-{name}"
        nursery.stdin.write(f"{task} {store.storage.url} {name} {count} {said}\n")
        nursery.stdin.flush()
        return Child(int(nursery.stdout.readline()), said)

    return start


def test_writers_readers_and_compactions_at_once(store: Results, start: Callable[..., Child]) -> None:
    store.add("trials", [event(0)])
    writers = [start("write", store, name, 60) for name in (1, 2, 3)]
    compactor = start("compact", store)
    try:
        before: set[int] = {0}
        while any(writer.runs() for writer in writers):
            read = numbers(store)
            assert len(read) == len(set(read)), "a row was read twice"
            assert before <= set(read), "a row went missing"
            before = set(read)
            store.compact("study")
        compactor.wait_for_word()
        assert compactor.said() and compactor.runs(), "the other compaction worked all along"
    finally:
        compactor.kill()
    written = sorted([0, *(number for writer in writers for number in writer.said())])
    assert len(written) == 181 and numbers(store) == written
    store.compact()
    assert numbers(store) == written and len(pd.read_parquet(root(store) / "trials")) == 181


def test_kill_9_while_writing(store: Results, start: Callable[..., Child]) -> None:
    acknowledged: list[int] = []
    for name in range(1, 9):
        writer = start("write", store, name, 100_000)
        writer.wait_for_word()
        time.sleep(0.01 * name)
        writer.kill()
        acknowledged += writer.said()
        with warnings.catch_warnings():
            warnings.simplefilter("error")
            read = numbers(store)
        # A kill between the write and its acknowledgement leaves at most one row more.
        assert writer.said() and set(acknowledged) <= set(read)
        assert len(read) == len(set(read)) <= len(acknowledged) + name
    compactor = start("compact", store)
    time.sleep(0.05)
    compactor.kill()
    assert numbers(store) == read


class Killed(BaseException):
    """Stands for SIGKILL: no handler in the code may catch it."""


def _storage_that_stops(patch: pytest.MonkeyPatch, at: int, then: Any) -> list[int]:
    """Before put or delete number `at`, calls `then`. Returns a list that holds how many were made."""
    made = [0]
    for name in ("put", "delete"):
        original = getattr(Storage, name)

        def wrapper(self: Storage, *arguments: Any, original: Any = original) -> None:
            made[0] += 1
            if made[0] == at:
                then()
            original(self, *arguments)

        patch.setattr(Storage, name, wrapper)
    return made


def test_compaction_killed_at_each_step(tmp_path: Path) -> None:
    step, made = 0, 99
    while step <= made:
        step += 1
        store = Results(tmp_path / str(step))
        for number in range(4):
            store.add("trials", [event(number)])
        store.compact()
        for number in range(4, 8):
            store.add("trials", [event(number)])

        def kill() -> None:
            raise Killed

        with pytest.MonkeyPatch.context() as patch:
            counted = _storage_that_stops(patch, step, kill)
            try:
                store.compact()
                made = counted[0]
            except Killed:
                pass
        assert numbers(Results(root(store))) == list(range(8)), f"killed before step {step}"
        store.add("trials", [event(8)])
        store.compact()
        assert numbers(store) == list(range(9))
        assert sorted(pd.read_parquet(root(store) / "trials")["number"]) == list(range(9))
        assert store.compact() == 0 and len(store.storage.list("trials")) == 1
    assert made == 6, "one segment put, five inputs deleted"


@settings(max_examples=25, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(plan=st.lists(st.tuples(st.sampled_from(["add", "compact", "kill", "beside"]), st.integers(1, 5)), max_size=12))
def test_any_order_of_writes_kills_and_compactions(tmp_path_factory: pytest.TempPathFactory, plan: list) -> None:
    """`beside`: at some step of a compaction another writer adds a row and compacts."""
    store = Results(tmp_path_factory.mktemp("any"))
    added = 0

    def add() -> None:
        nonlocal added
        Results(root(store)).add("trials", [event(added)])
        added += 1

    def kill() -> None:
        raise Killed

    def beside() -> None:
        add()
        Results(root(store)).compact()

    for action, count in plan:
        if action == "add":
            for _ in range(count):
                add()
        else:
            with pytest.MonkeyPatch.context() as patch:
                if action != "compact":
                    _storage_that_stops(patch, count, kill if action == "kill" else beside)
                with contextlib.suppress(Killed):
                    store.compact()
        assert numbers(store, None) == list(range(added))
        assert numbers(Results(root(store)), None) == list(range(added))


def test_a_segment_that_another_compaction_merges_at_once(store: Results, monkeypatch: pytest.MonkeyPatch) -> None:
    """Between writing it and reading it again it is gone: a greater one holds its rows."""
    for number in range(5):
        store.add("trials", [event(number)])
    put, done = Storage.put, []

    def overtaken(self: Storage, path: str, data: bytes, durable: bool = True) -> None:
        put(self, path, data, durable)
        if "segment" in path and not done:
            done.append(path)
            Results(root(store)).add("trials", [event(5)])
            Results(root(store)).compact()

    monkeypatch.setattr(Storage, "put", overtaken)
    store.compact()
    assert done and not store.storage.exists(done[0]) and numbers(store) == list(range(6))
    assert len(store.storage.list("trials")) == 1


def test_reader_whose_files_are_compacted_meanwhile(store: Results, monkeypatch: pytest.MonkeyPatch) -> None:
    """Between the listing and the reading, and between two pages of a listing that then shows neither."""
    for number in range(5):
        store.add("trials", [event(number)])
    get, done = Storage.get, []

    def compacting_get(self: Storage, path: str) -> bytes:
        if not done:
            done.append(True)
            Results(root(store)).compact()
        return get(self, path)

    with monkeypatch.context() as patch:
        patch.setattr(Storage, "get", compacting_get)
        assert numbers(store) == list(range(5)) and done
    store.add("trials", [event(5)])
    store.add("trials", [event(6)])
    files = store.storage.list("trials")
    list_, first = Storage.list, []

    def torn_list(self: Storage, prefix: str = "") -> list[str]:
        if first:
            return list_(self, prefix)
        first.append(True)
        Results(root(store)).compact()
        return [path for path in list_(self, prefix) if path in files]  # neither the inputs nor the new segment

    with monkeypatch.context() as patch:
        patch.setattr(Storage, "list", torn_list)
        assert numbers(store) == list(range(7))


def test_full_disk(tmp_path: Path) -> None:
    mount = ["mount", "-t", "tmpfs", "-o", "size=200k", "tmpfs", str(tmp_path)]
    if subprocess.run(mount, capture_output=True, check=False).returncode:
        pytest.skip("may not mount a small disk here")
    try:
        store = Results(tmp_path / "out")
        kept = []
        with pytest.raises(StorageError, match=r"cannot write .*/runs/.*: No space left on device"):
            for number in range(100):
                store.add("runs", [a_run(f"r{number}")])
                kept.append(f"r{number}")
        with warnings.catch_warnings():
            warnings.simplefilter("error")
            assert kept and set(Results(tmp_path / "out").runs()) == set(kept)
        assert not list(tmp_path.rglob(".tmp-*"))
        with pytest.raises(StorageError, match="No space left"):
            (tmp_path / "ballast").write_bytes(b"x" * os.statvfs(tmp_path).f_bavail * os.statvfs(tmp_path).f_bsize)
            store.compact()
        assert set(store.runs()) == set(kept)
        (tmp_path / "ballast").unlink()
        subprocess.run(["mount", "-o", "remount,size=2m", str(tmp_path)], check=True)
        store.add("runs", [a_run("more")])
        store.compact()
        assert set(store.runs()) == {*kept, "more"}
    finally:
        subprocess.run(["umount", str(tmp_path)], check=True)


# An object store


def test_object_store_end_to_end(s3_url: str, start: Callable[..., Child], capsys: pytest.CaptureFixture[str]) -> None:
    store = Results(s3_url)
    fill(store)
    assert store.get_blob(store.put_blob("weights/r00.pt", b"w" * 1000)) == b"w" * 1000
    writers = [start("write", store, name, 10) for name in (1, 2)]
    while any(writer.runs() for writer in writers):
        store.compact("study")
        read = numbers(store)
        assert len(read) == len(set(read))
    assert numbers(store) == sorted(number for writer in writers for number in writer.said())
    for _ in range(2):
        frame = load("study", s3_url).set_index("run")
        assert frame.loc["r01", "test_mse"] == 1.7 and len(frame) == 5 and len(history("study", s3_url)) == 8
        dataset = ds.dataset(f"{store.storage.root}/runs", filesystem=store.storage.fs)
        assert dataset.count_rows() == 10
        store.compact()
    assert len(store.storage.list("runs")) == 1 and store.compact() == 0
    assert results_command.main(["list", "--results", s3_url]) == 0
    assert "4 complete, 1 failed" in capsys.readouterr().out
