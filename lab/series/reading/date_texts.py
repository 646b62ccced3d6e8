"""Dates as texts and numbers write them: read, never guessed.

Read are ISO dates (`2020-01-31`, `2020-01-31 05:00`, `2020-01-31T05:00:00+01:00`), the same with slashes and without
leading zeros (`1990/1/1 0:00`), `31.1.2020 5:00`, numbers (seconds, milli-, micro- or nanoseconds since 1970;
`20200131`, `202001310500`; years) and, where `data.date_format` says how, anything that
strptime takes, or a unit of EPOCH. Of `3/4/2020` the file itself must say which is the day, by a number above 12
somewhere; otherwise the format has to be given. So it has for numbers that are small: they may be rows, days of a
spreadsheet or years with decimals as well as seconds.
"""

import re
from collections.abc import Sequence
from datetime import datetime

import numpy as np

from lab.console.printing import one_line
from lab.errors import DataError
from lab.series.reading.dates import SHOWN, Dates, Where
from lab.series.reading.hints import are_clocks, forms_of

_YEAR_FIRST = r"(?P<a>\d{4})(?P<sep>[-/.])(?P<b>\d{1,2})(?:(?P=sep)(?P<c>\d{1,2}))?"
_YEAR_LAST = r"(?P<a>\d{1,2})(?P<sep>[-/.])(?P<b>\d{1,2})(?P=sep)(?P<c>\d{4})"
_TIME = (
    r"(?:(?:[T ]|\s+)(?P<hour>\d{1,2}):(?P<minute>\d{2})(?::(?P<second>\d{2})(?:[.,](?P<part>\d{1,9}))?)?"
    r"\s*(?P<half>[AaPp][Mm])?\s*(?P<zone>Z|UTC|GMT|[+-]\d{2}:?\d{2}|[+-]\d{2})?)?"
)
_DATE = {"year first": re.compile(_YEAR_FIRST + _TIME, re.ASCII), "year last": re.compile(_YEAR_LAST + _TIME, re.ASCII)}
_DATED = re.compile(r"\d\D+\d+\D+\d|[^\W\d]{3}.*\d|\d.*[^\W\d]{3}")  # three numbers, or a month by its name
_NUMBER = re.compile(r"-?\d{1,19}(?:\.\d*)?", re.ASCII)
EPOCH = {"seconds": 1, "milliseconds": 1_000, "microseconds": 1_000_000, "nanoseconds": 1_000_000_000}  # date_format
_COMPACT = (8, 10, 12, 14)  # digits of 20200131 and of the same with hours, minutes, seconds
_SURE = 100_000_000  # seconds from which on a number is a time since 1970: March 1973
_LAST = 7_258_118_400  # seconds: the year 2200
_LOOKED_AT = 100  # rows that tell whether a column holds dates


def read_dates(texts: Sequence[str], name: str, where: Where, date_format: str | None = None) -> Dates:
    """The dates that a column's texts say.

    Raises:
        DataError: texts that are no dates, dates that do not exist, or an order of day and month that is not told.
    """
    texts = [text.strip() for text in texts]
    if date_format is not None:
        return _by_format(texts, name, where, date_format)
    if texts and all(_NUMBER.fullmatch(text) for text in texts):
        return _from_numbers(texts, name, where)
    for pattern in _DATE.values():
        found = [pattern.fullmatch(text) for text in texts]
        if sum(match is not None for match in found) * 2 > len(texts):
            bad = [row for row, match in enumerate(found) if match is None]
            if bad:
                raise _unreadable(texts, bad, name, where)
            return _assembled([match for match in found if match], texts, name, where)
    raise _unreadable(texts, range(len(texts)), name, where)


def are_dates(cells: Sequence[str] | np.ndarray) -> bool:
    """Whether a column holds dates, by its first rows: not bare numbers, which may be anything."""
    if isinstance(cells, np.ndarray):
        return cells.dtype.kind == "M"
    some = [cell.strip() for cell in cells[:_LOOKED_AT]]
    if any(all(pattern.fullmatch(text) for text in some) for pattern in _DATE.values()):
        return True
    return all(_DATED.search(text) for text in some) and bool(forms_of(some))


