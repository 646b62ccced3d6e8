"""The docs say what is: tables are those that the code makes, every link leads somewhere, and the README is short."""

import re
from collections.abc import Iterator
from pathlib import Path
from urllib.parse import unquote

import pytest

from forecasters import FORECASTERS
from lab.registry import forecaster
from lab.settings.listing import settings_of
from scripts.docs import settings

ROOT = Path(__file__).parents[2]
PAGES = [*sorted(ROOT.glob("*.md")), *sorted((ROOT / "docs").glob("*.md"))]
LINK = re.compile(r"!?\[[^\]]*\]\(([^)\s]+)\)")
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
