"""What a study over series and origins is refused for before anything is computed, and that those packaged are not."""

from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import pytest

from ablations.planning import preparation
from ablations.planning.call import StudyCall
from ablations.planning.preparation import Preparation
from ablations.study.reading import create_study, load_study
from lab.errors import ConfigError, DataError
from lab.machines.card.share import Need
from lab.series import Series
from lab.store.tables import Results
from lab.training.cost import Cost, Memory
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


@dataclass
class OneCard:
    """A session of one GPU whose share is left to be measured: two trials on it, whatever they need."""

    auto: bool = True
    gpus: float = 1.0
    concurrent: int = 1
    share: str = ""
    needs: list[Need] = field(default_factory=list)

    def settle(self, needs: Sequence[Need]) -> None:
        self.needs, self.auto, self.gpus, self.concurrent, self.share = [*needs], False, 0.5, 2, "half of it"


def test_a_share_that_is_measured_is_that_of_the_stacks_of_a_whole_card(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    def measured(session: Any, configs: Any, identity: Any) -> Any:
        return {shape: (Cost(2.0, 1.0, fixed=4.0), Memory(10, 5, driver=100), 10_000) for shape in configs}

    session = OneCard()
    monkeypatch.setattr(preparation, "measure_shapes", measured)
    monkeypatch.setattr(Preparation, "session", session)
    prepared = Preparation(create_study(TINY), StudyCall())
    plan = prepared.plan(Results(tmp_path), prepared.work(prepared.study, {}))
    size = sum(len(stack.runs) for stack in plan.stacks) // len(plan.stacks)
    assert len(plan.stacks) == 2 * len(session.needs), "in halves, once two fit beside each other"
    assert {need.memory for need in session.needs} == {100 + 10 + 5 * 2 * size} and session.needs[0].of_card == 10_000
    assert session.needs[0].fill == Cost(2.0, 1.0, fixed=4.0).fill(2 * size) and "half of it" in capsys.readouterr().out
