"""Runs of unlike models in one store: each has its own columns, however the rows lie in files, and no value is lost."""

import hashlib
import json
from pathlib import Path
from typing import Any, Literal

import pandas as pd
import pyarrow as pa
import pytest

from lab import results as results_command
from lab.settings.config import Config, Section
from lab.store.columns import in_order
from lab.store.frames import joined, load
from lab.store.schema import ResultsError
from lab.store.tables import Results, run_params
from lab.tracking.runs import members_of, tracked
from tests.lab.store.rows import PARAMS, a_run, root

HERE = Path(__file__).parents[3]
ON_RECORD = json.loads((HERE / "tests/golden/records/runs_on_record.json").read_text())


class OwnConfig(Section):
    mixing: bool = True
    width: int = 8
    rate: float = 1  # whole, and a float all the same
    start: Literal["last"] | float = 0.5
    kernels: tuple[int, ...] = (3, 5)
    cell: Literal["gru", "lstm"] | None = None


class Rival(Config):
    own: OwnConfig = OwnConfig()


RIVAL = run_params(Rival())


def add(store: Results, study: str, *runs: dict[str, Any]) -> None:
    for run in runs:
        store.add("runs", [run])
    store.add("members", [{"study": study, "role": "search", "trial": "t0", "run": run["run"]} for run in runs])


def a_rival(run: str, **more: Any) -> dict[str, Any]:
    return {**RIVAL, "run": run, "attempt": 1, "status": "complete", "model": "my.module:RIVAL", **more}


def filled(params: dict[str, Any]) -> list[str]:
    return [name for name, value in params.items() if name.startswith("params.") and value is not None]


def open_columns(frame: pd.DataFrame) -> dict[str, str]:
    return {name: str(kind) for name, kind in frame.dtypes.items() if name.startswith("params.") or "_range." in name}


