"""Files of one's own: what is read as what, every refusal by its message, and that a run is named by what it saw."""

import gzip
import math
from datetime import UTC, datetime, timedelta, timezone
from pathlib import Path

import numpy as np
import pandas as pd
import pytest

from dynonet.config import Config
from lab.errors import ConfigError, DataError
from lab.series import Series, load_series
from lab.series.__main__ import main
from lab.series.calendar import calendar_of
from lab.series.reading.dates import Step, shown_date
from lab.settings.data import OWN, DataConfig

START = datetime(2020, 1, 1)
ROWS = 100


def values_of(rows: int = ROWS) -> list[tuple[str, str]]:
    return [(f"{math.sin(i / 4):.4f}", f"{10 + math.cos(i / 3):.4f}") for i in range(rows)]


def lines_of(dates: list[str], header: str = "date,a,b", separator: str = ",") -> str:
    rows = [separator.join((date, *values)) for date, values in zip(dates, values_of(len(dates)), strict=True)]
    return "\n".join([header, *rows]) + "\n"


def hours(form: str, rows: int = ROWS, step: int = 1) -> list[str]:
    return [(START + timedelta(hours=step * i)).strftime(form) for i in range(rows)]


def read(folder: Path, text: str | bytes, name: str = "mine.csv", **settings: object) -> Series:
    path = folder / name
    path.write_bytes(text if isinstance(text, bytes) else text.encode())
    return load_series(DataConfig(dataset="csv", path=str(path), **settings))


ISO = hours("%Y-%m-%d %H:%M:%S")
PLAIN = lines_of(ISO)


@pytest.fixture
def plain(tmp_path):
    return read(tmp_path, PLAIN)


def test_what_a_file_holds(tmp_path, plain):
    assert plain.name == "mine" and plain.channels == ("a", "b")
    assert (plain.train, plain.validation, plain.test) == ((0, 60), (60, 80), (80, 100))
    assert plain.values.tolist() == [[float(a), float(b)] for a, b in values_of()]
    assert plain.timestamps is not None and str(plain.timestamps[25]) == "2020-01-02T01:00:00.000000"
    assert str(plain.step) == "1 hour" and str(plain.next_dates(2)[1]) == "2020-01-05T05:00:00.000000"
    assert str(tmp_path) not in plain.source and plain.notes == ()
    other = read(tmp_path, PLAIN, split=(0.5, 0.25, 0.125))
    assert (other.train, other.validation, other.test, other.values.shape) == ((0, 50), (50, 75), (75, 87), (87, 2))


# The same hours, written in other ways
TIMES = [START + timedelta(hours=i) for i in range(ROWS)]
SECONDS = [int(moment.replace(tzinfo=UTC).timestamp()) for moment in TIMES]
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


def changed(dates: list[str], **at: str) -> list[str]:
    return [at.get(f"row{row}", date) for row, date in enumerate(dates)]


LONG = "date,id,load\n" + "".join(f"{date},{who},{i}\n" for who in (1, 2, 3) for i, date in enumerate(ISO))


def cell(text: str) -> str:
    """The plain file with another second value of channel b, in line 3."""
    return PLAIN.replace("10.9450", text, 1)


