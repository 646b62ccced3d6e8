"""What the README and docs/findings.md say we found: each number is printed from the records that are kept."""

import re
import subprocess
import sys
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[2]
KEPT = ROOT / "results" / "flagship"
NUMBER = re.compile(r"\d[\d,]*(?:\.\d+)?(?:[eE][+-]?\d+)?")


def said() -> tuple[str, str]:
    """The README's section, and the page."""
    readme = (ROOT / "README.md").read_text()
    section = readme.split("\n## What we found\n")[1].split("\n## ")[0]
    return section, (ROOT / "docs" / "findings.md").read_text()


@pytest.fixture(scope="module")
def printed(tmp_path_factory: pytest.TempPathFactory) -> tuple[str, Path]:
    out = tmp_path_factory.mktemp("pages")
    command = [sys.executable, "-m", "scripts.flagship_report", "--out", str(out)]
    done = subprocess.run(command, cwd=ROOT, capture_output=True, text=True, timeout=300, check=False)
    assert done.returncode == 0, done.stderr
    return done.stdout, out


def test_every_number_of_the_readme_and_the_docs_is_printed(printed: tuple[str, Path]) -> None:
    known = set(NUMBER.findall(printed[0]))
    for text in said():
        if "not computed, for the data is not here" in printed[0]:
            text = "\n".join(line for line in text.splitlines() if "bar" not in line)
        prose = re.sub(r"`[^`]*`|\]\([^)]*\)", "", text)  # names of settings, commands and files
        missing = [number for number in NUMBER.findall(prose) if number.rstrip(",") not in known]
        assert not missing


def test_pages_and_figure_are_rendered_from_the_records(printed: tuple[str, Path]) -> None:
    pages = sorted(path.parent.name for path in printed[1].glob("*/report.html"))
    studies = sorted(path.name.removeprefix("study=") for path in (KEPT / "studies").iterdir())
    assert pages == studies
    assert (printed[1] / "seeds.svg").read_text() == (KEPT / "seeds.svg").read_text()


def test_the_records_are_small() -> None:
    files = [path for path in KEPT.rglob("*") if path.is_file()]
    assert sum(path.stat().st_size for path in files) < 16_000_000
