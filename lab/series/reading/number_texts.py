"""Numbers as texts write them: what marks the decimals, what stands for no value, and what is no number at all."""

import re
from collections.abc import Sequence
from pathlib import Path
from typing import Literal

import numpy as np

from lab.errors import DataError

NO_VALUE = ("", "na", "n/a", "nan", "null", "none", "-", "?")  # cells without a value, whatever their case
# One way alone to match a number: with two, a column of whole numbers would take for ever to be no match.
_POINT = r"[+-]?(?:\d+(?:\.\d*)?|\.\d+)(?:[eE][+-]?\d+)?"
_NUMBER = {mark: re.compile(_POINT.replace(r"\.", re.escape(mark)), re.ASCII) for mark in (".", ",")}
_ALL = {mark: re.compile(rf"(?:{pattern.pattern}\n)*", re.ASCII) for mark, pattern in _NUMBER.items()}
_COMMA = re.compile(r"[+-]?\d*,\d+(?:[eE][+-]?\d+)?", re.ASCII)
_THOUSANDS = re.compile(r"[+-]?[1-9]\d{0,2}(?:,\d{3})+", re.ASCII)
_POINTS = re.compile(r"[+-]?[1-9]\d{0,2}(?:\.\d{3})+", re.ASCII)
_SMALL = re.compile(r"[+-]?\d{1,3}", re.ASCII)


def decimal_mark(path: Path, columns: Sequence[tuple[str, Sequence[str]]], separator: str) -> Literal[".", ","]:
    """What marks the decimals: a comma where cells have one, and no other reading explains them.

    `columns`: names and cells. Raises DataError for numbers that may be read in two ways.
    """
    commas = [
        (name, cell.strip())
        for name, cells in columns
        for cell in cells
        if "," in cell and _COMMA.fullmatch(cell.strip())
    ]
    if not commas:
        if separator != ",":
            _check_no_thousands(path, columns)
        return "."
    if all(_THOUSANDS.fullmatch(cell) for _, cell in commas):
        name, cell = commas[0]
        raise DataError(
            f"{path}: column '{name}': '{cell}' may be a decimal comma or a separator of thousands; say so with "
            "data.decimal=',', or write the numbers without a separator of thousands"
        )
    points = next(
        (
            (name, cell.strip())
            for name, cells in columns
            for cell in cells
            if "." in cell and _NUMBER["."].fullmatch(cell.strip())
        ),
        None,
    )
    if points is not None:
        raise DataError(
            f"{path}: decimals are written with a comma ('{commas[0][1]}' in column '{commas[0][0]}') and with a point "
            f"('{points[1]}' in column '{points[0]}'); write all alike, or set data.decimal"
        )
    return ","


def _check_no_thousands(path: Path, columns: Sequence[tuple[str, Sequence[str]]]) -> None:
    """Raises DataError for a column of whole numbers whose points may separate thousands: 980, 1.200, 12.500."""
    for name, texts in columns:
        cells = [text.strip() for text in texts]
        points = [cell for cell in cells if "." in cell]
        if not points or not all(_POINTS.fullmatch(cell) for cell in points):
            continue
        others = [cell for cell in cells if "." not in cell and cell.lower() not in NO_VALUE]
        if others and all(_SMALL.fullmatch(cell) for cell in others):
            raise DataError(
                f"{path}: column '{name}': '{points[0]}' beside '{others[0]}' may be a decimal point or a "
                "separator of thousands; say so with data.decimal='.', or write the numbers without a separator of "
                "thousands"
            )


def unset(values: np.ndarray, missing: Sequence[float | str], met: set[float | str] | None) -> None:
    """Puts NaN where a number stands for no value."""
    for mark in missing:
        if not isinstance(mark, str) and (found := values == mark).any():
            values[found] = np.nan
            if met is not None:
                met.add(mark)


def parsed(
    cells: list[str], decimal: str, missing: Sequence[float | str], met: set[float | str] | None
) -> tuple[np.ndarray, list[str], list[int]]:
    """Numbers, the cells, and the rows whose cell is neither a number nor empty."""
    marks = {mark for mark in missing if isinstance(mark, str)}
    read = (lambda cell: float(cell.replace(",", "."))) if decimal == "," else float
    lines = "\n".join(cells) + "\n"
    # The usual case, at the speed of C; a cell of several lines is none of it.
    if not marks and lines.count("\n") == len(cells) and _ALL[decimal].fullmatch(lines):
        values, bad = np.array(list(map(read, cells))), np.empty(0, dtype=np.int64)
    else:
        values, odd = np.full(len(cells), np.nan), []
        for row, cell in enumerate(cells):
            if _NUMBER[decimal].fullmatch(cell) and cell not in marks:
                values[row] = read(cell)
            elif cell.lower() not in NO_VALUE and cell not in marks:
                odd.append(row)
        bad = np.array(odd, dtype=np.int64)
    unset(values, missing, met)
    if met is not None:
        met |= marks.intersection(cells)
    return values, cells, sorted({*bad.tolist(), *np.flatnonzero(np.isinf(values)).tolist()})


def what_it_is(text: str, decimal: str) -> str:
    """What a cell is that is no number."""
    plain = text.lower().lstrip("+-")
    if plain in ("true", "false", "yes", "no", "on", "off"):
        return "a yes or no, no number; write 1 and 0 if that is what is meant"
    if plain in ("inf", "infinity") or _NUMBER[decimal].fullmatch(text):
        return "not a finite number"
    if not text.isascii() and text.isnumeric():
        return "digits that are not ASCII's"
    if "_" in text or _NUMBER["."].fullmatch(re.sub(r"[ ,'’\u00a0\u202f]", "", text)):
        if decimal == "." and _NUMBER[","].fullmatch(text):
            return "no plain number: a decimal comma is data.decimal=',', thousands are written without a separator"
        marks = [mark for mark in ",." if mark in text]
        if len(marks) == 2:
            last = max(marks, key=text.rfind)
            reads = f"thousands={min(marks, key=text.rfind)!r}" + (", decimal=','" if last == "," else "")
        else:
            reads = "thousands=','" if decimal == "." and "," in text else ""
        with_pandas = f" (pandas reads it so: read_csv(FILE, {reads}))" if reads else ""
        return f"no plain number: write it without a separator of thousands{with_pandas}"
    return "no number"