REFUSED = {
    "newest first": (lines_of(ISO[::-1]), r"newest first\): line 3 has .* after .*; data\.sort=true"),
    "out of order": (
        lines_of([*ISO[:50], ISO[51], ISO[50], *ISO[52:]]),
        r"1 of 99 steps go back in time\): line 53 has 2020-01-03 02:00 after 2020-01-03 03:00; data\.sort=true",
    ),
    "twice": (lines_of(changed(ISO, row7=ISO[6])), "1 row with a date that another row has: .* in line 8 and line 9"),
    "a gap": (
        lines_of([*ISO[:20], *hours("%Y-%m-%d %H:%M", 200)[170:]]),
        r"1 of 49 are not: line 22 \(2020-01-08 02:00\) comes 151 hours after .*, 150 rows missing.*irregular",
    ),
    "garbage": (lines_of(changed(ISO, row3="soon", row5="")), "2 of 100 rows: no date .*: line 5: 'soon'; line 7: em"),
    "no such day": (lines_of(changed(ISO, row3="2020-02-30 00:00:00")), "no date of the calendar: line 5"),
    "some with a zone": (lines_of(changed(ISO, row3=ISO[3] + "Z")), "a time zone and others none: line 5"),
    "which is the day": (
        lines_of([f"{i % 12 + 1}/{i // 12 + 1}/2020 5:00" for i in range(ROWS)]),
        r"not told by any row; give data\.date_format='%d/%m/%Y %H:%M' or data\.date_format='%m/%d/%Y %H:%M'",
    ),
    "long format": (
        LONG,
        r"long format: each date stands once for each of the 3 values of column 'id' \(1, 2, 3\).*"
        r"pivot\(index='date', columns='id', values='load'\)",
    ),
    "another form": (lines_of(hours("%d-%b-%y %H:%M")), r"data\.date_format='%d-%b-%y %H:%M' reads them"),
    "times of day alone": (lines_of(hours("%H:%M")), "times of day without a date; data.date_column names"),
    "two names alike": (lines_of(ISO, "date,a,a"), "columns of the same name: 'a'"),
    "a control character": (lines_of(ISO, "date,a,\x1b[31mred"), r"column 3 holds a control character: '\\x1b"),
    "no header": (PLAIN.partition("\n")[2], "the first line names no columns"),
    "no date column": (lines_of(ISO, "dates,a,b"), r"no date column 'date'; .* set data\.date_column='dates'"),
    "nothing beside it": ("date,\n" + "".join(f"{date},\n" for date in ISO), "no column beside the date column"),
    "one column": ("date\n" + "\n".join(ISO), "neither comma, semicolon nor tab divides its lines"),
    "too few": (lines_of(ISO[:2]), "2 rows are too few to split"),
    "a field too many": (PLAIN.replace("\n", ",9\n", 3).replace(",9", "", 1), "line 2 has 4 fields and the header 3"),
    "a header alone": ("date,a\n", "a header and no rows"),
    "empty": ("", "the file is empty"),
    "blank": ("\n \n", "the file is empty"),
    "latin": ("date,Höhe\n".encode("latin-1"), r"line 1 is not UTF-8 \(byte 0xf6\)"),
    "binary": (b"date,a\n\0\0\n", "line 2 holds bytes that are no text"),
    "workbook": (b"PK\x03\x04rest", "an Excel workbook"),
    "half a gzip": (gzip.compress(PLAIN.encode())[:90], "gzip cannot unpack it"),
    "no value": (cell(""), r"channel 'b', line 3: no value; nothing is filled silently"),
    "lines as an editor counts": ("\n\n" + cell("oops"), "channel 'b', line 5: 'oops', no number"),
    "infinite": (cell("inf"), "'inf', not a finite number"),
    "overflow": (cell("1e999"), "'1e999', not a finite number"),
    "yes and no": (cell("True"), "'True', a yes or no, no number"),
    "underscores": (cell("1_000"), "'1_000', no plain number: write it without a separator"),
    "wide digits": (cell("１０"), "'１０', digits that are not ASCII's"),
    "thousands": (cell('"1,234,567.5"'), "no plain number: write it without a separator"),
    "point and comma": (
        PLAIN.replace(",", ";").replace(".", ",").replace("10,9450", "1.010,9450"),
        r"'1\.010,9450', .*read_csv\(FILE, thousands='\.', decimal=','\)",
    ),
    "point or thousands": (
        "date;a\n" + "".join(f"{date};{980 + 30 * row:,}\n".replace(",", ".") for row, date in enumerate(ISO)),
        r"column 'a': '1\.010' beside '980' may be a decimal point or a separator of thousands.*data\.decimal='\.'",
    ),
    "comma or thousands": (cell('"1,234"'), "may be a decimal comma or a separator of thousands"),
    "two lines in a cell": (cell('"1\n2"'), "'1\\\\n2', no number"),
    # A pattern with two ways to match a whole number would take longer than the world has stood.
    "a whole number missing": (
        "date,a\n" + "".join(f"{date},{'' if row == 90 else 100 + row}\n" for row, date in enumerate(ISO)), "no value"
    ),
    "names that look alike": (lines_of(ISO, "date,caf\u00e9,cafe\u0301"), "columns of the same name: 'cafe"),
    "no such offset": (lines_of([f"{date}+27:00" for date in ISO]), "100 of 100 rows: no offset from UTC"),
    "year 0": (lines_of([f"0000{date[4:]}" for date in ISO]), "no date of the calendar"),
    "both decimals": (cell('"1,5"'), "with a comma .* and with a point"),
}  # fmt: skip


