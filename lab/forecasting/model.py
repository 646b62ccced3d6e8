"""`ForecastModel`: rows in, the rows that come next out, in the channels' own units; scaler and calendar are inside."""

import io
import os
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
import pandas as pd
import torch

from lab.compute.device import pick_device
from lab.console.folders import write_whole
from lab.console.printing import one_line
from lab.errors import ConfigError, DataError
from lab.forecasting.band import DEFAULT_LEVEL, Band, percent
from lab.forecasting.given import Given, Reading, Rows
from lab.forecasting.known import Known
from lab.forecasting.members import Members, of_state
from lab.series.calendar import calendar_of
from lab.store.tables import Results
from lab.training.checkpoint import read_file

if TYPE_CHECKING:
    from matplotlib.figure import Figure

FORMAT, VERSION = "forecast model", 1  # of a saved one


@dataclass(frozen=True)
class Place:
    """The records that a model was made from, which its looks belong to."""

    study: str | None = None
    results: Results | None = None


NOWHERE = Place()


@dataclass(frozen=True, eq=False)
class ForecastModel:
    """Trained networks of one shape (their mean is the forecast) or a bar, with all that a forecast needs besides.

    `predict(frame)` gives the H rows after the last one of a DataFrame, an array or a file; `plot(frame)` draws them
    after what went before, `save(path)` writes one file that `ForecastModel.load(path)` reads.
    """

    members: Members
    reading: Reading
    mean: np.ndarray  # (C,), own units: what z-scores are taken by
    std: np.ndarray  # (C,)
    band: Band
    known: Known
    about: Mapping[str, Any]  # what it was made of and how, plain values; `text` and `weights` say it
    place: Place = NOWHERE

    @property
    def channels(self) -> tuple[str, ...]:
        return self.reading.channels

    def predict(self, rows: Rows, level: float = DEFAULT_LEVEL) -> pd.DataFrame:
        """The next H steps after the last row, a row a step and channel.

        Args:
            rows: see `Reading.read`; S of them at least, of which the last S are read.
            level: share of coming values that the band is to hold, in whole percent.
        Returns:
            Columns `date` (where the rows have dates, of equal steps), `step` from 1, `channel`, and in its own units
            `forecast`, `low`, `high`.
        Raises:
            DataError: rows that are not as the model needs them.
            ConfigError: a level that is none, or that the windows of its band do not bear.
        """
        percent(level)
        return self.predict_given(self.reading.read(rows), level)

    def predict_given(self, given: Given, level: float = DEFAULT_LEVEL) -> pd.DataFrame:
        """`predict` of rows that were read."""
        self.check(given, level)
        seq_len, pred_len = self.reading.seq_len, self.reading.pred_len
        dates, calendar = self.reading.dates(given), None
        if self.members.wants_calendar and dates is not None and given.stamps is not None:
            calendar = calendar_of(np.concatenate([given.stamps[-seq_len:], dates]))[None]
        self.known.read_as_inputs(given, seq_len, "forecast", self.place.results, self.place.study)
        window = ((given.values[-seq_len:] - self.mean) / self.std)[None]
        first = np.array([given.first + len(given.values) - seq_len])
        forecasts = self.members.forecast(window, first, calendar)[:, 0]  # (N, H, C)
        low, high = self.band.about(forecasts, level)
        frame = long_frame({"forecast": forecasts.mean(0), "low": low, "high": high}, self)
        if dates is not None:
            frame.insert(0, "date", np.repeat(dates, len(self.channels)))
        if not np.isfinite(frame["forecast"]).all():
            raise DataError(f"{given.name}: the forecast is not finite; are the rows of the scale that was learned?")
        assert len(frame) == pred_len * len(self.channels)
        return frame

    def check(self, given: Given, level: float) -> None:
        """What `predict` refuses of rows that were read, and of a level, without forecasting."""
        self.band.at(level)
        if self.members.wants_calendar and self.reading.dates(given) is None:
            raise DataError(
                f"{given.name}: {self.members.title} reads the calendar, and the dates that come next are not known; "
                "give rows with dates of one step"
            )

    def plot(self, rows: Rows, level: float = DEFAULT_LEVEL, history: int | None = None) -> "Figure":
        """History, forecast and band, a panel a channel of the first twelve, in own units over dates.

        Args:
            rows, level: as `predict` takes them.
            history: rows shown before the forecast, from 1; by default twice the horizon.
        Returns:
            A matplotlib figure, of no window: `savefig` writes it.
        Raises:
            As `predict`; ConfigError: less than one row of history.
        """
        if history is not None and history < 1:
            raise ConfigError(f"history: got {history}; from 1 on are allowed, rows shown before the forecast")
        from lab.forecasting.drawing import draw  # matplotlib takes a second to import

        given = self.reading.read(rows)
        return draw(self.predict_given(given, level), given, self.reading, self.members.title, level, history)

    def save(self, path: str | os.PathLike[str]) -> Path:
        """One file that holds all that a forecast needs but the code; it appears whole or not at all, and `lab.load` or
        `ForecastModel.load` reads it.

        Raises ConfigError: a path that cannot be written.
        """
        content = {
            "format": FORMAT, "version": VERSION, "members": self.members.state(),
            "reading": self.reading.state(), "mean": torch.as_tensor(np.array(self.mean)),
            "std": torch.as_tensor(np.array(self.std)), "band": torch.as_tensor(np.array(self.band.reach)),
            "windows": self.band.windows, "split": self.band.split, "known": self.known.state(),
            "about": dict(self.about),
        }  # fmt: skip
        buffer = io.BytesIO()
        torch.save(content, buffer)
        return write_whole(Path(path), buffer.getvalue())

    def export(self, path: str | os.PathLike[str]) -> Path:
        """One program of torch's (`.pt2`) that forecasts without this project: `torch.export.load(path).module()` takes
        the last S rows of windows, (batch, S, C) float64 in the channels' own units and order, and gives (batch, H, C).

        Raises ConfigError: a model that reads the calendar or the number of a row, or that torch cannot export; a path
        that cannot be written. See `lab.forecasting.exporting`.
        """
        from lab.forecasting.exporting import export  # torch.export takes a second to import

        return export(self.members, self.reading, self.mean, self.std, self.about, Path(path))

    @classmethod
    def load(cls, path: str | os.PathLike[str], device: str | torch.device = "cpu") -> "ForecastModel":
        """What `save` wrote; nothing in the file is executed.

        Raises:
            DataError: another file, or a damaged one.
            ConfigError: its model's code is not to be had, or is another; a device that is not there.
        """
        here = pick_device(device) if isinstance(device, str) else device
        try:
            found = read_file(Path(path))
        except FileNotFoundError:
            raise DataError(f"{one_line(path)}: no such file") from None
        except DataError as error:
            raise DataError(f"{one_line(path)}: {error}") from None
        except Exception as error:  # whatever unpickling makes of a foreign file
            kind = type(error).__name__
            raise DataError(f"{one_line(path)}: no forecast model ({kind}); ForecastModel.save writes one") from None
        if not isinstance(found, dict) or found.get("format") != FORMAT:
            raise DataError(
                f"{one_line(path)}: no forecast model, though a file of torch's: ForecastModel.save writes one"
            )
        if found.get("version") != VERSION:
            raise DataError(
                f"{one_line(path)}: version {found.get('version')} of a forecast model; this code reads {VERSION}"
            )
        try:
            model = cls(
                of_state(found["members"], here), Reading.of_state(found["reading"]),
                found["mean"].numpy(), found["std"].numpy(),
                Band(found["band"].numpy(), found["windows"], found.get("split", "validation")),
                Known.of_state(found["known"]), dict(found["about"]),
            )  # fmt: skip
            channels = len(model.channels)
            shapes = {"mean": (channels,), "std": (channels,), "band": (99, model.reading.pred_len, channels)}
            wrong = {name: tuple(found[name].shape) for name, shape in shapes.items() if found[name].shape != shape}
            if wrong or not model.about.keys() >= {"text", "weights", "model", "runs", "notes"}:
                raise ValueError(f"shapes {wrong} of {shapes}" if wrong else "it does not say what it is")
        except (ConfigError, DataError):
            raise
        except (AttributeError, KeyError, TypeError, ValueError) as error:
            said = one_line(f"{type(error).__name__}: {error}")
            raise DataError(f"{one_line(path)}: a forecast model that is not as `save` writes one ({said})") from None
        return model


def long_frame(found: Mapping[str, np.ndarray], model: ForecastModel) -> pd.DataFrame:
    """z-scored (H, C) by name as columns in own units, a row a step and channel."""
    channels, steps = model.channels, model.reading.pred_len
    own = {name: (values * model.std + model.mean).ravel() for name, values in found.items()}
    return pd.DataFrame({
        "step": np.repeat(np.arange(1, steps + 1), len(channels)), "channel": list(channels) * steps, **own,
    })  # fmt: skip
