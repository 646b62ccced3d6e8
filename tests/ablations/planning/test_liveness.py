"""Liveness: arms that do something are alive, those that can't are inert, with the reason where it is known."""

from functools import lru_cache
from typing import Any

import pytest
import torch

from ablations.planning.liveness import check_liveness
from ablations.study.reading import create_study, load_study
from ablations.study.study import Study
from dynonet.config import Config
from dynonet.parts import SIGNALS
from lab.series import Series, load_series
from lab.training.liveness import TOLERANCE, Liveness, Probe, compare, probe

WEIGHING = [name for name, signal in SIGNALS.items() if signal.acts_on != "forward"]
SMALL: dict[str, Any] = {
    "data.seq_len": 24,
    "data.pred_len": 6,
    "data.synthetic.rows": 600,
    "model.control_hidden": 5,
    "model.worker_hidden": 3,
    "model.worker_seq_len": 12,
    "model.moving_average": 5,
}


def series_of(study: Study) -> dict[str, Series]:
    return {cell: load_series(study.baseline_of(cell).data) for cell in study.cell_names}


def checked(*arms: Any, **fields: Any) -> dict[str, Liveness]:
    content = {"name": "mine", "question": "What are these arms for?", "baseline": SMALL, "arms": arms, **fields}
    study = create_study(content)
    return {found.arm: found for found in check_liveness(study, series_of(study))}


def own(name: str, **overrides: Any) -> dict[str, Any]:
    settings = {key.replace("__", "."): value for key, value in overrides.items()}
    return {"name": name, "claim": "an arm of the test's own", "overrides": settings}


@lru_cache
def packaged(name: str) -> dict[str, Liveness]:
    """The arms of a packaged study, at small sizes."""
    study = load_study(name)
    baseline = {**study.baseline, **SMALL, "data.dataset": "synthetic"}
    fields = {"arms": study.arms, "factorial": (), "cells": {}, "preset": None, "baseline": baseline}
    small = create_study(
        {
            "name": name,
            "question": study.question,
            **fields,
            "arms": [arm for arm in study.arms if isinstance(arm, str)],
        }
    )
    return {found.arm: found for found in check_liveness(small, series_of(small))}


def test_rounding_that_adamw_makes_large_is_no_sign_of_life() -> None:
    """From the last value on, RevIN's bias has a gradient of rounding alone, and AdamW moves it all the same."""
    start = {"training.mode": "joint", "model.trend_reads": "window", "model.trend_start": "last"}
    dead = [f"no_{name}" for name in WEIGHING]
    study = create_study(
        {
            "name": "mine",
            "question": "What are these arms for?",
            "baseline": {**SMALL, **start, "data.joint_rows": "worker_and_meta"},
            "arms": dead,
        }
    )
    found = {each.arm: each for each in check_liveness(study, series_of(study), seed=3)}
    assert (found["no_lr_scale"].parameters or 0) > TOLERANCE, "the case is no test of it"
    assert all(each.inert and "no gradient" in each.note for each in found.values())


@pytest.mark.parametrize("name", ["parts", "signals", "signals_unrolled", "only_one", "bilevel", "rows"])
def test_every_arm_is_alive_or_known_to_be_inert(name: str) -> None:
    """In mode unrolled all are alive: the controller's gradient reaches every signal."""
    for arm, found in packaged(name).items():
        weighing = name != "signals_unrolled" and arm.removeprefix("no_").removeprefix("only_") in WEIGHING
        assert found.inert == weighing, found.text()
        if name == "signals_unrolled":  # and not because a head has moved that nothing reads
            assert found.predictions is not None and found.predictions > TOLERANCE, found.text()
        if weighing:
            assert "no gradient" in found.note
            assert found.parameters is not None
            assert found.parameters <= TOLERANCE


def test_the_reason_names_the_mode() -> None:
    assert "mode alternating" in packaged("signals")["no_lr_scale"].text()
    assert "mode joint" in packaged("only_one")["only_lr_scale"].text()


def test_a_dead_arm_is_found_even_where_nobody_knows_why() -> None:
    """A validation batch's order, say: the settings differ and the training does not."""
    found = checked(own("dead", data__meta_fraction=0.2000001))["dead"]
    assert found.inert
    assert (found.parameters, found.predictions, found.note) == (0.0, 0.0, "")
    assert "the reason is not known" in found.text()


