"""A walk over the test rows with the weights that were judged. It is a look at test.

It says what the band of the validation windows held there, and its errors are the better band of what comes next: these
windows chose nothing, and lie nearer. So what is fitted again on all rows, test among them, has its band from it.
"""

from collections.abc import Sequence
from dataclasses import dataclass, replace
from typing import Any

import numpy as np
import pandas as pd

from lab.console.printing import one_line
from lab.errors import DataError
from lab.forecasting.band import Band, fewest, percent
from lab.forecasting.making import Judged, Kept, walk
from lab.forecasting.model import long_frame
from lab.ledger.looks import looking
from lab.series import window_starts
from lab.series.bars import FittedBar

SHOWN = 20  # channels of a table


@dataclass(frozen=True, eq=False)
class Backtest:
    """Of every test window; `frame` has those windows that share no step of their horizons, one after the other.

    `frame`: the columns of a forecast, and `actual`.
    """

    frame: pd.DataFrame
    level: float
    windows: int
    coverage: np.ndarray  # (H, C), share of the true values that the band held
    mse: float  # z-scored, of the seeds' mean
    mae: float
    channels: tuple[str, ...]
    band: Band  # of the errors on these windows
    beside: tuple[str, float] | None = None  # a bar's title, and its MSE on the same windows

    def lines(self) -> list[str]:
        held, steps = self.coverage.mean(0), self.coverage.mean(1)
        lines = [
            f"backtest on {self.windows} test windows (one look on the ledger): MSE {self.mse:.4f}, MAE {self.mae:.4f} "
            "(z-scored)",
            *self._beaten(),
            f"the {self.level:.0%} band of the validation windows held {self.coverage.mean():.1%} of the test values: "
            f"{steps[0]:.1%} at the first step, {steps[-1]:.1%} at the last",
        ]
        shown = [f"{one_line(name, 40)} {share:.1%}" for name, share in zip(self.channels, held, strict=True)]
        return [*lines, "by channel: " + "  ".join([*shown[:SHOWN], *(["..."] if len(shown) > SHOWN else [])])]

    def _beaten(self) -> list[str]:
        if self.beside is None:
            return []
        title, mse = self.beside
        apart = f"this is {abs(self.mse - mse):.4f} {'below' if self.mse < mse else 'above'} it there"
        return [f"the {title}, the best bar on validation, has an MSE of {mse:.4f} on the same windows: {apart}"]

    def record(self) -> dict[str, Any]:
        """Ready for JSON."""
        return {
            "windows": self.windows, "level": self.level, "mse": self.mse, "mae": self.mae,
            "coverage": float(self.coverage.mean()), "coverage_steps": self.coverage.mean(1).tolist(),
            "coverage_channels": dict(zip(self.channels, self.coverage.mean(0).tolist(), strict=True)),
            **({} if self.beside is None else {"bar": self.beside[0], "bar_mse": self.beside[1]}),
        }  # fmt: skip


def backtest(judged: Judged, level: float, command: str | None = None, bar: FittedBar | None = None) -> Backtest:
    """On the ledger before it begins.

    Args:
        bar: to stand beside it.
    Raises:
        ConfigError: as `ForecastModel.predict` does of a level.
    """
    percent(level)
    model, series, data = judged.model, judged.series, judged.data
    starts = window_starts(series, data, "test")
    runs: Sequence[str] = model.about["runs"]
    with looking(
        series, "backtest", runs=model.members.count, ids=runs, study=model.place.study, results=model.place.results,
        command=command,
    ):  # fmt: skip
        beside = None if bar is None else (bar.bar.title, bar.evaluate(series, data, "test").mse)
        held, kept = np.zeros((data.pred_len, series.num_channels)), Kept.of(series, data, starts)
        squared = absolute = 0.0
        frames, errors = [], []
        for first, forecasts, targets in walk(model.members, series, data, starts):
            mean = forecasts.mean(0)
            low, high = model.band.about(forecasts, level)
            held += ((low <= targets) & (targets <= high)).sum(0)
            errors.append(kept.scores(first, forecasts, targets))
            squared += float(np.square(mean - targets).sum())
            absolute += float(np.abs(mean - targets).sum())
            for place in range(-first % data.pred_len, len(mean), data.pred_len):
                found = {"forecast": mean, "low": low, "high": high, "actual": targets}
                frame = long_frame({name: values[place] for name, values in found.items()}, model)
                if series.timestamps is not None:
                    row = int(starts[first + place]) + data.seq_len
                    dates = series.timestamps[row : row + data.pred_len]
                    frame.insert(0, "date", np.repeat(dates, series.num_channels))
                frames.append(frame)
    count = len(starts) * data.pred_len * series.num_channels
    return Backtest(
        pd.concat(frames, ignore_index=True), level, len(starts), held / len(starts), squared / count,
        absolute / count, series.channels, Band.of(np.concatenate(errors), "test"),
        beside,
    )  # fmt: skip


def walked(
    judged: Judged, level: float, asked: bool | None, refitted: bool, command: str | None = None,
    bar: FittedBar | None = None,
) -> tuple[Judged, Backtest | None]:  # fmt: skip
    """The model with its band from the test rows, and the walk over them, where there is to be one.

    Args:
        asked: None where nobody said: then what is to be fitted again walks, if the test windows bear the level.
    Raises:
        DataError: asked for, and the test rows hold no window. ConfigError: as `backtest`.
    """
    if asked is False or not (asked or refitted):
        return judged, None
    needed = fewest(level)
    try:
        windows = len(window_starts(judged.series, judged.data, "test"))
    except DataError:
        if asked:
            raise
        windows = 0
    why = f"the test rows hold {windows} windows, and {level:.0%} takes {needed}" if windows < needed else ""
    tested = None if why and not asked else backtest(judged, level, command, bar)
    band = judged.model.band if why or tested is None else tested.band
    return replace(judged, model=replace(judged.model, band=band, about={**judged.model.about, "band": why})), tested
