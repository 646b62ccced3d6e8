"""A walk over the test rows with the weights that were judged: what the band held there. It is a look at test."""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import pandas as pd

from lab.console.printing import one_line
from lab.forecasting.band import percent
from lab.forecasting.making import Judged, walk
from lab.forecasting.model import long_frame
from lab.ledger.looks import looking
from lab.series import window_starts

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

    def lines(self) -> list[str]:
        held, steps = self.coverage.mean(0), self.coverage.mean(1)
        lines = [
            f"backtest on {self.windows} test windows (one look on the ledger): MSE {self.mse:.4f}, MAE {self.mae:.4f} "
            "(z-scored)",
            f"the {self.level:.0%} band held {self.coverage.mean():.1%} of the test values: {steps[0]:.1%} at the "
            f"first step, {steps[-1]:.1%} at the last",
        ]
        shown = [f"{one_line(name, 40)} {share:.1%}" for name, share in zip(self.channels, held, strict=True)]
        return [*lines, "by channel: " + "  ".join([*shown[:SHOWN], *(["..."] if len(shown) > SHOWN else [])])]

    def record(self) -> dict[str, Any]:
        """Ready for JSON."""
        return {
            "windows": self.windows, "level": self.level, "mse": self.mse, "mae": self.mae,
            "coverage": float(self.coverage.mean()), "coverage_steps": self.coverage.mean(1).tolist(),
            "coverage_channels": dict(zip(self.channels, self.coverage.mean(0).tolist(), strict=True)),
        }  # fmt: skip


def backtest(judged: Judged, level: float, command: str | None = None) -> Backtest:
    """On the ledger before it begins. Raises ConfigError as `ForecastModel.predict` does of a level."""
    percent(level)
    model, series, data = judged.model, judged.series, judged.data
    starts = window_starts(series, data, "test")
    runs: Sequence[str] = model.about["runs"]
    with looking(
        series, "backtest", runs=model.members.count, ids=runs, study=model.place.study, results=model.place.results,
        command=command,
    ):  # fmt: skip
        held = np.zeros((data.pred_len, series.num_channels))
        squared = absolute = 0.0
        frames = []
        for first, forecasts, targets in walk(model.members, series, data, starts):
            mean = forecasts.mean(0)
            low, high = model.band.about(forecasts, level)
            held += ((low <= targets) & (targets <= high)).sum(0)
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
        absolute / count, series.channels,
    )  # fmt: skip