@pytest.mark.parametrize("case", REFUSED)
def test_what_is_wrong_is_refused_as_what_it_is(tmp_path, case):
    text, message = REFUSED[case]
    with pytest.raises(DataError, match=message):
        read(tmp_path, text)


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


def test_channels_that_cannot_be_scaled_are_named_at_once(tmp_path):
    text = "date,a,still,b,none\n" + "".join(
        f"{date},{a},0,{b},7\n" for date, (a, b) in zip(ISO, values_of(), strict=True)
    )
    with pytest.raises(DataError, match=r"channels 'still', 'none' are constant .*: data\.channels='\[a, b\]'"):
        read(tmp_path, text)


@pytest.mark.parametrize(
    ("typed", "read_as"),
    [("[?]", ("?",)), ("[#N/A, -9999]", ("#N/A", -9999)), ("?", ("?",)), ('["-1", *]', ("-1", "*")), ("[]", ())],
)
def test_marks_of_no_value_are_taken_as_typed(typed, read_as):
    config = Config.create({"data.path": "mine.csv"}).override([f"data.missing_values={typed}"])
    assert config.data.missing_values == read_as


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


def test_a_mark_that_no_cell_is_is_said(tmp_path):
    marked = read(tmp_path, PLAIN, missing_values=(-9999, "?"))
    assert marked.notes == ("no cell is -9999.0 or ?, which data.missing_values names",)


def test_a_zone_is_the_same_in_every_format(tmp_path):
    frame = pd.DataFrame(
        {"date": pd.date_range(START, periods=ROWS, freq="h", tz="Asia/Kathmandu"), "a": np.arange(100.0)}
    )
    frame.to_parquet(tmp_path / "zone.parquet")
    series = load_series(DataConfig(dataset="csv", path=str(tmp_path / "zone.parquet")))
    assert series.zone == "+05:45" and series.identity == read(tmp_path, frame.to_csv(index=False)).identity


def test_a_parquet_file_of_other_things_is_refused(tmp_path):
    frame = pd.DataFrame({"date": TIMES, "a": [[1.0, 2.0]] * ROWS})
    frame.to_parquet(tmp_path / "lists.parquet")
    with pytest.raises(DataError, match="column 'a' holds values of type ndarray, which are no numbers"):
        load_series(DataConfig(dataset="csv", path=str(tmp_path / "lists.parquet")))
    text = pd.DataFrame({"date": TIMES, "a": [f"{row},5" for row in range(ROWS)]})
    text.to_parquet(tmp_path / "text.parquet")
    with pytest.raises(DataError, match="'0,5', no plain number"):
        load_series(DataConfig(dataset="csv", path=str(tmp_path / "text.parquet")))
    comma = load_series(DataConfig(dataset="csv", path=str(tmp_path / "text.parquet"), decimal=","))
    assert comma.values[:3, 0].tolist() == [0.5, 1.5, 2.5]


def test_a_file_that_may_be_cut_off_is_said_to_be(tmp_path, plain):
    """Of a last number that is cut nothing else tells: 2919 is 29."""
    assert "whole" not in plain.source and "last row: is the file whole?" in read(tmp_path, PLAIN[:-3]).source


def test_very_many_columns_are_refused_at_once(tmp_path):
    with pytest.raises(DataError, match="1,000,001 columns, at most 100,000 are read"):
        read(tmp_path, ",".join(["date", *map(str, range(1_000_000))]) + "\n" + "1," * 1_000_000 + "1\n")


