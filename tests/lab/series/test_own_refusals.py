"""Files of one's own that are refused: each by the message that says what it is, and what to do."""

import gzip

import pandas as pd
import pytest

from lab.errors import DataError
from lab.series import load_series
from lab.settings.data import DataConfig
from tests.lab.series.own_files import ISO, PLAIN, ROWS, TIMES, hours, lines_of, read, values_of


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


def test_channels_that_cannot_be_scaled_are_named_at_once(tmp_path):
    text = "date,a,still,b,none\n" + "".join(
        f"{date},{a},0,{b},7\n" for date, (a, b) in zip(ISO, values_of(), strict=True)
    )
    with pytest.raises(DataError, match=r"channels 'still', 'none' are constant .*: data\.channels='\[a, b\]'"):
        read(tmp_path, text)


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


def test_very_many_columns_are_refused_at_once(tmp_path):
    with pytest.raises(DataError, match="1,000,001 columns, at most 100,000 are read"):
        read(tmp_path, ",".join(["date", *map(str, range(1_000_000))]) + "\n" + "1," * 1_000_000 + "1\n")
