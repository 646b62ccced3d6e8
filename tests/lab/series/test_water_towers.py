"""Water towers: no linear map comes near the least error that the generator allows."""

import numpy as np
import pytest

from lab.errors import ConfigError
from lab.series import Series, load_series
from lab.series.bars import BARS, fit_bars
from lab.series.water_towers import CHANNELS, checksum, expected, generate
from lab.settings.config import Config
from lab.settings.data import DataConfig, SyntheticConfig

MADE = SyntheticConfig(rows=4000)
DATA = DataConfig(dataset="water_towers", synthetic=MADE, seq_len=32, pred_len=12)  # as preset quickstart has it


def test_the_same_from_the_same_seed_and_levels_between_the_marks() -> None:
    values = generate(MADE)
    assert values.shape == (4000, len(CHANNELS)) and np.array_equal(values, generate(MADE))
    assert not np.allclose(values, generate(SyntheticConfig(rows=4000, seed=1)))
    low, high = np.quantile(values[:, 1:], [0.001, 0.999], axis=0)
    assert (low > 0).all() and (high < 105).all() and (high - low > 30).all()
    assert len({checksum(SyntheticConfig(**each)) for each in ({}, {"seed": 1}, {"rows": 4001})}) == 3
    assert load_series(DATA).identity == checksum(MADE)


@pytest.mark.parametrize("split", ["validation", "test"])
def test_every_linear_map_is_far_above_the_least_error(split: str) -> None:
    series = load_series(DATA)
    first, end = getattr(series, split)
    rows = np.arange(first, end - DATA.pred_len + 1)
    truth = np.stack([series.scaled[row : row + DATA.pred_len] for row in rows])
    least = np.square((expected(MADE, rows, DATA.pred_len, 100) - series.mean) / series.std - truth).mean()
    assert 0.03 < least < 0.07
    bars = [bar.evaluate(series, DATA, split).mse for bar in fit_bars(series, DATA)]
    assert len(bars) == len(BARS) and min(bars) > 6 * least
    assert all_channels(series, split) > 5 * least


def all_channels(series: Series, split: str) -> float:
    """Test MSE of a ridge from all channels of the window to all of the horizon, its penalty the best there."""

    def windows(first: int, end: int) -> tuple[np.ndarray, np.ndarray]:
        rows, (past, ahead) = np.arange(first, end - DATA.pred_len + 1), (DATA.seq_len, DATA.pred_len)
        inputs = np.stack([series.scaled[row - past : row].ravel() for row in rows])
        return inputs, np.stack([series.scaled[row : row + ahead].ravel() for row in rows])

    inputs, targets = windows(series.train[0] + DATA.seq_len, series.train[1])
    given, truth = windows(*getattr(series, split))
    moments, cross = inputs.T @ inputs, inputs.T @ targets
    maps = [np.linalg.solve(moments + 10.0**power * np.eye(len(moments)), cross) for power in range(-1, 6)]
    return min(float(np.square(given @ each - truth).mean()) for each in maps)


def test_what_it_does_not_read_is_refused() -> None:
    settings = {"data.dataset": "water_towers", "data.synthetic.regimes": 1.0}
    with pytest.raises(ConfigError, match=r"synthetic\.regimes is a setting of dataset synthetic"):
        Config.create(settings)