def test_what_a_setting_resolves(tmp_path, plain):
    back = read(tmp_path, lines_of(ISO[::-1]), sort=True)
    assert back.timestamps is not None and (back.timestamps == plain.timestamps).all()
    assert back.values.tolist() == plain.values.tolist()[::-1] and back.notes == (
        "the rows were sorted by their dates",
    )
    with pytest.raises(DataError, match="channel 'b', line 100: no value"):  # the line that it stands in, sorted or not
        read(tmp_path, lines_of(ISO[::-1]).replace(values_of()[98][1], "", 1), sort=True)
    gap = read(tmp_path, lines_of([*ISO[:20], *hours("%Y-%m-%d %H:%M", 200)[170:]]), irregular_steps=True)
    assert "unequal steps" in gap.notes[0] and not gap.step.regular
    with pytest.raises(DataError, match="unequal steps, so the dates that come next"):
        gap.next_dates(1)
    marked = PLAIN.replace("10.9450", "-9999", 1).replace("10.7859", "none", 1)
    with pytest.raises(DataError, match=r"channel 'b', line 3: no value; 2 of 100 rows"):
        read(tmp_path, marked, missing_values=(-9999,))
    filled = read(tmp_path, marked, missing_values=(-9999,), fill="previous")
    assert filled.values[:4, 1].tolist() == [11.0, 11.0, 11.0, float(values_of()[3][1])]
    assert filled.notes == ("2 of 200 values are missing; each was filled with its channel's last one before",)
    with pytest.raises(DataError, match="channel 'a', line 2: no value, and none before it"):
        read(tmp_path, PLAIN.replace(",0.0000,", ",,", 1), fill="previous")
    pipes = read(tmp_path, PLAIN.replace(",", "|"), separator="|")
    assert pipes.identity == plain.identity


def test_formats_that_are_recognised(tmp_path, plain):
    comma = PLAIN.replace(",", ";").replace(".", ",")
    frame = pd.DataFrame(plain.values, columns=["a", "b"], index=pd.DatetimeIndex(plain.timestamps, name="date"))
    index = io_of(frame.reset_index())
    frame.to_parquet(tmp_path / "frame.parquet")
    with pytest.raises(DataError, match="got ';', and a Parquet file has none"):
        load_series(DataConfig(dataset="csv", path=str(tmp_path / "frame.parquet"), separator=";"))
    same = {
        "semicolon, decimal comma": read(tmp_path, comma),
        "tab": read(tmp_path, PLAIN.replace(",", "\t")),
        "windows, byte order mark": read(tmp_path, ("\ufeff" + PLAIN).replace("\n", "\r\n")),
        "utf-16": read(tmp_path, PLAIN.encode("utf-16")),
        "quoted": read(tmp_path, PLAIN.replace("2020-01-01 00:00:00", '"2020-01-01 00:00:00"')),
        "gzip": read(tmp_path, gzip.compress(PLAIN.encode()), "mine.csv.gz"),
        "parquet": load_series(DataConfig(dataset="csv", path=str(tmp_path / "frame.parquet"))),
        "frame": Series.from_frame(frame),
        "frame, an index of another name": Series.from_frame(frame.rename_axis("when")),
        "frame, an index without a name": Series.from_frame(frame.rename_axis(None)),
        "frame, dates in a column": Series.from_frame(frame.reset_index()),
        "an index without a name": read(tmp_path, index),
        "columns chosen": read(tmp_path, PLAIN, channels=("a", "b")),
    }
    assert {name: series.identity for name, series in same.items()} == dict.fromkeys(same, plain.identity)
    assert "separator semicolon, decimal comma" in same["semicolon, decimal comma"].source
    assert same["an index without a name"].notes == ("column 1, without a name, counts the rows and was left out",)
    for order in (slice(None, None, -1), slice(10, None)):  # of a frame that was sorted, or filtered
        rest = read(tmp_path, io_of(frame.reset_index().iloc[order]), sort=True)
        assert rest.channels == ("a", "b") and "numbers the rows" in rest.notes[0]
    unnamed = read(tmp_path, PLAIN.replace("date", "", 1))
    assert unnamed.identity == plain.identity and "no name" in unnamed.notes[0]
    assert read(tmp_path, gzip.compress(PLAIN.encode()), "mine.csv.gz").name == "mine"
    counted = read(tmp_path, lines_of([f"{date},{row}" for row, date in enumerate(ISO, 1)], "date,No,a,b"))
    assert counted.channels == ("No", "a", "b") and "channel No only counts the rows" in counted.notes[0]


