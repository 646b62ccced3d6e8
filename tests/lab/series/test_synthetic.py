"""The generator: the same from the same settings; each structure is there and changes nothing else."""

import numpy as np
import pytest

from lab.series import ETT_CHANNELS, load_series
from lab.series.synthetic import CHANNELS, checksum, generate
from lab.settings.data import DataConfig, SyntheticConfig

ROWS = 4000


def made(**settings: object) -> np.ndarray:
    return generate(SyntheticConfig(rows=ROWS, **settings))


def test_shape_and_determinism():
    assert CHANNELS == ETT_CHANNELS
    assert made().shape == (ROWS, 7)
    assert np.array_equal(made(), made())
    assert not np.allclose(made(), made(seed=1))


def test_series_of_the_default_settings():
    series = load_series(DataConfig())
    assert (series.train, series.validation, series.test) == ((0, 2400), (2400, 3200), (3200, 4000))
    assert series.name == "synthetic" and series.identity == checksum(SyntheticConfig())
    assert load_series(DataConfig(seq_len=10)) is series
    assert "seed 0" in series.source


def test_checksum_names_the_settings():
    settings = [{}, {"seed": 1}, {"rows": 4001}, {"noise": 0.2}, {"regimes": 1}, {"noise_channels": 1}]
    assert len({checksum(SyntheticConfig(**each)) for each in settings}) == len(settings)
    assert checksum(SyntheticConfig(regimes=1)) == checksum(SyntheticConfig(regimes=1.0))


def test_daily_and_weekly_cycles():
    spectrum = np.abs(np.fft.rfft(made()[: 23 * 168], axis=0)) ** 2
    typical = np.median(spectrum[20:], axis=0)
    for period in (24, 168):
        assert (spectrum[23 * 168 // period] > 10 * typical).all()


def test_noise_only_adds():
    quiet, half, full = made(noise=0), made(noise=0.5), made(noise=1)
    assert np.allclose(full - quiet, 2 * (half - quiet))
    assert ((full - quiet).std(axis=0) > 0.3 * made().std(axis=0)).all()


@pytest.mark.parametrize("structure", ["level_shifts", "cross_channel", "regimes"])
def test_a_structure_shifts_no_other_draw(structure):
    others = {"level_shifts": 1.0, "cross_channel": 0.5, "regimes": 0.5} | {structure: 0.0}
    barely = others | {structure: 1e-9}
    assert np.allclose(made(**others), made(**barely), atol=1e-6)
    assert not np.array_equal(made(**others), made(**barely))


def test_purposes_draw_apart():
    noise = (made(noise=1) - made(noise=0))[:, 1:]
    white = made(noise_channels=6)[:, 1:]
    correlations = [np.corrcoef(noise[:, channel], white[:, channel])[0, 1] for channel in range(6)]
    assert np.abs(correlations).max() < 5 / ROWS**0.5


def test_level_shifts_add_steps_and_nothing_else():
    added = made(level_shifts=2.0) - made()
    jumps = np.abs(np.diff(added, axis=0)) > 1e-9
    counts = jumps.sum(axis=0)
    assert (counts >= 2).all() and (counts < 40).all()  # ten are expected
    assert np.allclose(added, 2 * (made(level_shifts=1.0) - made()))


def test_cross_channel_adds_the_lagged_value_of_the_channel_before():
    plain, crossed = made(), made(cross_channel=0.8)
    assert np.array_equal(plain[:, 0], crossed[:, 0])
    for channel in range(1, 7):
        added = crossed[:, channel] - plain[:, channel]
        exact = []
        for lag in range(1, 48):
            parent = crossed[:-lag, channel - 1]
            exact.append(np.corrcoef(added[lag:], parent)[0, 1] > 1 - 1e-9)
        assert sum(exact) == 1 and 6 <= exact.index(True) + 1 <= 24


def day_to_day(values: np.ndarray) -> np.ndarray:
    """Per stretch of 240 hours, correlation with a day later of what is beyond the mean day: (stretches,)."""
    mean_day = np.array([values[hour::24].mean(axis=0) for hour in range(24)])
    own = values - mean_day[np.arange(len(values)) % 24]
    own = own[1:] - 0.9 * own[:-1]  # nearly without the trend and the drift
    stretches = [own[first : first + 240] for first in range(0, len(own) - 240, 240)]
    return np.array([np.corrcoef(s[:-24].ravel(), s[24:].ravel())[0, 1] for s in stretches])


def test_regimes_change_the_dynamics():
    plain, switching = made(noise=0), made(noise=0, regimes=1.0)
    memory = day_to_day(switching)
    assert (day_to_day(plain) > 0.2).all()
    assert memory.max() > 0.2 and memory.min() < -0.05


@pytest.mark.parametrize("count", [1, 3, 6])
def test_noise_channels_are_white_and_the_rest_is_as_it_was(count):
    values = made(noise_channels=count, cross_channel=0.5, noise=0)
    assert np.array_equal(values[:, :-count], made(cross_channel=0.5, noise=0)[:, :-count])
    white = values[:, -count:] - values[:, -count:].mean(axis=0)
    for lag in (1, 6, 24, 168):
        correlation = (white[lag:] * white[:-lag]).mean(axis=0) / white.var(axis=0)
        assert (np.abs(correlation) < 5 / ROWS**0.5).all()


@pytest.mark.parametrize("rows", [64, 65, 500])
def test_short_series(rows):
    planted = {"level_shifts": 1, "cross_channel": 1, "regimes": 3, "noise_channels": 2}
    values = generate(SyntheticConfig(rows=rows, **planted))
    assert values.shape == (rows, 7) and np.isfinite(values).all()
