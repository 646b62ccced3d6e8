"""A margin is held against what the whole network gains over the best bar."""

from dataclasses import replace

import pytest

from ablations.findings.gains import within_margin
from lab.references.standing import Added, BarErrors, Standing
from tests.ablations.example import findings


@pytest.mark.parametrize(("gain", "said"), [(-0.003, True), (-0.03, False), (0.003, False), (float("nan"), False)])
def test_a_margin_wider_than_the_gain_is_named(gain: float, said: bool) -> None:
    example = findings()
    best = BarErrors("smoothed", {"test_mse": 0.403, "val_mse": 0.5, "test_mae": 0.4, "val_mae": 0.4}, 84, ("run",))
    standing = Standing((best,), best=best, over_best=Added(gain, 9))
    cells = [replace(example.cells[0], standing=standing), *example.cells[1:]]
    notes = within_margin(cells, example.findings, 1.0)
    assert len(notes) == said and all(f"(0.0030 of 0.0040 in cell {cells[0].name})" in note for note in notes)
    decided = [finding for finding in example.findings if not finding.verdict.startswith("no practical effect")]
    assert within_margin(cells, decided, 1.0) == [], "nothing was called of no practical effect"