@pytest.mark.parametrize(
    "overrides",
    [
        {f"signals__{name}": value}
        for name, value in [("lr_scale", 2.5), ("loss_weight", 0.6), ("wd_scale", 7.0), ("grad_clip", 0.5)]
    ],
)
def test_weights_of_the_loss_and_the_update_show_where_they_are_not_neutral(overrides: dict[str, Any]) -> None:
    """So the steps do clip: a bound of 0.5 for one of 1 changes nothing where gradients are shorter."""
    found = checked(own("held", **overrides))["held"]
    assert not found.inert
    assert found.predictions is not None
    assert found.predictions > 100 * TOLERANCE


def test_freezing_shows() -> None:
    assert not checked(own("frozen", signals__freeze_prob=0.5))["frozen"].inert


def test_what_no_step_shows_is_alive_by_what_it_says() -> None:
    found = checked(own("patient", training__patience=7), own("batches", training__batch_size=32))
    assert (found["patient"].parameters, found["patient"].inert) == (0.0, False)
    assert "no step shows" in found["patient"].text()
    assert not found["batches"].inert
    longer = checked(own("longer", data__pred_len=8))["longer"]
    assert longer.predictions is None
    assert not longer.inert


@pytest.mark.parametrize("baseline", [{"training.max_epochs": 300}, {"training.max_epochs": 1}])
def test_a_schedule_is_compared_over_the_whole_run(baseline: dict[str, Any]) -> None:
    """The steps of one long epoch cannot show it: they differ by less than rounding does."""
    series = {**SMALL, **baseline, "data.synthetic.rows": 20_000, "training.batch_size": 8}
    found = checked(own("steady", training__schedule="constant"), baseline=series)["steady"]
    assert not found.inert and (found.note == "" or "changes the learning rate from epoch to epoch" in found.note)
    config = Config.create(series)
    steady = config.override({"training.schedule": "constant"})
    arm = create_study({"name": "mine", "question": "What are these arms for?", "baseline": series,
                        "arms": [own("steady", training__schedule="constant")]}).table["steady"]  # fmt: skip
    same = Probe({"w": torch.ones(3)}, torch.ones(2))
    hidden = compare(arm, "full", "main", (steady, config), (same, same))  # however small the steps' difference is
    assert not hidden.inert and "changes the learning rate from epoch to epoch, by up to" in hidden.text()


def test_a_rule_of_stopping_that_never_acts_is_inert() -> None:
    """A patience longer than the run ends none; one that is shorter can."""
    short = {**SMALL, "training.max_epochs": 10}
    found = checked(own("longer", training__patience=30), own("shorter", training__patience=9), baseline=short)
    assert found["longer"].inert and "ends a run of 10" in found["longer"].note
    assert not found["shorter"].inert and "decides when training ends" in found["shorter"].note


def test_parts_that_act_through_absent_workers_are_inert() -> None:
    settings = {**SMALL, "model.workers": False}
    found = checked(own("dead_film", model__film=False), baseline=settings)["dead_film"]
    assert found.inert
    assert found.note == "model.film acts through the workers, which are off"


def test_other_shapes_are_compared_by_what_they_share() -> None:
    found = packaged("parts")["lstm_workers"]
    assert found.parameters is not None
    assert found.predictions is not None
    assert not found.inert


def test_a_probe_is_the_same_alone_and_among_others() -> None:
    base = Config.create(SMALL)
    configs = [base, base.override({"training.mode": "joint"}), base.override({"model.worker_scope": "all"})]
    series = load_series(base.data)
    together = probe(configs, series)
    for config, among in zip(configs, together, strict=True):
        (alone,) = probe([config], series)
        torch.testing.assert_close(alone.predictions, among.predictions, rtol=1e-12, atol=1e-12)
        assert alone.parameters.keys() == among.parameters.keys()
    (series_short,) = probe(configs[:1], load_series(base.override({"data.synthetic.rows": 400}).data), steps=30)
    assert series_short.predictions.isfinite().all()
