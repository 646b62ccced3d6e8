"""The band holds what it says: by its rule, and on test windows of the synthetic series."""

import math
from dataclasses import replace

import numpy as np
import pytest
from numpy.lib.stride_tricks import sliding_window_view

from dynonet.config import Config
from lab.errors import ConfigError
from lab.forecasting.backtest import backtest, walked
from lab.forecasting.band import Band, scores
from lab.forecasting.making import judged_bar
from lab.ledger.cache import read as looks
from lab.series.bars import BARS, fit_bar


def test_it_is_split_conformal_about_what_the_seeds_span() -> None:
    """Of exchangeable windows a band of 80% from 99 of them holds ceil(100 * 0.8) / 100 on average, exactly."""
    rng = np.random.default_rng(5)
    held = []
    for _ in range(400):
        seeds = rng.normal(0, 0.3, (3, 149, 2, 1))
        targets = seeds.mean(0) + rng.normal(0, [[1.0], [3.0]], (149, 2, 1))
        band = Band.of(scores(seeds[:, :99], targets[:99]))
        low, high = band.about(seeds[:, 99:], 0.8)
        held.append(((low <= targets[99:]) & (targets[99:] <= high)).mean((0, 2)))
    assert np.abs(np.mean(held, 0) - 0.8).max() < 0.01, "at each step, whose errors differ"
    one = Band.of(scores(np.zeros((1, 9, 1, 1)), np.arange(1.0, 10).reshape(9, 1, 1) * [[[-1.0]]]))
    assert one.about(np.full((1, 1, 1), 100.0), 0.5) == (95, 105), "the fifth of nine errors"
    assert one.about(np.full((1, 1, 1), 100.0), 0.9) == (91, 109)
    with pytest.raises(ConfigError, match=r"9 validation windows bear 0\.9 at most"):
        one.about(np.zeros((1, 1, 1)), 0.91)


def test_what_is_fitted_again_has_it_from_the_test_windows(tiny: Config) -> None:
    base = tiny.override({"data.seq_len": 24, "data.pred_len": 6, "data.synthetic.rows": 600})
    one = judged_bar("linear", base)
    (kept, none), (after, tested) = walked(one, 0.8, None, False), walked(one, 0.8, None, True)
    assert kept is one and none is None and tested is not None and after.model.band.split == "test"
    series, bar = one.series, fit_bar(one.series, one.data, BARS["linear"])
    first, end = series.test
    cut = sliding_window_view(series.scaled, 30, axis=0)[first - 24 : end - 29].transpose(0, 2, 1)
    errors = np.sort(np.abs(bar.forecast(cut[:, :24]) - cut[:, 24:]), axis=0)
    assert np.allclose(after.model.band.at(0.8), errors[math.ceil(0.8 * (len(errors) + 1)) - 1], rtol=1e-5)
    assert not np.allclose(after.model.band.at(0.8), one.model.band.at(0.8)), "what validation's band held is said"
    # Too few windows for the level: nobody asked for the walk, so there is none, and that is on record.
    left, none = walked(replace(one, data=one.data.model_copy(update={"pred_len": 118})), 0.9, None, True)
    assert none is None and left.model.band.split == "validation"
    assert left.model.about["band"] == "the test rows hold 3 windows, and 90% takes 9"
    assert len(looks().looks) == 1


def test_on_test_windows_of_the_synthetic_series(tiny: Config) -> None:
    base = tiny.override({"data.seq_len": 48, "data.pred_len": 12, "data.synthetic.rows": 1500})
    one = judged_bar("linear", base)
    for level in (0.5, 0.8, 0.9):
        found = backtest(one, level)
        assert abs(found.coverage.mean() - level) < 0.04
        assert found.windows == 289 and found.mse == pytest.approx(found.record()["mse"])
        assert found.record()["coverage"] == pytest.approx(found.coverage.mean())
    frame = found.frame
    assert len(frame) == 25 * 12 * 7 and not frame.duplicated(["date", "channel"]).any()
    inside = (frame["low"] <= frame["actual"]) & (frame["actual"] <= frame["high"])
    assert abs(inside.mean() - 0.9) < 0.05
    assert [look["purpose"] for look in looks().looks] == ["backtest"] * 3 and looks().looks[0]["split"] == "test"
