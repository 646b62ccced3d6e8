"""`make league-report`: what is kept of a league as page, figure and section of the docs; or that nothing is."""

import re
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest

from lab.arms import FULL
from lab.store.tables import Results
from scripts.league_report import FIGURE, KEPT, main
from tests.ablations.recorded import SHA, add_runs, begin, small_study
from tests.scripts.commands import ROOT
from tests.scripts.test_flagship_report import unfounded

MODELS: dict[str, Any] = {
    "near": {"model": "nlinear", "preset": "authors", "note": "as a test"},
    "dynonet_tuned": {"model": "dynonet", "settings": {"data.seq_len": 48, "training.max_epochs": 7}},
}
ERRORS: dict[str, Any] = {
    "one": {FULL: [0.40, 0.41, 0.42], "near": [0.30, 0.31, 0.32], "dynonet_tuned": [0.50, 0.51, 0.52]},
    "two": {FULL: [0.80, 0.81, 0.82], "near": [0.70, 0.71, 0.72], "dynonet_tuned": [0.60, 0.61, 0.62]},
}


def test_the_section_is_told_from_the_records(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    results = Results(tmp_path / "kept")
    cells = {"one": {}, "two": {"data.pred_len": 12}}
    record = begin(results, small_study(kind="models", arms=[], models=MODELS, seeds=3, cells=cells))
    add_runs(results, record, ERRORS, data_sha256=SHA)
    record.add_judgement(results, 3)
    assert main(["--results", results.storage.url, "--study", "mine", "--out", str(tmp_path / "out")]) == 0
    said = capsys.readouterr().out
    section = said[said.index("## How DynoNet stands among its rivals") :].splitlines()
    assert len(section) <= 15
    one, two = (next(line for line in section if line.startswith(f"- **{cell}**")) for cell in cells)
    assert "NLinear (authors) is 1 of 3 (0.3100); DynoNet is 2 of 3 (0.4100)" in one
    assert re.search(r"DynoNet \(data.seq_len=48.*\) is 1 of 3 \(0\.6100\); DynoNet is 3 of 3 \(0\.8100\)", two)
    assert "from S=24 to S=336" in said and "timesnet" in said
    assert "Test MSE by model" in (tmp_path / "out" / FIGURE).read_text()


def test_without_records_it_says_so(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["--results", str(tmp_path / "nothing")]) == 2
    assert "no records of a league in" in capsys.readouterr().err
    assert KEPT.parts[-2:] == ("results", "league")


def test_what_the_readme_and_the_docs_say_is_printed_from_the_records_that_are_kept(tmp_path: Path) -> None:
    """The section of docs/league.md word by word, the README's numbers, and the figure of both."""
    command = [sys.executable, "-m", "scripts.league_report", "--out", str(tmp_path)]
    done = subprocess.run(command, cwd=ROOT, capture_output=True, text=True, timeout=300, check=False)
    assert done.returncode == 0, done.stderr
    heading = "## How DynoNet stands among its rivals"
    printed, docs = (text[text.index(heading) :] for text in (done.stdout, (ROOT / "docs" / "league.md").read_text()))
    assert docs.split() == printed.split()
    readme = (ROOT / "README.md").read_text().split(f"\n{heading}\n")[1].split("\n## ")[0]
    assert len(readme.strip().splitlines()) <= 15 and not unfounded(readme, printed)
    assert unfounded(readme.replace("0.3641", "0.3640"), printed)
    assert (tmp_path / FIGURE).read_text() == (KEPT / FIGURE).read_text()
    assert sum(path.stat().st_size for path in KEPT.rglob("*") if path.is_file()) < 2_000_000
