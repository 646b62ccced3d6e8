"""A seeded series like ETT, for trying things without a network and for studies whose truth is known.

Every series has, per channel, a daily and a weekly cycle of its own shape, a slow trend, a faster drift,
habits (what an hour had beyond its cycle comes back a day later) and observation noise. Four structures can
be planted on top, each by its strength (0 leaves it out):

- level_shifts: now and then the level of a channel jumps and stays;
- cross_channel: a channel carries the value that the channel before it had some hours ago;
- regimes: a hidden two-state regime changes the daily cycle, shortens the memory of the drift and turns
  habits round (a high hour is followed by a low one the next day), so that no one linear map serves both and
  a forecast gains by telling from its window which regime it is in;
- noise_channels: the last channels are white noise and nothing else.

Each purpose draws from a generator of its own, so planting one structure leaves every other draw as it was.
"""

import hashlib
import json
from math import exp, pi

import numpy as np

from lab.settings.data import SyntheticConfig

# Part of the data's checksum: raise it when a change to this file changes what it generates.
VERSION = 1

CHANNELS = ("HUFL", "HULL", "MUFL", "MULL", "LUFL", "LULL", "OT")
# Level and scale of each channel in raw units, about those of ETTh1.
_LEVEL = np.array([7.4, 2.2, 4.3, 0.9, 3.1, 0.9, 13.3])
_SCALE = np.array([7.0, 2.0, 6.8, 1.8, 1.2, 0.6, 8.6])

_WARM_UP = 168  # hours generated and dropped: longer than the longest chain of lags (6 * 24)
_DAY, _WEEK = 24, 168
_LAGS = (6, 24)  # hours by which a channel follows the one before it
_SHIFT_EVERY = 400  # hours between two level shifts of a channel, on average
_DWELL = 240  # hours in a regime, on average
_TREND_DEVIATION, _TREND_MEMORY = 0.5, exp(-1 / 480)  # the slow trend forgets in about twenty days
_DRIFT_DEVIATION, _DRIFT_MEMORY = 0.6, 0.95  # the drift in about a day
_HABIT_DEVIATION, _HABIT_MEMORY = 0.6, 0.9  # from one day to the next

# The order is part of what is generated: append, never insert.
_STRUCTURES = ("level_shifts", "cross_channel", "regimes", "noise_channels")
_PURPOSES = ("cycles", "trend", "drift", "habits", "noise", *_STRUCTURES)


def generate(config: SyntheticConfig) -> np.ndarray:
    """The series of these settings: (rows, 7) float64, one row an hour, in raw units like ETT's."""
    hours = config.rows + _WARM_UP
    regime = _regime_path(_generator(config, "regimes"), hours) * config.regimes  # 0 or the strength
    series = _cycles(_generator(config, "cycles"), hours, regime)
    series += _TREND_DEVIATION * _autoregression(_generator(config, "trend"), np.full(hours, _TREND_MEMORY))
    # In the other regime the drift forgets sooner and habits fade (strength 1/2) or turn round (1 and more).
    drift = _DRIFT_MEMORY * np.maximum(1 - regime, 0)
    series += _DRIFT_DEVIATION * _autoregression(_generator(config, "drift"), drift)
    habits = _HABIT_MEMORY * np.maximum(1 - 2 * regime, -1)
    series += _HABIT_DEVIATION * _autoregression(_generator(config, "habits"), habits, _DAY)
    series += config.noise * _generator(config, "noise").standard_normal((hours, len(CHANNELS)))
    series += config.level_shifts * _levels(_generator(config, "level_shifts"), hours)
    lags = _generator(config, "cross_channel").integers(_LAGS[0], _LAGS[1] + 1, len(CHANNELS))
    for channel in range(1, len(CHANNELS)):
        lag = lags[channel]
        series[lag:, channel] += config.cross_channel * series[:-lag, channel - 1]
    if config.noise_channels:
        white = _generator(config, "noise_channels").standard_normal((hours, len(CHANNELS)))
        series[:, -config.noise_channels :] = white[:, -config.noise_channels :]
    return _LEVEL + _SCALE * series[_WARM_UP:]


def checksum(config: SyntheticConfig) -> str:
    """sha256 of the generator's version and the settings.

    Not of the numbers: their last bits may differ from one machine's mathematics library to another's.
    """
    content = {"generator": "dynonet.synthetic", "version": VERSION, **config.model_dump(mode="json")}
    return hashlib.sha256(json.dumps(content, sort_keys=True, separators=(",", ":")).encode()).hexdigest()


def _generator(config: SyntheticConfig, purpose: str) -> np.random.Generator:
    seed = np.random.SeedSequence(config.seed, spawn_key=(_PURPOSES.index(purpose),))
    return np.random.Generator(np.random.PCG64(seed))


def _cycles(generator: np.random.Generator, hours: int, regime: np.ndarray) -> np.ndarray:
    """Daily and weekly cycles with two harmonics each: (hours, 7)."""
    channels = len(CHANNELS)
    amplitude = generator.uniform(0.7, 1.2, channels)
    harmonic = generator.uniform(0.1, 0.4, channels)
    weekly = generator.uniform(0.2, 0.5, (2, channels))
    phase = generator.uniform(0, 2 * pi, (4, channels))
    hour = np.arange(hours)[:, None]
    # The other regime makes the day's swing larger and moves it: four hours at strength 1.
    day = 2 * pi * hour / _DAY + regime[:, None] * pi / 3
    week = 2 * pi * hour / _WEEK
    daily = amplitude * np.sin(day + phase[0]) + harmonic * np.sin(2 * day + phase[1])
    return (
        (1 + regime[:, None]) * daily
        + weekly[0] * np.sin(week + phase[2])
        + 0.5 * weekly[1] * np.sin(2 * week + phase[3])
    )


def _autoregression(generator: np.random.Generator, memory: np.ndarray, lag: int = 1) -> np.ndarray:
    """Per channel, `memory` (hours,) times the value `lag` hours ago plus what is new: (hours, 7).

    The new part is scaled so that the deviation is 1 whatever the memory, which lies within (-1, 1).
    """
    series = generator.standard_normal((lag + len(memory), len(CHANNELS)))
    series[lag:] *= np.sqrt(1 - memory**2)[:, None]
    for hour, keep in enumerate(memory.tolist()):
        series[lag + hour] += keep * series[hour]
    return series[lag:]


def _levels(generator: np.random.Generator, hours: int) -> np.ndarray:
    """A level per channel that stays for a random time and then jumps; unit deviation: (hours, 7)."""
    jumps = generator.random((hours, len(CHANNELS))) < 1 / _SHIFT_EVERY
    values = generator.standard_normal((hours, len(CHANNELS)))
    last_jump = np.maximum.accumulate(np.where(jumps, np.arange(hours)[:, None], 0))
    return np.take_along_axis(values, last_jump, axis=0)


def _regime_path(generator: np.random.Generator, hours: int) -> np.ndarray:
    """The hidden regime, 0 or 1, switching on average every `_DWELL` hours: (hours,) float64."""
    start = generator.integers(2)
    switches = generator.random(hours) < 1 / _DWELL
    return ((start + np.cumsum(switches)) % 2).astype(np.float64)
