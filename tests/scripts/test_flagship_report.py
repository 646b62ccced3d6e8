"""What the README and docs/findings.md say we found: each number is printed from the records that are kept."""

import re
import subprocess
import sys
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[2]
KEPT = ROOT / "results" / "flagship"
NUMBER = re.compile(r"[+-]?\d[\d,]*(?:\.\d+)?(?:[eE][+-]?\d+)?%?")
SECTION = re.compile(r"(?m)^(?=\d\. |bars beside |budget$|study \S+: |series-\S+: the best)")  # of what is printed
CLAUSE = re.compile(r"[;:]\s|\.\s|\n\n|\n- ")
NOT_HERE = "not computed, for the data is not here"


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


def numbers(text: str) -> list[str]:
    return [number.rstrip(",") for number in NUMBER.findall(text.replace("−", "-"))]


def within(wanted: list[str], there: str) -> bool:
    """A number without a sign is there with any, one with a sign as it is."""
    found = numbers(there)
    bare = {number.lstrip("+-") for number in found}
    return all(number in found or (number[0] not in "+-" and number in bare) for number in wanted)


def records(row: str) -> list[list[str]]:
    """Of a row of a table: the numbers behind its name; `a; b | c; d` are two records."""
    cells = [[numbers(part) for part in cell.split(";")] for cell in row.strip().strip("|").split("|")[1:]]
    count = max(len(cell) for cell in cells)
    return [[number for cell in cells for number in cell[min(place, len(cell) - 1)]] for place in range(count)]


def unfounded(text: str, printed: str) -> list[str]:
    """Rows of tables that are no line of what is printed, and clauses whose fractions are of no one section of it."""
    lines, sections = printed.splitlines(), SECTION.split(printed)
    rows = [line for line in text.splitlines() if line.startswith("|")]
    wrong = [row for row in rows if not all(any(within(one, line) for line in lines) for one in records(row))]
    text = "\n".join(row.split("|")[1] if (row := line).startswith("|") else line for line in text.splitlines())
    prose = re.sub(r"`[^`]*`|\]\([^)]*\)", "", text)  # names of settings, commands and files
    for clause in CLAUSE.split(prose):
        mine = numbers(clause)
        fractions = [number for number in mine if "." in number]
        if not within(mine, printed) or not any(within(fractions, section) for section in sections):
            wrong.append(clause)
    return wrong


def test_what_the_readme_and_the_docs_say_is_printed(printed: tuple[str, Path]) -> None:
    """Each row of a table as one line, each clause's numbers together, signs and percents as they are."""
    for text in said():
        if NOT_HERE in printed[0]:
            blocks = re.split(r"\n(?=[-|\n])", text)
            text = "\n".join(block for block in blocks if not re.search("bar|start|ridge|step", block))
        assert not unfounded(text, printed[0])


def test_a_number_in_the_wrong_place_is_found() -> None:
    printed = "1. one\ntuned   0.3645 ± 0.0004  56,028\nridge   0.3670  49,152\n2. two\n  changed by -0.00010, 0.7%"
    row = "| ours; ridge | 0.3645; 0.3670 | 56,028; 49,152 |"
    assert not unfounded(f"{row}\n\nIt changed by −0.00010 (0.7%).", printed)
    for wrong in (
        "| ours | 0.3645 | 49,152 |", "It changed by +0.00010.", "0.7 of it.", "Of 0.3645 it is 0.7%.",
        "| x | 0.3671 |",
    ):  # fmt: skip
        assert unfounded(wrong, printed), wrong


def test_pages_and_figure_are_rendered_from_the_records(printed: tuple[str, Path]) -> None:
    pages = sorted(path.parent.name for path in printed[1].glob("*/report.html"))
    studies = sorted(path.name.removeprefix("study=") for path in (KEPT / "studies").iterdir())
    assert pages == studies
    assert (printed[1] / "seeds.svg").read_text() == (KEPT / "seeds.svg").read_text()


def test_the_records_are_small() -> None:
    files = [path for path in KEPT.rglob("*") if path.is_file()]
    assert sum(path.stat().st_size for path in files) < 16_000_000
