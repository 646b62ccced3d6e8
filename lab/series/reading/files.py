"""A file as named columns, before anything is made of them: text of a csv file, typed values of Parquet or a frame.

Nothing is guessed that the file does not show: the separator is the one that divides every line alike, a decimal comma
is one that no other reading explains, and what is no plain ASCII number (`1_000`, `1,234.5`, `true`, `½`) is refused
as what it is.
"""

import csv
import gzip
import hashlib
import io
import re
import unicodedata
import zlib
from collections.abc import Sequence
from dataclasses import dataclass, replace
from functools import cached_property
from pathlib import Path
from typing import Literal

import numpy as np
import pandas as pd
import pyarrow as pa
import pyarrow.parquet as pq

from lab.console.printing import one_line
from lab.errors import DataError
from lab.series.reading.date_texts import read_dates, typed_dates, zone_of
from lab.series.reading.dates import Dates
from lab.series.reading.number_texts import decimal_mark, parsed, unset, what_it_is

MOST_BYTES = 4 << 30  # of a text, unpacked
MOST_COLUMNS = 100_000
SEPARATORS = {",": "comma", ";": "semicolon", "\t": "tab"}  # that are recognised
_SAMPLE = 100  # lines that a separator is recognised by


@dataclass(frozen=True, eq=False)
class Column:
    name: str
    # Text, or numbers (float64 with NaN for none, or whole ones as they are) or dates (datetime64).
    cells: Sequence[str] | np.ndarray
    zone: str = ""  # of dates


@dataclass(frozen=True, eq=False)
class Table:
    """The columns of a file, in its order. `lines` are those of a text file, counted from 1 as an editor does."""

    place: str  # the path, for errors
    columns: tuple[Column, ...]
    rows: int
    lines: tuple[int, ...] | None = None
    separator: str = ""  # of a text file
    decimal: Literal[".", ","] = "."
    sha256: str = ""
    ended: bool = True  # by an end of line: a text that is cut off in its last number looks whole otherwise

    def where(self, row: int) -> str:
        return f"row {row}" if self.lines is None else f"line {self.lines[row]}"

    def column(self, name: str) -> Column:
        return self._by_name[name]

    @cached_property
    def _by_name(self) -> dict[str, Column]:
        return {column.name: column for column in reversed(self.columns)}

    def ordered(self, order: np.ndarray) -> "Table":
        """The rows in another order, each with the line that it had."""
        columns = tuple(
            replace(c, cells=c.cells[order] if isinstance(c.cells, np.ndarray) else [c.cells[row] for row in order])
            for c in self.columns
        )
        lines = None if self.lines is None else tuple(self.lines[row] for row in order)
        return replace(self, columns=columns, lines=lines)

    def understood(self) -> str:
        """How the file was read, in some words."""
        if self.lines is None:
            return ""
        separator = SEPARATORS.get(self.separator, f"'{self.separator}'")
        whole = "" if self.ended else "; no end of line after the last row: is the file whole?"
        return f"separator {separator}, decimal {'comma' if self.decimal == ',' else 'point'}{whole}"


def read_file(path: Path, separator: str = "auto", decimal: str = "auto", expected: str | None = None) -> Table:
    """A .csv (packed with gzip or not) or a .parquet file; its first bytes say which it is.

    Args:
        separator: one character, or `tab`; `auto`: comma, semicolon or tab, whichever divides every line alike.
        decimal: `.` or `,`; `auto`: by what the numbers look like.
        expected: the file's sha256, where it is known.
    Raises:
        DataError: a file that cannot be read, is another, holds no table, or may be read in two ways.
    """
    try:
        if (size := path.stat().st_size) > MOST_BYTES:
            raise DataError(f"{path}: {size / (1 << 30):,.0f} GiB, at most {MOST_BYTES >> 30} GiB are read")
        content = path.read_bytes()
    except OSError as error:
        raise DataError(f"{path}: cannot be read: {error.strerror}") from None
    sha256 = hashlib.sha256(content).hexdigest()
    if expected not in (None, sha256):
        raise DataError(
            f"{path}: the checksum is off: expected sha256 {expected}, got {sha256}; "
            "the file is damaged or was changed, delete it and get it again"
        )
    if content[:4] == b"PAR1":
        if separator != "auto":
            raise DataError(f"{path}: data.separator: got '{separator}', and a Parquet file has none; leave it at auto")
        return _parquet(path, content, sha256, decimal)
    if content[:2] == b"PK" or content[:8] == b"\xd0\xcf\x11\xe0\xa1\xb1\x1a\xe1":
        raise DataError(f"{path}: a zip archive or an Excel workbook; save the sheet as csv, or the data as Parquet")
    return _text(path, _decoded(path, _unpacked(path, content)), sha256, separator, decimal)


