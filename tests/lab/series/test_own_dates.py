"""Dates of one's own files: however they are written, with zones and steps of all kinds, and what is no date."""

from datetime import timedelta, timezone

import numpy as np
import pandas as pd
import pytest

from lab.errors import DataError
from lab.series import load_series
from lab.series.calendar import calendar_of
from lab.series.reading.dates import Step, shown_date
from lab.settings.data import DataConfig
from tests.lab.series.own_files import PLAIN, ROWS, SECONDS, START, TIMES, hours, lines_of, read

FORMS = {
    "iso T": hours("%Y-%m-%dT%H:%M:%S"),
    "no leading zeros": [f"{t.year}/{t.month}/{t.day} {t.hour}:00" for t in TIMES],
    "dots": hours("%d.%m.%Y %H:%M"),
    "half days": hours("%Y-%m-%d %I:%M %p"),
    "fractions": hours("%Y-%m-%d %H:%M:%S.000"),
    "seconds": [str(second) for second in SECONDS],
    "digits": hours("%Y%m%d%H"),
    "digits with minutes": hours("%Y%m%d%H%M"),
    "digits with seconds": hours("%Y%m%d%H%M%S"),
    "milliseconds": [str(1000 * second) for second in SECONDS],
    "nanoseconds": [str(10**9 * second) for second in SECONDS],
}


@pytest.mark.parametrize("form", FORMS)
def test_dates_are_read_however_they_are_written(tmp_path, plain, form):
    series = read(tmp_path, lines_of(FORMS[form]))
    assert series.timestamps is not None and (series.timestamps == plain.timestamps).all()
    assert series.values.tolist() == plain.values.tolist()


def test_dates_of_other_steps(tmp_path):
    def step(dates: list[str], **settings: object) -> str:
        return str(read(tmp_path, lines_of(dates), **settings).step)

    months = pd.date_range("2001-01-01", periods=ROWS, freq="MS")
    assert step([f"{month:%Y-%m}" for month in months]) == "1 month"
    assert step([f"{end:%Y-%m-%d}" for end in pd.date_range("2001-01-31", periods=ROWS, freq="QE")]) == "3 months"
    assert step([str(1900 + i) for i in range(ROWS)]) == "1 year"
    assert step([f"{day:%Y%m%d}" for day in pd.date_range("2001-02-01", periods=ROWS, freq="7D")]) == "7 days"
    days = pd.date_range("2001-02-01", periods=ROWS, freq="D")
    assert step([f"{day:%m/%d/%Y}" for day in days]) == "1 day"  # the 13th says which is the day
    assert step([f"{day:%d/%m/%Y}" for day in days]) == "1 day"
    assert step([f"{day:%d. %B %Y}" for day in days], date_format="%d. %B %Y") == "1 day"
    end = read(tmp_path, lines_of([f"{end:%Y-%m-%d}" for end in pd.date_range("2001-01-31", periods=ROWS, freq="ME")]))
    assert [shown_date(date) for date in end.next_dates(2)] == ["2009-05-31 00:00", "2009-06-30 00:00"]


def test_time_zones(tmp_path, plain):
    east = timezone(timedelta(hours=2))
    fixed = read(tmp_path, lines_of([moment.replace(tzinfo=east).isoformat() for moment in TIMES]))
    assert fixed.zone == "+02:00" and (fixed.timestamps == plain.timestamps).all()
    # Through the end of summer time, 01:00 comes twice on the wall and once in UTC.
    berlin = pd.date_range("2020-10-24", periods=ROWS, freq="h", tz="Europe/Berlin")
    moved = read(tmp_path, lines_of([moment.isoformat() for moment in berlin]))
    assert moved.zone == "UTC" and str(moved.step) == "1 hour"
    with pytest.raises(
        DataError, match="1 row with a date that another row has: 2020-10-25 02:00 in line 28 and line 29"
    ):
        read(tmp_path, lines_of([f"{moment:%Y-%m-%d %H:%M}" for moment in berlin]))


def test_dates_and_times_of_day_in_two_columns(tmp_path, plain):
    """Refused, with a line that makes one column of them; a date that stands 24 times is no long format."""
    apart = lines_of([f"{moment:%d.%m.%Y},{moment:%H:%M:%S}" for moment in TIMES], "day,time,a,b")
    for settings in ({"date_column": "day"}, {"date_column": "[day, time]"}):
        with pytest.raises(DataError, match=r"with pandas: frame.*pop") as refused:
            read(tmp_path, apart, **settings)
        frame = pd.read_csv(tmp_path / "mine.csv")
        exec(str(refused.value).partition("with pandas: ")[2].partition("; frame.to_csv")[0], {"frame": frame})
        joined = read(tmp_path, frame.to_csv(index=False), date_column="day")
        assert joined.identity == plain.identity
    numbered = lines_of([f"{moment:%Y-%m-%d},{moment.hour + 1}" for moment in TIMES[:96]], "date,hour,a,b")
    with pytest.raises(DataError, match=r"pivot\(.*or, if that is the hour of the day: .*\(frame.pop\('hour'\) - 1\)"):
        read(tmp_path, numbered)