def io_of(frame: pd.DataFrame) -> str:
    return frame.to_csv()


def test_the_identity_says_all_that_is_seen(tmp_path, plain):
    """Whatever of the source's settings changes a value, its order, a date or a split changes the identity."""
    marked = PLAIN.replace("10.9450", "-9999", 1)
    both = lines_of([f"{date},{second}" for date, second in zip(ISO, SECONDS, strict=True)], "date,unix,a,b")
    seen = {
        "plain": plain,
        "order of channels": read(tmp_path, PLAIN, channels=("b", "a")),
        "one channel": read(tmp_path, PLAIN, channels=("a",)),
        "split": read(tmp_path, PLAIN, split=(0.7, 0.1, 0.2)),
        "last split": read(tmp_path, PLAIN, split=(0.6, 0.2, 0.1)),
        "a name": read(tmp_path, lines_of(ISO, "date,a,c")),
        "a date": read(tmp_path, lines_of(hours("%Y-%m-%d %H:%M", step=2))),
        "a value": read(tmp_path, PLAIN.replace("10.9450", "10.9451", 1)),
        "a mark": read(tmp_path, marked),
        "a mark that is none": read(tmp_path, marked, missing_values=(-9999,), fill="previous"),
        "backwards": read(tmp_path, lines_of(ISO[::-1]), sort=True),
        "another date column": read(tmp_path, both, date_column="unix", channels=("a", "b")),
    }
    assert len({series.identity for series in seen.values()}) == len(seen)
    ids = {Config.create({"data.path": str(tmp_path / "mine.csv")}).run_id(s.identity) for s in seen.values()}
    assert len(ids) == len(seen)
    with pytest.raises(DataError, match="no column 'c'; columns: a, b"):
        read(tmp_path, PLAIN, channels=("a", "c"))
    with pytest.raises(DataError, match=r"data\.channels names the date column"):
        read(tmp_path, PLAIN, channels=("a", "date"))


def test_channels_of_a_named_series():
    whole = load_series(DataConfig())
    some = load_series(DataConfig(channels=("OT", "HUFL")))
    assert some.values.tolist() == whole.values[:, [6, 0]].tolist() and some.identity != whole.identity
    assert load_series(DataConfig(channels=whole.channels)) is whole
    with pytest.raises(DataError, match="no channel 'HUFFL'; did you mean 'HUFL'"):
        load_series(DataConfig(channels=("HUFFL",)))


@pytest.mark.parametrize("name", OWN)
def test_settings_of_own_data_are_refused_with_a_named_series(name):
    other = {"split": [0.5, 0.3, 0.2], "missing_values": [1], "fill": "previous", "decimal": ","}.get(name)
    other = other if other is not None else True if name in ("sort", "irregular_steps") else "x"
    with pytest.raises(ConfigError, match=f"{name} is a setting of one's own data"):
        Config.create({"data.dataset": "ETTh1", f"data.{name}": other})
    Config.create({"data.path": "mine.csv", f"data.{name}": other})


def test_a_file_that_changed_is_read_again(tmp_path, plain):
    assert read(tmp_path, lines_of(hours("%Y-%m-%d", 50, 24))).values.shape == (50, 2)


def test_a_path_that_is_no_file_is_refused(tmp_path):
    with pytest.raises(DataError, match="cannot be read: File name too long"):
        load_series(DataConfig(dataset="csv", path=str(tmp_path / ("x" * 5000))))
    with open(tmp_path / "sparse.csv", "wb") as file:
        file.truncate(1 << 40)
    with pytest.raises(DataError, match="1,024 GiB, at most 4 GiB are read"):
        load_series(DataConfig(dataset="csv", path=str(tmp_path / "sparse.csv")))
    with pytest.raises(DataError, match=r"gone\.csv: no such file"):
        load_series(DataConfig(dataset="csv", path=str(tmp_path / "gone.csv")))
    with pytest.raises(DataError, match="not a file"):
        load_series(DataConfig(dataset="csv", path=str(tmp_path)))


