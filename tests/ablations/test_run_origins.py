"""The command over several series and origins, end to end through real Ray: killed, gone on with, judged as one."""

from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import pytest

from ablations.findings.collect import findings_of
from ablations.study.reading import load_study
from lab.series import load_series
from lab.store.tables import Results
from lab.training.trainer import StackTrainer, evaluate_weights
from tests.ablations.tiny import TINY, check_complete, checkpoints, write
from tests.processes import Driver, drivers, gone


@pytest.fixture
def begin(tmp_path: Path) -> Iterator[Callable[..., Driver]]:
    with drivers("ablations.run", tmp_path) as start:
        yield start


@pytest.mark.slow
def test_two_series_at_two_origins_killed_and_judged_as_one(begin: Callable[..., Driver], tmp_path: Path) -> None:
    """The latest origin's runs are those of the study of one origin; the others are trained, each where it ends."""
    results, generator = Results(tmp_path / "results"), np.random.default_rng(0)
    for name, speed in (("calm", 9.0), ("steep", 3.0)):
        frame = pd.DataFrame({"date": pd.date_range("2020", periods=500, freq="h")})
        frame["a"] = np.sin(np.arange(500) / speed) + 0.3 * generator.normal(size=500)
        frame.to_csv(tmp_path / f"{name}.csv", index=False)
    settings = {"training.max_epochs": 10, "training.patience": 10}
    fields: dict[str, Any] = {
        "baseline": {k: v for k, v in TINY["baseline"].items() if "synthetic" not in k} | settings,
        "cells": {name: {"data.path": f"{name}.csv"} for name in ("calm", "steep")}, "arms": ["no_trend"], "seeds": 7,
    }  # fmt: skip
    driver = begin(write(tmp_path, name="alone", **fields))
    assert driver.wait() == 0, driver.said()
    known = {run: row["ended"] for run, row in results.runs().items()}
    file = write(tmp_path, name="both", origins=2, **fields)
    planned = begin(file, "--dry-run")
    assert planned.wait() == 0, planned.said()
    said = planned.said()
    assert "2 arms x 4 cells x 7 seeds: 56 runs, 56 different ones, 28 on record, 28 to train" in said
    assert "1 comparison of test_mse, each pooled over its cells, at alpha 0.05" in said
    assert "measuring a few steps of 2 shapes ..." in said, said
    assert "its verdicts would be EXPLORATORY: " in said and "in study alone (28 runs; judged once" in said
    for name in ("calm", "steep"):
        assert f"series {name}: 2 cells, 14 runs to train in 1 stack, at most " in said, said
    driver = begin(file, "--stack-size", "4")
    driver.until(lambda: checkpoints(results))
    driver.kill()
    assert gone(driver.mark)
    driver = begin(file, "--stack-size", "4")
    assert driver.wait() == 0, driver.said()
    check_complete(results, "both", 56)
    assert all(results.runs()[run]["ended"] == ended for run, ended in known.items()), "none is trained again"

    study, found = load_study(tmp_path / file), findings_of(results, "both")
    (row,) = found.pooled
    assert row.cells == study.cell_names == ("calm-back1", "calm", "steep-back1", "steep") and not row.left_out
    assert [cell.origin for cell in found.cells] == [200, 300, 200, 300] and found.family == 1
    assert found.cells[0].test_period.startswith("2020-01-13") and found.cells[0].series == "calm"
    percent = []
    for cell in study.cell_names:
        config = study.config(cell, "full", 3)
        series = load_series(config.data)
        (run,) = StackTrainer([config], series).train()
        assert run.weights is not None and run.run in results.runs()
        arms = {arms.arm: np.array(arms.errors["test_mse"]) for arms in found.arms if arms.cell == cell}
        alone = evaluate_weights(config, run.weights, series, "test").mse[0].item()
        assert arms["full"][2] == pytest.approx(alone, rel=1e-5)
        percent.append(100 * (arms["no_trend"] - arms["full"]) / arms["full"].mean())
    assert row.pooled is not None and row.pooled.by_seed == pytest.approx(np.mean(percent, axis=0))
    assert row.pooled.means == pytest.approx(np.mean(percent, axis=1).reshape(2, 2).mean(axis=1))
