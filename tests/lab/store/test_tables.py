"""The tables: what goes in comes out, once, and typed; files of other times and other people."""

import warnings
from collections import Counter
from datetime import UTC, datetime
from typing import Any

import duckdb
import pandas as pd
import pyarrow as pa
import pyarrow.dataset as ds
import pyarrow.parquet as pq
import pytest

from dynonet.config import Config
from lab.store.objects.storage import Storage
from lab.store.schema import IDENTITY, PARTITIONED, SCHEMA_VERSION, SCHEMAS, TABLES, to_table
from lab.store.tables import Results, ResultsError
from tests.lab.store.rows import a_run, event, root, write_file

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
    params = {f.name[7:]: f.type for f in store.table("runs").schema if f.name.startswith("params.")}
    config = Config.from_json(row["config"]).flat()
    assert params == {key: types[Config.setting_type(key)] for key, value in config.items() if value is not None}
    assert list(params) == [key for key, value in config.items() if value is not None], "in the config's order"


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


def test_older_and_wider_files(store: Results) -> None:
    store.add("runs", [a_run("new", val_mse=1.0)])
    old = to_table("runs", [a_run("old")]).select(["run", "attempt", "status", "val_mse"])
    narrow = old.set_column(3, "val_mse", pa.array([2], pa.int32()))
    write_file(root(store) / "runs/old-a1-0123456789abcdef.parquet", narrow)
    wide = to_table("runs", [a_run("wide")]).append_column("of_tomorrow", pa.array(["x"]))
    write_file(root(store) / "runs/wide-a1-0123456789abcde0.parquet", wide)
    for _ in range(2):
        schema = store.table("runs").schema
        assert pa.schema(list(schema)[: len(SCHEMAS["runs"])]).equals(SCHEMAS["runs"])
        assert all(name.startswith("params.") for name in schema.names[len(SCHEMAS["runs"]) :])
        runs = store.runs()
        assert set(runs) == {"new", "old", "wide"}
        assert runs["old"]["val_mse"] == 2.0 and runs["old"]["params.model.worker_hidden"] is None
        assert runs["wide"]["params.model.worker_hidden"] == 16
        store.compact()
    assert ds.dataset(root(store) / "runs").to_table()["of_tomorrow"].to_pylist().count("x") == 1


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
    write_file(folder / "foreign.parquet", pa.table({"a": [1]}), None)
    write_file(folder / "other.parquet", pa.table({"run": ["x"]}))
    write_file(folder / "types.parquet", pa.table({"run": ["x"], "attempt": ["one"], "status": ["complete"]}))
    write_file(folder / "tomorrow.parquet", to_table("runs", [a_run("z")]), SCHEMA_VERSION + 1)
    write_file(root(store) / "trials" / "stray.parquet", to_table("trials", [event(9)]).drop_columns("study"))
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


def test_every_table_is_declared_alike() -> None:
    assert set(PARTITIONED) == {"members", "trials", "studies", "events"}
    assert all(set(columns) <= set(SCHEMAS[name].names) for name, columns in IDENTITY.items()) and len(TABLES) == 8
