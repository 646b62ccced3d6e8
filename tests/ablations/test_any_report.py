"""One command for the report of any study: the records say of which kind it is."""

from pathlib import Path

import pytest

import ablations.any_report
from dynonet.config import Config
from lab.store.tables import Results
from tests.ablations.recorded import add_runs, begin, small_study
from tests.tune import searched

BASE = {"data.dataset": "ETTh1", "data.pred_len": 96, "training.max_epochs": 6}  # of the search; no data is read


def test_each_kind_has_its_own_report(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    results = Results(tmp_path)
    record = begin(results, small_study(name="parts"))
    errors = {arm: [0.5 + 0.01 * seed for seed in range(8)] for arm in ("full", "no_film", "no_mixer")}
    add_runs(results, record, {"main": errors})
    searched.Searched(results, Config.create(BASE)).add(*searched.spread(4))
    place = ("--results", str(tmp_path))
    assert ablations.any_report.main(["parts", *place]) == ablations.any_report.main(["mine", *place]) == 0
    for study, files in (("parts", {"effects.csv", "effects.tex"}), ("mine", {"trials.csv"})):
        there = {path.name for path in (tmp_path / "reports" / study).iterdir()}
        assert there == {"report.html", "report.md", *files}
    capsys.readouterr()
    assert ablations.any_report.main(["prats", *place]) == 2
    assert "did you mean 'parts'?" in capsys.readouterr().err
