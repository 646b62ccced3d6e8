"""Rows that a forecast reads: what a model asks of them, and how a frame, a file or an array is read as such."""

from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass, replace
from pathlib import Path
from typing import Any, TypeAlias

import numpy as np
import pandas as pd

from lab.console.printing import one_line
from lab.errors import ConfigError, DataError, nearest
from lab.series.own import MOST_NAMED, Understood, understand
from lab.series.reading.dates import Step, shown_date
from lab.series.reading.files import frame_table, read_file
from lab.series.series import Series
from lab.settings.config import Config
from lab.settings.data import OWN, DataConfig

Rows: TypeAlias = "pd.DataFrame | np.ndarray | str | Path"


@dataclass(frozen=True, eq=False)
class Given:
    """Rows of the model's channels, own units, in the order of time."""

    values: np.ndarray  # (rows, C) float64
    stamps: np.ndarray | None  # (rows,) datetime64[us]
    first: int  # the row of the series that the first of them is
    name: str
    notes: tuple[str, ...] = ()


@dataclass(frozen=True)
class Reading:
    """What a model asks of the rows that it reads."""

    channels: tuple[str, ...]
    seq_len: int
    pred_len: int
    step: Step
    zone: str
    start: int | None  # of the series' first row, microseconds since 1970; None of a series without dates
    settings: Mapping[str, Any]  # how one's own data is understood (lab.settings.data.OWN)

    @classmethod
    def of(cls, series: Series, data: DataConfig) -> "Reading":
        stamps = series.timestamps
        start = None if stamps is None else int(stamps[0].astype("M8[us]").astype(np.int64))
        own = {name: getattr(data, name) for name in OWN if name != "split"}
        return cls(series.channels, data.seq_len, data.pred_len, series.step, series.zone, start, own)

    def state(self) -> dict[str, Any]:
        settings = {key: list(value) if isinstance(value, tuple) else value for key, value in self.settings.items()}
        return {**asdict(self), "channels": list(self.channels), "settings": settings}

    @classmethod
    def of_state(cls, state: Mapping[str, Any]) -> "Reading":
        return cls(**{**state, "channels": tuple(state["channels"]), "step": Step(**state["step"])})

    def told(self, overrides: Sequence[str]) -> "Reading":
        """With other settings of how one's own data is understood, such as `data.date_column=Day`.

        Raises ConfigError: another setting, or a value that is not allowed.
        """
        for key in Config.parse_overrides(overrides):
            if key.removeprefix("data.") not in self.settings:
                allowed = ", ".join(f"data.{name}" for name in self.settings)
                raise ConfigError(
                    f"{key}: what was learned stays as it is; of the rows of --data may be said: {allowed}"
                )
        before = {f"data.{name}": value for name, value in self.settings.items()}
        data = Config.create({"data.dataset": "frame", **before}, overrides=overrides).data
        return replace(self, settings={name: getattr(data, name) for name in self.settings})

    def read(self, rows: Rows) -> Given:
        """The rows of a DataFrame (dates in its index or its column of dates), a .csv or .parquet file, or an array
        (rows, C), which is taken for the series from its first row on.

        Raises DataError: other channels or another step than the model's, a missing value, too few rows.
        """
        if isinstance(rows, np.ndarray):
            return self._array(rows)
        if isinstance(rows, pd.DataFrame):
            place = name = "frame"
            table = frame_table(rows, place)
            settings = dict(self.settings)
            index = rows.index
            if isinstance(index, pd.DatetimeIndex | pd.PeriodIndex):
                settings["date_column"] = str(index.name or "")
        elif isinstance(rows, str | Path):
            path = Path(rows).expanduser()
            if not path.is_file():
                why = "a folder; name a file in it" if path.is_dir() else "no such file"
                raise DataError(f"{one_line(path)}: {why}")
            settings = dict(self.settings)
            table = read_file(path, settings["separator"], settings["decimal"])
            place, name = str(path), path.name
        else:
            raise DataError(
                f"rows to forecast from: got {type(rows).__name__}; a DataFrame, an array or a file is needed"
            )
        there = [column.name for column in table.columns]
        for channel in self.channels:
            if channel not in there:
                hint = nearest(channel, there) or f"; columns: {', '.join(map(one_line, there[:MOST_NAMED]))}"
                raise DataError(f"{place}: no column '{one_line(channel)}', a channel that the model has learned{hint}")
        data = DataConfig(dataset="frame", channels=self.channels, **settings)
        return self.of_understood(understand(table, data), place, name)

    def of_understood(self, found: Understood, place: str, name: str) -> Given:
        """Rows that were read, as the model's. Raises DataError as `read`."""
        if self.start is None or found.step != self.step:
            if self.step.regular and not found.step.regular:
                raise DataError(
                    f"{place}: rows of unequal steps, and the model has learned one every {self.step}: fill in those "
                    f"that are missing, or give those behind the last gap alone, {self.seq_len} at least"
                )
            raise DataError(f"{place}: a row every {found.step}, and the model has learned one every {self.step}")
        if found.dates.zone != self.zone:
            zones = [zone or "no time zone" for zone in (found.dates.zone, self.zone)]
            raise DataError(f"{place}: dates of {zones[0]}, and the model has learned {zones[1]}; write them alike")
        columns = [found.channels.index(channel) for channel in self.channels]
        values, stamps = found.values[:, columns], found.dates.stamps
        self._check_enough(len(values), place)
        return Given(values, stamps, self._first(stamps, place), name, found.notes)

    def _array(self, rows: np.ndarray) -> Given:
        if rows.ndim != 2 or rows.shape[1] != len(self.channels) or rows.dtype.kind not in "fiu":
            raise DataError(
                f"array: got {rows.dtype} of shape {rows.shape}; numbers (rows, {len(self.channels)}) are needed, a "
                f"column for each of {', '.join(map(one_line, self.channels[:20]))}, in this order"
            )
        self._check_enough(len(rows), "array")
        bad = np.argwhere(~np.isfinite(rows.astype(float)))
        if len(bad):
            row, column = bad[0]
            raise DataError(
                f"array: channel '{one_line(self.channels[column])}', row {row}: no finite value ({len(bad)} in all); "
                "nothing is filled silently"
            )
        return Given(rows.astype(float), None, 0, "array")

    def _check_enough(self, rows: int, place: str) -> None:
        if rows < self.seq_len:
            raise DataError(f"{place}: {rows} rows, and the model reads the last {self.seq_len} (data.seq_len)")

    def _first(self, stamps: np.ndarray, place: str) -> int:
        """How many steps the first of the rows lies behind the series' own."""
        assert self.start is not None
        start = np.datetime64(self.start, "us")
        if self.step.microseconds:
            return int((stamps[0] - start) // np.timedelta64(self.step.microseconds, "us"))
        if self.step.months:
            ahead = (stamps[0].astype("M8[M]") - start.astype("M8[M]")).astype(np.int64)
            return int(ahead) // self.step.months
        if stamps[0] != start:
            raise DataError(
                f"{place}: begins at {shown_date(stamps[0])}; of rows of unequal steps the model needs them from the "
                f"series' first on, {shown_date(start)}: which row of it a row is cannot be told otherwise"
            )
        return 0

    def dates(self, given: Given) -> np.ndarray | None:
        """Those of the rows that come next: (H,); None where they are not known."""
        if given.stamps is None or not self.step.regular:
            return None
        return self.step.after(given.stamps[-1], self.pred_len)
