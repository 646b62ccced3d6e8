"""One row of an effect over all cells: over which, of what size, and how far its verdict reaches."""

from pathlib import Path

import numpy as np
import pytest

from ablations.findings.collect import findings_of
from ablations.findings.findings import Findings
from ablations.judging.pooling import over_p
from ablations.judging.verdicts import holm
from lab.store.tables import Results
from tests.ablations.recorded import Errors, add_runs, begin, small_study

SEEDS = 8
SERIES = {"one": 0.3, "two": 0.5, "three": 2.0, "four": 7.0}  # -> the error of `full`, which percent do away with
CELLS = {name: {"data.synthetic.seed": place} for place, name in enumerate(SERIES)}
NOISE = np.random.default_rng(0).normal(0, 0.0005, SEEDS)


def cell(level: float, **percent: float) -> Errors:
    """Errors of `full` around a level, and of arms that are so many percent above it."""
    full = level * (1 + NOISE)
    return {"full": full.tolist(), **{arm: (full + level * (by / 100 + NOISE)).tolist() for arm, by in percent.items()}}


def judged(results: Results, errors: dict[str, Errors], **fields: object) -> Findings:
    arms = [arm for arm in next(iter(errors.values())) if arm != "full"]
    record = begin(results, small_study(arms=arms, **fields))
    add_runs(results, record, errors)
    record.add_judgement(results, SEEDS)
    return findings_of(results, "mine")


@pytest.fixture
def results(tmp_path: Path) -> Results:
    return Results(tmp_path / "out")


def test_effects_over_series_and_origins(results: Results) -> None:
    """Series count alike, whatever their errors and however many origins they have; cells decide nothing."""
    by_series = {"one": (8.0, 6.0, 4.0), "two": (5.0, 5.0, 5.0), "three": (4.0, 6.0, 5.0), "four": (6.0,)}
    errors = {}
    for name, percent in by_series.items():
        for back, by in enumerate(reversed(percent)):
            wild = {"one": 40.0}.get(name, 1.0)
            errors[f"{name}-back{back}" if back else name] = cell(SERIES[name], no_film=by, no_mixer=wild)
    cells = {**CELLS, "four": {**CELLS["four"], "origins": 1}}
    found = judged(results, errors, cells=cells, origins=3)
    assert found.family == 2 and not any(each.decision for each in found.findings)
    assert {each.verdict for each in found.findings} == {"descriptive"}
    film, mixer = found.pooled
    assert len(film.cells) == 10 and not film.left_out and film.pooled is not None and mixer.pooled is not None
    assert film.pooled.means == pytest.approx([6, 5, 5, 6], abs=0.1)
    assert film.pooled.mean == pytest.approx(5.5, abs=0.1), "not 5.4, the mean over cells"
    assert (film.verdict, film.shown) == ("helps", "helps") and film.pooled.over == "series"
    assert film.decision is not None and film.decision.margin == pytest.approx(1.0, rel=1e-3)
    # On every series, and yet not shown of the next: one of the four is nothing like the others.
    assert (mixer.verdict, mixer.shown) == ("on these series only", "helps") and mixer.pooled.helps_on == 4


def test_what_reaches_other_series_is_a_family(results: Results) -> None:
    """0 lies outside an arm's own 95% interval over series; of three arms, that is not enough."""
    errors = {
        name: cell(level, no_film=by, no_mixer=other, no_context=-other)
        for (name, level), by, other in zip(SERIES.items(), (1.0, 4.0, 6.0, 8.0), (2.0, -2.0, 1.0, -1.0), strict=True)
    }
    found = judged(results, errors, cells=CELLS, pooled=True)
    film = next(row for row in found.pooled if row.name == "no_film")
    assert film.pooled is not None and film.pooled.interval is not None and film.pooled.interval[0] > 0
    assert film.shown == "helps" and float(over_p(film.pooled.means)) < 0.05
    assert film.reach_p == holm([over_p(film.pooled.means)], 3)[0] > 0.05 and film.verdict == "on these series only"


