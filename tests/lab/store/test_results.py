"""The results: every acknowledged row is read exactly once, whatever is killed, damaged or runs beside it."""

import contextlib
import os
import signal
import subprocess
import sys
import time
import warnings
from collections import Counter
from collections.abc import Callable, Iterator
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import duckdb
import numpy as np
import pandas as pd
import pyarrow as pa
import pyarrow.dataset as ds
import pyarrow.parquet as pq
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from dynonet.config import Config
from lab import results as results_command
from lab.store.frames import bars, history, load
from lab.store.objects.checksums import plain
from lab.store.objects.storage import Storage
from lab.store.schema import IDENTITY, PARTITIONED, SCHEMA_VERSION, SCHEMAS, TABLES, VERSION_KEY, to_table
from lab.store.tables import Results, ResultsError, StorageError, run_params
from lab.training.window_errors import keep_window_errors, windows_path

ROOT = Path(__file__).parents[3]
PARAMS = run_params(Config.create({"model.worker_hidden": 16, "signals.lr_scale": "off"}))


def a_run(run: str = "r1", attempt: int = 1, status: str = "complete", **more: Any) -> dict[str, Any]:
    return {**PARAMS, "run": run, "attempt": attempt, "status": status, "model": "dynonet", **more}


def event(number: int, study: str = "study") -> dict[str, Any]:
    return {"study": study, "trial": f"t{number}", "number": number, "event": "proposed"}


def numbers(results: Results, study: str | None = "study") -> list[int]:
    return sorted(results.table("trials", study)["number"].to_pylist())


@pytest.fixture
def store(tmp_path: Path) -> Results:
    return Results(tmp_path / "out")


def root(store: Results) -> Path:
    return Path(store.storage.root)


# What goes in comes out


def test_a_run_comes_back_typed(store: Results) -> None:
    ended = datetime(2026, 1, 2, 3, 4, 5, tzinfo=UTC)
    store.add("runs", [a_run(val_mse=0.5, channels=["HUFL", "OT"], val_mse_channels=[0.25, 0.75], ended=ended)])
    row = store.runs()["r1"]
    assert row["val_mse"] == 0.5 and row["val_mse_channels"] == [0.25, 0.75] and row["ended"] == ended
    assert row["val_mae"] is None and row["git_dirty"] is None and row["error"] is None
    assert row["params.model.worker_hidden"] == 16 and row["params.signals.lr_scale"] == "1.0"
    assert row["params.signals.wd_scale"] == "adaptive" and row["params.data.split"] == "[0.6, 0.2, 0.2]"
    assert Config.from_json(row["config"]).model.worker_hidden == 16 and row["seed"] == 12345
    types = {int: pa.int64(), float: pa.float64(), bool: pa.bool_(), str: pa.string()}
    assert all(SCHEMAS["runs"].field(f"params.{key}").type == types[Config.setting_type(key)] for key in Config.names())


def test_a_missing_number_is_null_never_zero(store: Results) -> None:
    nan = float("nan")
    store.add("runs", [a_run(val_mse=nan, val_mae=pa.scalar(nan).as_py(), val_mse_channels=[1.0, nan], best_epoch=nan)])
    store.add("history", [{"run": "r1", "attempt": 1, "step": 1, "metric": "val_mse", "value": nan}])
    store.add("trials", [event(1) | {"values": [nan], "reports": [{"epoch": 1, "value": nan}]}])
    row = store.runs()["r1"]
    assert row["val_mse"] is None and row["val_mae"] is None and row["best_epoch"] is None
    assert row["val_mse_channels"] == [1.0, None]
    assert store.table("history")["value"].to_pylist() == [None]
    trial = store.table("trials").to_pylist()[0]
    assert trial["values"] == [None] and trial["reports"] == [{"epoch": 1, "value": None}]