def frame_table(frame: pd.DataFrame, place: str, sha256: str = "", decimal: str = "auto") -> Table:
    """A DataFrame's columns; a named or datetime index comes first, as a column.

    Args:
        decimal: of numbers that are text: `,`, or a point.
    Raises:
        DataError: columns of several levels, two of one name, or values of a kind that is no data.
    """
    if isinstance(frame.columns, pd.MultiIndex) or isinstance(frame.index, pd.MultiIndex):
        raise DataError(f"{place}: columns or rows of several levels; bring it into one column a channel first")
    columns = []
    index = frame.index
    if index.name is not None or isinstance(index, pd.DatetimeIndex | pd.PeriodIndex):
        columns.append((str(index.name if index.name is not None else ""), index.to_series()))
    columns += [(str(name).strip(), frame.iloc[:, at]) for at, name in enumerate(frame.columns)]
    _check_names(place, [name for name, _ in columns])
    if not len(frame):
        raise DataError(f"{place}: no rows")
    mark: Literal[".", ","] = "," if decimal == "," else "."
    return Table(
        place, tuple(_column(place, name, values) for name, values in columns), len(frame), decimal=mark, sha256=sha256
    )


def numbers_of(
    table: Table, name: str, missing: Sequence[float | str] = (), met: set[float | str] | None = None
) -> np.ndarray:
    """A column as float64, NaN where it has no value.

    Args:
        missing: further cells that stand for no value.
        met: gets those of them that there are.
    Raises:
        DataError: a cell that is no number, or an infinite one; names the first and counts them.
    """
    cells = table.column(name).cells
    if isinstance(cells, np.ndarray):
        if cells.dtype.kind == "M":
            raise DataError(f"{table.place}: channel '{name}' holds dates; is it the date column (data.date_column)?")
        values = cells.astype(np.float64)
        unset(values, missing, met)
        bad = np.flatnonzero(np.isinf(values)).tolist()
        texts: Sequence[str] = [] if not bad else [str(value) for value in values]
    else:
        values, texts, bad = parsed([cell.strip() for cell in cells], table.decimal, missing, met)
    if bad:
        more = f"; {len(bad)} of {table.rows} rows are like this" if len(bad) > 1 else ""
        text = texts[bad[0]]
        raise DataError(
            f"{table.place}: channel '{name}', {table.where(bad[0])}: '{one_line(text, 60)}', "
            f"{what_it_is(text, table.decimal)}{more}; mend it, or choose the channels with data.channels=[...]"
        )
    return values


def dates_of(table: Table, name: str, date_format: str | None = None) -> Dates:
    """A column as dates. Raises DataError where a row has none that can be read."""
    column = table.column(name)
    cells = column.cells
    try:
        if isinstance(cells, np.ndarray) and cells.dtype.kind == "M":
            return typed_dates(cells, name, table.where, column.zone)
        if isinstance(cells, np.ndarray):  # text without an exponent, as a file would have it
            cells = (
                ["" if np.isnan(cell) else np.format_float_positional(cell, trim="-") for cell in cells]
                if (cells.dtype.kind == "f")
                else list(map(str, cells.tolist()))
            )
        return read_dates(cells, name, table.where, date_format)
    except DataError as error:
        raise DataError(f"{table.place}: {error}") from None


def counts_rows(cells: Sequence[str] | np.ndarray) -> bool:
    """Whether a column only numbers the rows: 0, 1, 2, ... or 1, 2, 3, ..."""
    if isinstance(cells, np.ndarray):
        return cells.dtype.kind in "fiu" and len(cells) > 1 and bool((np.diff(cells) == 1).all()) and cells[0] in (0, 1)
    first = next(iter(cells), "").strip()
    if first not in ("0", "1"):
        return False
    return all(cell.strip() == str(number) for number, cell in enumerate(cells, int(first))) and len(cells) > 1


def numbers_rows(cells: Sequence[str] | np.ndarray) -> bool:
    """Whether a column gives each row a number of its own, as the index of a frame does that was filtered or sorted."""
    if isinstance(cells, np.ndarray):
        return cells.dtype.kind in "iu" and bool((cells >= 0).all()) and len(np.unique(cells)) == len(cells)
    numbers = [cell.strip() for cell in cells]
    return len(set(numbers)) == len(numbers) and all(re.fullmatch(r"0|[1-9]\d{0,17}", n, re.ASCII) for n in numbers)


