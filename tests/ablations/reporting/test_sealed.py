"""Sealed rows on a page: verdicts as every table says them, and no more of who read before than the ledger tells."""

from dataclasses import replace
from typing import Any

from ablations.findings.findings import Findings, SealedEffect, SealedFindings
from ablations.reporting.sealed import sealed
from lab.ledger.looks import INPUTS, record
from lab.pages.blocks import Table, Text
from lab.series.sealed import unsealed
from lab.settings.data import DataConfig
from lab.store.tables import Results
from lab.unsealing.blocks import ledger_says
from lab.unsealing.records import METRICS, Group, Look, Opened, opened
from tests.ablations import example, pooled_example

ROWS = (-1.0, 2.0)


def look(dataset: str, again: str = "") -> Look:
    return Look(dataset, 14400, 17420, 8640, 18, "2026-01-02 03:04:05", "me@here", "unseal", again)


def with_sealed(found: Findings, cell: str, *names: str) -> Findings:
    effects = [SealedEffect(name, cell, 9, 3.1, ROWS, 2.2, ROWS, None, "helps", True) for name in names]
    group = Group(cell, "full", "full", ("a",), dict.fromkeys(METRICS, ()))
    return replace(found, sealed=SealedFindings(Opened((look(cell),), (group,), {cell: 2925}), tuple(effects)))


def verdicts(found: Findings) -> tuple[str, dict[str, str]]:
    """The header above the verdicts, and each arm's."""
    block = next(block for block in sealed(found) if isinstance(block, Table) and block.header[0] == "arm")
    return block.header[1], {row[0]: row[1] for row in block.rows}


def test_a_verdict_stands_with_its_subject_and_its_marks() -> None:
    """Not `no_film: helps`, which reads as if doing without it did."""
    found = with_sealed(example.findings(exploratory="seeds were added"), "ETTh1", "no_film", "no_context")
    assert verdicts(found) == ("verdict on test", {
        "no_film": "FiLM helps (exploratory)", "no_context": "the context vector hurts (exploratory)"
    })  # fmt: skip
    found = with_sealed(pooled_example.findings(), "ETTh1", "no_mixer", "no_decomposition")
    assert verdicts(found) == ("verdict on test, over all cells", {
        "no_mixer": "the channel mixer hurts (validation: the opposite)",
        "no_decomposition": "the decomposition helps, on these series only",
    })  # fmt: skip
    text = " ".join(block.text for block in sealed(found) if isinstance(block, Text))
    assert "no earlier reading" in text and "2 found to help or hurt, 2" in text


def test_who_read_before_is_said_as_the_ledger_has_it(store: Results, monkeypatch: Any) -> None:
    assert "tells of no earlier reading" in ledger_says(Opened((look("ETTh1"),)))
    assert "tells of earlier readings of them" in ledger_says(Opened((look("ETTh1", "why not"),)))
    both = ledger_says(Opened((look("ETTh1"), look("ETTh2", "why not"))))
    assert "of those of ETTh2, and of none of the others" in both
    # A forecast that was fitted on the rows, or read them, before they were opened; one of other rows; one after it.
    series = unsealed(DataConfig(synthetic={"rows": 2000}, sealed=500, seq_len=24, pred_len=6))
    other = unsealed(DataConfig(synthetic={"rows": 2000, "seed": 1}, sealed=500, seq_len=24, pred_len=6))
    for purpose, of in (("fitted again", series), ("another", other)):
        record(of, purpose, split=INPUTS, results=store)
    record(series, "unseal mine", split="sealed", results=store, study="mine")
    record(series, "later", split=INPUTS, results=store)
    (said,) = opened(store, "mine").inputs
    assert said.startswith("fitted again on ")
    assert f"as inputs, by which nothing was judged: {said}." in ledger_says(opened(store, "mine"))
