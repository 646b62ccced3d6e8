"""Dates of rows: that they run forward, by one step, and how they and times between them are written."""

from collections.abc import Callable
from dataclasses import dataclass

import numpy as np

from lab.errors import DataError
from lab.series.reading.hints import localized

_HOUR = 3_600_000_000
_DAY = 24 * _HOUR
SHOWN = 3  # offending lines that an error names

Where = Callable[[int], str]  # row -> "line 12"


@dataclass(frozen=True, eq=False)
class Dates:
    """The dates of the rows.

    Attributes:
        stamps: (rows,) datetime64[us]: the clock that the file writes, in its offset where that is one, else in UTC.
        zone: "" where the file names none, else `UTC` or `+01:00`.
    """

    stamps: np.ndarray
    zone: str = ""


@dataclass(frozen=True)
class Step:
    """What lies between two rows: a fixed time, or calendar months; neither of rows of unequal steps."""

    microseconds: int = 0
    months: int = 0

    @property
    def regular(self) -> bool:
        return bool(self.microseconds or self.months)

    @property
    def season(self) -> int | None:
        """How many rows make the period that the calendar gives: a day of rows within one, a week of days, a year of
        weeks, months or quarters. None where the steps fit none."""
        if self.months:
            return 12 // self.months if self.months < 12 and 12 % self.months == 0 else None
        if 0 < self.microseconds < _DAY:
            return _DAY // self.microseconds if _DAY % self.microseconds == 0 else None
        return {_DAY: 7, 7 * _DAY: 52}.get(self.microseconds)

    def __str__(self) -> str:
        if self.months:
            years, months = divmod(self.months, 12)
            return _counted(years, "year") if not months else _counted(self.months, "month")
        return duration(self.microseconds) if self.microseconds else "unequal steps"

    def after(self, last: np.datetime64, count: int) -> np.ndarray:
        """The next `count` dates: (count,) datetime64[us]. Raises DataError where the steps are unequal."""
        if not self.regular:
            raise DataError("the rows are of unequal steps, so the dates that come next are not known")
        ahead = np.arange(1, count + 1)
        if self.microseconds:
            return last + ahead * np.timedelta64(self.microseconds, "us")
        month = last.astype("M8[M]")
        start = month.astype("M8[us]")
        at_end = (last + np.timedelta64(1, "D")).astype("M8[M]") != month
        months = month + ahead * self.months
        within = (months + 1).astype("M8[D]") - 1 if at_end else months.astype("M8[D]") + (last.astype("M8[D]") - start)
        return within.astype("M8[us]") + (last - last.astype("M8[D]"))


UNEQUAL = Step()


def in_order(dates: Dates, name: str, where: Where, sort: bool) -> np.ndarray | None:
    """The order in which rows follow each other in time, or None where they stand so.

    Raises:
        DataError: a date that stands twice, or rows out of order and not to be sorted.
    """
    stamps = dates.stamps
    order = np.argsort(stamps, kind="stable")
    ranked = stamps[order]
    twice = np.flatnonzero(ranked[1:] == ranked[:-1])
    if twice.size:
        pairs = [(int(order[at]), int(order[at + 1])) for at in twice[:SHOWN]]
        shown = "; ".join(f"{shown_date(stamps[a])} in {where(a)} and {where(b)}" for a, b in pairs)
        hint = f"; {localized(name, twice=True)}" if not dates.zone and _at_night(ranked[twice]) else ""
        raise DataError(
            f"column '{name}': {_counted(int(twice.size), 'row')} with a date that another row has: {shown}; "
            f"keep one row a date{hint}"
        )
    back = np.flatnonzero(stamps[1:] < stamps[:-1])
    if not back.size:
        return None
    if sort:
        return order
    how = "newest first" if back.size == len(stamps) - 1 else f"{back.size} of {len(stamps) - 1} steps go back in time"
    shown = "; ".join(
        f"{where(int(at) + 1)} has {shown_date(stamps[at + 1])} after {shown_date(stamps[at])}" for at in back[:SHOWN]
    )
    raise DataError(
        f"column '{name}': the rows are not in the order of their dates ({how}): {shown}; data.sort=true sorts them"
    )


def one_step(stamps: np.ndarray, name: str, where: Where, irregular: bool) -> Step:
    """The step between rows in order; a Step that is not regular where `irregular` takes them as they are.

    Raises:
        DataError: steps that are unequal, with the first that are.
    """
    gaps = np.diff(stamps).astype("timedelta64[us]").astype(np.int64)
    if not len(gaps):
        raise DataError(f"column '{name}': one row has no step; a series needs more rows, 5 at least")
    step = _months(stamps) if gaps.min() != gaps.max() else Step(microseconds=int(gaps[0]))
    if step.regular or irregular:
        return step
    values, counts = np.unique(gaps, return_counts=True)
    usual = int(values[counts.argmax()])
    odd = np.flatnonzero(gaps != usual)
    shown = "; ".join(
        f"{where(int(at) + 1)} ({shown_date(stamps[at + 1])}) comes {duration(int(gaps[at]))} after the row before it"
        + (
            f", {_counted(int(gaps[at] // usual - 1), 'row')} missing"
            if gaps[at] > usual and gaps[at] % usual == 0
            else ""
        )
        for at in odd[:SHOWN]
    )
    changed = bool((gaps[odd] == usual + _HOUR).all()) and _at_night(stamps[odd + 1])
    raise DataError(
        f"column '{name}': the rows are not of one step: most are {duration(usual)} apart, {odd.size} of {len(gaps)} "
        f"are not: {shown}; fill in what is missing, or take the rows as they are with data.irregular_steps=true, "
        f"which every page then says{f'; {localized(name, twice=False)}' if changed else ''}"
    )


def shown_date(stamp: np.datetime64) -> str:
    """`2020-01-31 05:00`, with no more of the clock than is not zero."""
    text = str(stamp.astype("M8[us]")).replace("T", " ")
    for ending in (".000000", ":00"):
        text = text.removesuffix(ending)
    return text


def duration(microseconds: int) -> str:
    """A time in its largest whole unit: `15 minutes`, `1 hour`, `7 days`."""
    for size, unit in ((86_400_000_000, "day"), (3_600_000_000, "hour"), (60_000_000, "minute"), (1_000_000, "second")):
        if microseconds % size == 0:
            return _counted(microseconds // size, unit)
    return f"{microseconds / 1e6:g} seconds"


def _counted(count: int, unit: str) -> str:
    return f"{count} {unit}" if count == 1 else f"{count} {unit}s"


def _at_night(stamps: np.ndarray) -> bool:
    """Whether all lie where clocks are changed, from midnight to 4:00."""
    return bool((stamps - stamps.astype("M8[D]") <= np.timedelta64(4 * _HOUR, "us")).all())


def _months(stamps: np.ndarray) -> Step:
    """A step of whole months: the same day and clock each time, or each month's last day."""
    months = stamps.astype("M8[M]")
    ahead = np.diff(months).astype(np.int64)
    days = (stamps.astype("M8[D]") - months.astype("M8[D]")).astype(np.int64)
    lengths = ((months + 1).astype("M8[D]") - months.astype("M8[D]")).astype(np.int64)
    clock = (stamps - stamps.astype("M8[D]")).astype(np.int64)
    same_day = days.min() == days.max() or bool((days == lengths - 1).all())
    whole = ahead.min() == ahead.max() > 0 and same_day and clock.min() == clock.max()
    return Step(months=int(ahead[0])) if whole else Step()
