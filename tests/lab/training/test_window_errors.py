"""Errors of single test windows: what is kept, and the interval of a difference over windows."""

from typing import Any

import numpy as np
import pytest
from scipy.signal import lfilter
from scipy.stats import norm, sem

from dynonet.config import Config
from lab.references.runs import bar_run, record_bars
from lab.series import load_series
from lab.series.bars import BARS
from lab.series.bars.ridge import RIDGE
from lab.store.tables import Results
from lab.training.window_errors import (
    keep_window_errors,
    window_difference,
    window_errors,
    window_interval,
    windows_path,
)

RNG = np.random.default_rng(7)


def test_the_linear_baseline_keeps_its_windows_and_makes_up_for_a_version_that_did_not(
    store: Results, tiny: Config
) -> None:
    tiny = tiny.override({"data.period": 8})
    series = load_series(tiny.data)
    run = bar_run(RIDGE, tiny, series.identity)
    assert record_bars(store, "study", tiny, series) == []
    kept = window_errors(store, run)
    rows = store.table("evaluations", "study").to_pylist()
    (mse,) = (row for row in rows if (row["run"], row["metric"], row["channel"]) == (run, "mse", None))
    assert kept is not None and kept.shape == (mse["windows"],) and kept.mean() == pytest.approx(mse["value"], rel=1e-5)
    store.delete_blob(windows_path(run))
    assert record_bars(store, "study", tiny, series) == []
    again = window_errors(store, run)
    assert again is not None and (again == kept).all()
    assert len(store.table("evaluations", "study")) == len(rows) and len(store.table("runs", "study")) == len(BARS)


def test_the_difference_of_runs_on_record(store: Results) -> None:
    errors = {name: RNG.normal(level, 0.1, 400) for name, level in (("a", 0.4), ("b", 0.41), ("linear", 0.42))}
    for name, values in errors.items():
        keep_window_errors(store, name, values)
    found = window_difference(store, ["a", "b"], ["linear"], 40)
    assert found is not None
    ours = (errors["a"] + errors["b"]) / 2
    assert found.mean == pytest.approx(ours.mean() - errors["linear"].mean(), rel=1e-4)
    assert found.interval == pytest.approx(window_interval(ours, errors["linear"], 40), rel=1e-4)
    assert found.interval[0] < found.mean < found.interval[1]
    keep_window_errors(store, "short", errors["a"][:-1])
    for runs, others, block in ((["a", "short"], ["linear"], 40), (["a"], ["unknown"], 40), (["a"], ["linear"], 201)):
        assert window_difference(store, runs, others, block) is None
    assert window_difference(store, [], ["linear"], 40) is None and window_errors(store, "unknown") is None


@pytest.mark.parametrize(("windows", "block", "lowest"), [(2449, 432, 0.88), (2161, 1056, 0.95)])  # ETT's H 96 and 720
def test_coverage_of_the_window_interval_on_few_blocks(windows: int, block: int, lowest: float) -> None:
    """A window's loss is a mean over its horizon, of rows that are correlated themselves."""
    studies, horizon = 300, 96
    rows = lfilter([1], [1, -0.97], RNG.normal(size=(studies, windows + horizon + 500)))[:, 500:]
    sums = np.cumsum(rows, axis=1)
    x = (sums[:, horizon : horizon + windows] - sums[:, :windows]) / horizon
    intervals = [window_interval(one, np.zeros(windows), block, resamples=499) for one in x]
    assert np.mean([low <= 0 <= high for low, high in intervals]) >= lowest


def test_window_interval_with_blocks_of_one_is_the_t_interval_and_averages_seeds() -> None:
    arm, full = RNG.normal(0.01, 0.1, (3, 2000)), RNG.normal(0, 0.1, (3, 2000))
    ours = window_interval(arm, full, 1, resamples=4999)
    x = (arm - full).mean(0)
    np.testing.assert_allclose(ours, x.mean() + norm.ppf([0.025, 0.975]) * sem(x), atol=4e-4)
    np.testing.assert_allclose(ours, window_interval(arm.mean(0), full.mean(0), 1, resamples=4999))


@pytest.mark.parametrize(
    ("ours", "theirs", "block", "message"),
    [
        (np.ones(800), np.ones(800), 432, "800 windows hold fewer than two blocks of 432"),
        (np.ones((2, 9)), np.ones(9), 2, r"expected \(windows,\) or \(seeds, windows\)"),
        (np.full(9, np.nan), np.ones(9), 2, "must be finite"),
    ],
)
def test_what_has_no_interval_is_refused(ours: Any, theirs: Any, block: int, message: str) -> None:
    with pytest.raises(ValueError, match=message):
        window_interval(ours, theirs, block)