def _assembled(found: Sequence[re.Match[str]], texts: Sequence[str], name: str, where: Where) -> Dates:
    def numbers(group: str, default: int = 0) -> np.ndarray:
        return np.array([int(match[group] or default) for match in found], dtype=np.int64)

    if len(found[0]["a"]) == 4:
        year, month, day = numbers("a"), numbers("b"), numbers("c", 1)
    else:
        year = numbers("c")
        separators = {match["sep"] for match in found}
        day, month = _day_and_month(numbers("a"), numbers("b"), min(separators, key="-/.".index), name, where, texts)
    hour, minute, second = numbers("hour"), numbers("minute"), numbers("second")
    half = np.array([(match["half"] or "").lower() for match in found])
    wrong = (half != "") & ((hour < 1) | (hour > 12))
    hour = np.where(half == "pm", hour % 12 + 12, np.where(half == "am", hour % 12, hour))
    parts = np.array([int((match["part"] or "0").ljust(6, "0")[:6]) for match in found], dtype=np.int64)
    months = (year - 1970).astype("M8[Y]").astype("M8[M]") + np.clip(month, 1, 12) - 1
    length = ((months + 1).astype("M8[D]") - months.astype("M8[D]")).astype(np.int64)
    wrong |= (
        (year < 1)
        | (month < 1)
        | (month > 12)
        | (day < 1)
        | (day > length)
        | (hour > 23)
        | (minute > 59)
        | (second > 59)
    )
    if wrong.any():
        raise _unreadable(texts, np.flatnonzero(wrong).tolist(), name, where, "no date of the calendar")
    seconds = (hour * 60 + minute) * 60 + second
    stamps = (months.astype("M8[D]") + day - 1).astype("M8[us]") + (seconds * 1_000_000 + parts).astype("m8[us]")
    zones = [match["zone"] or "" for match in found]
    if far := [
        row for row, zone in enumerate(zones) if abs(_offset(zone)) >= 86_400 or (zone[-2:] > "59" and zone[0] in "+-")
    ]:
        raise _unreadable(texts, far, name, where, "no offset from UTC")
    if len({zone == "" for zone in zones}) > 1:
        bad = [row for row, zone in enumerate(zones) if (zone == "") == (zones.count("") * 2 < len(zones))]
        raise _unreadable(texts, bad, name, where, "some dates have a time zone and others none")
    return _in_zone(stamps, [_offset(zone) for zone in zones], named=bool(zones[0]))


def _day_and_month(
    first: np.ndarray, second: np.ndarray, separator: str, name: str, where: Where, texts: Sequence[str]
) -> tuple[np.ndarray, np.ndarray]:
    """Day and month of `3/4/2020`: by convention with dots, else by a number above 12 somewhere in the column."""
    day_first, month_first = bool((first > 12).any()), bool((second > 12).any())
    if separator == "." or day_first != month_first:
        return (first, second) if separator == "." or day_first else (second, first)
    if day_first:
        at, other = int((first > 12).argmax()), int((second > 12).argmax())
        raise DataError(
            f"column '{name}': {where(at)} has the day first and {where(other)} the month; write all dates alike"
        )
    forms = forms_of(texts) or [f"%d{separator}%m{separator}%Y", f"%m{separator}%d{separator}%Y"]
    raise DataError(
        f"column '{name}': whether the day or the month comes first is not told by any row; give "
        f"{' or '.join(f'data.date_format={form!r}' for form in forms)} (as strptime takes it)"
    )


def _offset(zone: str) -> int:
    """Seconds east of UTC."""
    if not zone or zone[0] not in "+-":
        return 0
    digits = zone[1:].replace(":", "").ljust(4, "0")
    return (1 if zone[0] == "+" else -1) * (int(digits[:2]) * 3600 + int(digits[2:]) * 60)


