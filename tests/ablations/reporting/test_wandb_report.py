"""The W&B report of a study says what the local page says, and is made without a network."""

import json
import socket
from dataclasses import replace
from typing import Any

import pytest

from ablations.report import render
from ablations.reporting.wandb import wandb_report
from ablations.reporting.wording import label, sentence
from lab.references.standing import Added, BarErrors, Standing
from tests.ablations import example


@pytest.fixture(scope="module")
def findings() -> Any:
    return example.findings()


@pytest.fixture
def no_network(monkeypatch: pytest.MonkeyPatch) -> None:
    def refuse(*args: Any, **kwargs: Any) -> None:
        raise AssertionError(f"the network was asked for: {args}")

    for name in ("connect", "connect_ex"):
        monkeypatch.setattr(socket.socket, name, refuse)
    for name in ("create_connection", "getaddrinfo"):
        monkeypatch.setattr(socket, name, refuse)


def blocks(specification: str) -> list[dict[str, Any]]:
    found: list[dict[str, Any]] = json.loads(specification)["spec"]["blocks"]
    return found


def text_of(node: Any) -> str:
    if isinstance(node, dict):
        return node.get("text", "") + "".join(text_of(child) for child in node.get("children", []))
    return "".join(map(text_of, node)) if isinstance(node, list) else ""


def test_it_holds_the_sections_of_the_page(findings: Any, no_network: None) -> None:
    report = wandb_report(findings)
    made = blocks(report.specification("team", "dynonet"))
    headings = [text_of(block) for block in made if block["type"] == "heading"]
    assert headings == [section.title for section in report.page.sections]
    texts = "\n".join(text_of(block) for block in made)
    for finding in findings.findings:
        assert sentence(findings, finding) in texts
    # Its tables are those of the Markdown page, so that their numbers are the same.
    lines = {line for line in render(findings)["report.md"].splitlines() if line.startswith("|")}
    mine = {
        line
        for block in made
        if block["type"] == "markdown-block"
        for line in block["content"].splitlines()
        if line.startswith("|")
    }
    assert mine == lines


def test_bars_starts_and_that_it_is_exploratory_stand_there(findings: Any, no_network: None) -> None:
    errors = dict(zip(("val_mse", "val_mae", "test_mse", "test_mae"), (0.6512, 0.5, 0.3661, 0.4), strict=True))
    bar, start = BarErrors("smoothed", errors, 84, ()), BarErrors("start", {**errors, "test_mse": 0.3646}, 99, ())
    standing = Standing((bar,), start, bar, Added(-0.01, 9, (-0.02, -0.005), (-0.03, 0.01)))
    cells = [replace(findings.cells[0], standing=standing), *findings.cells[1:]]
    marked = replace(findings, cells=tuple(cells), exploratory="seeds were added", arms=())
    made = blocks(wandb_report(marked).specification("team", "dynonet"))
    texts, tables = [text_of(block) for block in made], "".join(block.get("content", "") for block in made)
    assert "The verdicts are exploratory: seeds were added" in texts
    for finding in marked.findings:
        if finding.verdict in ("helps", "hurts"):
            assert f"[{label(marked, finding)}] {finding.name}" in "".join(texts)
            assert label(marked, finding).endswith("(exploratory)") and f"| {label(marked, finding)} |" in tables
    assert "| smoothed ridge | 0.6512 | 0.5000 | 0.3661 |" in tables and "| before the first step | 0.6512 |" in tables
    assert "training lowered it by 0.0100 on these rows only" in "".join(texts)


def test_its_panels_show_the_study_s_runs_alone(findings: Any, no_network: None) -> None:
    report = wandb_report(findings)
    grids = [b["metadata"] for b in blocks(report.specification("team", "dynonet")) if b["type"] == "panel-grid"]
    kinds = [panel["viewType"] for grid in grids for panel in grid["panelBankSectionConfig"]["panels"]]
    cells = len(findings.cells)
    assert kinds.count("Bar Chart") == kinds.count("Run History Line Plot") == kinds.count("Scatter Plot") == cells
    assert kinds.count("Run Comparer") == 1 and kinds.count("Media Browser") == len(report.figures()) > 4
    shown = set()
    for grid in grids:
        (runset,) = grid["runSets"]
        filters = {f["key"]["name"]: f["value"] for f in runset["filters"]["filters"]}
        assert filters["group"] == findings.name
        shown |= {value for key, value in filters.items() if key.startswith("cell")}
        if grid["panelBankSectionConfig"]["panels"][0]["viewType"] == "Bar Chart":
            assert runset["grouping"] == [{"section": "config", "name": "arm.value"}]
    assert shown == {cell.name for cell in findings.cells}


def test_its_table_holds_the_numbers_of_the_csv(findings: Any) -> None:
    table = wandb_report(findings).table
    assert table is not None
    header, rows = table
    assert len(rows) == render(findings)["effects.csv"].count("\n") - 1
    assert {"finding", "verdict", "effect", "p_adjusted"} <= set(header)
