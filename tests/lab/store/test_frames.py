"""Studies put together: runs with their places and readings, histories, references apart."""

from pathlib import Path

import duckdb
import pandas as pd
import pytest

from lab import results as results_command
from lab.store.frames import bars, history, load
from lab.store.tables import Results, ResultsError
from tests.lab.store.rows import a_run, fill, root


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
    assert direct.fetchall()[0] == ("r00",), "as the docs read the files"

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


def test_unknown_study_or_folder(store: Results) -> None:
    fill(store)
    with pytest.raises(ResultsError, match=r"unknown study 'studdy'; did you mean 'study'.*; studies in .*: study"):
        load("studdy", root(store))
    with pytest.raises(ResultsError, match="no results at /nowhere"):
        history("study", "/nowhere")
    assert not Path("/nowhere").exists()