def test_rows_with_other_keys_than_the_first(store: Results) -> None:
    store.add("trials", [event(1), event(2) | {"state": "failed", "event": "outcome", "error": "boom"}])
    assert store.table("trials").sort_by("number")["error"].to_pylist() == [None, "boom"]


@pytest.mark.parametrize(
    ("table", "row", "message"),
    [
        ("rums", {}, "unknown table 'rums'; did you mean 'runs'?"),
        ("runs", a_run(val_msee=1), "no column 'val_msee'; did you mean 'val_mse'?"),
        ("runs", a_run(status="completed"), "got 'completed'; allowed: .*did you mean 'complete'?"),
        ("runs", a_run(epochs=1.5), "column 'epochs': got 1.5; expected a whole number"),
        ("runs", a_run(epochs=True), "column 'epochs': got True; expected a whole number"),
        ("runs", a_run(val_mse="0.5"), "column 'val_mse': got '0.5'; expected a number"),
        ("runs", a_run(git_dirty="no"), "column 'git_dirty': got 'no'; expected True or False"),
        ("runs", a_run(started=datetime(2026, 1, 1)), "column 'started'.*with a time zone"),
        ("runs", a_run(channels="OT"), "column 'channels': got 'OT'; expected a list"),
        ("runs", a_run(val_mse_channels=["x"]), "column 'val_mse_channels'"),
        ("runs", {"run": "r1", "attempt": 1}, "column 'status' is required"),
        ("runs", a_run(run="../r"), "run '../r': a run's id is a plain word"),
        ("runs", a_run(run=""), "run '': a run's id is a plain word"),
        ("trials", event(1, "a/b"), "study name 'a/b'"),
        ("trials", event(1, "1"), "study name '1': a letter first"),
    ],
)
def test_rows_that_do_not_fit_are_refused(store: Results, table: str, row: dict[str, Any], message: str) -> None:
    with pytest.raises(ResultsError, match=message):
        store.add(table, [a_run("good"), row] if table == "runs" else [row])
    assert store.storage.list() == []


def test_latest_attempt_and_done(store: Results) -> None:
    store.add("runs", [a_run("a", 1, "stopped"), a_run("a", 2, "complete"), a_run("b", 1, "failed")])
    store.add("runs", [a_run("c", 1, "diverged"), a_run("d", 1, "complete"), a_run("d", 2, "stopped")])
    latest = {run: (row["attempt"], row["status"]) for run, row in store.runs().items()}
    assert latest == {"a": (2, "complete"), "b": (1, "failed"), "c": (1, "diverged"), "d": (1, "complete")}
    assert set(store.done(["a", "b", "c", "d", "unknown"])) == {"a", "c", "d"}
    assert set(store.runs(["b", "unknown"])) == {"b"} and store.runs([]) == {}


def test_few_runs_are_found_without_opening_the_others(store: Results, monkeypatch: pytest.MonkeyPatch) -> None:
    store.add("runs", [a_run(f"old{n}") for n in range(5)])
    store.compact()
    store.add("runs", [a_run(f"r{n}") for n in range(10)])
    opened = []
    get = Storage.get
    monkeypatch.setattr(Storage, "get", lambda self, path: opened.append(path) or get(self, path))
    assert set(store.done(["r3", "r7", "old2"])) == {"r3", "r7", "old2"}
    assert len(opened) == 3, "two files and the segment"
    opened.clear()
    assert set(store.done(["r3", "old1"])) == {"r3", "old1"}
    assert len(opened) == 1, "the segment is known"


def test_drivers_that_race_write_a_run_twice(store: Results) -> None:
    def when(second: int) -> datetime:
        return datetime(2026, 1, 1, 0, 0, second, tzinfo=UTC)

    store.add("runs", [a_run("a", val_mse=2.0, ended=when(2)), a_run("b", 1, "failed", ended=when(1))])
    store.add("runs", [a_run("a", val_mse=1.0, ended=when(1)), a_run("b", 1, ended=when(2))])
    line = {"run": "a", "attempt": 1, "metric": "val_mse", "value": 1.0}
    member = {"study": "study", "run": "a", "role": "search", "trial": "t"}
    for _ in range(2):
        store.add("history", [line | {"step": 1}, line | {"step": 2}])
        store.add("members", [member])
    for _ in range(2):
        assert store.table("runs").num_rows == 2 and store.table("history").num_rows == 2
        assert store.runs()["a"]["val_mse"] == 1.0, "the first to end"
        assert store.runs()["b"]["status"] == "complete", "a result stands"
        assert store.table("members").num_rows == 1
        store.compact()


