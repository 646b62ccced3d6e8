"""A league's records: who is ranked, who is left out and why, and what is reported beside what was measured."""

import csv
import io
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from ablations.findings.collect import findings_of
from ablations.findings.findings import PRIMARY, Findings
from ablations.reporting.console import verdict_lines
from ablations.reporting.page import render
from lab.arms import FULL
from lab.references.forecasts import Forecasts, encoded, forecasts_path
from lab.references.measured import measured
from lab.registry import reports
from lab.store.tables import Results
from tests.ablations.recorded import SHA, add_runs, begin, small_study

MODELS: dict[str, Any] = {
    "near": {"model": "nlinear"}, "deep": {"model": "dlinear", "preset": "authors", "note": "as a test"},
    "lost": {"model": "rlinear"},
}  # fmt: skip
ERRORS: dict[str, Any] = {
    "one": {FULL: [0.40, 0.41, 0.42], "near": [0.30, 0.31, 0.32], "deep": [0.50, 0.51, 0.52],
            "lost": [0.1, "missing", 0.1]},
    "two": {FULL: [0.80, 0.81, 0.82], "near": [0.70, 0.71, 0.72], "deep": [0.60, 0.61, "diverged"],
            "lost": [0.1, 0.1, 0.1]},
}  # fmt: skip


def found(folder: Path) -> Findings:
    results = Results(folder / "out")
    cells = {"one": {}, "two": {"data.pred_len": 12}}
    record = begin(results, small_study(kind="models", arms=[], models=MODELS, seeds=3, cells=cells))
    add_runs(results, record, ERRORS, data_sha256=SHA)
    record.add_judgement(results, 3)
    return findings_of(results, "mine")


def test_the_ranking_is_of_the_runs_and_nobody_is_dropped_in_silence(tmp_path: Path) -> None:
    findings = found(tmp_path)
    league = findings.league
    assert league is not None and league.ranking is not None
    assert league.left_out == {"RLinear": "runs are missing"}
    places = {place.name: place for place in league.ranking.places}
    assert {name: place.rank for name, place in places.items()} == {"near": 1, FULL: 2, "deep": 3}
    assert places["near"].errors == pytest.approx({"one": 0.31, "two": 0.71})
    assert np.isnan(places["deep"].errors["two"]) and places["deep"].best == 0  # a run diverged: the worst
    assert [league.entrant(name).title for name in (FULL, "deep")] == ["DynoNet", "DLinear (authors)"]
    assert {runs.arm: runs.parameters for runs in findings.arms if runs.cell == "one"}["near"] == 96 * 6 + 6
    effect = next(each for each in findings.findings if (each.name, each.cell) == ("near", "one")).effects[PRIMARY]
    assert effect.typical == pytest.approx(-0.1) and effect.n == 3  # below the baseline's


def test_one_set_of_numbers_on_the_page_in_a_terminal_and_in_files(tmp_path: Path) -> None:
    findings = found(tmp_path)
    files, lines = render(findings), verdict_lines(findings)
    row = next(line.split() for line in lines if line.startswith("NLinear "))
    assert row[1:3] == ["96", "1.0"]
    assert row[-1] == "(1.4200)" and row[-5:-4] == ["(0.6200)"], "validation beside each error"
    assert "| NLinear | 96 | 1.0 |" in files["report.md"] and "NLinear & 96 & 1.0 &" in files["league.tex"]
    assert (
        "| DLinear (authors) | the authors' script for ETTh1; as a test | 336 | 10 | 3.0 / 3.0 |" in files["report.md"]
    )
    assert "Lookbacks differ, from S=24 to S=336" in files["report.md"]
    assert "not ranked: RLinear: runs are missing" in lines and "RLinear" in files["report.md"]
    effect = "the test MSE of a model less that of DynoNet, paired by seed: positive where DynoNet has the lower one"
    assert effect in files["report.md"] and "| DynoNet's | effect |" in files["report.md"]
    assert not [name for name in files for word in ("the part", "without a part") if word in files[name]]
    assert any(line.startswith("effect: test MSE of the model less that of DynoNet,") for line in lines)
    assert "Mean rank (1: the lowest error)" in files["report.html"] and "of draws</span>" in files["report.html"]
    table = list(csv.DictReader(io.StringIO(files["league.csv"])))
    assert len(table) == 3 * 2
    assert float(table[0][PRIMARY]) == pytest.approx(0.31) and table[0]["title"] == "NLinear"
    assert float(table[0]["val_mse"]) == pytest.approx(0.62)


def test_forecasts_on_record_are_drawn_and_say_what_a_step_took(tmp_path: Path) -> None:
    found(tmp_path)
    results, ahead = Results(tmp_path / "out"), np.zeros((3, 6), np.float32)
    for row in results.table("members", "mine").to_pylist():
        if (row["arm"], row["cell"]) in ((FULL, "one"), ("near", "one"), ("deep", "one")):
            rows = (100, 120, 140) if row["arm"] != "deep" else (0, 20, 40)  # of other rows: not beside the others
            kept = Forecasts(ahead, ahead + 1, ahead[:, :4], rows, "A", 5)
            results.put_blob(forecasts_path(row["run"]), encoded(kept))
    findings = findings_of(results, "mine")
    league, html = findings.league, render(findings)["report.html"]
    assert league is not None and league.forecasts["one"].keys() == {FULL, "near"} and not league.forecasts["two"]
    assert "MSE 1.000" in html and "no forecasts are on record" in html
    assert "No forecasts are on record of DLinear (authors) in cell one." in html
    assert league.entrant("near").step == {"one": pytest.approx(1.5 / (3 * 5))}  # 3 epochs of 5 steps in 1.5 s
    assert "| 100 ms |" in render(findings)["report.md"]


def test_others_find_what_a_league_measured_and_nothing_of_other_rows(tmp_path: Path) -> None:
    found(tmp_path)
    results = Results(tmp_path / "out")
    assert [(each.title, round(each.mse, 4), each.runs, each.asked) for each in measured(results, SHA, 6)] == [
        ("RLinear", 0.1, 2, 2), ("NLinear", 0.31, 3, 3), ("DynoNet", 0.41, 3, 3), ("DLinear (authors)", 0.51, 3, 3),
    ]  # fmt: skip
    (deep,) = (each for each in measured(results, SHA, 12) if each.title.startswith("DLinear"))
    assert (deep.runs, deep.asked, deep.study) == (2, 3, "mine") and deep.mean("test_mae") == pytest.approx(1.605)
    assert not measured(results, SHA, 24) and not measured(results, "f" * 64, 6) and not measured(None, SHA, 6)


def test_what_is_reported_says_why_it_may_differ() -> None:
    study = small_study(
        kind="models", arms=[], models=MODELS, cells={"h": {"data.dataset": "ETTh1", "data.pred_len": 96}}
    )
    (searched,) = reports(study.config("h", "lost"))
    assert searched.mse == 0.364 and "lookback was chosen on test" in searched.differs(study.config("h", "lost"), 3)
    table, elsewhere, theirs = reports(study.config("h", "deep"))
    assert elsewhere.differs(study.config("h", "deep"), 3) == "reads 96 steps there, 336 here"
    assert theirs.differs(study.config("h", "deep"), 3) == "the last test batch is left out there"
    assert table.mse == 0.456 and not reports(small_study().baseline_of("main"))
