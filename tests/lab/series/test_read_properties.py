"""Well-formed files of any format: read as pandas reads them, bit for bit, or refused; never as something else."""

import csv
import gzip
import os
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import pandas as pd
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from dynonet.config import DataConfig
from lab.errors import DataError
from lab.series import Series, load_series

MINUTE, HOUR, DAY = (np.timedelta64(1, unit) for unit in "mhD")
# How dates may be written, and the steps that this still tells apart.
DATES = {
    "%Y-%m-%d %H:%M:%S": (MINUTE, HOUR, DAY), "%Y-%m-%dT%H:%M:%S": (MINUTE, HOUR, DAY), "%Y/%m/%d %H:%M": (HOUR, DAY),
    "%d.%m.%Y %H:%M": (HOUR, DAY), "%m/%d/%Y %H:%M": (HOUR, DAY), "%d/%m/%Y %H:%M": (HOUR, DAY), "%Y-%m-%d": (DAY,),
    "%Y%m%d": (DAY,), "%Y%m%d%H": (HOUR, DAY), "%Y%m%d%H%M": (MINUTE, HOUR), "%m/%d/%Y %I:%M %p": (HOUR, DAY),
    "%d.%m.%y %H:%M": (HOUR,), "%d %b %Y": (DAY,), "s": (MINUTE, HOUR), "ms": (MINUTE, HOUR), "ns": (MINUTE, DAY),
}  # fmt: skip
UNITS = {"s": "seconds", "ms": "milliseconds", "ns": "nanoseconds"}
NUMBERS = st.one_of(
    st.floats(-1e6, 1e6), st.floats(1e-12, 1e-3), st.floats(1e15, 1e100), st.integers(-(2**62), 2**62),
    st.integers(0, 999), st.integers(0, 10**6).map(lambda whole: whole / 1000),
)  # fmt: skip


@dataclass(frozen=True)
class Written:
    """A frame, and how it is written."""

    frame: pd.DataFrame  # its first column is the date
    dates: str  # of DATES
    separator: str
    decimal: str
    end: str
    quoting: int
    packed: bool
    told: bool  # whether the settings say how it is written, or it is to be recognised

    def text(self) -> str:
        frame = self.frame.copy()
        stamps = frame["date"]
        frame["date"] = (
            stamps.astype("M8[ns]").astype("int64") // {"s": 10**9, "ms": 10**6, "ns": 1}[self.dates]
            if self.dates in UNITS
            else stamps.dt.strftime(self.dates)
        )
        return str(
            frame.to_csv(
                index=False, sep=self.separator, decimal=self.decimal, lineterminator=self.end, quoting=self.quoting
            )  # type: ignore[call-overload]
        )

    def settings(self) -> dict[str, object]:
        if not self.told:
            return {}
        return {
            "separator": self.separator, "decimal": self.decimal,
            "date_format": UNITS.get(self.dates, self.dates),
        }  # fmt: skip


@st.composite
def files(draw: st.DrawFn) -> Written:
    form = draw(st.sampled_from(sorted(DATES)))
    step = draw(st.sampled_from(DATES[form])) * draw(st.integers(1, 3))
    start = np.datetime64("1990-01-01", "us") + draw(st.integers(0, 20_000)) * (DAY if step % DAY == 0 else HOUR)
    rows = draw(st.integers(10, 40))
    columns = {
        name: [number + row * (1 if isinstance(number, int) else 0.0) for row, number in enumerate(numbers)]
        for name, numbers in draw(
            st.dictionaries(
                st.sampled_from(["load", "wind speed", "a,b", "Höhe", "x;y", "No", "1"]),
                st.lists(NUMBERS, min_size=rows, max_size=rows),
                min_size=1, max_size=3,
            )
        ).items()
    }  # fmt: skip
    separator = draw(st.sampled_from([",", ";", "\t"]))
    return Written(
        pd.DataFrame({"date": start + np.arange(rows) * step, **columns}), form, separator,
        draw(st.sampled_from([".", ","])), draw(st.sampled_from(["\n", "\r\n"])),
        draw(st.sampled_from([csv.QUOTE_MINIMAL, csv.QUOTE_ALL, csv.QUOTE_NONNUMERIC])),
        draw(st.booleans()), draw(st.booleans()),
    )  # fmt: skip


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return tmp_path_factory.mktemp("files")


def loaded(path: Path, **own: object) -> Series:
    return load_series(DataConfig(dataset="csv", path=str(path), split=(0.8, 0.1, 0.1), **own))