def test_a_history_in_pieces_is_whole_and_each_number_once(store: Results) -> None:
    def lines(*steps: int, run: str = "a") -> list[dict[str, Any]]:
        key = {"run": run, "attempt": 1}
        return [{**key, "step": n, "metric": m, "value": n} for n in steps for m in ("val_mse", "lr")]

    store.add("history", lines(1, 2, 2))
    store.add("history", lines(2, 3) + lines(1, run="b"))
    store.compact()
    store.add("history", lines(3, 4))
    for _ in range(2):
        rows = store.table("history").to_pylist()
        found = sorted((row["run"], row["step"], row["metric"]) for row in rows)
        steps = [("a", 1), ("a", 2), ("a", 3), ("a", 4), ("b", 1)]
        assert found == [(*step, metric) for step in steps for metric in ("lr", "val_mse")]
        assert all(row["value"] == row["step"] for row in rows)
        assert store.of_runs("history", ["b"]).num_rows == 2 and store.of_runs("history", ["c"]).num_rows == 0
        store.compact()
    schema = pq.read_schema(next((root(store) / "history").iterdir()))
    assert schema.field("run").type == pa.string(), "texts for other programs"


# Files of other times and other people


def _write(path: Path, table: pa.Table, version: int | None = SCHEMA_VERSION) -> None:
    path.parent.mkdir(parents=True, exist_ok=True)
    footer = {} if version is None else {VERSION_KEY: str(version).encode()}
    pq.write_table(table.replace_schema_metadata(footer), path)


def test_older_and_wider_files(store: Results) -> None:
    store.add("runs", [a_run("new", val_mse=1.0)])
    old = to_table("runs", [a_run("old")]).select(["run", "attempt", "status", "val_mse"])
    narrow = old.set_column(3, "val_mse", pa.array([2], pa.int32()))
    _write(root(store) / "runs/old-a1-0123456789abcdef.parquet", narrow)
    wide = to_table("runs", [a_run("wide")]).append_column("params.of.tomorrow", pa.array(["x"]))
    _write(root(store) / "runs/wide-a1-0123456789abcde0.parquet", wide)
    for _ in range(2):
        assert store.table("runs").schema.equals(SCHEMAS["runs"])
        runs = store.runs()
        assert set(runs) == {"new", "old", "wide"}
        assert runs["old"]["val_mse"] == 2.0 and runs["old"]["params.model.worker_hidden"] is None
        assert runs["wide"]["params.model.worker_hidden"] == 16
        store.compact()
    assert ds.dataset(root(store) / "runs").to_table()["params.of.tomorrow"].to_pylist().count("x") == 1