def _unpacked(path: Path, content: bytes) -> bytes:
    if content[:2] != b"\x1f\x8b":
        return content
    try:
        with gzip.open(io.BytesIO(content)) as packed:
            first = packed.read(1 << 20)
            if first[:2] == b"\x1f\x8b" or first[:4] == b"PAR1":
                kind = "gzip again" if first[:2] == b"\x1f\x8b" else "a Parquet file"
                raise DataError(f"{path}: packed with gzip, and what is in it is {kind}; unpack it once")
            if b"\0\0\0\0" in first:  # which no encoding of text has: little packed may be very much
                raise DataError(f"{path}: packed with gzip, and what is in it is no text but zeros")
            text = first + packed.read(MOST_BYTES + 1 - len(first))
    except (OSError, EOFError, zlib.error) as error:
        raise DataError(f"{path}: gzip cannot unpack it: {error}; is the file whole?") from None
    if len(text) > MOST_BYTES:
        raise DataError(f"{path}: more than {MOST_BYTES >> 30} GiB unpacked; take fewer rows or columns")
    return text


def _decoded(path: Path, content: bytes) -> str:
    encoding = "utf-16" if content[:2] in (b"\xff\xfe", b"\xfe\xff") else "utf-8-sig"
    try:
        text = content.decode(encoding)
    except UnicodeDecodeError as error:
        line = content[: error.start].count(b"\n") + 1
        raise DataError(
            f"{path}: line {line} is not UTF-8 (byte 0x{content[error.start]:02x}); save the file as UTF-8 (as 'CSV "
            "UTF-8' in Excel; `iconv -f latin1 -t utf-8` in a shell), or is it no csv file?"
        ) from None
    if "\0" in text:
        raise DataError(
            f"{path}: not a csv file: line {text[: text.index(chr(0))].count(chr(10)) + 1} holds bytes that are no text"
        )
    return text


def _text(path: Path, text: str, sha256: str, separator: str, decimal: str) -> Table:
    mark = {"auto": None, "tab": "\t"}.get(separator, separator) or _separator(path, text)
    reader = csv.reader(io.StringIO(text, newline=""), delimiter=mark, strict=True, skipinitialspace=True)
    lines, rows = [], []
    before = 0
    try:
        for row in reader:
            line, before = before + 1, reader.line_num
            if row and not (len(row) == 1 and not row[0].strip()):
                lines.append(line)
                rows.append(row)
    except csv.Error as error:
        raise DataError(f"{path}: line {reader.line_num}: not a line of a csv file: {error}") from None
    if not rows:
        raise DataError(f"{path}: the file is empty")
    header = [name.strip() for name in rows.pop(0)]
    lines.pop(0)
    shown = SEPARATORS.get(mark, repr(mark))
    for line, row in zip(lines, rows, strict=True):
        if len(row) != len(header):
            raise DataError(
                f"{path}: line {line} has {len(row)} {'field' if len(row) == 1 else 'fields'} and the header "
                f"{len(header)} (separator: {shown}); data.separator sets another"
            )
    if not rows:
        raise DataError(f"{path}: a header and no rows")
    if not any(re.search(r"[^\W\d]", name) for name in header):
        raise DataError(
            f"{path}: the first line names no columns, it has {', '.join(map(repr, header[:3]))}; add a header line"
        )
    _check_names(str(path), header)
    named = list(zip(header, zip(*rows, strict=True), strict=True))
    point: Literal[".", ","] = "," if decimal == "," else "."
    if decimal == "auto":
        point = decimal_mark(path, named, mark)
    columns = tuple(Column(name, cells) for name, cells in named)
    return Table(str(path), columns, len(rows), tuple(lines), mark, point, sha256, text.endswith(("\n", "\r")))


