"""The bad inputs of check_inputs.py: what a user may bring to each command that must not get past its door.

An input is a command line, with files made for it, and what the refusal has to name: the thing that is wrong and what
was got. A few good ones of each command show that it is the fault that is refused, and nothing beside it.
"""

import gzip
import io
import os
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from datetime import UTC, datetime, timedelta
from decimal import Decimal
from pathlib import Path

import numpy as np
import pandas as pd
import pyarrow as pa
import pyarrow.parquet as pq

START = datetime(2020, 1, 1)
ROWS = 80
WINDOWS = ("data.seq_len=8", "data.pred_len=4", "data.meta_fraction=0.4")
TINY = (*WINDOWS, "data.synthetic.rows=300", "training.max_epochs=1", "training.batch_size=16")


@dataclass(frozen=True)
class Input:
    command: str  # of check_inputs.COMMANDS
    name: str
    arguments: tuple[str, ...]
    says: tuple[str, ...] = ()  # patterns, each of which the refusal has to match
    environment: dict[str, str] = field(default_factory=dict)
    good: bool = False


def all_inputs(folder: Path) -> list[Input]:
    """Every input, its files made in `folder`."""
    os.chdir(folder)
    Path("plain.csv").write_text(csv())
    return [
        *_files(), *_tables(), *_data_settings(), *_settings(), *_yaml(), *_options(), *_environment(), *_spaces(),
        *_searches(), *_studies(), *_study_options(), *_stores(), *_clusters(), *_good(),
    ]  # fmt: skip


# Files of data ---------------------------------------------------------------------------------------------------------


def hours(rows: int = ROWS) -> list[str]:
    return [f"{START + timedelta(hours=i):%Y-%m-%d %H:%M}" for i in range(rows)]


def values(rows: int = ROWS) -> list[list[str]]:
    return [[f"{np.sin(i / 4):.4f}", f"{10 + np.cos(i / 3):.4f}"] for i in range(rows)]


def csv(dates: list[str] | None = None, header: str = "date,a,b", **cells: str) -> str:
    """The plain file, with other dates, another header or some cells `a3="x"` (column a, row 3) replaced."""
    dates = hours() if dates is None else dates
    rows = [[date, *row] for date, row in zip(dates, values(len(dates)), strict=True)]
    for place, text in cells.items():
        rows[int(place[1:])]["dab".index(place[0])] = text
    return "\n".join([header, *(",".join(row) for row in rows)]) + "\n"


def _dates(form: str, step: timedelta = timedelta(hours=1), rows: int = ROWS) -> list[str]:
    return [(START + step * i).strftime(form) for i in range(rows)]


def _numbers(first: float, step: float) -> list[str]:
    return [f"{first + step * i:.10g}" for i in range(ROWS)]