def test_models_in_one_store_keep_to_their_own_columns(
    store: Results, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    add(store, "ours", a_run("a", val_mse=0.5, **{"signal_range.lr_scale": 0.0}), a_run("b", status="failed"))
    add(store, "theirs", a_rival("c", val_mse=0.25, **{"gate_range.open": 1, "params.own.cell": None}), a_rival("d"))
    rows = [{"study": "both", "role": "search", "trial": f"t{run}", "run": run} for run in "abcd"]
    store.add("members", rows)
    before = {study: load(study, root(store)).set_index("run").sort_index() for study in store.studies()}
    assert list(open_columns(before["ours"])) == ["signal_range.lr_scale", *filled(PARAMS)]
    theirs = open_columns(before["theirs"])
    assert theirs.pop("gate_range.open") == "double[pyarrow]" and "params.own.cell" not in theirs
    assert list(theirs) == filled(RIVAL)
    types = {"mixing": "bool", "width": "int64", "rate": "double", "start": "string", "kernels": "string"}
    own = {name.rpartition(".")[2]: kind for name, kind in theirs.items() if name.startswith("params.own.")}
    assert own == {name: f"{kind}[pyarrow]" for name, kind in types.items()}
    row = before["theirs"].loc["c"]
    assert row["params.own.rate"] == 1.0 and row["params.own.start"] == "0.5" and row["params.own.kernels"] == "[3, 5]"
    assert set(open_columns(before["both"])) == set(open_columns(before["ours"])) | set(open_columns(before["theirs"]))
    assert before["both"]["params.own.width"].isna().tolist() == [True, True, False, False]

    kept = tmp_path / "kept"
    for place in (root(store), kept, root(store), kept):
        if place == kept:
            assert results_command.main(["copy", *before, "--results", str(root(store)), "--to", str(kept)]) == 0
        else:
            store.compact()
            assert len(store.storage.list("runs")) == 1
        for study, frame in before.items():
            found = load(study, place).set_index("run").sort_index()
            pd.testing.assert_frame_equal(found, frame)
            assert list(found.columns) == list(frame.columns)
        Results(kept).compact()
    capsys.readouterr()
    for study in before:
        for command in (["show", study], ["export", study, "--csv", str(tmp_path / f"{study}.csv")], ["list"]):
            assert results_command.main([*command, "--results", str(root(store))]) == 0, capsys.readouterr().err
    said = capsys.readouterr().out
    assert "study both: 4 runs (3 complete, 1 failed)" in said and "0.25" in said
    exported = {study: pd.read_csv(tmp_path / f"{study}.csv") for study in before}
    assert [study for study, frame in exported.items() if "params.own.width" in frame] == ["both", "theirs"]
    (sent,) = (run for run in tracked(store, members_of(store, "theirs")) if run.member.run == "c")
    assert sent.summary["gate_range.open"] == 1.0 and sent.config["own"] == json.loads(RIVAL["config"])["own"], "to W&B"


def test_columns_are_asked_for_by_name_and_by_how_they_begin(store: Results) -> None:
    add(store, "theirs", a_rival("c"))
    add(store, "ours", a_run("a"))
    listed = {"run", "attempt", "status", "ended"}
    some = store.table("runs", columns=["params.own.*", "params.model.dropout", "params.nobody.has"])
    assert set(some.column_names) - listed == {
        "params.own.mixing", "params.own.width", "params.own.rate", "params.own.start", "params.own.kernels",
        "params.model.dropout", "params.nobody.has",
    }  # fmt: skip
    assert some["params.nobody.has"].to_pylist() == [None, None]
    assert "params.own.width" not in joined(store, "ours", columns=["model", "params.*"]).column_names
    assert Results(root(store) / "empty").table("runs", columns=["params.x"]).column_names[-1] == "params.x"


@pytest.mark.parametrize(
    ("values", "kind", "read"),
    [
        ((1, 0.5), pa.float64(), [1.0, 0.5]),
        ((1, "a"), pa.string(), ["1", "a"]),
        ((1.0, "a", 0.1), pa.string(), ["1.0", "a", "0.1"]),
        ((True, 0.5), pa.string(), ["true", "0.5"]),
        ((2**62 + 1, 0.5), pa.string(), [str(2**62 + 1), "0.5"]),  # which no float is
        ((1, 0.5, [2], {"a": 1}, None), pa.string(), ["1", "0.5", "[2]", '{"a": 1}', None]),
    ],
)
def test_types_that_differ_meet_without_losing_a_value(
    store: Results, values: tuple[Any, ...], kind: pa.DataType, read: list[Any], tmp_path: Path
) -> None:
    def check(place: Results) -> None:
        column = place.table("runs").sort_by("run")["params.x.y"]
        assert column.type == kind and column.to_pylist() == read
        first = place.of_runs("runs", ["r0"])["params.x.y"]
        assert first.to_pylist() == [values[0]] and first.type == pa.scalar(values[0]).type, "by itself as it was"

    key = {"attempt": 1, "status": "complete", "model": "any"}
    for number, value in enumerate(values):
        store.add("runs", [{**key, "run": f"r{number}", "params.x.y": value}, {**key, "run": f"s{number}"}])
        store.add("members", [{"study": "study", "role": "search", "run": f"r{number}"}])
        if number == 1:
            store.compact()  # what comes later finds a segment
    read += [None] * len(values)
    check(store)
    store.compact()
    check(store)
    assert store.compact() == 0
    together = Results(tmp_path / "together")
    together.add("runs", store.table("runs").select(["run", "attempt", "status"]).to_pylist())  # the same, all at once
    together.add("runs", [{**key, "run": f"r{n}", "attempt": 2, "params.x.y": v} for n, v in enumerate(values)])
    newest = together.latest().sort_by("run")["params.x.y"]
    assert newest.type == kind and newest.to_pylist() == read


@pytest.mark.parametrize(
    ("more", "message"),
    [
        ({"param.model.width": 1}, "no column 'param.model.width'"),
        ({"params.": 1}, "no column 'params.'"),
        ({"params.a b": 1}, "no column 'params.a b'"),
        ({"val_msee": 1}, "no column 'val_msee'; did you mean 'val_mse'"),
        ({"signal_range.lr_scale": "wide"}, "column 'signal_range.lr_scale': expected a number"),
        ({"signal_range.lr_scale": True}, "column 'signal_range.lr_scale': expected a number"),
        ({"params.x": {1}}, "column 'params.x'.*not JSON serializable"),
        ({"params.x": 2**64}, "column 'params.x'"),
    ],
)
def test_what_no_column_is_called_or_holds_is_refused(store: Results, more: dict[str, Any], message: str) -> None:
    with pytest.raises(ResultsError, match=message):
        store.add("runs", [{"run": "r", "attempt": 1, "status": "complete", **more}])
    assert not store.storage.list()


def test_the_order_of_columns_is_the_files_and_else_the_alphabets() -> None:
    ours = ["params.data.b", "params.data.a", "params.model.c"]
    theirs = [*ours[:2], "params.k.z"]
    merged = ["params.data.b", "params.data.a", "params.k.z", "params.model.c"]
    assert in_order([ours, theirs]) == in_order([theirs, ours]) == in_order([merged, ours]) == merged
    assert in_order([ours, ["val_mse", "z_range.a", "params.model.c"]])[0] == "z_range.a"
    assert in_order([ours, list(reversed(ours))]) == sorted(ours), "where they contradict each other"


@pytest.mark.parametrize("place", ON_RECORD)
def test_stores_of_before_are_read_as_before(place: str) -> None:
    """Columns, types and numbers as they were when a list named all of them; columns that were empty are left out."""
    known = ON_RECORD[place]
    runs = Results(HERE / place, create=False).table("runs").slice(0, known["rows"])  # by time: later ones come after
    assert {name: str(runs.schema.field(name).type) for name in known["columns"]} == known["columns"]
    order = sorted(known["columns"])
    rows = sorted(runs.select(order).to_pylist(), key=lambda row: (row["run"], row["attempt"]))
    text = json.dumps(rows, sort_keys=True, default=str)
    assert hashlib.sha256(text.encode()).hexdigest() == known["sha256"]
    expected = [name for name in known["columns"] if name.startswith("params.")]
    params = [name for name in runs.column_names if name in expected]
    assert params in (expected, sorted(expected)), "in their order, by name where files contradict each other"