def _separator(path: Path, text: str) -> str:
    """The separator that divides the first lines into equal numbers of fields, the most if several do."""
    found: dict[str, int] = {}
    first = ""
    for mark in SEPARATORS:
        reader = csv.reader(io.StringIO(text, newline=""), delimiter=mark, skipinitialspace=True)
        sizes = []
        try:
            for row in reader:
                if row and any(cell.strip() for cell in row):
                    first = first or mark.join(row)
                    sizes.append(len(row))
                if len(sizes) == _SAMPLE:
                    break
        except csv.Error:
            continue
        if sizes and sizes[0] > 1 and 2 * sizes.count(sizes[0]) > len(sizes):
            found[mark] = sizes[0]
    if not found:
        if not first:
            raise DataError(f"{path}: the file is empty")
        raise DataError(
            f"{path}: neither comma, semicolon nor tab divides its lines into columns (first line: '{first[:60]}'); "
            "a series needs a date column and at least one more; data.separator sets another separator"
        )
    most = max(found.values())
    best = [mark for mark, count in found.items() if count == most]
    if len(best) > 1:
        names = " and ".join(SEPARATORS[mark] for mark in best)
        raise DataError(
            f"{path}: {names} both divide its lines into {most} columns; say which it is with data.separator"
        )
    return best[0]


def _check_names(place: str, names: Sequence[str]) -> None:
    """Raises DataError for names that stand twice, or look as if they did, or that would not print as they are."""
    if len(names) > MOST_COLUMNS:
        raise DataError(f"{place}: {len(names):,} columns, at most {MOST_COLUMNS:,} are read; take fewer")
    for place_of, name in enumerate(names, 1):
        if not name.isprintable():
            raise DataError(f"{place}: the name of column {place_of} holds a control character: {name[:60]!r}")
    seen: dict[str, str] = {}
    twice = set()
    for name in filter(None, names):
        looks = unicodedata.normalize("NFKC", name)
        if looks in seen:
            twice |= {name, seen[looks]}
        seen[looks] = name
    if twice:
        shown = ", ".join(repr(one_line(name, 60)) for name in sorted(twice)[:3]) + (", ..." if len(twice) > 3 else "")
        raise DataError(f"{place}: columns of the same name: {shown}; give each a name of its own")


def _parquet(path: Path, content: bytes, sha256: str, decimal: str) -> Table:
    try:
        table = pq.ParquetFile(io.BytesIO(content)).read()
        # By hand where names stand twice: pandas' metadata names columns, and frame_table says which are alike.
        frame = table.to_pandas(ignore_metadata=len(set(table.column_names)) < table.num_columns)
    except (pa.ArrowException, OSError, ValueError, TypeError, KeyError) as error:
        said = (str(error).splitlines() or [type(error).__name__])[0]
        raise DataError(f"{path}: not a Parquet file that can be read: {one_line(said)}") from None
    return frame_table(frame, str(path), sha256, decimal)


def _column(place: str, name: str, values: pd.Series) -> Column:
    kind = values.dtype
    if isinstance(kind, pd.CategoricalDtype):
        values = values.astype(kind.categories.dtype)
        kind = values.dtype
    if isinstance(kind, pd.DatetimeTZDtype):
        local = values.dt.tz_localize(None)  # the clock that its zone shows
        fixed = values.dt.tz_convert("UTC").dt.tz_localize(None)
        offsets = (local - fixed).dropna().unique()
        one = len(offsets) == 1
        zone = zone_of(int(offsets[0] / pd.Timedelta(seconds=1)) if one else 0)
        return Column(name, np.asarray((local if one else fixed).to_numpy(dtype="M8[us]")), zone)
    if isinstance(kind, pd.PeriodDtype):
        values = values.dt.to_timestamp()
        kind = values.dtype
    if pd.api.types.is_datetime64_any_dtype(kind):
        return Column(name, np.asarray(values.to_numpy(dtype="M8[us]")))
    if pd.api.types.is_complex_dtype(kind) or pd.api.types.is_timedelta64_dtype(kind):
        raise DataError(f"{place}: column '{name}' holds {kind} values, which are no numbers")
    if pd.api.types.is_integer_dtype(kind) and not values.hasnans:  # whole: dates in nanoseconds have 19 digits
        return Column(name, np.asarray(values.to_numpy(dtype="u8" if str(kind).lower() == "uint64" else "i8")))
    if pd.api.types.is_numeric_dtype(kind) and not pd.api.types.is_bool_dtype(kind):
        return Column(name, np.asarray(values.to_numpy(dtype=np.float64, na_value=np.nan)))
    for cell in values:
        if isinstance(cell, np.ndarray | list | dict | tuple | set | bytes):
            raise DataError(
                f"{place}: column '{name}' holds values of type {type(cell).__name__}, which are no numbers"
            )
    return Column(name, ["" if cell is None or pd.isna(cell) else str(cell) for cell in values])
