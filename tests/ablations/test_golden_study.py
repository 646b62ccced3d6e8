"""A study on record gives the report that it gave: tests/golden/study, made by make_golden.py."""

import csv
import io
import re
from pathlib import Path

import pytest

from ablations.findings.collect import findings_of
from ablations.report import render
from lab.store.tables import Results


@pytest.fixture(scope="module")
def files(golden_dir: Path) -> dict[str, str]:
    return render(findings_of(Results(golden_dir / "study" / "store", create=False), "mine"))


def rows(text: str) -> list[dict[str, str]]:
    return list(csv.DictReader(io.StringIO(text)))


def test_effects_are_those_on_record(files: dict[str, str], golden_dir: Path) -> None:
    found, expected = rows(files["effects.csv"]), rows((golden_dir / "study/effects.csv").read_text())
    assert len(found) == len(expected) == 7 * 3 + 1
    for mine, golden in zip(found, expected, strict=True):
        assert mine.keys() == golden.keys()
        for column, value in golden.items():
            try:
                number = float(value)
            except ValueError:
                assert mine[column] == value, column
            else:
                assert float(mine[column]) == pytest.approx(number, rel=1e-9, abs=1e-12), column


def test_the_page_is_the_one_on_record(files: dict[str, str], golden_dir: Path) -> None:
    assert files["report.md"] == (golden_dir / "study/report.md").read_text()


def test_both_pages_show_the_numbers_of_the_csv(files: dict[str, str]) -> None:
    html = re.sub(r"<svg.*?</svg>", "", files["report.html"], flags=re.DOTALL)
    for row in rows(files["effects.csv"]):
        if row["effect"]:
            shown = f"{float(row['effect']):+.4f}".replace("-", "−")
            for page in (html, files["report.md"]):
                assert shown in page, (row["finding"], row["metric"], shown)
