"""Parameters that an arm has and trains, and the width that makes up for what it lacks."""

from typing import Any

import pytest
import torch

from ablations.planning.capacity import match_arms, match_capacity
from ablations.study.reading import create_study
from dynonet.arms import arm_named
from dynonet.config import Config
from dynonet.traits.size import size
from lab.arms import difference
from lab.errors import ConfigError
from lab.series import Series, load_series
from lab.training.trainer import StackTrainer

PUBLISHED = Config.create(preset="h96")
SMALL: dict[str, Any] = {
    "data.seq_len": 24, "data.pred_len": 6, "data.synthetic.rows": 600, "model.control_hidden": 5,
    "model.worker_hidden": 3, "model.worker_seq_len": 12, "model.moving_average": 5,
    "training.batch_size": 16, "training.weight_decay": 0.0, "training.max_epochs": 1, "model.dropout": 0.0,
}  # fmt: skip
NAMES = ["full", "no_film", "no_context", "no_workers", "no_trend", "no_mixer", "no_revin", "no_signals",
         "no_controller", "shared_worker", "lstm_workers", "only_trend", "only_film"]  # fmt: skip


def moved(config: Config, series: Series) -> int:
    """How many parameters an epoch without decay moves."""
    trainer = StackTrainer([config], series, dtype=torch.float64)
    (before,) = trainer.stack.weights([0])
    trainer.train_epoch()
    (after,) = trainer.stack.weights([0])
    return sum(int((before[name] != after[name]).sum()) for name in before)


@pytest.mark.parametrize("name", NAMES)
def test_effective_parameters_are_those_that_training_moves(name: str) -> None:
    config = arm_named(name).apply(Config.create(SMALL))
    series = load_series(config.data)
    assert size(config, series.num_channels).effective == moved(config, series)


def test_the_published_network() -> None:
    assert size(PUBLISHED, 7).parameters == 93_954
    weighing = 5 * 7 * (64 + 1)  # the five heads that get no gradient
    assert size(PUBLISHED, 7).effective == 93_954 - weighing


@pytest.mark.parametrize("name", ["no_film", "no_controller", "no_trend", "shared_worker", "lstm_workers"])
def test_the_matched_width_is_the_closest(name: str) -> None:
    target = size(PUBLISHED, 7).effective
    match = match_capacity(arm_named(name).apply(PUBLISHED), target, 7)
    assert match.close
    assert match.text().startswith(f"worker_hidden={match.width}: ")
    for width in range(max(1, match.width - 3), match.width + 4):
        other = size(match.config.override({"model.worker_hidden": width}), 7).effective
        assert abs(other - target) >= abs(match.effective - target)


def test_where_nothing_comes_close_it_says_so() -> None:
    target = size(PUBLISHED, 7).effective
    match = match_capacity(arm_named("no_workers").apply(PUBLISHED), target, 7)
    assert not match.close
    assert match.width == 8
    assert match.text().startswith("no worker_hidden comes within 5%; the closest is 8: ")
    too_few = match_capacity(PUBLISHED, 100, 7)
    assert (too_few.width, too_few.close) == (1, False)
    assert too_few.mismatch > 1


def test_arms_of_matched_capacity_stand_beside_the_others() -> None:
    names = ["no_film", "no_bilevel", "no_workers", "shared_worker"]
    content = {"name": "mine", "question": "What are these arms for?", "preset": "h96", "seeds": 9}
    content |= {"arms": names, "cells": {"h96": {}, "h336": {"preset": "h336"}}, "fixed": ["model.worker_hidden"]}
    study, matches = match_arms(create_study(content), {"h96": 7, "h336": 7})
    assert set(matches) == {(name, cell) for name in names for cell in ("h96", "h336")}
    assert [c.name for c in study.comparisons] == [*names, "no_film@matched", "shared_worker@matched"]
    for cell in study.cell_names:
        for name in ("no_film", "shared_worker"):
            config, match = study.config(cell, f"{name}@matched", 4), matches[name, cell]
            assert config == match.config.override({"training.seed": 4})
            assert set(difference(study.config(cell, name), config)) == {"model.worker_hidden"}
    assert study.family() == 12
    with pytest.raises(ConfigError, match="unknown arm in matched 'no_flim'"):
        create_study({**content, "matched": {"no_flim": {"h96": 9}}})