def test_what_is_not_judged_yet_shares_alpha_all_the_same(results: Results) -> None:
    """A re-tuned arm whose search is not through: it is of the family over series, as of that over seeds."""
    errors = {name: cell(level, no_film=by) for (name, level), by in zip(SERIES.items(), (1, 4, 5, 6), strict=True)}
    retuned = {"nuisance": ["training.lr"], "retune": {"trials": 2}}
    found = judged(results, errors, cells=CELLS, pooled=True, **retuned)
    (film,) = (row for row in found.pooled if row.decision is not None)
    assert found.family == 2 and film.pooled is not None and 0.025 < film.pooled.p < 0.05
    assert film.reach_p == pytest.approx(2 * film.pooled.p)
    assert (film.shown, film.verdict) == ("helps", "on these series only"), "alone it would reach"


def test_a_cell_that_asks_nothing_is_left_out_with_the_reason(results: Results) -> None:
    errors = {name: cell(level, no_film=3.0 + 0.1 * place) for place, (name, level) in enumerate(SERIES.items())}
    errors["two"] = {**errors["two"], "no_film": errors["two"]["full"]}
    study = small_study(arms=["no_film"], cells=CELLS, pooled=True)
    record = begin(results, study, {("no_film", "four"): "nothing to film"})
    assert record.family == 1
    add_runs(results, record, errors)
    record.add_judgement(results, SEEDS)
    (row,) = findings_of(results, "mine").pooled
    assert row.cells == ("one", "three")
    assert row.left_out == {"four": "inert: nothing to film", "two": "made no difference"}
    assert row.verdict == "helps" and row.pooled is not None and (row.pooled.helps_on, row.pooled.of) == (2, 2)


def test_the_origins_of_one_series_carry_nothing_to_others(results: Results) -> None:
    """A part that is alive on one of two series: however alike its origins are, the next series is not one of them."""
    errors = {
        f"{name}-back{back}" if back else name: cell(SERIES[name], no_film=5.0 + back / 10)
        for name in ("one", "two")
        for back in range(4)
    }
    study = small_study(arms=["no_film"], cells={name: CELLS[name] for name in ("one", "two")}, origins=4)
    record = begin(results, study, {("no_film", name): "nothing to film" for name in errors if name.startswith("two")})
    add_runs(results, record, errors)
    record.add_judgement(results, SEEDS)
    (row,) = findings_of(results, "mine").pooled
    assert len(row.cells) == 4 and row.pooled is not None and row.pooled.over == "origins"
    assert row.pooled.interval is not None and row.pooled.interval[0] > 0
    assert (row.shown, row.verdict) == ("helps", "on these series only")


def test_a_run_that_is_missing_or_diverged_decides_nothing_beyond(results: Results) -> None:
    errors = {name: cell(level, no_film=3.0, no_mixer=2.0) for name, level in SERIES.items()}
    errors["two"] = {**errors["two"], "no_film": ["diverged", *errors["two"]["no_film"][1:]]}
    errors["four"] = {**errors["four"], "no_mixer": [*errors["four"]["no_mixer"][:-1], "missing"]}
    found = judged(results, errors, cells=CELLS, pooled=True)
    film, mixer = found.pooled
    assert (film.shown, film.verdict) == ("helps", "on these series only"), "a diverged run is the worst there is"
    assert film.pooled is not None and film.pooled.interval is None
    assert mixer.verdict == "incomplete" and mixer.left_out == {"four": "incomplete: runs are missing"}


def test_over_the_origins_of_one_series(results: Results) -> None:
    errors = {
        f"main-back{back}" if back else "main": cell(0.4, no_film=3 + back / 5, no_mixer=5 * back) for back in range(4)
    }
    found = judged(results, errors, origins=4)
    film, mixer = found.pooled
    assert film.pooled is not None and film.pooled.over == "origins" and np.isnan(film.reach_p)
    assert film.pooled.interval is not None and film.pooled.interval[0] > 0 and film.pooled.p < 0.001
    assert (film.shown, film.verdict) == ("helps", "at these origins only"), "origins share rows: their t is too short"
    assert (mixer.shown, mixer.verdict) == ("helps", "at these origins only")
    assert [cell.origin for cell in film.pooled.cells] == [-3, -2, -1, 0]
    assert [(each.series, each.place, each.back) for each in found.cells] == [
        ("synthetic", "main", back) for back in (3, 2, 1, 0)
    ]
