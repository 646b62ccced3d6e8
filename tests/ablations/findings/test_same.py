"""What was trained and came to the same leaves the family of comparisons."""

from pathlib import Path

import pytest

from ablations.report import render
from ablations.reporting.wording import sentence
from lab.store.tables import Results
from tests.ablations.findings.test_collect import FULL, WORSE, found


@pytest.fixture
def results(tmp_path: Path) -> Results:
    return Results(tmp_path / "out")


def test_what_came_to_the_same_leaves_the_family(results: Results) -> None:
    """A bound that no gradient met: alive in the check before training, and no question after it."""
    study = found(results, {"main": {"full": FULL, "no_film": WORSE, "no_mixer": [x + 1e-9 for x in FULL]}})
    film, mixer = study.findings
    assert (mixer.verdict, mixer.decision, study.family) == ("made no difference", None, 1)
    assert film.decision is not None and film.decision.p_adjusted == 2 / 2**8, "not doubled for a question of two"
    assert "with each of 8 seeds it came to the same errors, up to rounding" in sentence(study, mixer)
    assert any("1 of 2 comparisons made no difference" in note for note in study.notes)
    page = render(study)["report.md"]
    assert "## Arms that made no difference" in page and "made no difference" in render(study)["effects.csv"]
    almost = Results(results.storage.root + "-almost")
    study = found(almost, {"main": {"full": FULL, "no_film": WORSE, "no_mixer": [*FULL[:7], FULL[7] + 1e-5]}})
    assert study.findings[1].shown == "no practical effect" and study.family == 2
