"""Studies of kind `models`: whole forecasters as arms."""

from types import SimpleNamespace
from typing import Any

import pytest

from ablations.findings.record import identity
from ablations.planning import preparation
from ablations.planning.call import StudyCall
from ablations.planning.plan import Work, make_plan
from ablations.planning.preparation import Preparation
from ablations.study.reading import create_study, load_study, with_settings
from ablations.study.study import Study
from forecasters import FORECASTERS
from lab.arms import FULL
from lab.errors import ConfigError
from lab.settings.config import Config
from lab.settings.data import DataConfig
from lab.training.cost import Cost, Memory
from tests.ablations.tiny import TINY

LEAGUE: dict[str, Any] = {
    "name": "small", "question": "Which of these is best on a made-up series?", "kind": "models", "seeds": 3,
    "baseline": TINY["baseline"],
    "cells": {"near": {"data.pred_len": 6}, "far": {"data.pred_len": 12}},
    "models": {
        "nlinear": {"model": "nlinear"},
        "long": {"model": "dlinear", "preset": "authors", "settings": {"training.max_epochs": 2}},
    },
}  # fmt: skip


def league(**fields: Any) -> Study:
    return create_study({**LEAGUE, **fields})


def checksum(data: DataConfig) -> str:
    return f"{data.dataset} {data.synthetic.rows}"


def test_each_model_has_its_own_settings_on_the_data_of_the_baseline() -> None:
    study = league(overrides={"training.patience": 2}, origins=2)
    assert study.cell_names == ("near-back1", "near", "far-back1", "far") and study.pooled
    for cell in study.cell_names:
        full, near, long = (study.config(cell, arm) for arm in (FULL, "nlinear", "long"))
        assert [each.forecaster for each in (full, near, long)] == ["dynonet", "nlinear", "dlinear"]
        assert full.data.source() == near.data.source() == long.data.source()
        assert {each.data.pred_len for each in (full, near, long)} == {12 if cell.startswith("far") else 6}
        assert [each.data.seq_len for each in (full, near, long)] == [24, 96, 336]
        assert near.training.lr == 5e-3 and long.training.max_epochs == 2
        assert {each.training.patience for each in (full, near, long)} == {2}
    one = study.comparisons[0]
    assert (one.without, one.with_part, one.instead) == ("nlinear", FULL, True)
    assert "a lower test error than DLinear (authors, training.max_epochs=2)" in study.table["long"].claim


def test_a_stack_is_of_one_model_and_the_plan_says_the_time_of_each() -> None:
    study = league(models={**LEAGUE["models"], "again": {"model": "nlinear", "settings": {"training.max_epochs": 1}}})
    plan = make_plan(Work.of(study, checksum))
    assert len(plan.runs) == plan.to_train == 4 * 2 * 3
    assert all(len({run.config.forecaster for run in stack.runs}) == 1 for stack in plan.stacks)
    said = plan.text()
    assert "  arm again: 6 runs to train" in said and "NLinear, synthetic S=96 H=12" in said
    assert "3 seeds can decide no pair of models (8 could)" in said


def test_each_model_is_prepared_and_measured_as_itself(monkeypatch: pytest.MonkeyPatch) -> None:
    """Whatever another's settings are called, and however alike two shapes look."""
    measured: list[Config] = []

    def measure(session: Any, configs: Any, identity: Any) -> Any:
        measured.extend(configs.values())
        return {shape: (Cost(0.0, 1.0, 0.5), Memory(0, 0), 0) for shape in configs}

    monkeypatch.setattr(preparation, "measure_shapes", measure)
    monkeypatch.setattr(Preparation, "session", SimpleNamespace(gpus=0))
    study = league(models={"nlinear": {"model": "nlinear"}, "rlinear": {"model": "rlinear"}})
    prepared = Preparation(study, StudyCall())
    assert prepared.liveness() == {}
    prepared._measure([study.config("near", arm) for arm in study.table])
    assert [config.forecaster for config in measured] == ["dynonet", "nlinear", "rlinear"]
    assert prepared._epoch_seconds(study.config("near", "nlinear")) == 1.0


@pytest.mark.parametrize(
    ("changes", "said"),
    [
        ({"kind": "parts"}, "`models` are named: a league has both"),
        ({"models": {}}, "kind is models, and `models` names none"),
        ({"arms": ["no_film"]}, "arms: arms of a league are whole models"),
        ({"cells": {"a": {"model.mixer": False}}}, "cell 'a' sets model.mixer, which model 'nlinear' has not"),
        ({"models": {"a": {"model": "nlinaer"}}}, "did you mean 'nlinear'"),
        ({"models": {"a": {"model": "dlinear", "preset": "author"}}}, "unknown preset 'author'"),
        ({"models": {"a": {"model": "nlinear"}, "b": {"model": "nlinear"}}}, "models 'a' and 'b' are the same"),
        ({"models": {"full": {"model": "nlinear"}}}, "an arm cannot be called 'full'"),
        ({"retune": {"space": {"training.lr": {"float": [0.1, 0.2]}}}}, "each model of a league is searched in"),
    ],
)  # fmt: skip
def test_what_no_league_can_be_is_refused(changes: dict[str, Any], said: str) -> None:
    with pytest.raises(ConfigError, match=said):
        league(**changes)


def test_some_models_in_some_cells_tuned_or_not() -> None:
    study = with_settings(league(), arms=["long"], cells=["far"])
    assert list(study.table) == [FULL, "long"] and study.cell_names == ("far",)
    for changes, said in (({"arms": ["lon"]}, "did you mean 'long'"), ({"cells": ["ne"]}, "unknown cell 'ne'")):
        with pytest.raises(ConfigError, match=said):
            with_settings(league(), **changes)
    tuned, _ = StudyCall(study="league", arms=("rlinear",), tuned=True, trials=7).settings()
    assert tuned.retune is not None and tuned.retune.trials == 7 and tuned.kind == "models"
    spent, _ = StudyCall(study="league", arms=("rlinear",), tuned=True, search_seconds=60).settings()
    assert spent.retune is not None and spent.retune.text == "60 device seconds (at most 1000 trials x 2 seeds)"
    assert identity(tuned, {})["retune"].keys() == {
        "trials", "replicates", "seed_offset", "space",
    }, "as before there were budgets in seconds"  # fmt: skip
    for call in (
        StudyCall(study="parts", tuned=True), StudyCall(study="league", trials=7),
        StudyCall(study="league", search_seconds=60),
    ):  # fmt: skip
        with pytest.raises(ConfigError, match=r"--tuned goes with|goes with --tuned"):
            call.settings()
    with pytest.raises(ConfigError, match="--search-seconds: got 0, at least"):
        StudyCall(study="league", tuned=True, search_seconds=0.0).settings()


def test_the_packaged_leagues() -> None:
    study = load_study("league")
    assert study.model == "dynonet" and study.seeds == 3 and {"full", "dlinear", "patchtst"} <= set(study.table)
    assert all(study.config(cell, arm).data.pred_len == 96 for cell in study.cell_names for arm in study.table)
    whole = load_study("league-full")
    assert set(whole.forecasters) == set(FORECASTERS) and whole.pooled and len(whole.schedule()) == 1
    far = whole.config("ETTh1-336"), whole.config("ETTh1-336", "dlinear")
    assert far[0].training.lr == 1e-3 and [each.data.pred_len for each in far] == [336, 336]  # its own preset there