def test_a_clock_that_was_changed(tmp_path):
    """What the error says makes a series of one step out of local dates with an hour twice."""
    berlin = pd.date_range("2020-10-24", periods=ROWS, freq="h", tz="Europe/Berlin")
    with pytest.raises(DataError, match="was the clock changed there") as refused:
        read(tmp_path, lines_of([f"{moment:%Y-%m-%d %H:%M}" for moment in berlin]))
    frame = pd.read_csv(tmp_path / "mine.csv", parse_dates=["date"])
    exec(str(refused.value).partition("holds dates, ")[2].partition(" (your own")[0], {"frame": frame})
    mended = read(tmp_path, frame.to_csv(index=False))
    assert str(mended.step) == "1 hour" and mended.zone == "UTC"


# Numbers that are no times since 1970: each would be an even step of seconds of that year.
NO_DATES = {
    "rows": [str(row) for row in range(ROWS)],
    "days of a spreadsheet": [str(43831 + row) for row in range(ROWS)],
    "hours of a spreadsheet": [str(43831 + row / 4) for row in range(ROWS)],
    "years with decimals": [str(1990 + row / 4) for row in range(ROWS)],
    "Julian days": [str(2458849.5 + row) for row in range(ROWS)],
    "months of one year": [str(202001 + row) for row in range(12)],
}


@pytest.mark.parametrize("kind", NO_DATES)
def test_numbers_that_may_count_anything_are_no_dates(tmp_path, kind):
    numbers = NO_DATES[kind]
    with pytest.raises(
        DataError, match=rf"numbers, the first {numbers[0]}, .*what they count is not told.*date_format"
    ):
        read(tmp_path, lines_of(numbers))
    pd.DataFrame({"date": list(map(float, numbers)), "a": np.arange(len(numbers)) ** 2}).to_parquet(
        tmp_path / "n.parquet"
    )
    with pytest.raises(DataError, match="what they count is not told"):
        load_series(DataConfig(dataset="csv", path=str(tmp_path / "n.parquet")))


def test_numbers_whose_unit_is_told_are_dates(tmp_path):
    told = read(tmp_path, lines_of([str(60 * row + 7) for row in range(ROWS)]), date_format="seconds")
    assert told.timestamps is not None and str(told.timestamps[1]) == "1970-01-01T00:01:07.000000"
    months = read(tmp_path, lines_of(NO_DATES["months of one year"]), date_format="%Y%m")
    assert str(months.step) == "1 month"
    with pytest.raises(DataError, match=r"not of the form data\.date_format=seconds: line 2: '2020-01-01 00:00:00'"):
        read(tmp_path, PLAIN, date_format="seconds")


@pytest.mark.parametrize(
    ("form", "reason"),
    [
        ("%Y-%Y", "%Y stands twice"), ("%Q", "'Q' is a bad directive"), ("%Y-%", "stray %"),
        ("%m-%d %H:%M", "it reads no year"), ("%Y-%m-%d %I:%M:%S", "%p has to say which"),
        ("%Y-%m-%d %H:%M:%S %p", "beside %H it is not read"), ("%Y-%W", "a week is read with its weekday"),
        ("%Y %d", "a day and no month"),
    ],
)  # fmt: skip
def test_a_format_that_reads_other_dates_than_are_written_is_refused(tmp_path, form, reason):
    """strptime takes `01:00 PM` by %H %p for one in the morning, and any week by %W for the first of January."""
    with pytest.raises(DataError, match=rf"data\.date_format: got '{form}': .*{reason}.*'%Y-%m-%d %H:%M'"):
        read(tmp_path, PLAIN, date_format=form)


def test_a_zone_is_the_same_in_every_format(tmp_path):
    frame = pd.DataFrame(
        {"date": pd.date_range(START, periods=ROWS, freq="h", tz="Asia/Kathmandu"), "a": np.arange(100.0)}
    )
    frame.to_parquet(tmp_path / "zone.parquet")
    series = load_series(DataConfig(dataset="csv", path=str(tmp_path / "zone.parquet")))
    assert series.zone == "+05:45" and series.identity == read(tmp_path, frame.to_csv(index=False)).identity


def test_the_calendar():
    stamps = np.array(["2021-01-01T00:00", "2020-12-31T23:59", "2024-02-29T12:00", "2021-03-07T06:00"], dtype="M8[us]")
    expected = [(0, 4, 0, 0), (23, 3, 30, 365), (12, 3, 28, 59), (6, 6, 6, 65)]  # 2020 and 2024 are leap years
    assert np.allclose(calendar_of(stamps) + 0.5, np.array(expected) / (23, 6, 30, 365), atol=1e-15)
    assert load_series(DataConfig()).calendar.shape == (4000, 4)


def test_steps_of_months_keep_the_day():
    after = Step(months=1).after(np.datetime64("2023-12-15T06:00", "us"), 2)
    assert [shown_date(date) for date in after] == ["2024-01-15 06:00", "2024-02-15 06:00"]
