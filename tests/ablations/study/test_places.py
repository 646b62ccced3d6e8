"""Cells at several origins: what they are called, what is asked over them, and what cannot be."""

from typing import Any

import pytest

from ablations.findings.record import identity
from ablations.study.places import BACK, ROW, WANTED
from ablations.study.reading import create_study, load_study, with_settings
from ablations.study.study import Study
from lab.errors import ConfigError


def study(**fields: Any) -> Study:
    return create_study(
        {"name": "mine", "question": "What is this part for?", "arms": ["no_film", "no_mixer"], **fields}
    )


def test_a_cell_at_each_of_its_origins() -> None:
    """Earliest first, each the same settings but for where training ends; of its own where the cell says how many."""
    cells = {"one": {"data.dataset": "ETTh1"}, "short": {"data.dataset": "national_illness", "origins": [300, 200]}}
    found = study(cells=cells, origins=3)
    assert found.cell_names == ("one-back2", "one-back1", "one", "short-row200", "short-row300")
    data = [found.baseline_of(cell).data for cell in found.cell_names]
    assert [(each.origin, each.origins_back) for each in data] == [(None, 2), (None, 1), (None, 0), (200, 0), (300, 0)]
    assert [found.places[cell].back for cell in found.cell_names] == [2, 1, 0, 1, 0]
    assert list(found.series_of.values()) == ["ETTh1"] * 3 + ["national_illness"] * 2
    assert found.pooled and found.family() == 2, "one question an arm, whatever the number of cells"
    assert study(cells=cells, origins=3, pooled=False).family() == 10
    alone = found.config("one", "no_film", 7)
    assert alone == study(cells={"one": cells["one"]}).config("one", "no_film", 7), "its runs are those of today"
    assert alone.run_id("0") == found.config("one-back1", "no_film", 7).run_id("0"), (
        "the series' identity tells them apart"
    )


def test_a_study_of_one_origin_is_the_study_it_was() -> None:
    one = study(cells={"a": {}, "b": {"data.pred_len": 24}})
    assert one.cell_names == ("a", "b") and not one.pooled and one.family() == 4
    told = one.model_dump(mode="json", exclude_defaults=True)
    assert not {"origins", "pooled"} & told.keys()
    assert "pooled" not in identity(one, {"a": "0", "b": "0"})["rule"]
    assert create_study(told) == one and create_study({**told, "origins": 1}) == one


def test_cells_of_one_series_are_told_from_others() -> None:
    cells = {"near": {"data.pred_len": 24}, "far": {}, "own": {"data.dataset": "csv", "data.path": "/a/mine.csv"},
             "other": {"data.dataset": "csv", "data.path": "/b/mine.csv"}}  # fmt: skip
    assert list(study(cells=cells, pooled=True).series_of.values()) == ["synthetic", "synthetic", "own", "other"]


@pytest.mark.parametrize(
    ("fields", "said"),
    [
        *(({"origins": bad}, f"origins: got .*; {WANTED}") for bad in (0, "3", True, 2.5, [], [5, 5], [0], 101, None)),
        ({"cells": {"a": {"origins": 0}}}, "origins of cell 'a': got 0; a number"),
        ({"cells": {"a": {"orgins": 2}}}, "unknown key 'orgins'"),
        ({"cells": {"a": {"data.pred_len": 24}, "a-back1": {}}, "origins": 2}, "'a-back1', as an origin of 'a' does"),
        ({"cells": {"a-row9": {}, "a": {"data.pred_len": 24, "origins": [9]}}}, "'a-row9', as an origin of 'a' does"),
        ({"cells": {"a": {}, "b": {}}, "origins": 2}, "cells 'a' and 'b' are the same"),
        ({"cells": {"a": {ROW: 500}}, "origins": 2}, "cell 'a' sets data.origin, which origins gives; leave one of"),
        ({"cells": {"a": {BACK: 1, "origins": [9]}}}, "sets data.origins_back, which origins of cell 'a' gives"),
        ({"origins": 2, "baseline": {"data": {"origin": 300}}}, "the baseline sets data.origin, which origins give"),
        ({"origins": [300], "overrides": {BACK: 1}}, "an override sets data.origins_back, which origins give"),
        ({"pooled": True}, "there is one cell, so nothing to pool"),
        ({"arms": [{"name": "far", "claim": "another origin", "overrides": {ROW: 400}}]},
         "arm 'far' reads other rows than its baseline; make it a cell"),
    ],
)  # fmt: skip
def test_what_cannot_be(fields: dict[str, Any], said: str) -> None:
    with pytest.raises(ConfigError, match=said):
        study(**fields)


def test_the_studies_over_series() -> None:
    series = load_study("series")
    assert [cell for cell in series.cell_names if series.places[cell].back == 0] == [
        "ETTh1", "ETTh2", "exchange_rate", "national_illness",
    ]  # fmt: skip
    assert len(series.cell_names) == 11 and series.pooled and len(set(series.series_of.values())) == 4
    assert load_study("datasets").family() == load_study("horizons").family() == 9
    assert set(load_study("horizons").series_of.values()) == {"ETTh1"}
    one = with_settings(series, arms=["no_film"], changes={"origins": 1})
    assert len(one.cell_names) == 5, "a cell's own number stays"
