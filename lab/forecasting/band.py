"""The band about a forecast, from what the seeds say and from past errors, for each step and channel by itself.

Conformalised intervals (Romano, Patterson and Candès, NeurIPS 2019), with the lowest and the highest of the N seeds in
the place of their quantiles: of each past window
    score = max(lowest - y, y - highest),      band = [lowest - q, highest + q],
q the ceil((n + 1) level)-th smallest of the scores of n windows (split conformal). Of one model it is its forecast plus
and minus a quantile of its absolute errors.

Limits: windows that are exchangeable with the past ones it would hold as often as it says. Windows on end share rows,
series drift, and validation has chosen the epoch, so no coverage is promised. A walk over test rows
(lab.forecasting.backtest) measures that of the validation windows' band, and gives a better one: its windows chose
nothing, and lie nearer to what comes. Of a ridge (S=96, H=24; 36 and 12 of the last) on ETTh1, ETTh2, exchange_rate and
national_illness, fitted again at eight ends each, a 90% band of validation windows held 88.7, 87.5, 81.8 and 85.6% of
the next tenth of the rows, one of test windows 89.2, 87.5, 86.1 and 88.0%, at a lower interval score on all four.
"""

import math
from dataclasses import dataclass

import numpy as np

from lab.errors import ConfigError

PERCENTS = range(1, 100)  # levels that a band may have
DEFAULT_LEVEL = 0.9


def percent(level: float) -> int:
    """A level as a whole percentage. Raises ConfigError for any other number."""
    whole = round(100 * level) if isinstance(level, int | float) and math.isfinite(level) else 0
    if whole not in PERCENTS or abs(100 * level - whole) > 1e-9:
        raise ConfigError(f"level: got {level}; whole percentages from 0.01 to 0.99 are allowed, such as 0.9")
    return whole


def fewest(level: float) -> int:
    """Windows that a level takes. Raises ConfigError as `percent`."""
    share = percent(level)
    return -(-share // (100 - share))


def scores(forecasts: np.ndarray, targets: np.ndarray) -> np.ndarray:
    """How far targets (B, H, C) lie outside of what the seeds' forecasts (N, B, H, C) span; inside, below 0."""
    return np.maximum(forecasts.min(0) - targets, targets - forecasts.max(0))


@dataclass(frozen=True, eq=False)
class Band:
    """q of every level, on the z-scored scale."""

    reach: np.ndarray  # (99, H, C) float32, by percent; infinite where the windows are too few for a level
    windows: int  # that it was measured on
    split: str = "validation"  # whose they are

    @classmethod
    def of(cls, found: np.ndarray, split: str = "validation") -> "Band":
        """From the scores (windows, H, C) of past windows."""
        ranked = np.sort(found, axis=0)
        reach = np.full((len(PERCENTS), *found.shape[1:]), np.inf, np.float32)
        for place, each in enumerate(PERCENTS):
            rank = -(-(len(ranked) + 1) * each // 100)
            if rank <= len(ranked):
                reach[place] = ranked[rank - 1]
        return cls(reach, len(ranked), split)

    def about(self, forecasts: np.ndarray, level: float) -> tuple[np.ndarray, np.ndarray]:
        """The band's ends (..., H, C) about what the seeds say (N, ..., H, C), with their mean within.

        Raises ConfigError as `at`.
        """
        reach, mean = self.at(level), forecasts.mean(0)
        return np.minimum(forecasts.min(0) - reach, mean), np.maximum(forecasts.max(0) + reach, mean)

    def at(self, level: float) -> np.ndarray:
        """q of a level (H, C). Raises ConfigError: a level that so few windows cannot have, or none."""
        reach: np.ndarray = self.reach[percent(level) - 1]
        if not np.isfinite(reach).all():
            most = math.floor(100 * self.windows / (self.windows + 1))
            raise ConfigError(
                f"level: got {level:g}, and {self.windows} {self.split} windows bear {most / 100:g} at most; take a "
                f"lower level, or more {self.split} rows"
            )
        return reach