DAY = timedelta(days=1)
# A name, what the file holds, and what the refusal says.
TEXTS: dict[str, tuple[str | bytes, str]] = {
    "empty": ("", "is empty"),
    "blank lines": ("\n\n \n", "is empty"),
    "header alone": ("date,a,b\n", "header and no rows"),
    "a single row": (csv(hours(1)), "one row|too few"),
    "two rows": (csv(hours(2)), "2 rows are too few"),
    "no header": (csv().partition("\n")[2], "first line names no columns"),
    "no header, dates with T": (csv(_dates("%Y-%m-%dT%H:%M:%SZ")).partition("\n")[2], "no date column|names no col"),
    "a line of units": (csv().replace("\n", "\n-,kW,kW\n", 1), "line 2: '-'"),
    "one column": ("date\n" + "\n".join(hours()), "neither comma"),
    "latin-1": (csv(header="date,a,H\u00f6he").encode("latin-1"), "not UTF-8 .*0xf6"),
    "utf-16 without mark": (csv().encode("utf-16-le"), "no text"),
    "utf-32": (csv().encode("utf-32"), "no text|not"),
    "NUL in a cell": (csv(a3="1\0"), "line 5 .*no text"),
    "byte order mark in a name": (csv(header="date,\ufeffa,b"), r"control character|ufeff"),
    "byte order mark in a cell": (csv(a3="\ufeff1.5"), "line 5: .*no number"),
    "right to left in a name": (csv(header="date,a\u202eb,c"), "control character"),
    "zero width in a name": (csv(header="date,a\u200b,a"), "control character"),
    "an escape in a name": (csv(header="date,\x1b[2J,b"), "control character"),
    "two lines in a name": (csv(header='date,"a\nb",c'), "control character"),
    "two lines in a cell": (csv(a3='"1\n2"'), "no number"),
    "a quote that is not closed": (csv(a3='"1.5'), "line 5|line 81|csv file"),
    "text behind a quote": (csv(a3='"1"5'), "line 5"),
    "names alike after blanks": (csv(header="date, a,a "), "columns of the same name: 'a'"),
    "names alike in two spellings": (csv(header="date,caf\u00e9,cafe\u0301"), "same name"),
    "a look-alike of date": (csv(header="d\u0430te,a,b"), "no date column 'date'"),
    "a column without a name": (csv(header="date,,b"), "no name"),
    "a comma too many": (csv(b3="1,"), "line 5 has 4 fields and the header 3"),
    "a field missing": (csv().replace(",10.9450", "", 1), "line 3 has 2 fields"),
    "semicolon and comma alike": ("date;a,b;c,d\n" + "".join(f"2020-01-{i:02d};1,5;2,5\n" for i in range(1, 9)), "both divide"),
    "pipes": (csv().replace(",", "|"), "data.separator"),
    "blanks": (csv(_dates("%Y-%m-%dT%H:%M")).replace(",", " "), "data.separator"),
    "a web page": ("<!DOCTYPE html><html><body>not found</body></html>", "neither comma|no date"),
    "json": ('{"date": [1, 2], "a": [3, 4]}', "csv file|date"),
    "yaml": ("date: 1\na: 2\n", "neither comma"),
    "a Git LFS pointer": ("version https://git-lfs.github.com/spec/v1\noid sha256:4d7a\nsize 12\n", "neither comma"),
    "a workbook": (b"PK\x03\x04" + b"x" * 99, "Excel"),
    "an old workbook": (b"\xd0\xcf\x11\xe0\xa1\xb1\x1a\xe1" + b"x" * 99, "Excel"),
    "a picture": (b"\x89PNG\r\n\x1a\n" + bytes(range(256)), "not UTF-8|no text"),
    "half a gzip": (gzip.compress(csv().encode())[:200], "gzip"),
    "a gzip with rubbish behind": (gzip.compress(csv().encode()) + b"rubbish", "gzip"),
    "a gzip of a gzip": (gzip.compress(gzip.compress(csv().encode())), "gzip"),
    "a gzip of zeros": (gzip.compress(bytes(1 << 24)), "no text|zero"),
    "a gzip of nothing": (gzip.compress(b""), "is empty"),
    "magic of Parquet alone": (b"PAR1", "Parquet"),
    # Dates
    "newest first": (csv(hours()[::-1]), "newest first.*data.sort"),
    "shuffled": (csv([*hours()[40:], *hours()[:40]]), "not in the order.*data.sort"),
    "a date twice": (csv(d5=hours()[4]), "another row has"),
    "one date everywhere": (csv([hours()[0]] * ROWS), "another row has"),
    "a gap": (csv([*hours(50), *hours(120)[90:]]), "41 hours.*irregular_steps"),
    "mixed step": (csv([*hours(60), *_dates("%Y-%m-%d %H:%M", DAY, 63)[43:]]), "not of one step|order"),
    "winter time begins": (
        csv([t.strftime("%Y-%m-%d %H:%M") for t in pd.date_range("2020-10-24", periods=ROWS, freq="h", tz="CET")]),
        "another row has.*offset",
    ),
    "summer time begins": (
        csv([t.strftime("%Y-%m-%d %H:%M") for t in pd.date_range("2020-03-28", periods=ROWS, freq="h", tz="CET")]),
        "2 hours after",
    ),
    "a leap second": (csv(d3="2020-01-01 02:59:60"), "no date of the calendar.*59:60"),
    "24 o'clock": (csv(d24="2020-01-01 24:00"), "no date of the calendar"),
    "the 30th of February": (csv(d3="2020-02-30 00:00"), "no date of the calendar"),
    "the 29th of February 2021": (csv(d3="2021-02-29 00:00"), "no date of the calendar"),
    "month 13": (csv(d3="2020-13-01 00:00"), "no date of the calendar"),
    "minute 60": (csv(d3="2020-01-01 02:60"), "no date of the calendar"),
    "year 0": (csv([f"{hour:02d}{rest}" for hour, rest in [(0, "00" + h[4:]) for h in hours()]]), "calendar|date"),
    "an end of time": (csv(d79="9999-12-31 23:59"), "not of one step"),
    "years of two digits": (csv(_dates("%d.%m.%y %H:%M")), "data.date_format"),
    "which is the day": (csv([f"{i % 12 + 1}/{i // 12 + 1}/2020" for i in range(ROWS)]), "day or the month"),
    "day and month mixed": (csv(["13/01/2020", "01/14/2020"] * 40), "write all dates alike"),
    "an offset of 75 minutes": (csv([f"{h}+01:75" for h in hours()]), "offset"),
    "an impossible offset": (csv([f"{h}+27:00" for h in hours()]), "offset|zone|no date"),
    "some with a zone": (csv(d3=f"{hours()[3]}Z"), "time zone"),
    "a zone by name": (csv([f"{h} CET" for h in hours()]), "data.date_format"),
    "week dates": (csv([f"2020-W{1 + i // 7:02d}-{i % 7 + 1}" for i in range(ROWS)]), "data.date_format"),
    "days of the year": (csv([f"2020-{i + 1:03d}" for i in range(ROWS)]), "data.date_format"),
    "month names": (csv(_dates("%d %b %Y", DAY)), "data.date_format"),
    "times alone": (csv(_dates("%H:%M")), "data.date_format"),
    "dates in words": (csv(["yesterday"] * ROWS), "yesterday"),
    "no dates": (csv([""] * ROWS), "empty"),
    "NaT among them": (csv(d3="NaT"), "NaT"),
    "Arabic digits": (csv(d3="\u0662\u0660\u0662\u0660-01-01"), "no date"),
    "a row counter": (csv([str(i) for i in range(ROWS)]), "date"),
    "a row counter from 1": (csv([str(i + 1) for i in range(ROWS)]), "date"),
    "a spreadsheet's days": (csv(_numbers(43831, 1)), "43831"),
    "a spreadsheet's hours": (csv([f"{43831 + i / 24:.6f}" for i in range(ROWS)]), "43831"),
    "decimal years": (csv(_numbers(1990, 0.25)), "1990"),
    "years and months with a point": (csv([f"2020.{i % 12 + 1:02d}" for i in range(12)]), r"2020\.01|data.date"),
    "Julian days": (csv(_numbers(2458849.5, 1)), "2458849.5"),
    "a year and a month": (csv([f"{1990 + i // 12}{i % 12 + 1:02d}x" for i in range(ROWS)]), "199001"),
    "infinite dates": (csv(d3="inf"), "inf"),
    "a date of 500 digits": (csv(d3="9" * 500), "999"),
    "years and months as numbers": (csv([f"{1990 + i // 12}{i % 12 + 1:02d}" for i in range(ROWS)]), "199001.*%Y%m"),
    "hours within a day as numbers": (csv([f"20200101{i:02d}" for i in range(23)] + ["2020010125"]), "2020010100|not"),
    # Numbers
    "a whole number missing among many": ("date,a\n" + "".join(f"{h},{'' if i == 70 else 10 + i}\n" for i, h in enumerate(hours())), "no value"),
    "text in a column": (csv(a3="oops"), "line 5: 'oops', no number"),
    "no value": (csv(a3=""), "no value.*data.fill"),
    "NA": (csv(a3="NA"), "no value"),
    "infinite": (csv(a3="inf"), "finite"),
    "overflow": (csv(a3="1e999"), "finite"),
    "5,000 digits": (csv(a3="9" * 5000), "finite"),
    "underscores": (csv(a3="1_000"), "thousands"),
    "thousands": (csv(a3='"1,234,567.5"'), "thousands"),
    "thousands or decimals": (csv(a3='"1,234"'), "data.decimal"),
    "thousands with blanks": (csv(a3="1 234"), "thousands"),
    "thousands with apostrophes": (csv(a3="1'234.5"), "thousands"),
    "decimals of both kinds": (csv(a3='"1,5"'), "with a comma .* and with a point"),
    "points of thousands": (csv(a3="1.234.567"), "no number|thousands"),
    "hexadecimal": (csv(a3="0x10"), "0x10"),
    "percent": (csv(a3="12%"), "12%"),
    "money": (csv(a3="$5"), "5', no number"),
    "a fraction": (csv(a3="\u00bd"), "ASCII"),
    "full-width digits": (csv(a3="\uff11\uff12"), "ASCII"),
    "a minus of typography": (csv(a3="\u22121.5"), "no number"),
    "truth values": (csv(a3="True"), "yes or no"),
    "complex": (csv(a3="1+2j"), "no number"),
    "a formula's error": (csv(a3="#DIV/0!"), "no number"),
    "a clock": (csv(a3="12:30"), "no number"),
    "constant": ("date,a\n" + "".join(f"{h},5\n" for h in hours()), "constant over the training rows"),
    "long format": ("date,id,x\n" + "".join(f"{h},{k},{i}\n" for k in "uvw" for i, h in enumerate(hours())), "long fo"),
}  # fmt: skip


def _files() -> Iterator[Input]:
    for number, (name, (content, said)) in enumerate(TEXTS.items()):
        path = Path(f"t{number:03d}.csv")
        path.write_bytes(content if isinstance(content, bytes) else content.encode())
        yield Input("dynonet.data", name, ("check", str(path), *WINDOWS), (said,))
    Path("wide.csv").write_text(
        ",".join(["date", *(f"c{i}" for i in range(1_000_000))]) + "\n" + hours()[0] + ",1" * 1_000_000 + "\n"
    )
    Path("twice.csv").write_text(csv(header="date,a,a"))
    os.mkfifo("pipe")
    Path("loop").symlink_to("loop")
    Path("nowhere").symlink_to("gone.csv")
    Path("folder.csv").mkdir()
    with open("sparse.csv", "wb") as file:
        file.truncate(1 << 40)
    paths = {
        "a million columns": ("wide.csv", "too few|one row|columns"),
        "names alike": ("twice.csv", "same name"),
        "a pipe": ("pipe", "not a file|pipe"),
        "a loop of links": ("loop", "links|no such|read"),
        "a link to nothing": ("nowhere", "no such file"),
        "a folder": ("folder.csv", "not a file|folder"),
        "no file": ("gone.csv", "no such file"),
        "endless zeros": ("/dev/zero", "not a file|device"),
        "a terabyte of nothing": ("sparse.csv", "GiB"),
        "a path through a file": ("plain.csv/x.csv", "no such file|read"),
        "a name without end": ("x" * 5000, "name|read|no such"),
        "NUL in a path": ("a\0b.csv", "no such file|read|NUL|null"),
        "an escape in a path": ("\x1b[2Jgone.csv", "no such file"),
        "an address": ("https://example.com/x.csv", "no such file"),
        "no path": ("", "path|file"),
        "a name of a series, misspelt": ("ETTh3", "no such file|did you mean"),
        "process memory": ("/proc/self/mem", "read|file|few"),
    }
    for name, (path, said) in paths.items():
        yield Input("dynonet.data", name, ("check", path, *WINDOWS), (said,))
    for command, path in (("dynonet.train", "pipe"), ("dynonet.baseline", "folder.csv"), ("tune.search", "loop"),
                          ("ablations.run", "sparse.csv")):  # fmt: skip
        study = ("quickstart",) if command == "ablations.run" else ()
        yield Input(command, f"data: {path}", (*study, f"data.path={path}", *WINDOWS), (path,))


def _frame(**columns: object) -> pd.DataFrame:
    dates = pd.date_range(START, periods=ROWS, freq="h")
    wave = [float(row[0]) for row in values()]
    return pd.DataFrame({"date": dates, "a": wave, **columns})