def test_damaged_and_foreign_files_are_named_and_skipped(store: Results) -> None:
    store.add("runs", [a_run(f"r{n}") for n in range(3)])
    store.add("trials", [event(1)])
    folder = root(store) / "runs"
    whole = next(folder.iterdir()).read_bytes()
    (folder / "cut-a1-0123456789abcde1.parquet").write_bytes(whole[: len(whole) // 2])
    flipped = bytearray(whole)
    flipped[40] ^= 0xFF  # in a page of values
    (folder / "flipped-a1-0123456789abcde2.parquet").write_bytes(flipped)
    (folder / "empty.parquet").write_bytes(b"")
    (folder / "notes.txt").write_text("hello")
    _write(folder / "foreign.parquet", pa.table({"a": [1]}), None)
    _write(folder / "other.parquet", pa.table({"run": ["x"]}))
    _write(folder / "types.parquet", pa.table({"run": ["x"], "attempt": ["one"], "status": ["complete"]}))
    _write(folder / "tomorrow.parquet", to_table("runs", [a_run("z")]), SCHEMA_VERSION + 1)
    _write(root(store) / "trials" / "stray.parquet", to_table("trials", [event(9)]).drop_columns("study"))
    (folder / ".tmp-left").write_bytes(b"half")
    for _ in range(2):
        fresh = Results(root(store))
        with pytest.warns(UserWarning) as caught:
            assert set(fresh.runs()) == {"r0", "r1", "r2"}
        assert len(caught) == 1
        said = str(caught[0].message)
        for line in (
            "8 object(s)",
            "cut-a1-0123456789abcde1.parquet: damaged",
            "flipped-a1-0123456789abcde2.parquet: damaged",
            "empty.parquet: damaged",
            "notes.txt: damaged or not Parquet",
            "foreign.parquet: not written by this program",
            "other.parquet: no file of table 'runs' (it lacks attempt, status)",
            "types.parquet: columns of another type",
            "tomorrow.parquet: written by a newer version",
        ):
            assert line in said
        with pytest.warns(UserWarning, match="stray.parquet: not in a folder trials/study=NAME"):
            assert fresh.table("trials").num_rows == 1
        assert len(fresh.skipped) == 9
        with warnings.catch_warnings():
            warnings.simplefilter("error")
            fresh.runs()  # named once
        with pytest.warns(UserWarning, match="passed over"):
            store.compact()
    assert (folder / "cut-a1-0123456789abcde1.parquet").exists(), "what cannot be read is not deleted"


def test_other_tools_read_the_files(store: Results) -> None:
    store.add("runs", [a_run(f"r{n}", val_mse=float(n)) for n in range(4)])
    store.add("runs", [a_run("failed", 1, "failed")])
    store.add("trials", [event(n, study) | {"values": [1.0]} for n in range(3) for study in ("one", "two")])
    for _ in range(2):
        out = root(store)
        frame = pd.read_parquet(out / "runs", dtype_backend="pyarrow")
        assert sorted(frame["val_mse"].dropna()) == [0, 1, 2, 3] and frame["val_mse"].isna().sum() == 1
        assert Counter(pd.read_parquet(out / "trials")["study"]) == {"one": 3, "two": 3}
        query = f"select count(*), avg(val_mse) from read_parquet('{out}/runs/*.parquet') where status = 'complete'"
        assert duckdb.sql(query).fetchall() == [(4, 1.5)]
        query = f"select study, sum(number) from read_parquet('{out}/trials/*/*.parquet') group by 1 order by 1"
        assert duckdb.sql(query).fetchall() == [("one", 3), ("two", 3)]
        dataset = ds.dataset(out / "trials", partitioning="hive")
        assert dataset.to_table(filter=ds.field("study") == "one").num_rows == 3
        store.compact()


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


# Studies


def fill(store: Results, study: str = "study") -> None:
    """Trials t0 and t1 of two seeds, t2 failed; t0 read on test for channel OT and overall."""
    for trial in range(2):
        for seed in range(2):
            run = f"r{trial}{seed}"
            score = 0.5 + 0.1 * trial + 0.01 * seed
            store.add("runs", [a_run(run, 1, "stopped", val_mse=9.0), a_run(run, 2, val_mse=score, best_epoch=3)])
            store.add("members", [{"study": study, "trial": f"t{trial}", "role": "search", "run": run}])
            lines = [{"run": run, "attempt": 2, "step": n, "metric": "val_mse", "value": 1 / n} for n in (1, 2)]
            store.add("history", lines)
            reading = {"run": run, "attempt": 2, "split": "test", "metric": "mse", "purpose": "final"}
            if trial == 0:
                store.add("evaluations", [reading | {"value": 0.7 + seed}, reading | {"channel": "OT", "value": 0.2}])
            store.add("evaluations", [reading | {"attempt": 1, "value": 99.0}])
    store.add("runs", [a_run("bad", 1, "failed", error="Traceback ...\nRuntimeError: boom")])
    store.add("members", [{"study": study, "trial": "t2", "role": "search", "run": "bad"}])
    store.add("members", [{"study": study, "role": "final", "run": "not yet there"}])
    store.add("runs", [a_run("elsewhere")])
    store.add("studies", [{"study": study, "settings": {"trials": 3}}])


def test_load_joins_runs_with_members_and_evaluations(store: Results) -> None:
    fill(store)
    frame = load("study", root(store)).set_index("run")
    assert sorted(frame.index) == ["bad", "r00", "r01", "r10", "r11"]
    assert (
        frame.loc["r01", "attempt"] == 2 and frame.loc["r01", "trial"] == "t0" and frame.loc["r01", "role"] == "search"
    )
    assert frame.loc["r01", "test_mse"] == 1.7 and frame.loc["r01", "test_mse.OT"] == 0.2
    assert pd.isna(frame.loc["r10", "test_mse"]) and pd.isna(frame.loc["bad", "val_mse"])
    assert isinstance(frame["val_mse"].dtype, pd.ArrowDtype) and "test_mae" not in frame
    lines = history("study", root(store))
    assert list(lines.columns) == ["run", "attempt", "step", "metric", "value"] and len(lines) == 8
    assert list(lines["step"][:2]) == [1, 2]
    assert [str(lines[name].dtype) for name in ("run", "metric")] == ["category"] * 2
    assert lines.groupby("metric")["value"].mean()["val_mse"] == 0.75
    store.compact("study")
    pd.testing.assert_frame_equal(load("study", root(store)).set_index("run").loc[frame.index], frame)
    assert store.table("studies", "study")["settings"].to_pylist() == ['{"trials": 3}']


def test_closed_form_references_stand_apart_from_what_was_trained(
    store: Results, capsys: pytest.CaptureFixture[str], tmp_path: Path
) -> None:
    """The best of `load` is the best trained run, however good the linear baseline is."""
    fill(store)
    out = ["--results", str(root(store))]
    store.add("runs", [{**a_run("straight", val_mse=0.1), "model": "linear"}])
    store.add("members", [{"study": "study", "role": "baseline", "run": "straight"}])
    reading = {"run": "straight", "attempt": 1, "split": "test", "metric": "mae", "value": 0.3, "purpose": "final"}
    store.add("evaluations", [reading])
    frame = load("study", root(store)).sort_values("val_mse")
    assert list(frame["run"])[:2] == ["r00", "r01"] and len(frame) == 5 and set(frame["model"]) == {"dynonet"}
    assert "test_mae" not in frame, "a column that no trained run fills"
    beside = bars("study", root(store))
    assert beside[["run", "model", "role", "val_mse", "test_mae"]].to_numpy().tolist() == [
        ["straight", "linear", "baseline", 0.1, 0.3]
    ]
    direct = duckdb.sql(f"select run from '{root(store)}/runs/*.parquet' where model = 'dynonet' order by val_mse")
    assert direct.fetchall()[0] == ("r00",), "as the README reads the files"

    assert results_command.main(["list", *out]) == 0
    assert capsys.readouterr().out.splitlines()[1].split() == ["study", "5", "4", "complete,", "1", "failed", "0.5"]
    assert results_command.main(["show", "study", *out]) == 0
    said = capsys.readouterr().out
    assert "5 runs (4 complete, 1 failed)" in said and "linear baseline: test_mae 0.3000 (n=1)" in said
    for flags, runs in (([], set(frame["run"])), (["--bars"], {"straight"})):
        assert results_command.main(["export", "study", "--csv", str(tmp_path / "x.csv"), *flags, *out]) == 0
        assert set(pd.read_csv(tmp_path / "x.csv")["run"]) == runs


def test_a_run_in_two_roles_is_one_row(store: Results) -> None:
    store.add("runs", [a_run("r", val_mse=1.0)])
    store.add("members", [{"study": "study", "trial": "t", "role": "search", "run": "r"}])
    store.add("members", [{"study": "study", "role": "final", "run": "r"}])
    store.add("evaluations", [{"run": "r", "split": "val", "metric": "mse", "value": 2.0}])
    frame = load("study", root(store))
    assert frame[["trial", "role", "val_mse", "val_mse_evaluated"]].to_numpy().tolist() == [["t", "search,final", 1, 2]]


def test_the_latest_reading_of_the_shown_attempt_counts(store: Results) -> None:
    store.add("runs", [a_run("r", 1, "stopped"), a_run("r", 2), a_run("s")])
    store.add("members", [{"study": "study", "run": run, "role": "search"} for run in ("s", "r")])
    reading = {"run": "r", "split": "test", "metric": "mse"}
    for number, attempt in enumerate((2, None, 1)):
        store.add("evaluations", [reading | {"attempt": attempt, "value": number, "time": 1000 + number}])
    store.add("evaluations", [reading | {"run": "s", "attempt": 1, "metric": "mae", "channel": "OT", "value": 0.5}])
    frame = load("study", root(store))
    assert list(frame["run"]) == ["s", "r"], "in order of membership"
    assert list(frame.columns[-2:]) == ["test_mse", "test_mae.OT"]
    assert frame["test_mse"].fillna(-1).tolist() == [-1, 1] and frame["test_mae.OT"].fillna(-1).tolist() == [0.5, -1]
    assert load("study", root(store))["trial"].isna().all()


def test_studies_are_copied_with_all_that_a_report_reads(store: Results, tmp_path: Path, capsys: Any) -> None:
    fill(store)
    fill(store, "other")  # the same runs, so that each is in two studies
    store.add("runs", [a_run("only", val_mse=1.0)])
    store.add("members", [{"study": "other", "role": "final", "run": "only"}])
    keep_window_errors(store, "r00", np.ones(3))
    keep_window_errors(store, "elsewhere", np.ones(3))
    store.put_blob("weights/r00.pt", b"large")
    out, kept = ["--results", str(root(store))], Results(tmp_path / "kept")
    for studies in (["study"], ["other"]):
        assert results_command.main(["copy", *studies, "--to", str(tmp_path / "kept"), *out]) == 0
    assert "1 studies and 1 runs copied" in capsys.readouterr().out, "only what was not there"
    for study in ("study", "other"):
        before, after = (load(study, place).set_index("run") for place in (root(store), tmp_path / "kept"))
        pd.testing.assert_frame_equal(after, before)
        assert len(history(study, tmp_path / "kept")) == len(history(study, root(store)))
        for table in PARTITIONED:
            assert kept.table(table, study).num_rows == store.table(table, study).num_rows, table
    assert kept.studies() == ["other", "study"] and "elsewhere" not in kept.runs()
    assert kept.table("evaluations").num_rows == store.table("evaluations").num_rows, "each once"
    assert list(map(plain, kept.storage.list("test_windows"))) == [windows_path("r00")]
    assert len(kept.storage.list("runs")) == 2 and not kept.storage.list("weights"), "a file for each call"
    before = kept.storage.list()
    assert results_command.main(["copy", "study", "other", "--to", str(tmp_path / "kept"), *out]) == 0
    assert "up to date" in capsys.readouterr().out and kept.storage.list() == before
    # What is new comes along; what went on by itself is another study.
    store.add("runs", [a_run("r10", 3, val_mse=0.25)])
    store.add("events", [{"study": "study", "kind": "resumed", "text": "a new driver went on"}])
    assert results_command.main(["copy", "study", "--to", str(tmp_path / "kept"), *out]) == 0
    assert "1 runs copied" in capsys.readouterr().out and kept.runs()["r10"]["val_mse"] == 0.25
    kept.add("trials", [event(77)])
    assert results_command.main(["copy", "study", "--to", str(tmp_path / "kept"), *out]) == 2
    assert "study 'study' in" in capsys.readouterr().err and len(kept.storage.list("runs")) == 3
    assert results_command.main(["copy", "stduy", "--to", str(tmp_path / "new"), *out]) == 2
    assert "unknown study 'stduy'" in capsys.readouterr().err


def test_unknown_study_or_folder(store: Results) -> None:
    fill(store)
    with pytest.raises(ResultsError, match=r"unknown study 'studdy'; did you mean 'study'.*; studies in .*: study"):
        load("studdy", root(store))
    with pytest.raises(ResultsError, match="no results at /nowhere"):
        history("study", "/nowhere")
    assert not Path("/nowhere").exists()


def test_command(store: Results, capsys: pytest.CaptureFixture[str], tmp_path: Path) -> None:
    out = ["--results", str(root(store))]
    fill(store)
    assert results_command.main(["list", *out]) == 0
    said = capsys.readouterr().out.splitlines()
    assert said[1].split() == ["study", "5", "4", "complete,", "1", "failed", "0.5"]
    assert results_command.main(["show", "study", *out]) == 0
    said = capsys.readouterr().out
    for text in ("5 runs (4 complete, 1 failed)", "t0", "0.505", "search: test_mse 1.2000 ± 0.7071 (n=2)", "boom"):
        assert text in said
    assert results_command.main(["export", "study", "--csv", str(tmp_path / "x.csv"), *out]) == 0
    store.add("runs", [a_run("r00", 9, val_mse_channels=[0.25, 0.5])])  # the others have none
    assert results_command.main(["export", "study", "--csv", str(tmp_path / "x.csv"), *out]) == 0
    exported = pd.read_csv(tmp_path / "x.csv").set_index("run")["val_mse_channels"]
    assert exported["r00"] == "[0.25, 0.5]" and exported.drop("r00").isna().all()
    assert len(pd.read_csv(tmp_path / "x.csv")) == 5
    assert results_command.main(["compact", "study", *out]) == 0 and "files merged" in capsys.readouterr().out
    for arguments, message in [
        (["show", "studdy", *out], "did you mean 'study'"),
        (["compact", "studdy", *out], "did you mean 'study'"),
        (["list", "--results", "/nowhere"], "no results at /nowhere"),
        (["export", "study", "--csv", "/nowhere/x.csv", *out], "/nowhere"),
    ]:
        assert results_command.main(arguments) == 2
        captured = capsys.readouterr()
        assert captured.out == "" and len(captured.err.splitlines()) == 1 and message in captured.err


def test_show_is_bounded(store: Results) -> None:
    runs = [f"r{n}" for n in range(300)]
    store.add("members", [{"study": "study", "trial": f"t{r}", "role": "search", "run": r} for r in runs])
    table = to_table("runs", [a_run(r, 1, "failed", error="x" * 500) for r in runs])
    _write(root(store) / "runs" / "many-0123456789abcdef.parquet", table)
    lines = results_command.show_lines(store, "study")
    assert len(lines) < 60 and max(map(len, lines)) < 200


def test_module_runs_as_a_command(store: Results) -> None:
    fill(store)
    environment = os.environ | {"DYNONET_RESULTS": str(root(store))}
    command = [sys.executable, "-m", "tune.results", "show", "studdy"]
    done = subprocess.run(command, capture_output=True, text=True, env=environment, cwd=ROOT, check=False)
    assert done.returncode == 2 and done.stderr.startswith("error: unknown study 'studdy'") and not done.stdout


def test_every_table_is_declared_alike() -> None:
    assert set(PARTITIONED) == {"members", "trials", "studies", "events"}
    assert all(set(columns) <= set(SCHEMAS[name].names) for name, columns in IDENTITY.items()) and len(TABLES) == 7


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
