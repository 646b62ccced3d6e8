"""Files of data, text and Parquet, and how they are to be read."""

import gzip
import io
import os
from collections.abc import Callable, Iterator
from datetime import datetime, timedelta
from decimal import Decimal
from pathlib import Path

import numpy as np
import pandas as pd
import pyarrow as pa
import pyarrow.parquet as pq

from scripts.bad_inputs.base import ROWS, START, WINDOWS, Input, csv, dates, hours, numbers, values

DAY = timedelta(days=1)
# A name, what the file holds, and what the refusal says.
TEXTS: dict[str, tuple[str | bytes, str]] = {
    "empty": ("", "is empty"),
    "blank lines": ("\n\n \n", "is empty"),
    "header alone": ("date,a,b\n", "header and no rows"),
    "a single row": (csv(hours(1)), "one row|too few"),
    "two rows": (csv(hours(2)), "2 rows are too few"),
    "no header": (csv().partition("\n")[2], "first line names no columns"),
    "no header, dates with T": (csv(dates("%Y-%m-%dT%H:%M:%SZ")).partition("\n")[2], "no date column|names no col"),
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
    "semicolon and comma alike": (
        "date;a,b;c,d\n" + "".join(f"2020-01-{i:02d};1,5;2,5\n" for i in range(1, 9)),
        "both divide",
    ),
    "pipes": (csv().replace(",", "|"), "data.separator"),
    "blanks": (csv(dates("%Y-%m-%dT%H:%M")).replace(",", " "), "data.separator"),
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
    "mixed step": (csv([*hours(60), *dates("%Y-%m-%d %H:%M", DAY, 63)[43:]]), "not of one step|order"),
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
    "years of two digits": (csv(dates("%d.%m.%y %H:%M")), "data.date_format"),
    "which is the day": (csv([f"{i % 12 + 1}/{i // 12 + 1}/2020" for i in range(ROWS)]), "day or the month"),
    "day and month mixed": (csv(["13/01/2020", "01/14/2020"] * 40), "write all dates alike"),
    "an offset of 75 minutes": (csv([f"{h}+01:75" for h in hours()]), "offset"),
    "an impossible offset": (csv([f"{h}+27:00" for h in hours()]), "offset|zone|no date"),
    "some with a zone": (csv(d3=f"{hours()[3]}Z"), "time zone"),
    "a zone by name": (csv([f"{h} CET" for h in hours()]), "data.date_format"),
    "week dates": (csv([f"2020-W{1 + i // 7:02d}-{i % 7 + 1}" for i in range(ROWS)]), "data.date_format"),
    "days of the year": (csv([f"2020-{i + 1:03d}" for i in range(ROWS)]), "data.date_format"),
    "month names": (csv(dates("%d %b %Y", DAY)), "data.date_format"),
    "times alone": (csv(dates("%H:%M")), "times of day"),
    "dates in words": (csv(["yesterday"] * ROWS), "yesterday"),
    "no dates": (csv([""] * ROWS), "empty"),
    "NaT among them": (csv(d3="NaT"), "NaT"),
    "Arabic digits": (csv(d3="\u0662\u0660\u0662\u0660-01-01"), "no date"),
    "a row counter": (csv([str(i) for i in range(ROWS)]), "date"),
    "a row counter from 1": (csv([str(i + 1) for i in range(ROWS)]), "date"),
    "a spreadsheet's days": (csv(numbers(43831, 1)), "43831"),
    "a spreadsheet's hours": (csv([f"{43831 + i / 24:.6f}" for i in range(ROWS)]), "43831"),
    "decimal years": (csv(numbers(1990, 0.25)), "1990"),
    "years and months with a point": (csv([f"2020.{i % 12 + 1:02d}" for i in range(12)]), r"2020\.01|data.date"),
    "Julian days": (csv(numbers(2458849.5, 1)), "2458849.5"),
    "a year and a month": (csv([f"{1990 + i // 12}{i % 12 + 1:02d}x" for i in range(ROWS)]), "199001"),
    "infinite dates": (csv(d3="inf"), "inf"),
    "a date of 500 digits": (csv(d3="9" * 500), "999"),
    "years and months as numbers": (csv([f"{1990 + i // 12}{i % 12 + 1:02d}" for i in range(ROWS)]), "199001.*%Y%m"),
    "hours within a day as numbers": (csv([f"20200101{i:02d}" for i in range(23)] + ["2020010125"]), "2020010100|not"),
    # Numbers
    "a whole number missing among many": (
        "date,a\n" + "".join(f"{h},{'' if i == 70 else 10 + i}\n" for i, h in enumerate(hours())),
        "no value",
    ),
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
}


def files() -> Iterator[Input]:
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
    for command, path in (
        ("dynonet.train", "pipe"),
        ("dynonet.baseline", "folder.csv"),
        ("tune.search", "loop"),
        ("ablations.run", "sparse.csv"),
    ):
        study = ("parts_quick",) if command == "ablations.run" else ()
        yield Input(command, f"data: {path}", (*study, f"data.path={path}", *WINDOWS), (path,))


def _frame(**columns: object) -> pd.DataFrame:
    dates = pd.date_range(START, periods=ROWS, freq="h")
    wave = [float(row[0]) for row in values()]
    return pd.DataFrame({"date": dates, "a": wave, **columns})


def tables() -> Iterator[Input]:
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
            pa.Table.from_pandas(
                pd.DataFrame(np.ones((9, 2)), columns=pd.MultiIndex.from_tuples([("a", 1), ("a", 2)]))
            ),
            "no date column|levels",
        ),
    }
    for number, (name, (table, said)) in enumerate(tables.items()):
        pq.write_table(table, path := f"p{number:02d}.parquet")
        yield Input("dynonet.data", f"parquet: {name}", ("check", path, *WINDOWS), (said,))
    buffer = io.BytesIO()
    pq.write_table(pa.table(_frame()), buffer)
    whole = buffer.getvalue()
    damaged = {
        "cut": whole[:-200],
        "cut in half": whole[: len(whole) // 2],
        "zeros within": whole[:60] + bytes(200) + whole[260:],
        "a foot of zeros": whole[:-40] + bytes(36) + whole[-4:],
        "packed": gzip.compress(whole),
    }
    for name, content in damaged.items():
        Path(f"{name}.parquet").write_bytes(content)
        yield Input("dynonet.data", f"parquet: {name}", ("check", f"{name}.parquet", *WINDOWS), ("Parquet|text|UTF-8",))


def data_settings() -> Iterator[Input]:
    own: dict[str, tuple[str, str]] = {
        "no such column": ("data.date_column=dat", "data.date_column='date'"),
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
        "an empty mark": ("data.missing_values=[?,,1]", "empty"),
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