def _tables() -> Iterator[Input]:
    dates = pd.date_range(START, periods=ROWS, freq="h")
    numbers = np.arange(ROWS, dtype=np.float64)
    arrow: Callable[[pa.Array], pa.Table] = lambda column: pa.table({"date": dates, "a": numbers, "b": column})  # noqa: E731
    tables: dict[str, tuple[pa.Table, str]] = {
        "lists": (arrow(pa.array([[1.0, 2.0]] * ROWS)), "'b'.*(no number|list)"),
        "structures": (arrow(pa.array([{"x": 1}] * ROWS)), "'b'"),
        "maps": (arrow(pa.array([[("k", 1)]] * ROWS, pa.map_(pa.string(), pa.int64()))), "'b'"),
        "truth values": (arrow(pa.array([True, False] * (ROWS // 2))), "'b'.*yes or no"),
        "bytes": (arrow(pa.array([b"1"] * ROWS)), "'b'"),
        "durations": (arrow(pa.array([timedelta(hours=1)] * ROWS)), "'b'.*no numbers"),
        "clocks": (arrow(pa.array([datetime(2020, 1, 1, 5).time()] * ROWS)), "'b'"),
        "more dates": (arrow(pa.array(dates)), "'b' holds dates"),
        "nothing but nulls": (arrow(pa.nulls(ROWS)), "'b'.*no value"),
        "a null": (arrow(pa.array([None, *numbers[1:]])), "'b'.*no value"),
        "NaN": (arrow(pa.array([np.nan, *numbers[1:]])), "'b'.*no value"),
        "infinite": (arrow(pa.array([np.inf, *numbers[1:]])), "'b'.*finite"),
        "decimals with one infinite": (arrow(pa.array([str(Decimal(i)) for i in range(79)] + ["inf"])), "'b'.*finite"),
        "categories of text": (pa.table(_frame(b=pd.Categorical(["x", "y"] * (ROWS // 2)))), "'b'.*no number"),
        "categories of lists": (arrow(pa.array([["x"]] * ROWS)), "'b'"),
        "no rows": (pa.table(_frame()).slice(0, 0), "no rows"),
        "no columns": (pa.table({}), "no rows|no date|column"),
        "names alike": (pa.table([dates, numbers, numbers], names=["date", "a", "a"]), "same name"),
        "names alike after blanks": (pa.table([dates, numbers, numbers], names=["date", "a", "a "]), "same name"),
        "an escape in a name": (pa.table([dates, numbers], names=["date", "\x1b[2J"]), "control character"),
        "no date column": (pa.table({"when": dates, "a": numbers}), "no date column"),
        "dates without one": (pa.table({"date": [None, *dates[1:]], "a": numbers}), "have no date"),
        "dates backwards": (pa.table({"date": dates[::-1], "a": numbers}), "newest first"),
        "dates as counters": (pa.table({"date": numbers, "a": numbers[::-1] ** 2}), "date"),
        "dates as a spreadsheet's": (pa.table({"date": 43831 + numbers, "a": numbers}), "43831"),
        "dates as lists": (pa.table({"date": [[1]] * ROWS, "a": numbers}), "date"),
        "levels of columns": (
            pa.Table.from_pandas(pd.DataFrame(np.ones((9, 2)), columns=pd.MultiIndex.from_tuples([("a", 1), ("a", 2)]))),
            "no date column|levels",
        ),
    }  # fmt: skip
    for number, (name, (table, said)) in enumerate(tables.items()):
        pq.write_table(table, path := f"p{number:02d}.parquet")
        yield Input("dynonet.data", f"parquet: {name}", ("check", path, *WINDOWS), (said,))
    buffer = io.BytesIO()
    pq.write_table(pa.table(_frame()), buffer)
    whole = buffer.getvalue()
    damaged = {"cut": whole[:-200], "cut in half": whole[: len(whole) // 2], "zeros within": whole[:60] + bytes(200) + whole[260:],
               "a foot of zeros": whole[:-40] + bytes(36) + whole[-4:], "packed": gzip.compress(whole)}  # fmt: skip
    for name, content in damaged.items():
        Path(f"{name}.parquet").write_bytes(content)
        yield Input("dynonet.data", f"parquet: {name}", ("check", f"{name}.parquet", *WINDOWS), ("Parquet|text|UTF-8",))


def _data_settings() -> Iterator[Input]:
    own: dict[str, tuple[str, str]] = {
        "no such column": ("data.date_column=dat", "did you mean 'date'"),
        "a channel as date": ("data.date_column=a", "column 'a'"),
        "no such channel": ("data.channels=[a, z]", "no column 'z'"),
        "no channels": ("data.channels=[]", "channels"),
        "a channel twice": ("data.channels=[a, a]", "channels.*'a' twice"),
        "the date as a channel": ("data.channels=[date]", "names the date column"),
        "an empty item": ("data.channels=[a,,b]", "empty"),
        "a format that does not fit": ("data.date_format=%d.%m.%Y", "not of the form"),
        "a format of nothing": ("data.date_format=", "date_format"),
        "a bad directive": ("data.date_format=%Q", "date_format.*%Q"),
        "a directive twice": ("data.date_format=%Y-%Y", "date_format"),
        "a format that ends in %": ("data.date_format=%Y-%", "date_format"),
        "a format without a year": ("data.date_format=%m-%d %H:%M", "date_format.*no year"),
        "24 hours, and morning": ("data.date_format=%Y-%m-%d %H:%M %p", "date_format.*%p"),
        "12 hours, and no morning": ("data.date_format=%Y-%m-%d %I:%M", "date_format.*%p"),
        "a week without its day": ("data.date_format=%Y-%W %H:%M", "date_format"),
        "separator too long": ("data.separator=;;", "separator"),
        "separator a quote": ('data.separator="', "separator"),
        "separator that is not there": ("data.separator=;", "separator|one column|no date"),
        "decimal of another kind": ("data.decimal=;", "decimal.*allowed"),
        "seconds that are none": ("data.date_format=seconds", "not of the form"),
        "decimal comma in points": ("data.decimal=,", "line 2"),
        "fill by another way": ("data.fill=linear", "fill.*previous"),
        "sort perhaps": ("data.sort=perhaps", "sort"),
        "split of two": ("data.split=[0.5, 0.5]", "split"),
        "split above 1": ("data.split=[0.6, 0.3, 0.3]", "split.*at most 1"),
        "split below 0": ("data.split=[1.2, -0.1, -0.1]", "split"),
        "split of nothing": ("data.split=[0.98, 0.01, 0.01]", "split|window"),
        "split of NaN": ("data.split=[.nan, 0.2, 0.2]", "split"),
        "split of text": ("data.split=[a, b, c]", "split"),
        "split of truth": ("data.split=[true, 0.2, 0.2]", "split"),
        "split as a number": ("data.split=0.6", "split"),
        "mark of truth": ("data.missing_values=[true]", "missing_values"),
        "mark without end": ("data.missing_values=[.inf]", "missing_values"),
        "marks as a mapping": ("data.missing_values={a: 1}", "missing_values"),
        "everything is a mark": ("data.missing_values=[10.9450]", "no value"),
        "S of 1": ("data.seq_len=1", "seq_len.*2"),
        "S too long": ("data.seq_len=9999", "seq_len"),
        "S too long for 64 bits": (f"data.seq_len={10**30}", "seq_len.*64 bits"),
        "S as text": ("data.seq_len=many", "seq_len.*many"),
        "S with an underscore": ("data.seq_len=1_0", "seq_len.*1_0"),
        "S in quotes": ('data.seq_len="10"', "seq_len.*10"),
        "S as half": ("data.seq_len=8.5", "seq_len.*8.5"),
        "H of 0": ("data.pred_len=0", "pred_len.*1"),
        "H below 0": ("data.pred_len=-4", "pred_len"),
        "H too long": ("data.pred_len=500", "pred_len"),
        "all of it is meta": ("data.meta_fraction=1", "meta_fraction"),
        "no meta": ("data.meta_fraction=0.001", "meta"),
    }
    for name, (setting, said) in own.items():
        yield Input("dynonet.data", f"setting: {name}", ("check", "plain.csv", *WINDOWS, setting), (said,))


# Settings --------------------------------------------------------------------------------------------------------------

SETTINGS: dict[str, tuple[str, str]] = {
    "no such key": ("training.epochs=3", "unknown key.*(mean|max_epochs)"),
    "a section left out": ("worker_hidden=8", "did you mean 'model.worker_hidden'"),
    "no value": ("training.lr", "section.key=value"),
    "no key": ("=3", "section.key=value"),
    "an empty value": ("training.lr=", "lr"),
    "NaN": ("training.lr=.nan", "lr.*nan"),
    "nan as Python has it": ("training.lr=nan", "lr.*nan"),
    "infinite": ("training.lr=.inf", "lr.*inf"),
    "0": ("training.lr=0", "lr.*0"),
    "negative": ("training.weight_decay=-1", "weight_decay.*-1"),
    "a list for a number": ("training.lr=[1, 2]", "lr.*(1, 2|number)"),
    "a mapping for a number": ("training.lr={a: 1}", "lr"),
    "truth for a number": ("training.lr=true", "lr.*number"),
    "a number with an underscore": ("training.lr=1_0", "lr.*1_0"),
    "a number in quotes": ("training.lr='0.01'", "lr.*0.01"),
    "a decimal comma": ("training.lr=0,01", "lr.*0,01"),
    "a number for a switch": ("model.film=2", "film.*2"),
    "text for a switch": ("model.film=maybe", "film.*maybe"),
    "null": ("model.film=null", "film"),
    "a batch of 0": ("training.batch_size=0", "batch_size.*0"),
    "a seed of 2**63": (f"training.seed={2**63}", "seed.*64 bits"),
    "a seed below 0": ("training.seed=-1", "seed.*-1"),
    "a seed of 5,000 digits": ("training.seed=" + "9" * 5000, "seed|number"),
    "an even average": ("model.moving_average=4", "moving_average.*odd"),
    "nothing forecasts": ("model.trend=false,model.workers=false", "trend"),
    "dropout of 1": ("model.dropout=1", "dropout.*1"),
    "a signal out of range": ("signals.dropout_rate=7", "dropout_rate.*7"),
    "a signal of another kind": ("signals.lr_scale=adaptiv", "adaptive"),
    "a signal of NaN": ("signals.lr_scale=.nan", "lr_scale.*allowed"),
    "a mode of another kind": ("training.mode=altern", "did you mean 'alternating'"),
    "a protocol of another kind": ("training.protocol=publish", "did you mean 'published'"),
    "own data's setting on another": ("data.sort=true", "sort.*own data"),
    "a series of another kind": ("data.dataset=ETTh9", "ETTh"),
    "csv without a path": ("data.dataset=csv", "path"),
    "a frame": ("data.dataset=frame", "Python"),
    "a path and another set": ("data.path=plain.csv,data.dataset=ETTh1", "path"),
    "no channel of that name": ("data.channels=[HUFFL]", "did you mean 'HUFL'"),
    "too few rows": ("data.synthetic.rows=10", "rows.*10"),
    "YAML that does not end": ("training.lr=[1, 2", "lr"),
    "an escape in a key": ("\x1b[2J.lr=1", "unknown key"),
    "a tag": ("training.lr=!!python/name:os.system", "tag|lr"),
}


def _settings() -> Iterator[Input]:
    starts = {"dynonet.train": (), "dynonet.baseline": (), "tune.search": (), "ablations.run": ("quickstart",)}
    for number, (name, (text, said)) in enumerate(SETTINGS.items()):
        given = text.split(",") if text.count("=") > 1 else [text]
        for command, before in starts.items():
            # Each to one command of the four, and the first of all kinds to all.
            if number % 4 == list(starts).index(command) or number < 8:
                yield Input(command, f"setting: {name}", (*before, *TINY, *given), (said,))


YAMLS: dict[str, tuple[str | bytes, str]] = {
    "a key twice": ("training.lr: 1\ntraining.lr: 2\n", "line 2.*twice.*line 1"),
    "a key dotted and in a section": ("training.lr: 0.1\ntraining: {lr: 0.1}\n", "lr.*twice"),
    "a number as key": ("1: 2\n", "line 1.*text is needed"),
    "null as key": ("~: 2\n", "text is needed"),
    "a list as key": ("? [1]\n: 2\n", "text is needed"),
    "a list": ("- 1\n- 2\n", "mapping.*list"),
    "text": ("hello\n", "mapping.*hello"),
    "nothing": ("", "mapping.*nothing"),
    "two documents": ("training.lr: 1\n---\ntraining.lr: 2\n", "second document"),
    "a tab": ("training:\n\tlr: 1\n", "line 2"),
    "brackets without end": ("a: " + "[" * 5000, "line 1"),
    "a bomb of aliases": (
        "a: &a [x]\n" + "".join(f"{n}: &{n} [{', '.join([f'*{m}'] * 9)}]\n" for m, n in zip("abcdefg", "bcdefgh", strict=True)),
        "aliases",
    ),
    "an alias of itself": ("a: &a [*a]\n", "alias"),
    "Python's tag": ("a: !!python/object/apply:os.system [id]\n", "tag"),
    "a date": ("training.lr: 2020-01-01\n", "lr"),
    "NUL": (b"training.lr: 1\0\n", "U\\+0000|NUL"),
    "latin-1": ("a: \u00f6\n".encode("latin-1"), "UTF-8"),
    "binary": (bytes(range(256)), "UTF-8|U\\+"),
    "two megabytes": ("#" * (2 << 20), "MiB"),
    "no such key": ("training.lrr: 1\n", "unknown key.*lr"),
    "a section as a number": ("training: 3\n", "training"),
    "a section as a list": ("training: [lr]\n", "training"),
    "text for a number": ("training: {lr: high}\n", "lr.*high"),
    "sexagesimal": ("training: {max_epochs: 1:30}\n", "max_epochs.*1:30"),
}  # fmt: skip


def _yaml() -> Iterator[Input]:
    starts = {"dynonet.train": (), "tune.search": (), "ablations.run": ("quickstart",), "dynonet.data": ("check", "plain.csv")}
    for number, (name, (content, said)) in enumerate(YAMLS.items()):
        path = f"y{number:02d}.yaml"
        Path(path).write_bytes(content if isinstance(content, bytes) else content.encode())
        commands = list(starts)
        for command in {commands[number % 4], commands[(number + 1) % 4]}:
            yield Input(command, f"--config: {name}", (*starts[command], "--config", path), (said, path if number < 19 and number not in (1, 14) else ""))
        yield Input("tune.search", f"--space: {name}", ("--space", path), (said if number < 19 and number not in (1, 14) else "space|training",))
    for command, path in (("dynonet.train", "pipe"), ("tune.search", "folder.csv"), ("ablations.run", "/dev/zero"), ("dynonet.train", "gone.yaml"), ("tune.search", "loop")):
        yield Input(command, f"--config: {path}", (*starts[command], "--config", path), (path, "cannot read"))


def _options() -> Iterator[Input]:
    Path("occupied").write_text("")
    Path("checkpoints").mkdir()
    Path("checkpoints/checkpoint.pt").write_bytes(b"not a checkpoint")
    train = {
        "a flag of text": ("--lr", "fast", "lr.*fast"),
        "a flag of 0": ("--patience", "0", "patience.*0"),
        "seeds of text": ("--seeds", "1,two", "seeds.*two"),
        "seeds twice": ("--seeds", "1,1", "seeds.*twice"),
        "no seeds": ("--seeds", "", "seeds"),
        "a seed below 0": ("--seeds", "-1", "seed"),
        "a device of another kind": ("--device", "gpu", "gpu"),
        "a device that is not there": ("--device", "cuda:99", "cuda"),
        "a device without an end": ("--device", "cuda:x", "cuda:x"),
        "threads of text": ("--threads", "many", "threads.*many"),
        "no threads": ("--threads", "0", "threads"),
        "threads below 0": ("--threads", "-3", "threads"),
        "threads without end": ("--threads", str(10**20), "threads"),
        "no such preset": ("--preset", "h69", "did you mean 'h96'"),
        "a file as folder": ("--out", "occupied", "occupied"),
        "a folder within a file": ("--out", "occupied/x", "occupied"),
        "another program's checkpoint": ("--out", "checkpoints", "not a checkpoint"),
        "a folder's name without end": ("--out", "x" * 5000, "out|name|cannot"),
        "a folder that cannot be written": ("--out", "/proc/x", "/proc/x"),
        "no such flag": ("--sed", "1", "sed|unrecognized"),
    }  # fmt: skip
    for name, (flag, value, said) in train.items():
        yield Input("dynonet.train", name, (*TINY, flag, value), (said,))
    yield Input("dynonet.train", "a preset and a config", ("--preset", "h96", "--config", "y19.yaml"), ("preset|unknown",))
    for name, path in (("a file as folder", "occupied"), ("a folder within a file", "occupied/x"), ("a folder's name without end", "x" * 5000), ("a folder that cannot be written", "/proc/x")):
        yield Input("dynonet.baseline", name, (*TINY, "--out", path), ("--out",))
    yield Input("dynonet.baseline", "no such preset", ("--preset", "h69"), ("did you mean 'h96'",))
    yield Input("dynonet.data", "no command", (), ("command",))
    yield Input("dynonet.data", "no such command", ("chek", "plain.csv"), ("chek.*check",))
    yield Input("dynonet.data", "an override that is none", ("check", "plain.csv", "sort"), ("section.key=value",))


def _environment() -> Iterator[Input]:
    here = os.getcwd()
    ett = ("data.dataset=ETTh1", "data.seq_len=8", "data.pred_len=4")
    nothing = {"DYNONET_CACHE_DIR": f"{here}/cache", "https_proxy": "http://127.0.0.1:9", "HTTPS_PROXY": "http://127.0.0.1:9"}
    Path("damaged").mkdir()
    Path("damaged/ETTh1.csv").write_text(csv())
    Path("piped").mkdir()
    os.mkfifo("piped/ETTh1.csv")
    Path("foldered/ETTh1.csv").mkdir(parents=True)
    for command, before in (("dynonet.train", ()), ("tune.search", ("--dry-run",)), ("ablations.run", ("quickstart", "--dry-run"))):
        yield Input(command, "DYNONET_DATA_DIR is a file", (*before, *ett), ("DYNONET_DATA_DIR",), {"DYNONET_DATA_DIR": f"{here}/plain.csv", **nothing})
        yield Input(command, "DYNONET_DATA_DIR is not there", (*before, *ett), ("DYNONET_DATA_DIR",), {"DYNONET_DATA_DIR": f"{here}/gone", **nothing})
    for name, folder, said in (("damaged", "damaged", "checksum"), ("a pipe", "piped", "not a file"), ("a folder", "foldered", "not a file"), ("NUL", "a\x01b", "DATA_DIR")):
        yield Input("dynonet.baseline", f"DYNONET_DATA_DIR: {name}", ett, (said,), {"DYNONET_DATA_DIR": f"{here}/{folder}", **nothing})
    yield Input("dynonet.train", "DYNONET_CACHE_DIR is a file", ett, ("ETTh1|CACHE",), {"DYNONET_DATA_DIR": "", **nothing, "DYNONET_CACHE_DIR": f"{here}/plain.csv"})
    yield Input("dynonet.train", "DYNONET_CACHE_DIR cannot be written", ett, ("ETTh1|CACHE",), {"DYNONET_DATA_DIR": "", **nothing, "DYNONET_CACHE_DIR": "/proc/x"})
    for command, before in (("dynonet.train", ()), ("tune.search", ()), ("ablations.run", ("quickstart",))):
        yield Input(command, "DYNONET_KERNEL of another kind", (*before, *TINY), ("DYNONET_KERNEL.*fast",), {"DYNONET_KERNEL": "fast"})
    for command in ("list", "show quickstart"):
        yield Input("tune.results", f"{command}: DYNONET_RESULTS is a file", tuple(command.split()), ("plain.csv",), {"DYNONET_RESULTS": f"{here}/plain.csv"})
    for command in ("tune.report", "ablations.report"):
        yield Input(command, "DYNONET_RESULTS is not there", ("quickstart",), ("gone",), {"DYNONET_RESULTS": f"{here}/gone"})
    yield Input("cluster.submit", "DYNONET_RESULTS is relative", ("search", "--address", "http://127.0.0.1:9"), ("--out", "results"), {"DYNONET_RESULTS": "results"})
    yield Input("cluster.submit", "RAY_API_SERVER_ADDRESS of another kind", ("list",), ("address.*http",), {"RAY_API_SERVER_ADDRESS": "ray://x:1"})
    yield Input("tune.search", "RAY_ADDRESS that nobody answers", TINY, ("127.0.0.1:9",), {"RAY_ADDRESS": "127.0.0.1:9"})


# Searches --------------------------------------------------------------------------------------------------------------

SPACES: dict[str, tuple[str, str]] = {
    "empty": ("{}", "nothing|space"),
    "no such key": ("{model.hidden: {int: [1, 2]}}", "hidden"),
    "a number": ("{model.worker_hidden: 3}", "worker_hidden.*3"),
    "no bounds": ("{model.worker_hidden: {int: []}}", "worker_hidden"),
    "one bound": ("{model.worker_hidden: {int: [4]}}", "worker_hidden"),
    "three bounds": ("{model.worker_hidden: {int: [4, 8, 16]}}", "worker_hidden"),
    "bounds turned round": ("{model.worker_hidden: {int: [8, 4]}}", "worker_hidden"),
    "half bounds": ("{model.worker_hidden: {int: [1.5, 4]}}", "worker_hidden"),
    "bounds of text": ("{model.worker_hidden: {int: [a, b]}}", "worker_hidden"),
    "bounds of truth": ("{model.worker_hidden: {int: [true, 8]}}", "worker_hidden"),
    "bounds of null": ("{model.worker_hidden: {int: [null, 8]}}", "worker_hidden"),
    "NaN": ("{training.lr: {float: [.nan, 1]}}", "lr"),
    "without end": ("{training.lr: {float: [0.1, .inf]}}", "lr"),
    "log from 0": ("{training.lr: {float: [0, 1], log: true}}", "lr.*log|log"),
    "log of text": ("{training.lr: {float: [0.1, 1], log: maybe}}", "log"),
    "beyond 64 bits": (f"{{model.worker_hidden: {{int: [1, {2**70}]}}}}", "worker_hidden"),
    "out of what is allowed": ("{model.worker_hidden: {int: [0, 8]}}", "worker_hidden.*0"),
    "a float range of a whole number": ("{model.worker_hidden: {float: [1, 8]}}", "worker_hidden"),
    "two kinds": ("{model.worker_hidden: {int: [1, 8], choice: [1]}}", "worker_hidden"),
    "another kind": ("{model.worker_hidden: {integer: [1, 8]}}", "integer"),
    "another word": ("{model.worker_hidden: {int: [1, 8], step: 2}}", "step"),
    "no choices": ("{training.mode: {choice: []}}", "mode"),
    "choices of another kind": ("{training.mode: {choice: [fast]}}", "mode.*fast"),
    "a choice twice": ("{training.mode: {choice: [joint, joint]}}", "mode.*(twice|joint)"),
    "choices as text": ("{training.mode: {choice: joint}}", "mode"),
    "choices of mappings": ("{training.mode: {choice: [{a: 1}]}}", "mode"),
    "when an unknown": ("{training.lr: {float: [0.1, 1], when: {training.mod: joint}}}", "mod"),
    "when itself": ("{training.lr: {float: [0.1, 1], when: {training.lr: 0.5}}}", "lr"),
    "when in a circle": (
        "{model.film: {choice: [true, false], when: {model.revin: true}}, model.revin: {choice: [true, false], when: {model.film: true}}}",
        "when|circle",
    ),
    "when never": ("{training.lr: {float: [0.1, 1], when: {training.mode: fast}}}", "mode|fast"),
    "what is forecast": ("{data.pred_len: {int: [1, 4]}}", "pred_len"),
    "which series": ("{data.dataset: {choice: [ETTh1, ETTh2]}}", "dataset"),
    "seeds": ("{training.seed: {int: [1, 9]}}", "seed"),
    "the axis of early stopping": ("{training.max_epochs: {int: [1, 9]}}", "max_epochs"),
    "windows too long": ("{data.seq_len: {int: [8, 4000]}}", "seq_len"),
    "windows too long, as a choice": ("{data.seq_len: {choice: [8, 4000]}}", "seq_len"),
    "a section": ("{model: {int: [1, 2]}}", "model"),
}  # fmt: skip


def _spaces() -> Iterator[Input]:
    Path("tiny.yaml").write_text("".join(f"{setting.replace('=', ': ')}\n" for setting in TINY))
    for number, (name, (content, said)) in enumerate(SPACES.items()):
        Path(f"s{number:02d}.yaml").write_text(content)
        dry = ("--dry-run",) if number % 2 else ()
        yield Input("tune.search", f"space: {name}", ("--config", "tiny.yaml", "--space", f"s{number:02d}.yaml", *dry), (said,))


NAMES = ["", "..", ".", "a/b", "../a", "/tmp/a", "a b", "1a", "-a", "a" * 500, "b\u00f6se", "a\nb", "a\x1b[2J", "a\0b", "$(id)", "CON:", "\u202ea"]  # fmt: skip


def _searches() -> Iterator[Input]:
    for name in NAMES:
        yield Input("tune.search", f"--study {name[:20]!r}", (*TINY, f"--study={name}"), ("study name|name",) if name else ("study",))
    flags: dict[str, tuple[tuple[str, ...], str]] = {
        "no such preset": (("--preset", "quickstrat"), "did you mean 'quickstart'"),
        "a preset of nothing": (("--preset", ""), "preset"),
        "a preset elsewhere": (("--preset", "../presets/quickstart"), "preset"),
        "trials of 0": (("--trials", "0"), "trials.*0"),
        "trials below 0": (("--trials=-1",), "trials.*-1"),
        "trials of text": (("--trials", "many"), "trials.*many"),
        "trials without end": (("--trials", str(10**30)), "trials"),
        "trials as half": (("--trials", "1.5"), "trials.*1.5"),
        "replicates of 0": (("--replicates", "0"), "replicates.*0"),
        "replicates without end": (("--replicates", "100000"), "replicates"),
        "epochs of 0": (("--max-epochs", "0"), "max_epochs.*0"),
        "grace of 0": (("--grace-epochs", "0"), "grace"),
        "reduction by 1": (("--reduction-factor", "1"), "reduction"),
        "reduction by nan": (("--reduction-factor", "nan"), "reduction.*nan"),
        "another objective": (("--objectives", "test_mse"), "objective.*test_mse"),
        "objectives of nothing": (("--objectives", ""), "objective"),
        "objectives turned round": (("--objectives", "parameters,val_mse"), "objectives"),
        "an objective twice": (("--objectives", "val_mse,val_mse"), "objectives"),
        "another sampler": (("--sampler", "tpee"), "sampler.*tpe"),
        "a sampler's seed of 2**70": (("--seed", str(2**70)), "seed"),
        "parameters of 0": (("--max-parameters", "0"), "max-parameters"),
        "parameters that no model has": (("--max-parameters", "3"), "max.parameters|parameters"),
        "final replicates below 0": (("--final-replicates", "-1"), "final.replicates"),
        "time of nan": (("--time-budget", "nan"), "time-budget.*nan"),
        "time below 0": (("--time-budget=-1",), "time-budget.*-1"),
        "time without end": (("--time-budget", "inf"), "time-budget.*inf"),
        "CPUs of nan": (("--cpus-per-trial", "nan"), "cpus-per-trial.*nan"),
        "CPUs below 0": (("--cpus-per-trial=-1",), "cpus-per-trial"),
        "CPUs without end": (("--cpus-per-trial", "inf"), "cpus-per-trial"),
        "GPUs of five decimals": (("--gpus-per-trial", "0.12345"), "gpus-per-trial"),
        "GPUs of 1.5": (("--gpus-per-trial", "1.5"), "gpus-per-trial"),
        "none at once": (("--max-concurrent", "0"), "max-concurrent"),
        "failures below 0": (("--max-failures=-2",), "max-failures"),
        "patience of nan": (("--storage-patience", "nan"), "storage-patience"),
        "an address that nobody answers": (("--address", "127.0.0.1:9"), "127.0.0.1:9"),
        "a port beyond": (("--address", "127.0.0.1:99999"), "99999"),
        "results in a file": (("--out", "occupied"), "occupied"),
        "results within a file": (("--out", "occupied/x"), "occupied"),
        "results where nothing can be written": (("--out", "/proc/x"), "/proc/x"),
        "results at no address": (("--out", "nosuch://x/y"), "nosuch"),
        "results of nothing": (("--out", ""), "--out.*nothing"),
        "results' name without end": (("--out", "x" * 5000), "name|out"),
        "W&B of another kind": (("--wandb", "maybe"), "wandb.*maybe"),
        "an option that is none": (("--trails", "3"), "trails"),
        "everything is fixed": (("--space", "fixed.yaml", "model.worker_hidden=8"), "nothing is left"),
    }  # fmt: skip
    Path("fixed.yaml").write_text("model.worker_hidden: {int: [4, 8]}\n")
    for number, (name, (given, said)) in enumerate(flags.items()):
        dry = ("--dry-run",) if number % 3 == 0 else ()
        yield Input("tune.search", name, ("--config", "tiny.yaml", *given, *dry), (said,))


# Studies ---------------------------------------------------------------------------------------------------------------

STUDY = {
    "name": "mine", "question": "Which parts earn their keep?", "arms": "[no_film, no_trend]",
    "baseline": "{" + ", ".join(setting.replace("=", ": ") for setting in TINY) + "}", "seeds": "8",
}  # fmt: skip
STUDIES: dict[str, tuple[dict[str, str], str]] = {
    **{f"name {name[:12]!r}": ({"name": '"' + name.replace("\\", "").encode("unicode_escape").decode() + '"'}, "name") for name in NAMES},
    "no name": ({"name": ""}, "name"),
    "no question": ({"question": ""}, "question"),
    "a short question": ({"question": "Why?"}, "question"),
    "no arms": ({"arms": "[]"}, "arm"),
    "an unknown arm": ({"arms": "[no_flim]"}, "did you mean 'no_film'"),
    "an arm twice": ({"arms": "[no_film, no_film]"}, "no_film.*twice|twice"),
    "arms as text": ({"arms": "no_film"}, "arms"),
    "arms of numbers": ({"arms": "[1]"}, "arms"),
    "the full network as an arm": ({"arms": "[full]"}, "nothing to compare"),
    "an arm without a claim": ({"arms": "[{name: x, overrides: {model.film: false}}]"}, "claim"),
    "an arm that changes nothing": ({"arms": "[{name: x, claim: it is of no use, overrides: {}}]"}, "overrides"),
    "an arm of an unknown setting": ({"arms": "[{name: x, claim: it is of no use, overrides: {model.flim: 1}}]"}, "flim"),
    "an arm of a bad value": ({"arms": "[{name: x, claim: it is of no use, overrides: {model.dropout: 7}}]"}, "dropout"),
    "an arm of a registered name": ({"arms": "[{name: no_film, claim: it is of no use, overrides: {model.film: false}}]"}, "no_film"),
    "an arm with a bad name": ({"arms": "[{name: 'a b/..', claim: it is of no use, overrides: {model.film: false}}]"}, "a b"),
    "an arm with an escape": ({"arms": '[{name: "x\\e[2J", claim: it is of no use, overrides: {model.film: false}}]'}, "arm"),
    "an arm of other data": ({"arms": "[{name: x, claim: it is of no use, overrides: {data.pred_len: 8}}]"}, "windows.*make it a cell"),
    "an arm of a seed": ({"arms": "[{name: x, claim: it is of no use, overrides: {training.seed: 8}}]"}, "seed"),
    "cells as a list": ({"cells": "[a]"}, "cells"),
    "a cell of an unknown setting": ({"cells": "{a: {data.pred: 8}, b: {}}"}, "pred"),
    "a cell of an unknown preset": ({"cells": "{a: {preset: h97}, b: {}}"}, "h97|h96"),
    "two cells alike": ({"cells": "{a: {}, b: {}}"}, "a.*b|alike|same"),
    "a cell with a bad name": ({"cells": "{'../a': {}}"}, "cell"),
    "a cell without a name": ({"cells": "{'': {}}"}, "cell"),
    "a cell of a window too long": ({"cells": "{a: {data.seq_len: 4000}}"}, "seq_len"),
    "a cell of a file that is not there": ({"cells": "{a: {data.path: gone.csv}}"}, "gone.csv"),
    "seeds of 1": ({"seeds": "1"}, "seeds"),
    "seeds of 0": ({"seeds": "0"}, "seeds"),
    "seeds below 0": ({"seeds": "-4"}, "seeds"),
    "seeds too few to decide": ({"seeds": "3"}, "seeds"),
    "seeds without end": ({"seeds": "1000000000"}, "seeds"),
    "seeds twice": ({"seeds": "[1, 1, 2, 3, 4, 5, 6, 7]"}, "seed"),
    "seeds of text": ({"seeds": "many"}, "seeds.*many"),
    "seeds of truth": ({"seeds": "true"}, "seeds"),
    "seeds of halves": ({"seeds": "7.5"}, "seeds"),
    "alpha of 0": ({"alpha": "0"}, "alpha"),
    "alpha of 2": ({"alpha": "2"}, "alpha"),
    "alpha of NaN": ({"alpha": ".nan"}, "alpha"),
    "a margin below 0": ({"margin_percent": "-1"}, "margin"),
    "another metric": ({"metric": "val_mse"}, "metric"),
    "an unknown field": ({"arm": "[no_film]"}, "arm.*arms|unknown"),
    "a preset of another kind": ({"preset": "h97"}, "h96"),
    "scientific settings that are none": ({"scientific": "[model.flim]"}, "flim"),
    "a setting fixed and varied": ({"scientific": "[model.film, model.trend]", "fixed": "[model.film]"}, "film"),
    "an arm beyond what it may change": ({"scientific": "[model.trend]"}, "film"),
    "a factorial of nothing": ({"factorial": "[]", "arms": "[]"}, "arm|factor"),
    "a pair of unknown arms": ({"pairs": "[{arm: no_film, against: no_flim}]"}, "no_flim|no_film"),
    "a pair with itself": ({"pairs": "[{arm: no_film, against: no_film}]"}, "no_film"),
    "looks of 0": ({"seeds": "auto", "looks": "0"}, "looks"),
    "a baseline of a bad value": ({"baseline": "{training.lr: -1}"}, "lr"),
    "a baseline as a list": ({"baseline": "[1]"}, "baseline"),
    "a retune of no trials": ({"retune": "{trials: 0}"}, "trials"),
}  # fmt: skip


def _studies() -> Iterator[Input]:
    for number, (name, (changes, said)) in enumerate(STUDIES.items()):
        fields = {**STUDY, **changes}
        Path(f"study{number:02d}.yaml").write_text("".join(f"{key}: {value}\n" for key, value in fields.items()))
        dry = ("--dry-run",) if number % 2 else ()
        yield Input("ablations.run", f"study: {name}", (f"study{number:02d}.yaml", *dry), (said,))
    Path("study.yaml").write_text("".join(f"{key}: {value}\n" for key, value in STUDY.items()))


def _study_options() -> Iterator[Input]:
    for name in ("quickstrat", "", "gone.yaml", "folder.csv", "y06.yaml", "y07.yaml", "..", "x" * 5000 + ".yaml"):
        yield Input("ablations.run", f"study {name[:20]!r}", (name,), ("study|quickstart|cannot read|mapping",))
    for name in NAMES[1:8]:
        yield Input("ablations.run", f"--name {name[:20]!r}", ("study.yaml", f"--name={name}"), ("name",))
    flags: dict[str, tuple[tuple[str, ...], str]] = {
        "an unknown arm": (("--arms", "no_flim"), "no_film"),
        "no arm": (("--arms", ","), "arm"),
        "seeds of text": (("--seeds", "a,b"), "seeds.*a,b"),
        "seeds of 0": (("--seeds", "0"), "seeds"),
        "too few seeds": (("--seeds", "2"), "seeds"),
        "a seed of 2**70": (("--seeds", f"1,2,3,4,5,6,7,{2**70}"), "seed"),
        "looks without auto": (("--looks", "2"), "looks.*auto"),
        "most seeds without auto": (("--max-seeds", "20"), "max-seeds.*auto"),
        "hours without auto": (("--device-hours", "2"), "device-hours.*auto"),
        "hours of nan": (("--seeds", "auto", "--device-hours", "nan"), "device-hours.*nan"),
        "looks of 99": (("--seeds", "auto", "--looks", "99"), "looks"),
        "alpha of nan": (("--alpha", "nan"), "alpha"),
        "alpha of text": (("--alpha", "low"), "alpha.*low"),
        "a margin of 0": (("--margin", "0"), "margin"),
        "a stack of 0": (("--stack-size", "0"), "stack-size.*0"),
        "an override that an arm changes": (("model.film=false",), "film"),
        "an override of no arm's": (("model.flim=false",), "flim"),
        "epochs of 0": (("--max-epochs", "0"), "max_epochs.*0"),
        "results in a file": (("--out", "occupied"), "occupied"),
        "results where nothing can be written": (("--out", "/proc/x"), "/proc/x"),
        "a ledger of nothing": (("--ledger", "--out", "gone"), "gone"),
        "CPUs of nan": (("--cpus-per-trial", "nan"), "cpus-per-trial"),
        "an address that nobody answers": (("--address", "127.0.0.1:9"), "127.0.0.1:9"),
    }  # fmt: skip
    for name, (given, said) in flags.items():
        yield Input("ablations.run", name, ("study.yaml", *given), (said,))


# Records ---------------------------------------------------------------------------------------------------------------


def _stores() -> Iterator[Input]:
    Path("other/runs").mkdir(parents=True)
    Path("other/runs/data.parquet").write_bytes(b"PAR1 not a table PAR1")
    Path("emptied").mkdir()
    Path("files").mkdir()
    Path("files/runs").write_text("a file where a folder should be")
    Path("foreign/runs").mkdir(parents=True)
    pq.write_table(pa.table({"x": [1]}), "foreign/runs/x-a1-0123456789abcdef.parquet")
    for out, said in (("occupied", "occupied"), ("gone", "gone"), ("nosuch://a/b", "nosuch"), ("", "out|results"), ("x" * 5000, "name|xxx"), ("a\0b", "null|NUL|no results|character"), ("pipe", "pipe")):
        for command in (("list",), ("show", "a"), ("export", "a", "--csv", "x.csv"), ("compact",)):
            yield Input("tune.results", f"{command[0]}: --out {out[:20]!r}", (*command, "--out", out), (said,))
    for study in ("quickstart", "..", "", "a/b", "\x1b[2J", "x" * 5000):
        for command in (("show", study), ("export", study, "--csv", "x.csv"), ("copy", study, "--to", "copied"), ("compact", study), ("wandb", study, "--offline")):
            yield Input("tune.results", f"{command[0]}: study {study[:20]!r}", (*command, "--out", "emptied"), ("study",))
    for command in ("tune.report", "ablations.report"):
        for study in ("quickstart", "..", "", "\x1b[2J"):
            yield Input(command, f"study {study[:20]!r}", (study, "--results", "emptied"), ("study",))
        for out in ("occupied", "gone", "nosuch://a/b"):
            yield Input(command, f"--results {out}", ("quickstart", "--results", out), (out.partition(":")[0],))
        for text in ("dynonet", "/", "a/b/c", "", "a/"):
            yield Input(command, f"--wandb {text!r}", ("quickstart", "--results", "emptied", "--wandb", text), ("ENTITY/PROJECT",))
        yield Input(command, "a dry run of nothing", ("quickstart", "--results", "emptied", "--wandb-dry-run"), ("ENTITY/PROJECT",))
        yield Input(command, "no study", (), ("study",))
    yield Input("tune.results", "no command", (), ("command",))
    yield Input("tune.results", "no such command", ("shwo", "x"), ("shwo.*show",))
    yield Input("tune.results", "online and offline", ("wandb", "x", "--online", "--offline"), ("not allowed with",))
    yield Input("tune.results", "copy without a place", ("copy", "x"), ("--to",))
    for command in (("list",), ("show", "a"), ("compact",)):
        yield Input("tune.results", f"{command[0]}: a file for a folder", (*command, "--out", "files"), ("files|runs|study",))


# Clusters --------------------------------------------------------------------------------------------------------------


def _clusters() -> Iterator[Input]:
    nobody = ("--address", "http://127.0.0.1:9")
    submits: dict[str, tuple[tuple[str, ...], str]] = {
        "no command": ((), "required"),
        "no such command": (("serach",), "serach.*search"),
        "no address": (("list",), "--address"),
        "an address without http": (("list", "--address", "127.0.0.1:8265"), "http"),
        "an address of Ray's client": (("list", "--address", "ray://head:10001"), "http"),
        "a port beyond": (("list", "--address", "http://h:99999"), "99999"),
        "a port of text": (("list", "--address", "http://h:port"), "port"),
        "a path in it": (("list", "--address", "http://h:1/x"), "path"),
        "a key in it": (("list", "--address", "http://me:secret@h:1"), "password"),
        "half brackets in the place": (("search", "--out", "s3://[::1", *nobody), "--out.*s3"),
    "half brackets": (("list", "--address", "http://[::1:8265"), "address"),
        "nobody answers": (("list", *nobody), "127.0.0.1:9"),
        "status of nothing": (("status", *nobody), "job"),
        "no place for results": (("search", *nobody), "--out"),
        "a relative place": (("search", "--out", "results", *nobody), "--out.*results"),
        "a key in the place": (("search", "--out", "s3://a:b@c/d", *nobody), "--out"),
        "an unknown preset": (("search", "--preset", "quick", "--out", "/srv/x", *nobody), "quick"),
        "an unknown study": (("ablations", "quickstrat", "--out", "/srv/x", *nobody), "quickstart"),
        "a bad setting": (("search", "training.lr=-1", "--out", "/srv/x", *nobody), "lr"),
        "a bad key": (("search", "training.lrr=1", "--out", "/srv/x", *nobody), "lr"),
        "trials of 0": (("search", "--trials", "0", "--out", "/srv/x", *nobody), "trials"),
        "a study's bad name": (("search", "--study", "..", "--out", "/srv/x", *nobody), "name"),
        "a variable that is not set": (("search", "--env", "NO_SUCH_KEY", "--out", "/srv/x", *nobody), "NO_SUCH_KEY"),
        "a variable with its value": (("search", "--env", "A=b", "--out", "/srv/x", *nobody), "name alone"),
        "a config that is not there": (("search", "--config", "gone.yaml", "--out", "/srv/x", *nobody), "gone.yaml"),
        "a config that is a pipe": (("search", "--config", "pipe", "--out", "/srv/x", *nobody), "pipe"),
        "a relative file of data": (("search", "data.path=x.csv", "--out", "/srv/x", *nobody), "data.path"),
        "a ledger": (("ablations", "quickstart", "--ledger", "--out", "/srv/x", *nobody), "ledger"),
        "W&B offline into a bucket": (("search", "--wandb", "offline", "--out", "s3://b/x", *nobody), "offline"),
        "an option that is none": (("search", "--trails", "3", "--out", "/srv/x", *nobody), "trails"),
        "an option of another command": (("list", "--detach", *nobody), "detach"),
        "another machine without a token": (("list", "--address", "http://203.0.113.1:8265"), "token"),
    }  # fmt: skip
    token = {"RAY_AUTH_TOKEN": "", "RAY_AUTH_TOKEN_PATH": "", "HOME": os.getcwd(), "DYNONET_RESULTS": "", "RAY_AUTH_MODE": "token"}
    for name, (given, said) in submits.items():
        yield Input("cluster.submit", name, given, (said,), token)
    Path("open").write_text("secret")
    Path("open").chmod(0o644)
    yield Input("cluster.submit", "a token that others can read", ("list", *nobody), ("open",), {**token, "RAY_AUTH_TOKEN_PATH": f"{os.getcwd()}/open"})
    yield Input("cluster.submit", "a token that is not there", ("list", *nobody), ("gone",), {**token, "RAY_AUTH_TOKEN_PATH": f"{os.getcwd()}/gone"})
    files: dict[str, tuple[str, str | bytes, str]] = {
        "empty YAML": ("c0.yaml", "", "neither"),
        "a list": ("c1.yaml", "- 1\n", "neither"),
        "keys twice": ("c2.yaml", "provider: {}\nprovider: {}\n", "twice"),
        "nesting without end": ("c3.yaml", "a: " + "[" * 5000, "line 1"),
        "no type of provider": ("c4.yaml", "provider: {}\n", "provider|type"),
        "a provider of text": ("c5.yaml", "provider: aws\n", "provider"),
        "a provider of a list": ("c6.yaml", "provider: [aws]\n", "provider"),
        "null for a provider": ("c7.yaml", "provider:\n", "provider"),
        "nodes of numbers": ("c8.yaml", "provider: {type: aws}\navailable_node_types: 3\n", "available_node_types"),
        "a cluster of nothing": ("c9.yaml", "kind: RayCluster\n", "RayCluster|spec|api"),
        "a job as text": ("c10.yaml", "kind: RayJob\nspec: hello\n", "spec"),
        "groups of numbers": ("c11.yaml", "kind: RayCluster\napiVersion: ray.io/v1\nspec: {headGroupSpec: 3, workerGroupSpecs: [4]}\n", "headGroupSpec"),
        "latin-1": ("c12.yaml", "a: \u00f6".encode("latin-1"), "UTF-8"),
        "no results": ("c13.env", "A=b\n", "DYNONET_RESULTS"),
        "blanks in an env file": ("c14.env", "DYNONET_RESULTS = /x\n", "line 1"),
        "quotes in an env file": ("c15.env", 'DYNONET_RESULTS="/x"\n', "line 1"),
        "a misspelt series": ("c16.env", "DYNONET_RESULTS=/x\nDYNONET_DATASETS=ETTh3\n", "ETTh3"),
        "a script that is none": ("c17.sh", "if then fi (\n", "bash"),
        "a dashboard for all": ("c18.sh", "ray start --head --dashboard-host=0.0.0.0\n", "dashboard"),
        "another kind of file": ("c19.txt", "hello\n", "allowed"),
        "an image of nothing": ("Dockerfile", "FROM python:3.6\n", "FROM"),
    }  # fmt: skip
    for name, (path, content, said) in files.items():
        Path(path).write_bytes(content if isinstance(content, bytes) else content.encode())
        yield Input("cluster.checks", name, (path,), (said,))
    for path in ("gone.yaml", "pipe", "folder.csv", "/dev/zero", "loop", "x" * 5000):
        yield Input("cluster.checks", f"file {path[:20]}", (path,), ("cannot read|allowed",))
    yield Input("cluster.checks", "no file", (), ("FILE",))


def _good() -> Iterator[Input]:
    """What must get through."""
    good: dict[str, tuple[str, ...]] = {
        "dynonet.data": ("check", "plain.csv", *WINDOWS),
        "dynonet.train": (*TINY, "--no-test", "--out", "trained"),
        "dynonet.baseline": TINY,
        "tune.search": (*TINY, "--out", "searched"),
        "ablations.run": ("study.yaml", "--out", "studied"),
        "tune.results": ("list", "--out", "emptied"),
        "cluster.checks": (str(Path(__file__).parents[1] / "cluster" / "env.sh"),),
    }
    for command, given in good.items():
        yield Input(command, "good", given, good=True)
    unix = [str(int((START + timedelta(hours=i)).replace(tzinfo=UTC).timestamp())) for i in range(ROWS)]
    forms = {"seconds": unix, "compact": _dates("%Y%m%d%H"), "from 1970 on": [str(3600 * i) for i in range(ROWS)]}
    for name, dates in forms.items():
        Path(f"good-{name}.csv").write_text(csv(dates))
        yield Input("dynonet.data", f"good: {name}", ("check", f"good-{name}.csv", *WINDOWS), good=True)
