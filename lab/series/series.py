"""A multivariate series with its dates, its splits and its scaling, and the identity that names what it holds."""

import hashlib
import json
from collections.abc import Sequence
from dataclasses import dataclass, replace
from functools import cached_property

import numpy as np
import pandas as pd

from lab.errors import DataError, check_kind, nearest
from lab.series.calendar import calendar_of
from lab.series.origins import Rows, Splits, by_fractions, splits_of
from lab.series.own import Understood, understand
from lab.series.reading.dates import UNEQUAL, Step, shown_date
from lab.series.reading.files import Table, frame_table
from lab.settings.data import DataConfig

# Part of the identity of one's own data: raise it when a change to how files are read changes what is seen.
IDENTITY_VERSION = 1


@dataclass(frozen=True, eq=False)
class Series:
    """A multivariate series and its splits. Arrays are read-only, so that one copy serves every trial.

    Raises DataError from `std` and `scaled` if a channel is constant over the training rows.
    """

    name: str  # 'ETTh1', 'synthetic', or the stem of a file
    # (rows, C) float64, raw units; rows after the test split are left out (but for lab.series.sealed.unsealed)
    values: np.ndarray
    channels: tuple[str, ...]
    train: Rows
    validation: Rows
    test: Rows
    # What runs, baselines, caches and the object store know the series by: of a named ETT file its checksum, of a
    # synthetic series that of the generator's version and settings, of any other data a hash of all that is seen.
    identity: str
    source: str  # where it came from, one line, without folders
    timestamps: np.ndarray | None = None  # (rows,) datetime64[us], the clock that the data writes
    step: Step = UNEQUAL  # between two rows
    zone: str = ""  # of the timestamps: "" where none is named, else UTC or +01:00
    notes: tuple[str, ...] = ()  # what a reader of results must know of the data, a sentence each
    file_sha256: str = ""  # of the file as it lies on the disk; "" of data without one
    sealed: Rows | None = None  # rows set aside, which no split reaches into; `values` ends before them
    stretch: float = 1.0  # of the targets, in what windows are cut from it (see `stretched`)
    # Of a series all of whose rows are fitted: the one on which closed forms choose what validation chooses, penalties
    # and kernels; these rows then only say the numbers that go with that choice.
    chosen_on: "Series | None" = None

    @classmethod
    def from_frame(cls, frame: pd.DataFrame, data: DataConfig | None = None, name: str = "frame") -> "Series":
        """A series from a DataFrame: dates in its index or in column `data.date_column`, every other column a channel.

        Args:
            data: `dataset` is frame; what it says of channels, dates, missing values and the split is read.
            name: what the series is called.
        Raises:
            DataError: as `load_series` does of a file.
        """
        check_kind("frame", frame, pd.DataFrame, "a DataFrame with a date column or index (of a file: load_series)")
        data = DataConfig(dataset="frame") if data is None else data
        check_kind("data", data, DataConfig, "the section `data` of a Config, config.data,")
        index = frame.index
        if isinstance(index, pd.DatetimeIndex | pd.PeriodIndex) and "date_column" not in data.model_fields_set:
            data = data.model_copy(update={"date_column": str(index.name or "")})
        return cls.of_table(frame_table(frame, name), data, name, f"DataFrame {name}")

    @classmethod
    def of_table(cls, table: Table, data: DataConfig, name: str, source: str) -> "Series":
        """The series of a table. Raises DataError: what cannot be understood, or is not as a series has to be."""
        understood = understand(table, data)
        splits = splits_of(table.place, data, len(understood.values), by_fractions(table.place, data.split))
        return cls.checked(name, understood, splits, None, source, table.sha256)

    @classmethod
    def checked(
        cls, name: str, data: Understood, splits: Splits, identity: str | None, source: str, file_sha256: str = ""
    ) -> "Series":
        """A series whose channels can be scaled, without the rows after its test split.

        Args:
            identity: None for the one that follows from all that is seen.
        Raises:
            DataError: a channel that is constant over the training rows.
        """
        end = splits.test[1]
        return cls(
            name, read_only(data.values[:end]), data.channels, splits.train, splits.validation, splits.test, "", source,
            read_only(data.dates.stamps[:end]), data.step, data.dates.zone, data.notes, file_sha256, splits.sealed,
        )._finished(identity, data.notes)  # fmt: skip

    def _finished(self, identity: str | None, notes: Sequence[str]) -> "Series":
        """With its identity, with what is to be said of it, and scaled: the copy that trials share is scaled, too."""
        series = replace(self, identity=identity or self._seen(), notes=(*notes, *self._constant_notes()))
        _ = series.scaled  # what cannot be is refused here, not in the middle of a search
        return series

    @property
    def num_channels(self) -> int:
        return len(self.channels)

    @cached_property
    def mean(self) -> np.ndarray:
        """Mean of the training rows: (C,), raw units."""
        return read_only(self._training_rows.mean(axis=0))

    @cached_property
    def std(self) -> np.ndarray:
        """Population deviation of the training rows: (C,), raw units."""
        rows = self._training_rows
        deviation = rows.std(axis=0)
        # A constant channel may have a tiny deviation by rounding, so the range decides.
        usable = (rows.max(axis=0) > rows.min(axis=0)) & np.isfinite(deviation) & (deviation > 0)
        if not usable.all():
            still = [name for name, moves in zip(self.channels, usable, strict=True) if not moves]
            which = f"channel '{still[0]}' is" if len(still) == 1 else f"channels {', '.join(map(repr, still))} are"
            others = [name for name in self.channels if name not in still]
            advice = f"leave out what cannot be scaled: {chosen(others)}" if others else "no channel is left"
            first, end = self.train
            raise DataError(
                f"{self.name}: {which} constant over the training rows {first}..{end} (or of a deviation that is no "
                f"finite number); {advice}"
            )
        return read_only(deviation)

    @cached_property
    def scaled(self) -> np.ndarray:
        """z-scores by the training rows' mean and population deviation: (rows, C) float64."""
        return read_only((self.values - self.mean) / self.std)

    @cached_property
    def calendar(self) -> np.ndarray:
        """The calendar of every row (see `lab.series.calendar`): (rows, 4) float64.

        Raises DataError for a series without dates.
        """
        return read_only(calendar_of(self._dates))

    def next_dates(self, count: int) -> np.ndarray:
        """The dates of the `count` rows after the last one: (count,) datetime64[us].

        Raises DataError for a series without dates, or of unequal steps.
        """
        return self.step.after(self._dates[-1], count)

    @property
    def _dates(self) -> np.ndarray:
        if self.timestamps is None:
            raise DataError(f"{self.name}: the series has no dates")
        return self.timestamps

    @property
    def _training_rows(self) -> np.ndarray:
        return self.values[self.train[0] : self.train[1]]

    def choose(self, channels: Sequence[str] | None) -> "Series":
        """The series of these channels alone, in this order, under an identity of its own; itself where they are all.

        Raises DataError for a channel that it does not have.
        """
        if channels is None or tuple(channels) == self.channels:
            return self
        for name in channels:
            if name not in self.channels:
                hint = nearest(name, self.channels) or f"; channels: {', '.join(self.channels)}"
                raise DataError(f"{self.name}: no channel '{name}'{hint} (data.channels)")
        index = [self.channels.index(name) for name in channels]
        return replace(self, values=read_only(self.values[:, index]), channels=tuple(channels))._finished(None, ())

    def stretched(self, factor: float) -> "Series":
        """The series with the targets of its windows that many times as large, their inputs as they are.

        For a probe that wants long gradients: no training is like that, so its identity is no series' own.
        """
        return replace(self, stretch=factor * self.stretch, identity=f"{self.identity} stretched {factor:g}")

    def _seen(self) -> str:
        """The identity that follows from all that is seen: values, names, order, dates and splits."""
        content = {
            "version": IDENTITY_VERSION, "channels": self.channels, "rows": len(self.values),
            "splits": [self.train, self.validation, self.test], "zone": self.zone,
        }  # fmt: skip
        digest = hashlib.sha256(json.dumps(content, separators=(",", ":")).encode())
        digest.update(self.values.astype("<f8").tobytes())
        if self.timestamps is not None:
            digest.update(self.timestamps.astype("M8[us]").astype("<i8").tobytes())
        return digest.hexdigest()

    def _constant_notes(self) -> tuple[str, ...]:
        """A sentence for each channel that does not move over validation or test: its error there is near zero."""
        notes = []
        for split, (first, end) in (("validation", self.validation), ("test", self.test)):
            rows = self.values[first:end]
            still = [
                name for name, low, high in zip(self.channels, rows.min(0), rows.max(0), strict=True) if low == high
            ]
            if still:
                which = f"channel {still[0]} is" if len(still) == 1 else f"channels {', '.join(still)} are"
                notes.append(f"{which} constant over the {split} rows, so that the mean error there is pulled down")
        return tuple(notes)

    def period(self, rows: Rows) -> str:
        """The first and the last date of some rows, or the rows where there are no dates."""
        first, end = rows
        if self.timestamps is None or end > len(self.timestamps):
            return f"rows {first}..{end}"
        return f"{shown_date(self.timestamps[first])} to {shown_date(self.timestamps[end - 1])}"


def chosen(channels: Sequence[str]) -> str:
    """The setting that reads these channels, as a shell takes it."""
    items = ", ".join(f'"{name}"' if set(name) & set(",[] #") else name for name in channels)
    if len(items) > 400 or set("".join(channels)) & set("\"'"):
        return "data.channels=[...] with the others"
    return f"data.channels='[{items}]'"


def read_only(array: np.ndarray) -> np.ndarray:
    array.setflags(write=False)
    return array