def test_a_path_is_taken_from_the_file_that_names_it(tmp_path, monkeypatch):
    (tmp_path / "deep").mkdir()
    (tmp_path / "deep" / "best.yaml").write_text("data: {dataset: csv, path: ../mine.csv}\n")
    monkeypatch.chdir(tmp_path)
    config = Config.from_yaml("deep/best.yaml")
    assert config.data.path == str(tmp_path / "mine.csv") and config.data.name == "mine"
    assert Config.create({"data.path": "mine.csv"}).data.path == str(tmp_path / "mine.csv")
    (tmp_path / "again.yaml").write_text(config.to_yaml())
    monkeypatch.chdir("/")
    assert Config.from_yaml(tmp_path / "again.yaml") == config
    assert config.shown()["data.path"] == "mine.csv"


def test_the_calendar():
    stamps = np.array(["2021-01-01T00:00", "2020-12-31T23:59", "2024-02-29T12:00", "2021-03-07T06:00"], dtype="M8[us]")
    expected = [(0, 4, 0, 0), (23, 3, 30, 365), (12, 3, 28, 59), (6, 6, 6, 65)]  # 2020 and 2024 are leap years
    assert np.allclose(calendar_of(stamps) + 0.5, np.array(expected) / (23, 6, 30, 365), atol=1e-15)
    assert load_series(DataConfig()).calendar.shape == (4000, 4)


def test_steps_of_months_keep_the_day():
    after = Step(months=1).after(np.datetime64("2023-12-15T06:00", "us"), 2)
    assert [shown_date(date) for date in after] == ["2024-01-15 06:00", "2024-02-15 06:00"]


def test_check_says_what_was_understood(tmp_path, capsys):
    path = tmp_path / "mine.csv"
    path.write_text(PLAIN)
    windows = ["data.seq_len=8", "data.pred_len=4"]
    assert main(["check", str(path), *windows]) == 0
    out = capsys.readouterr().out
    for text in (
        "mine: 100 rows", "2020-01-01 00:00 to 2020-01-05 03:00, one row every 1 hour", "rows  80..100",
        "workers 37, controller 1, validation 17, test 17", "nothing is in the way",
    ):  # fmt: skip
        assert text in out
    assert main(["check", str(path)]) == 2  # S and H of the defaults are too long
    assert "takes a smaller" in capsys.readouterr().err.replace("take a smaller", "takes a smaller")
    path.write_text(lines_of(ISO[::-1]))
    assert main(["check", str(path), *windows]) == 2
    shown = capsys.readouterr()
    assert "data.sort=true would make of it" in shown.out and "newest first" in shown.err
    still = [f"{line},{0 if row < 65 else 7}" for row, line in enumerate(PLAIN.splitlines()[1:])]
    path.write_text("\n".join(["date,a,b,c", *still]))
    assert main(["check", str(path), *windows]) == 2  # constant in training
    assert "channel 'c' is constant over the training rows 0..60" in capsys.readouterr().err
    still = [f"{line},{-9999 if row % 9 == 8 else min(row, 65)}" for row, line in enumerate(PLAIN.splitlines()[1:])]
    path.write_text("\n".join(["date,a,b,c", *still]))
    assert main(["check", str(path), *windows]) == 0
    assert "channel c has -9999 11 times, far from all else" in capsys.readouterr().out
    still = [f"{line},{min(row, 65)}" for row, line in enumerate(PLAIN.splitlines()[1:])]
    path.write_text("\n".join(["date,a,b,c", *still]))
    assert main(["check", str(path), *windows]) == 0
    out = capsys.readouterr().out
    assert "channel c is constant over the test rows" in out and "channel c stands still at 65 for 35 rows" in out
