"""A forecast model of runs, or of a bar, and the bars beside it: the band is measured on their validation windows."""

from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any

import numpy as np
import torch
from numpy.lib.stride_tricks import sliding_window_view

from lab.errors import unknown
from lab.forecasting.band import Band, scores
from lab.forecasting.chosen import Chosen
from lab.forecasting.given import Given, Reading
from lab.forecasting.known import Known
from lab.forecasting.members import BarMap, Members, networks
from lab.forecasting.model import NOWHERE, ForecastModel, Place
from lab.forecasting.seen import series_seen
from lab.series import Series, load_series, window_starts
from lab.series.bars import BARS, FittedBar, fit_bar, fit_bars
from lab.series.sources import all_rows
from lab.settings.config import Config
from lab.settings.data import DataConfig

JUDGED = "the weights that were judged, fitted on the training rows alone"
MOST_SCORES = 50_000_000  # numbers that a band is measured from: 200 MB; of more windows evenly so many


@dataclass(frozen=True, eq=False)
class Judged:
    """A model with the weights that were judged, and what is known of it besides."""

    model: ForecastModel
    series: Series
    data: DataConfig
    validation: float  # MSE of the seeds' mean, z-scored
    chosen: Chosen | None = None  # None of a bar

    def whole(self) -> Given:
        """Every row of the data: the file's end is where they end."""
        found = all_rows(self.data)
        return self.model.reading.of_understood(found, self.series.name, self.series.name)


def judged(chosen: Chosen, device: torch.device) -> Judged:
    """Of runs. Raises DataError where the data is not to be had, or holds other values than they saw."""
    config = chosen.configs[0]
    series = series_seen(config.data, chosen.identity, chosen.text)
    members = networks(chosen.configs, chosen.weights, series.num_channels, device)
    about: dict[str, Any] = {
        "text": f"{members.title}: {chosen.text}", "weights": JUDGED, "model": config.forecaster,
        "runs": list(chosen.runs), "epochs": list(chosen.epochs), "study": chosen.study, "refit": False,
    }  # fmt: skip
    return _measured(members, series, config, about, Place(chosen.study, chosen.results), chosen)


def judged_of(chosen: Chosen, bar: str | None, device: torch.device) -> Judged:
    """The runs as a model; or, in their place, a bar on their data."""
    if bar is None:
        return judged(chosen, device)
    config, place = chosen.configs[0], Place(chosen.study, chosen.results)
    return judged_bar(bar, config, place, series_seen(config.data, chosen.identity, chosen.text))


def judged_bar(name: str, config: Config, place: Place = NOWHERE, series: Series | None = None) -> Judged:
    """A bar by its name, or the `best` on validation. Raises ConfigError: no such bar; Unavailable: not here.

    `series`: where it is not the one that the settings name now.
    """
    if name != "best" and name not in BARS:
        raise unknown("bar", name, ("best", *BARS))
    series = load_series(config.data) if series is None else series
    fitted = best_bar(series, config.data) if name == "best" else fit_bar(series, config.data, BARS[name])
    how = ", ".join(f"{key.replace('_', ' ')} {value:g}" for key, value in fitted.solution.choices.items())
    text = fitted.bar.title + (f" ({how})" if how else "")
    about: dict[str, Any] = {
        "text": text, "weights": JUDGED, "model": fitted.bar.name, "runs": [], "epochs": [], "study": place.study,
        "refit": False,
    }  # fmt: skip
    return _measured(BarMap(fitted.bar.name, fitted.weight), series, config, about, place)


def best_bar(series: Series, data: DataConfig) -> FittedBar:
    """On validation, of those that this data can have."""
    found = [each for each in fit_bars(series, data) if isinstance(each, FittedBar)]
    return min(found, key=lambda bar: bar.validation.mse)


def _measured(
    members: Members, series: Series, config: Config, about: dict[str, Any], place: Place,
    chosen: Chosen | None = None,
) -> Judged:  # fmt: skip
    data, starts = config.data, window_starts(series, config.data, "validation")
    found, squares = over_windows(members, series, data, starts)
    about |= {"validation_mse": squares, "series": series.identity, "dataset": series.name, "notes": list(series.notes)}
    model = ForecastModel(
        members, Reading.of(series, data), series.mean, series.std, Band.of(found), Known.of(series), about, place
    )
    return Judged(model, series, data, squares, chosen)


def over_windows(members: Members, series: Series, data: DataConfig, starts: np.ndarray) -> tuple[np.ndarray, float]:
    """The scores (windows, H, C) of windows, evenly so many where they are too many, and the MSE over all of them."""
    squares, found, kept = 0.0, [], Kept.of(series, data, starts)
    for first, forecasts, targets in walk(members, series, data, starts):
        squares += float(np.square(forecasts.mean(0) - targets).mean(axis=(1, 2)).sum())
        found.append(kept.scores(first, forecasts, targets))
    return np.concatenate(found), squares / len(starts)


@dataclass(frozen=True)
class Kept:
    """Windows that a band is measured on."""

    every: int  # of so many one

    @classmethod
    def of(cls, series: Series, data: DataConfig, starts: np.ndarray) -> "Kept":
        return cls(max(1, -(-len(starts) * data.pred_len * series.num_channels // MOST_SCORES)))

    def scores(self, first: int, forecasts: np.ndarray, targets: np.ndarray) -> np.ndarray:
        """Of a batch of `walk`."""
        some = slice(-first % self.every, None, self.every)
        return scores(forecasts[:, some], targets[some]).astype(np.float32)


def walk(
    members: Members, series: Series, data: DataConfig, starts: np.ndarray, batch: int = 256
) -> Iterator[tuple[int, np.ndarray, np.ndarray]]:
    """Over windows that begin at rows: the place of a batch's first, forecasts (N, B, H, C), targets (B, H, C)."""
    length = data.seq_len + data.pred_len
    values = sliding_window_view(series.scaled, length, axis=0)  # (rows, C, S + H)
    calendar = sliding_window_view(series.calendar, length, axis=0) if members.wants_calendar else None
    for first in range(0, len(starts), batch):
        rows = starts[first : first + batch]
        block = values[rows].transpose(0, 2, 1)
        dates = None if calendar is None else calendar[rows].transpose(0, 2, 1)
        yield first, members.forecast(block[:, : data.seq_len], rows, dates), block[:, data.seq_len :]
