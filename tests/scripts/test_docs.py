"""The docs say what is: tables are those that the code makes, links lead somewhere, and the notebook runs."""

import ast
import importlib
import json
import os
import re
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path
from urllib.parse import unquote

import pytest
import yaml

from forecasters import FORECASTERS
from lab.registry import forecaster
from lab.settings.listing import settings_of
from scripts.docs import notebook, settings, site

ROOT = Path(__file__).parents[2]
PAGES = [*sorted(ROOT.glob("*.md")), *sorted((ROOT / "docs").glob("*.md"))]
LINK = re.compile(r"!?\[[^\]]*\]\(([^)\s]+)\)")
HOUSE = ("lab", "dynonet", "forecasters", "tune", "ablations")
OUTSIDE = re.compile(r"^(https?|mailto):")


def test_the_settings_page_is_what_the_code_makes() -> None:
    page = settings.PAGE.read_text()
    assert page == settings.whole(page), "python -m scripts.docs.settings writes it anew"
    below = page.split(settings.MARK)[1]
    assert "| `training.lr` | `0.002` | > 0 | 3e-05 to 0.01, log | of the workers, trend and mixer |" in below
    assert "| `signals.grad_clip` | `adaptive` | adaptive, off, or a number from 1e-06 to 1e+06 |" in below


@pytest.mark.parametrize("name", FORECASTERS)
def test_every_setting_says_what_it_is(name: str) -> None:
    model = forecaster(name)
    silent = [each.key for each in settings_of(model.config) if not (each.about or each.above)]
    made = {f"model.{part}" for part in model.parts} | {each for each in silent if each.startswith("signals.")}
    assert set(silent) <= made, "a comment on the field's line, or right above it"


def prose(page: Path) -> str:
    return re.sub(r"```.*?```|`[^`\n]*`", "", page.read_text(), flags=re.S)


def anchors(page: Path) -> set[str]:
    """Of a page's headings, as sites of Markdown name them."""
    text = re.sub(r"```.*?```", "", page.read_text(), flags=re.S)
    heads = re.findall(r"^#+ (.+)$", text, re.M)
    return {re.sub(r"[^\w\- ]", "", head.lower()).strip().replace(" ", "-") for head in heads}


def dead(page: Path) -> Iterator[str]:
    for link in LINK.findall(prose(page)):
        place, _, anchor = unquote(link).partition("#")
        target = (page.parent / place).resolve() if place else page
        there = target.exists() and (not anchor or anchor in anchors(target))
        if not there and not OUTSIDE.match(link):
            yield link


@pytest.mark.parametrize("page", PAGES, ids=lambda page: page.name)
def test_every_link_leads_somewhere(page: Path) -> None:
    assert list(dead(page)) == []


def test_dead_links_are_seen(tmp_path: Path) -> None:
    page = tmp_path / "page.md"
    page.write_text(
        "# Its head: one\n[a](#its-head-one) [b](#its-foot) [c](gone.md) `[d](no.md)` [e](https://x.org/y)\n"
    )
    assert list(dead(page)) == ["#its-foot", "gone.md"]


def test_the_readme_is_short_and_leads_to_every_page() -> None:
    text = (ROOT / "README.md").read_text()
    assert text.count("\n") <= 220
    linked = {link.partition("#")[0] for link in LINK.findall(text)}
    assert {f"docs/{page.name}" for page in (ROOT / "docs").glob("*.md")} <= linked


def blocks(language: str) -> list[str]:
    return [code for page in PAGES for code in re.findall(rf"^```{language}\n(.*?)^```", page.read_text(), re.M | re.S)]


def test_blocks_of_code_can_be_read_and_import_what_is_there() -> None:
    assert len(blocks("python")) >= 5 and blocks("yaml")
    for code in blocks("python"):
        for node in ast.walk(ast.parse(code)):
            if isinstance(node, ast.ImportFrom) and str(node.module).split(".")[0] in HOUSE:
                module = importlib.import_module(str(node.module))
                assert all(hasattr(module, alias.name) for alias in node.names), ast.unparse(node)
    for code in blocks("yaml"):
        yaml.safe_load(code)


def masked(text: str) -> str:
    """What stays of an output where another machine's numbers are a little different."""
    return re.sub(r"\s+", " ", re.sub(r"[-−]?[\da-f]*\d[\da-f.,]*", "#", text))


@pytest.mark.slow
def test_the_notebook_runs_and_says_what_it_says(tmp_path: Path) -> None:
    command = [sys.executable, "-m", "scripts.docs.notebook", "--out", str(tmp_path / "done.ipynb")]
    environment = {**os.environ, "PYTHONPATH": str(ROOT), "DYNONET_LEDGER_DIR": str(tmp_path)}
    done = subprocess.run(command, cwd=ROOT, env=environment, capture_output=True, text=True, timeout=900)
    assert done.returncode == 0, done.stderr
    kept, now = (
        [cell for cell in json.loads(path.read_text())["cells"] if cell["cell_type"] == "code"]
        for path in (notebook.NOTEBOOK, tmp_path / "done.ipynb")
    )
    for before, after in zip(kept, now, strict=True):
        if "tune.search" not in "".join(before["source"]):
            assert [*map(masked, notebook.texts(before))] == [*map(masked, notebook.texts(after))]
    searched = ["".join(notebook.texts(cells[3])) for cells in (kept, now)]
    before, after = (float(re.search(r"^best config.*?± \S+ +(\S+)", text, re.M)[1]) for text in searched)  # type: ignore[index]
    assert after == pytest.approx(before, rel=0.05), "python -m scripts.docs.notebook runs it anew"
    assert any(notebook.pictures(now[-1]))


def test_the_site_has_every_page_and_what_it_links(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(site, "SOURCE", tmp_path)
    site.gather()
    pages = {path.name for path in tmp_path.glob("*.md")}
    listed = re.findall(r"\S+\.md$", (ROOT / "mkdocs.yml").read_text(), re.M)
    assert pages == set(listed) and len(listed) == len(pages)
    assert "](data.md)" in (tmp_path / "index.md").read_text()
    assert "](CONTRIBUTING.md)" in (tmp_path / "house.md").read_text()
    for page in tmp_path.glob("*.md"):
        assert list(dead(page)) == []
