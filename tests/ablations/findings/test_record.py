"""What a study puts on record beside its runs: what must stay the same, and what came later."""

from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

import pytest

from ablations.findings.record import StudyRecord
from ablations.study.reading import create_study, load_study
from lab.errors import ConfigError
from lab.store.tables import Results
from lab.unsealing.settled import unsettled
from tests.ablations.recorded import SHA, begin, small_study

DATA = {"main": SHA}


@pytest.fixture
def results(tmp_path: Path) -> Results:
    return Results(tmp_path / "out")


def test_what_is_read_is_what_was_begun(results: Results) -> None:
    study = small_study(arms=["no_film", "no_lr_scale"], seeds=[3, 1, 4, 15, 9, 2, 6])
    begin(results, study, {("no_lr_scale", "main"): "no gradient"})
    record = StudyRecord.load(results, "mine")
    assert record.study == study and record.study.seed_list() == (3, 1, 4, 15, 9, 2, 6)
    assert (record.inert, record.family, record.looks) == ({("no_lr_scale", "main"): "no gradient"}, 1, (7,))
    assert (record.judged, record.exploratory, record.looks_taken, record.seeds) == ([], "", 0, 7)
    record.check_same(study, DATA)


@pytest.mark.parametrize(("fields", "said"), [
    ({"baseline": {**small_study().baseline, "training.lr": 0.01}}, "settings.main.training.lr: 0.002 -> 0.01"),
    ({"arms": ["no_film"]}, "arms.no_mixer (main).model.mixer: False -> (not set)"),
    ({"alpha": 0.01}, "rule.alpha: 0.05 -> 0.01"),
    ({"margin_percent": 5.0}, "rule.margin_percent: 1.0 -> 5.0"),
    ({"seeds": "auto", "max_seeds": 20, "looks": 2}, "rule.looks: fixed -> [20, 2]"),
])  # fmt: skip
def test_other_settings_are_refused_with_the_difference(results: Results, fields: Any, said: str) -> None:
    record = begin(results, small_study())
    with pytest.raises(ConfigError) as refused:
        record.check_same(small_study(**fields), DATA)
    assert said in str(refused.value) and "--study OTHER" in str(refused.value)
    with pytest.raises(ConfigError, match=r"data_sha256.main: 000"):
        record.check_same(small_study(), {"main": "1" * 64})


def test_seeds_can_be_added_and_after_verdicts_that_is_exploratory(results: Results) -> None:
    record = begin(results, small_study())
    record.add_seeds(results, 9)
    assert (record.seeds, record.exploratory, record.looks) == (9, "", (8,))
    record.add_judgement(results, 9)
    record.add_judgement(results, 9)
    record.add_seeds(results, 9)  # nothing new
    record.add_seeds(results, (*range(1, 10), 77))
    again = StudyRecord.load(results, "mine")
    assert again.study.seed_list() == (*range(1, 10), 77) and again.judged == [9]
    assert "from 9 to 10, after verdicts had been read" in again.exploratory
    assert [event.split(": ", 1)[1].split(",")[0] for event in again.events] == [
        "begun with 8 seeds", "seeds were added by hand", "verdicts were read at 9 seeds", "seeds were added by hand",
    ]  # fmt: skip
    for seeds in (5, (2, 1, 3, 4, 5, 6, 7, 8, 9, 77, 78)):
        with pytest.raises(ConfigError, match="can only be added"):
            again.add_seeds(results, seeds)


def test_what_the_searches_chose_becomes_arms(results: Results) -> None:
    nuisance = ["training.lr"]
    study = small_study(arms=["no_film"], nuisance=nuisance, retune={"trials": 3, "space": {}})
    record = begin(results, study)
    assert record.family == 2 and [c.name for c in record.study.comparisons] == ["no_film"]
    record.add_tuned(results, {"full": {"main": {"training.lr": 0.005}}, "no_film": {"main": {"training.lr": 0.007}}})
    tuned = StudyRecord.load(results, "mine").study
    assert [(c.name, c.without, c.with_part) for c in tuned.comparisons] == [
        ("no_film", "no_film", "full"), ("no_film@tuned", "no_film@tuned", "full@tuned"),
    ]  # fmt: skip
    assert tuned.family() == 2
    assert tuned.config("main", "no_film@tuned", 3) == tuned.config("main", "no_film", 3).override(
        {"training.lr": 0.007}
    )
    assert tuned.config("main", "full@tuned").training.lr == 0.005 and tuned.config("main").training.lr == 0.002
    # The file on the command line knows nothing of it, and is still the same study.
    StudyRecord.load(results, "mine").check_same(study, DATA)