def _in_zone(stamps: np.ndarray, offsets: Sequence[int], named: bool) -> Dates:
    if not named:
        return Dates(stamps)
    if len(set(offsets)) > 1:
        return Dates(stamps - np.array(offsets) * np.timedelta64(1, "s"), "UTC")
    return Dates(stamps, zone_of(offsets[0]))


def zone_of(offset: int) -> str:
    """`+01:00` of 3600 seconds east of UTC, `UTC` of none."""
    minutes, sign = abs(offset) // 60, "+" if offset >= 0 else "-"
    return f"{sign}{minutes // 60:02d}:{minutes % 60:02d}" if minutes else "UTC"


def _compact(texts: Sequence[str]) -> list[re.Match[str]] | None:
    """`20200131`, `2020013105` and so on, or None: times since 1970 do not keep to months, days and hours of a clock.

    Of eight digits any that start with a year are meant so: as seconds they would all lie in 1970.
    """
    size = len(texts[0])
    if size not in _COMPACT or any(len(text) != size or not text.isdigit() for text in texts):
        return None
    if not all("1800" <= text[:4] <= "2200" for text in texts):
        return None
    clocks = (f"{text[8:10] or '00'}:{text[10:12] or '00'}:{text[12:14] or '00'}" for text in texts)
    dates = (f"{text[:4]}-{text[4:6]}-{text[6:8]}" for text in texts)
    found = [_DATE["year first"].fullmatch(f"{date} {clock}") for date, clock in zip(dates, clocks, strict=True)]
    fits = all(
        match and int(match["b"]) in range(1, 13) and int(match["c"]) in range(1, 32) and int(match["hour"]) < 24
        and int(match["minute"]) < 60 and int(match["second"]) < 60
        for match in found
    )  # fmt: skip
    return [match for match in found if match] if fits or size == 8 else None


def _from_numbers(texts: Sequence[str], name: str, where: Where) -> Dates:
    """Years, `20200131` and longer, or a time since 1970 in the unit that puts it between 1973 and 2200.

    Raises:
        DataError: numbers that are none of these, or may be something else.
    """
    if (compact := _compact(texts)) is not None:
        return _assembled(compact, texts, name, where)
    if all(len(text) == 4 and text.isdecimal() and 1700 <= int(text) <= 2300 for text in texts):
        return Dates(np.array(texts, dtype="M8[Y]").astype("M8[us]"), "")
    most = max(abs(float(text)) for text in texts)
    for unit, per_second in EPOCH.items():
        if most / per_second <= _LAST:
            if most / per_second >= _SURE or _begins_in_1970(texts, per_second):
                return _since_1970(texts, unit)
            raise DataError(
                f"column '{name}': {len(texts)} numbers, the first {', '.join(texts[:SHOWN])}: what they count is not "
                "told: rows, days of a spreadsheet, years, seconds? write dates, or say it with data.date_format, such "
                f"as {', '.join(EPOCH)} (since 1970) or %Y%m"
            )
    raise _unreadable(texts, range(len(texts)), name, where, "too large for a time since 1970")


def _begins_in_1970(texts: Sequence[str], per_second: int) -> bool:
    """Whether numbers count from 1970 on in whole minutes: 0, 3600, 7200."""
    return per_second == 1 and len(texts) > 1 and float(texts[0]) == 0 and all(float(text) % 60 == 0 for text in texts)


def _since_1970(texts: Sequence[str], unit: str) -> Dates:
    # Of whole numbers every digit counts: a float keeps 16 of nanoseconds' 19.
    exact = [
        int(text) * 1_000_000 // EPOCH[unit] if "." not in text else round(float(text) * 1e6 / EPOCH[unit])
        for text in texts
    ]
    return Dates(np.array(exact, dtype=np.int64).astype("M8[us]"), "UTC")


