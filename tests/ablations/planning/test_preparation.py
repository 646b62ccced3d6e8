"""What a study over series and origins is refused for before anything is computed, and that those packaged are not."""

from collections.abc import Callable
from typing import Any

import pytest

from ablations.planning.call import StudyCall
from ablations.planning.preparation import Preparation
from ablations.study.reading import create_study, load_study
from lab.errors import ConfigError, DataError
from lab.series import Series
from tests.ablations.tiny import TINY


@pytest.mark.parametrize("name", ["datasets", "horizons", "series"])
def test_a_packaged_study_has_windows_at_each_of_its_origins(name: str, ett: Callable[[str], Series]) -> None:
    study = load_study(name)
    for series in dict.fromkeys(study.series_of.values()):
        ett(series)  # skips without
    found = Preparation(study, StudyCall(study=name))
    assert len(set(found.data.values())) == len(
        {(found.study.series_of[cell], series.train) for cell, series in found.series.items()}
    ), "an identity a series and origin"


@pytest.mark.parametrize(
    ("fields", "said"),
    [
        # 600 rows: 360 train, 120 validate, 120 test
        ({"origins": 4}, "'main-back3', which `origins` asks for: .* end at row 0 .* data.origins_back of at most 2"),
        ({"origins": [90, 361]}, "cell 'main-row361', which `origins` asks for: .*it may end at rows 2 to 360"),
        ({"origins": [20, 360]}, "cell 'main-row20', which `origins` asks for: .*'train' has 20 rows, a window needs"),
        ({"origins": [100, 360], "baseline": {**TINY["baseline"], "data.sealed": 100}}, "rows from 500 on are sealed"),
        ({"origins": [120, 360]}, r"arm 'full' \(cell 'main-row120'\): .*'meta' has 24 rows, .* or other rows"),
        ({"cells": {"a": {}, "b": {"data.origin": 360}}, "pooled": True}, "cells 'a' and 'b' are the same, said in"),
    ],
)  # fmt: skip
def test_origins_that_cannot_be(fields: dict[str, Any], said: str) -> None:
    with pytest.raises((ConfigError, DataError), match=said):
        Preparation(create_study({**TINY, **fields}), StudyCall())


def test_jointly_no_rows_need_be_held_out() -> None:
    baseline = {**TINY["baseline"], "training.mode": "joint", "data.joint_rows": "worker_and_meta"}
    study = create_study({**TINY, "arms": ["no_film"], "origins": [120, 360], "baseline": baseline})
    assert [series.train[1] for series in Preparation(study, StudyCall()).series.values()] == [120, 360]
