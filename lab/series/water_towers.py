"""A seeded series that no linear map forecasts well, and whose least error is known: water towers and their pumps.

Each tower is drained by the demand of its quarter. Its pump starts once the level is at a low mark and stops once it is
at a high one: a threshold with memory (hysteresis), so that a level between the marks rises or falls, and where it
turns depends on how fast it moves. Demand has a daily cycle, and a pace of its own in each quarter that wanders over
some days: cycles have no fixed length that a linear map could learn. A forecast gains by reading level, direction and
pace from its window and turning at the marks, which is no linear function of the window, be it of all channels at once.
"""

import hashlib
import json
from dataclasses import dataclass
from math import exp, pi, sqrt

import numpy as np

from lab.settings.data import SyntheticConfig

# Part of the data's checksum: raise it when a change to this file changes what it generates.
VERSION = 1

CHANNELS = ("demand", "tower_1", "tower_2", "tower_3", "tower_4")  # of all quarters, % of its mean; levels, % of full
_TOWERS = len(CHANNELS) - 1
_WARM_UP = 336  # hours generated and dropped
_DAY = 24
_DAILY = 0.3  # of the logarithm of demand: its daily swing
_PACE_DEVIATION, _PACE_MEMORY = 0.35, exp(-1 / 96)  # of a quarter, which forgets in four days
_GUST_DEVIATION, _GUST_MEMORY = 0.05, exp(-1 / 6)  # a faster part
_METER = 1.5  # deviation of what is read off a tower, %
_DEMAND_METER = 2.0  # of the demand, %


@dataclass(frozen=True)
class _Works:
    """What stays as it is: (4,) each."""

    low: np.ndarray  # marks, % of full
    high: np.ndarray
    drain: np.ndarray  # % an hour at mean demand
    pump: np.ndarray  # % an hour while it runs
    noon: float  # phase of the day


@dataclass(frozen=True)
class _State:
    """At the end of an hour: (..., 4) each."""

    pace: np.ndarray
    gust: np.ndarray
    level: np.ndarray
    running: np.ndarray  # whether the pump is, bool

    def at(self, hours: np.ndarray) -> "_State":
        return _State(*(getattr(self, name)[hours] for name in self.__dataclass_fields__))


def generate(config: SyntheticConfig) -> np.ndarray:
    """The series of these rows and this seed: (rows, 5) float64, one row an hour."""
    demand, states = _history(config)
    values = np.concatenate([demand.mean(axis=1, keepdims=True), states.level], axis=1)
    noise = _generator(config, 2).standard_normal(values.shape) * [_DEMAND_METER, *[_METER] * _TOWERS]
    return (values + noise)[_WARM_UP:]


def expected(config: SyntheticConfig, first: np.ndarray, horizon: int, draws: int = 200) -> np.ndarray:
    """What to expect of the hours from each row of `first` on by one who knows all that is hidden: (rows, H, 5).

    The mean of `draws` futures of the state before that row (level, pump and pace without noise). No forecast from a
    window has a lower mean squared error than this, but for the draws, which add 1/draws of the spread of futures.
    """
    works, states = _works(config), _history(config)[1]
    hours = np.asarray(first) + _WARM_UP
    states = states.at(hours[:, None] - 1)  # (rows, 1, 4)
    shape = (len(hours), draws, _TOWERS)
    state = _State(*(np.broadcast_to(getattr(states, name), shape) for name in states.__dataclass_fields__))
    new, steps = _generator(config, 3), []
    for ahead in range(horizon):
        demand, state = _step(works, state, (hours + ahead)[:, None, None], new.standard_normal((2, *shape)))
        steps.append(np.concatenate([demand.mean(axis=2, keepdims=True), state.level], axis=2).mean(axis=1))
    return np.stack(steps, axis=1)


def checksum(config: SyntheticConfig) -> str:
    """sha256 of the generator's version and the settings that it reads; see lab.series.synthetic.checksum."""
    content = {"generator": "water_towers", "version": VERSION, "rows": config.rows, "seed": config.seed}
    return hashlib.sha256(json.dumps(content, sort_keys=True, separators=(",", ":")).encode()).hexdigest()


def _generator(config: SyntheticConfig, purpose: int) -> np.random.Generator:
    return np.random.Generator(np.random.PCG64(np.random.SeedSequence(config.seed, spawn_key=(purpose,))))


def _works(config: SyntheticConfig) -> _Works:
    draw = _generator(config, 0)
    low, high = draw.uniform(20, 40, _TOWERS), draw.uniform(70, 90, _TOWERS)
    drain = (high - low) / draw.uniform(10, 16, _TOWERS)  # from mark to mark in so many hours
    return _Works(low, high, drain, drain * draw.uniform(2.4, 3.2, _TOWERS), draw.uniform(0, 2 * pi))


def _history(config: SyntheticConfig) -> tuple[np.ndarray, _State]:
    """The demand of each quarter, % of its mean, (hours, 4), and the states, (hours, 4) each, warm-up and all."""
    works, hours = _works(config), config.rows + _WARM_UP
    draws = _generator(config, 1).standard_normal((hours, 2, _TOWERS))
    state = _State(np.zeros(_TOWERS), np.zeros(_TOWERS), (works.low + works.high) / 2, np.zeros(_TOWERS, bool))
    demands, states = [], []
    for hour in range(hours):
        demand, state = _step(works, state, hour, draws[hour])
        demands.append(demand)
        states.append(state)
    every = (np.stack([getattr(state, name) for state in states]) for name in state.__dataclass_fields__)
    return np.stack(demands), _State(*every)


def _step(works: _Works, state: _State, hour: int | np.ndarray, draws: np.ndarray) -> tuple[np.ndarray, _State]:
    """The demand of an hour and the state at its end. `draws`: (2, ..., 4) standard normal."""
    pace = _PACE_MEMORY * state.pace + _PACE_DEVIATION * sqrt(1 - _PACE_MEMORY**2) * draws[0]
    gust = _GUST_MEMORY * state.gust + _GUST_DEVIATION * sqrt(1 - _GUST_MEMORY**2) * draws[1]
    demand = np.exp(pace + gust + _DAILY * np.sin(2 * pi * hour / _DAY + works.noon))
    level = np.maximum(state.level + state.running * works.pump - demand * works.drain, 0)
    running = (level <= works.low) | (state.running & (level < works.high))
    return 100 * demand, _State(pace, gust, level, running)
