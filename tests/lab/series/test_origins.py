"""Where splits lie: other origins, and rows set aside."""

from collections.abc import Callable

import numpy as np
import pandas as pd
import pytest

from lab.errors import ConfigError, DataError
from lab.series import Series, load_series, rolling, window_starts
from lab.series.bars import BARS, FittedBar, fit_bars
from lab.series.sealed import unsealed
from lab.settings.data import DataConfig

SHORT = {"seq_len": 24, "pred_len": 12}


def test_rolling_origins_of_the_published_split(ett: Callable[[str], Series]) -> None:
    published = ett("ETTh1").file_sha256
    found = [load_series(each) for each in rolling(DataConfig(dataset="ETTh1"), 3)]
    assert [each.train for each in found] == [(0, 2880), (0, 5760), (0, 8640)]
    assert [each.test for each in found] == [(5760, 8640), (8640, 11520), (11520, 14400)]
    assert [each.identity == published for each in found] == [False, False, True]
    assert len({each.identity for each in found}) == 3
    # What says the same in other words is the same data: its runs are those on record.
    assert load_series(DataConfig(dataset="ETTh1", origin=8640, test_rows=2880)).identity == published
    assert load_series(DataConfig(dataset="ETTh1", origin=5760)).identity == found[1].identity
    assert len(found[0].values) == 8640 and found[0].mean.tolist() == found[2].values[:2880].mean(0).tolist()


def test_a_share_of_the_rows_rolls_by_test_lengths() -> None:
    data = DataConfig(origins_back=1, **SHORT)  # synthetic: 2400, 800 and 800 rows
    assert [load_series(each).train[1] for each in rolling(data, 2)] == [800, 1600]
    moved = load_series(data.model_copy(update={"origins_back": 2, "test_rows": 100, "validation_rows": 50}))
    assert (moved.train, moved.validation, moved.test) == ((0, 2200), (2200, 2250), (2250, 2350))
    with pytest.raises(ConfigError, match=r"got 2 with data.origin=900"):
        rolling(DataConfig(origin=900), 2)


@pytest.mark.parametrize(
    ("settings", "said"),
    [
        ({"origin": 2401}, r"end at row 2401 \(data.origin=2401\); with 800 .* at rows 2 to 2400 \(there are"),
        ({"origin": 1900, "sealed": 1000}, r"with 600 .* rows 2 to 1800 \(rows from 3000 on are sealed\)"),
        ({"origins_back": 3}, r"end at row 0 .* data.origins_back of at most 2"),
        ({"origin": 30}, "'train' has 30 rows, a window needs .* or other rows"),
        ({"validation_rows": 11}, "'validation' has 11 rows"),
        ({"test_rows": 4000}, "no row is left to end at"),
        ({"sealed": 4000}, "got 4000 of 4000 rows"),
    ],
)  # fmt: skip
def test_refusals(settings: dict[str, int], said: str) -> None:
    with pytest.raises(DataError, match=said):
        load_series(DataConfig(**settings, **SHORT))
    for setting, value in (("origin", True), ("origin", 1), ("origins_back", -1), ("sealed", 0), ("test_rows", "9")):
        with pytest.raises(ValueError, match=setting):
            DataConfig(**{setting: value})


def test_sealed_rows_are_in_no_series_but_an_unsealed_one() -> None:
    data = DataConfig(sealed=1000, channels=("OT", "HUFL"), **SHORT)
    closed, opened = load_series(data), unsealed(data)
    assert closed.sealed == (3000, 4000) and closed.test == (2400, 3000) and len(closed.values) == 3000
    whole = load_series(DataConfig(channels=("OT", "HUFL"))).values
    assert (opened.values == whole).all() and opened.identity == closed.identity and (opened.std == closed.std).all()
    starts = window_starts(opened, data, "sealed")
    assert (starts[0], starts[-1], len(starts)) == (3000 - 24, 4000 - 36, 989)
    with pytest.raises(DataError, match="are sealed"):
        window_starts(closed, data, "sealed")
    with pytest.raises(DataError, match="no rows are sealed"):
        unsealed(DataConfig())
    earlier = unsealed(data.model_copy(update={"origin": 500}))
    assert (earlier.values == whole).all() and earlier.train == (0, 500) and earlier.identity != opened.identity
    with pytest.raises(ValueError, match="rows 14400 to 17420, always"):
        DataConfig(dataset="ETTh1", sealed=100)


def test_a_frame_at_an_origin() -> None:
    index = pd.date_range("2020-01-01", periods=400, freq="h", name="date")
    frame = pd.DataFrame({"a": np.sin(np.arange(400.0)), "b": np.cos(np.arange(400.0))}, index=index)
    data = DataConfig(dataset="frame", origin=200, validation_rows=50, test_rows=50, sealed=60, **SHORT)
    series = Series.from_frame(frame, data)
    assert (series.train, series.test, series.sealed) == ((0, 200), (250, 300), (340, 400))
    with pytest.raises(DataError, match="at rows 2 to 240"):
        Series.from_frame(frame, data.model_copy(update={"origin": 241}))


def test_which_months_are_judged_decides_more_than_the_map(ett: Callable[[str], Series]) -> None:
    """A map folded by the hour of the day, and its mean with ridge, against ridge: percent of its MSE."""
    ett("ETTh1")
    found = []
    for data in rolling(DataConfig(dataset="ETTh1", seq_len=336, pred_len=96), 3):
        series = load_series(data)
        ridge, *others = fit_bars(series, data, [BARS[name] for name in ("linear", "folded", "mean_of_ridges")])
        assert isinstance(ridge, FittedBar)
        for split in ("validation", "test"):
            bar = ridge.evaluate(series, data, split).mse
            found += [100 * (one.evaluate(series, data, split).mse / bar - 1) for one in others]  # type: ignore[union-attr]
    assert found[:8] == pytest.approx([1.8, -1.7, 1.8, -2.0, 2.3, -0.4, 7.2, 2.1], abs=0.1), "at earlier origins"
    assert found[8:] == pytest.approx([11.0, 3.9, -1.1, -2.3], abs=0.1), "at the published one"
