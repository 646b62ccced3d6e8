"""Errors of single test windows: what is kept, and the interval of a difference over windows."""

import io
from typing import Any

import numpy as np
import pytest
from scipy.signal import lfilter
from scipy.stats import sem, t

from dynonet.config import Config
from lab.references.runs import bar_run, record_bars
from lab.series import load_series
from lab.series.bars import BARS
from lab.series.bars.ridge import RIDGE
from lab.store.tables import Results
from lab.training.over_time import critical_value
from lab.training.window_errors import (
    keep_window_errors,
    window_difference,
    window_errors,
    window_interval,
    windows_object,
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
    for runs, others, block in ((["a", "short"], ["linear"], 40), (["a"], ["unknown"], 40), (["a"], ["linear"], 401)):
        assert window_difference(store, runs, others, block) is None
    assert window_difference(store, [], ["linear"], 40) is None and window_errors(store, "unknown") is None


def test_blocks_give_the_interval_of_all_windows_in_little_room(store: Results) -> None:
    """As would do 1,650 runs of a study on many cells; versions of before kept every window, at either path."""
    walks = lfilter([1], [1, -0.99], RNG.normal(size=(2, 2785)))
    ours, theirs = (0.4 + 0.003 * walks + 0.05 * np.cumsum(RNG.normal(size=2785)) / 50).astype(np.float32)
    keep_window_errors(store, "ours", ours)
    buffer = io.BytesIO()
    np.save(buffer, theirs)
    store.put_blob("test_windows/named/mse.npy", buffer.getvalue())
    store.storage.put("test_windows/unnamed.npy", buffer.getvalue())
    for other in ("named", "unnamed"):
        for block in (24, 608, 1232):
            found = window_difference(store, ["ours"], [other], block)
            assert found is not None and found.mean == pytest.approx((ours - theirs).mean(dtype=float), abs=1e-8)
            low, high = window_interval(ours, theirs, block)
            assert np.abs(np.subtract(found.interval, (low, high))).max() < 0.002 * (high - low)
        (path, packed), kept = windows_object(store, other) or ("", b""), window_errors(store, other)
        assert path == windows_path(other) and len(packed) < 2500 and kept is not None and kept.shape == (2785,)
        store.put_blob(windows_path("copied"), packed)
        again = window_errors(store, "copied")
        assert again is not None and (again == kept).all(), "read and kept again they are the same"


@pytest.mark.parametrize(("windows", "block"), [(2449, 432), (2161, 1056), (2785, 608)])  # ETT's H 96, 720, S 512
def test_coverage_of_the_window_interval_on_few_blocks(windows: int, block: int) -> None:
    """Rows correlate for as long as a block, which is what the interval allows for; a window is a mean over its own."""
    studies, horizon = 1000, 96
    keep = np.exp(-1 / block)
    steps = RNG.normal(size=(studies, windows + horizon))
    steps[:, 0] /= np.sqrt(1 - keep**2)
    sums = np.cumsum(lfilter([1], [1, -keep], steps), axis=1)
    x = (sums[:, horizon:] - sums[:, :-horizon]) / horizon
    intervals = [window_interval(one, np.zeros(windows), block) for one in x]
    assert np.mean([low <= 0 <= high for low, high in intervals]) >= 0.95 - 3 * np.sqrt(0.95 * 0.05 / studies)


@pytest.mark.parametrize("share", [0.02, 0.2, 0.6])
def test_the_critical_value_is_that_of_simulated_series(share: float) -> None:
    """Against draws of whole series, of which the formula keeps a few numbers; no shorter memory misses more."""
    cosines, length, studies = 4, 200, 20_000
    at = np.arange(length)
    waves = np.cos(np.pi * np.arange(1, cosines + 1)[:, None] * (at + 0.5) / length) * np.sqrt(2) / length
    value = critical_value(share, cosines, 0.95)
    for part in (1.0, 0.5, 0.1):
        root = np.linalg.cholesky(np.exp(-np.abs(at[:, None] - at) / (part * share * length)))
        drawn = RNG.normal(size=(studies, length)) @ root.T
        missed = (np.abs(drawn.mean(-1)) > value * np.sqrt(((drawn @ waves.T) ** 2).mean(-1))).mean()
        assert missed <= 0.05 + 3 * np.sqrt(0.05 * 0.95 / studies) and (part < 1 or missed > 0.045)


def test_independent_windows_need_little_more_than_a_t_interval_and_seeds_are_averaged() -> None:
    arm, full = RNG.normal(0.01, 0.1, (3, 2000)), RNG.normal(0, 0.1, (3, 2000))
    x = (arm - full).mean(0)
    assert critical_value(0.0005, 10, 0.95) == pytest.approx(t.isf(0.025, 10), rel=0.01)
    low, high = window_interval(arm, full, 1)
    assert (low + high) / 2 == pytest.approx(x.mean()) and 0.5 < (high - low) / 2 / (1.96 * sem(x)) < 2.5
    np.testing.assert_allclose((low, high), window_interval(arm.mean(0), full.mean(0), 1))
    wider = window_interval(arm, full, 1, level=0.99)
    assert wider[0] < low < high < wider[1]


@pytest.mark.parametrize(
    ("ours", "theirs", "block", "message"),
    [
        (np.ones(800), np.ones(800), 832, "800 windows hold less than one block of 832"),
        (np.ones((2, 9)), np.ones(9), 2, r"expected \(windows,\) or \(seeds, windows\)"),
        (np.full(9, np.nan), np.ones(9), 2, "must be finite"),
    ],
)
def test_what_has_no_interval_is_refused(ours: Any, theirs: Any, block: int, message: str) -> None:
    with pytest.raises(ValueError, match=message):
        window_interval(ours, theirs, block)