@settings(max_examples=100, deadline=None)
@given(written=files())
def test_a_text_file_is_read_as_pandas_reads_it(folder: Path, written: Written) -> None:
    text = written.text().encode()
    path = folder / f"mine.csv{'.gz' if written.packed else ''}"
    path.write_bytes(gzip.compress(text) if written.packed else text)
    form = written.dates
    theirs = pd.read_csv(path, sep=written.separator, dtype=str)
    texts = theirs.pop("date")
    theirs = theirs.map(lambda cell: float(cell.replace(written.decimal, ".")))
    dates = pd.to_datetime(texts.astype("int64"), unit=form) if form in UNITS else pd.to_datetime(texts, format=form)
    try:
        series = loaded(path, **written.settings())
    except DataError as error:
        refused = str(error)
        # What is told must be read, but for what no format helps: a channel that cannot be scaled.
        assert not written.told or "constant over the training rows" in refused, refused
        return
    rows = len(series.values)
    assert series.timestamps is not None and rows >= len(theirs) - 2
    assert series.channels == tuple(theirs.columns)
    assert series.values.tobytes() == theirs.to_numpy(np.float64)[:rows].tobytes()
    assert (series.timestamps == dates.to_numpy("M8[us]")[:rows]).all()
    assert series.train[0] == 0 and series.train[1] == series.validation[0] and series.validation[1] == series.test[0]


KINDS = ("float64", "float32", "int64", "int32", "uint16", "Int64", "Float64", "category", "object")


@settings(max_examples=50, deadline=None)
@given(
    kind=st.sampled_from(KINDS), rows=st.integers(10, 30), unit=st.sampled_from(["us", "ms", "ns", "s"]),
    zone=st.sampled_from([None, "UTC", "Europe/Berlin", "Asia/Kathmandu"]), index=st.booleans(),
    first=st.integers(0, 40_000),
)  # fmt: skip
def test_parquet_is_read_as_pandas_reads_it(
    folder: Path, kind: str, rows: int, unit: str, zone: str | None, index: bool, first: int
) -> None:
    numbers = np.random.default_rng(first).integers(0, 60_000, rows) / (1 if "int" in kind.lower() else 7)
    dates = pd.date_range("1999-01-01", periods=rows, freq="h", tz="UTC").as_unit(unit) + pd.Timedelta(hours=first)
    dates = dates.tz_convert(zone) if zone else dates.tz_localize(None)
    frame = pd.DataFrame({"date": dates, "a": pd.Series(numbers).astype(kind), "b": np.arange(rows) ** 2})
    path = folder / "mine.parquet"
    (frame.set_index("date") if index else frame).to_parquet(path, index=index)
    theirs = pd.read_parquet(path).reset_index(drop=not index)
    for series in (loaded(path), Series.from_frame(frame, DataConfig(dataset="frame", split=(0.8, 0.1, 0.1)))):
        count = len(series.values)
        assert series.values.tobytes() == theirs[["a", "b"]].astype(np.float64).to_numpy()[:count].tobytes()
        assert series.timestamps is not None
        offset = {"": 0, "UTC": 0, "+01:00": 1, "+02:00": 2, "+05:45": 5.75}[series.zone]
        world = series.timestamps - np.timedelta64(int(offset * 60), "m")
        expected = dates.tz_convert("UTC").tz_localize(None) if zone else dates
        assert (world == expected.to_numpy("M8[us]")[:count]).all() and bool(series.zone) == bool(zone)


def test_whole_numbers_of_19_digits_are_dates_to_the_microsecond(folder: Path) -> None:
    """As a float keeps them, they would be off by up to 128 ns, and a microsecond early where that is rounded down."""
    stamps = 1_600_000_000_123_457_000 + 1_000 * np.arange(20)
    pd.DataFrame({"date": stamps, "a": np.arange(20.0) ** 2}).to_parquet(folder / "ns.parquet")
    series = loaded(folder / "ns.parquet")
    assert series.timestamps is not None and str(series.timestamps[1]) == "2020-09-13T12:26:40.123458"
    assert series.step.microseconds == 1


def test_a_file_that_was_written_again_is_never_served_from_before(tmp_path: Path) -> None:
    """The same size and times: within a tick of the clock, and set back by a copy that keeps them."""
    path = tmp_path / "mine.csv"

    def write(value: int, age: int) -> float:
        rows = "".join(f"2020-01-01 {hour:02d}:00,{value + hour}\n" for hour in range(20))
        path.write_text(f"date,a\n{rows}")
        os.utime(path, ns=(10**18 - age, 10**18 - age))
        return float(loaded(path).values[0, 0])

    assert [write(value, age=0) for value in range(10, 30)] == list(range(10, 30))
