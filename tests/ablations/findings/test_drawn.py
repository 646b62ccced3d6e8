"""A start from drawn weights beside one from a closed form: a verdict says how long the former was trained."""

from pathlib import Path

from ablations.findings.collect import findings_of
from ablations.reporting.pooled import wording as pooled_wording
from ablations.reporting.wording import label, sentence
from lab.store.tables import Results
from tests.ablations.recorded import add_runs, begin, small_study

NOISE = [0.001 * place for place in range(8)]
ERRORS = {"full": [0.4 + x for x in NOISE], "no_closed_form": [0.5 + x**1.1 for x in NOISE],
          "no_film": [0.45 + x**1.2 for x in NOISE]}  # fmt: skip


def test_a_verdict_on_a_start_is_of_so_many_epochs(tmp_path: Path) -> None:
    """By the settings and the records of the study: runs of cell `long` are cut off while they get better."""
    closed = {**small_study().baseline, "model.trend_start": "closed_form"}
    cells = {"main": {}, "long": {"training.max_epochs": 20, "training.lr": 0.004}}
    for pooled in (False, True):
        results = Results(tmp_path / str(pooled))
        study = small_study(baseline=closed, arms=["no_film", "no_closed_form"], cells=cells, pooled=pooled)
        record = begin(results, study)
        for cell, best in (("main", 1), ("long", 3)):
            add_runs(results, record, {cell: ERRORS}, best_epoch=best)
        record.add_judgement(results, 8)
        found = findings_of(results, "mine")
        if pooled:
            film, start = found.pooled
            said = pooled_wording.sentence(found, start)
            assert pooled_wording.label(found, start).endswith("(within 3 to 20 epochs)")
            assert "for at most 3 to 20 epochs at a learning rate of 0.002 to 0.004 (8 of its 16 runs ended" in said
            assert "drawn weights" not in pooled_wording.sentence(found, film)
        else:
            film, start = found.of_cell("main")
            said = sentence(found, start)
            assert label(found, start) == "the closed-form start helps (within 3 epochs)"
            assert "for at most 3 epochs at a learning rate of 0.002 (none of its 8 runs ended with the best" in said
            assert "(within 20 epochs)" in label(found, found.of_cell("long")[1])
            assert "drawn weights" not in sentence(found, film) and "within" not in label(found, film)