def _by_format(texts: Sequence[str], name: str, where: Where, date_format: str) -> Dates:
    if date_format in EPOCH:
        bad = [row for row, text in enumerate(texts) if not _in_reach(text, EPOCH[date_format])]
        if bad:
            raise _unreadable(texts, bad, name, where, f"not of the form data.date_format={date_format}")
        return _since_1970(texts, date_format)
    _check_format(date_format)
    stamps, offsets, bad = [], [], []
    for row, text in enumerate(texts):
        try:
            moment = datetime.strptime(text, date_format)
        except ValueError:
            bad.append(row)
            continue
        offset = moment.utcoffset()
        offsets.append(None if offset is None else int(offset.total_seconds()))
        stamps.append(np.datetime64(moment.replace(tzinfo=None), "us"))
    if bad:
        raise _unreadable(texts, bad, name, where, f"not of the form data.date_format={date_format}")
    return _in_zone(np.array(stamps, dtype="M8[us]"), [o or 0 for o in offsets], named=offsets[:1] != [None])


def _in_reach(text: str, per_second: int) -> bool:
    return bool(_NUMBER.fullmatch(text)) and abs(float(text)) / per_second <= _LAST


def _check_format(date_format: str) -> None:
    """Raises DataError for a format that strptime does not take, or would read as other dates than are written."""
    found = re.findall(r"%(.)", date_format.replace("%%", ""))
    directives = set(found)
    problem = ""
    try:
        datetime.strptime("", date_format)
    except ValueError as error:
        # Any format but that of nothing does not fit an empty text.
        problem = "" if "does not match format" in str(error) else str(error)
    except re.error:
        twice = next((each for each in found if found.count(each) > 1), "")
        problem = f"%{twice} stands twice, or stands for what another says"
    if not problem and not directives & set("YyGcxD"):
        problem = "it reads no year"
    if not problem and "I" in directives and "p" not in directives:
        problem = "%I is the hour of half a day: %p has to say which, or %H reads 0 to 23"
    if not problem and "p" in directives and directives & set("H"):
        problem = "%p goes with %I: beside %H it is not read"
    if not problem and directives & set("UW") and not directives & set("aAwu"):
        problem = "a week is read with its weekday alone (%w, %a)"
    if not problem and "d" in directives and not directives & set("mbB"):
        problem = "it reads a day and no month"
    if problem:
        raise DataError(
            f"data.date_format: got '{one_line(date_format)}': {problem}; strptime's are needed, such as "
            f"'%Y-%m-%d %H:%M', or {', '.join(EPOCH)}"
        )


def _unreadable(
    texts: Sequence[str], rows: Sequence[int], name: str, where: Where, reason: str = "no date that can be read"
) -> DataError:
    shown = "; ".join(
        f"{where(row)}: {texts[row][:40]!r}" if texts[row] else f"{where(row)}: empty" for row in rows[:SHOWN]
    )
    return DataError(
        f"column '{name}': {len(rows)} of {len(texts)} rows: {reason}: {shown}; {_advice(texts, len(rows))}"
    )


def _advice(texts: Sequence[str], bad: int) -> str:
    """What reads these dates, as far as it can be found."""
    if bad < len(texts):
        return "mend them, or say with data.date_format how dates are written, as strptime takes it"
    if are_clocks(texts):
        return "times of day without a date; data.date_column names the column of the dates"
    if forms := forms_of(texts):
        return f"{' or '.join(f'data.date_format={form!r}' for form in forms[:SHOWN])} reads them"
    return "data.date_format says how dates are written, as strptime takes it; 2020-01-31 05:00 needs none"


def typed_dates(values: np.ndarray, name: str, where: Where, zone: str = "") -> Dates:
    """Dates of a column that holds them as such (Parquet, a DataFrame), from datetime64 of any unit.

    Raises:
        DataError: a row without one.
    """
    missing = np.flatnonzero(np.isnat(values))
    if missing.size:
        raise DataError(
            f"column '{name}': {missing.size} of {len(values)} rows have no date, first {where(int(missing[0]))}"
        )
    return Dates(values.astype("M8[us]"), zone)