def test_a_packaged_study_survives_the_record(results: Results) -> None:
    for name in ("planted", "horizons", "retuned", "factorial", "only_one", "bilevel"):
        study = load_study(name)
        data = dict.fromkeys(study.cell_names, SHA)
        StudyRecord.begin(results, name, study, data, {})
        assert StudyRecord.load(results, name).study == study
        StudyRecord.load(results, name).check_same(study, data)


def test_drivers_whose_clocks_differ(results: Results) -> None:
    """Each event a day before the one that it follows: the same study is read."""
    nuisance, last = ["training.lr"], datetime(2026, 1, 9, tzinfo=UTC)
    study = small_study(arms=["no_film"], nuisance=nuisance, retune={"trials": 3, "space": {}})
    record = begin(results, study)
    record.add_seeds(results, 9)
    record.add_tuned(results, {"full": {"main": {"training.lr": 0.005}}, "no_film": {"main": {"training.lr": 0.007}}})
    record.add_judgement(results, 9)
    record.add_seeds(results, 12)
    record.add_judgement(results, 12)
    rows = results.table("studies", "mine").to_pylist()
    for back in (rows, rows[::-1]):
        other = Results(f"{results.storage.root}-{back is rows}")
        other.add("studies", [{**row, "time": last - timedelta(days=day)} for day, row in enumerate(back)])
        again = StudyRecord.load(other, "mine")
        assert again.study == record.study and again.judged == [9, 12] and again.exploratory == record.exploratory
        assert [event.split(": ", 1)[1] for event in again.events] == [
            "begun with 8 seeds", "the searches for the nuisance settings were through",
            "seeds were added by hand, from 8 to 9", "verdicts were read at 9 seeds",
            "seeds were added by hand, from 9 to 12, after verdicts had been read", "verdicts were read at 12 seeds",
        ]  # fmt: skip


def test_a_study_that_became_a_pooled_one_is_another(results: Results) -> None:
    """What is on record under its name is read as it was, and not gone on with."""
    now = load_study("datasets")
    old = create_study({**now.model_dump(exclude_defaults=True, exclude={"origins", "pooled"}), "seeds": 10})
    data = dict.fromkeys(old.cell_names, SHA)
    StudyRecord.begin(results, "datasets", old, data, {})
    record = StudyRecord.load(results, "datasets")
    assert record.study == old and not record.study.pooled and record.family == 18
    record.check_same(old, data)
    with pytest.raises(ConfigError) as refused:
        record.check_same(now, dict.fromkeys(now.cell_names, SHA))
    said = str(refused.value)
    assert "'datasets' was begun with other settings" in said and "Take another name (--study OTHER)" in said
    assert said.splitlines()[1:-1] == [
        "  cells: ETTh1, ETTh2 -> ETTh1-back1, ETTh1, ETTh2-back1, ETTh2",
        "  rule.pooled: (not set) -> True",
    ]


def test_when_a_study_is_settled(store: Results) -> None:
    """So that its sealed rows may be read: all looks, or one that decided all; with all seeds that were asked for."""
    record = begin(store, small_study(seeds="auto", max_seeds=12, looks=2))
    first, last = record.looks
    assert unsettled(store, "mine") == "it is not judged yet"
    record.add_settled(store)
    record.add_judgement(store, first)
    assert unsettled(store, "mine") == "looks taken: 1 of 2"
    record.add_settled(store)  # as the command does where nothing is undecided
    record.add_settled(store)
    found = StudyRecord.load(store, "mine")
    assert unsettled(store, "mine") == "" and found.settled and len(found.events) == 3
    found.add_seeds(store, last + 3)
    assert unsettled(store, "mine") == f"seeds were added, and it is not judged with all {last + 3} yet"
    found.add_judgement(store, last + 3)
    assert unsettled(store, "mine") == ""
