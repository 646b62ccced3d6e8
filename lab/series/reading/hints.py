"""What leads on from a file that is refused: lines that work as they are printed, found by trying and never applied."""

import re
from collections.abc import Sequence
from datetime import datetime
from itertools import product

_DAYS = (
    "%Y-%m-%d", "%Y/%m/%d", "%Y.%m.%d", "%Y%m%d", "%d.%m.%Y", "%d/%m/%Y", "%m/%d/%Y", "%d-%m-%Y", "%m-%d-%Y",
    "%d.%m.%y", "%d/%m/%y", "%m/%d/%y", "%d-%m-%y", "%m-%d-%y", "%d-%b-%Y", "%d-%b-%y", "%d %b %Y", "%d %B %Y",
    "%d. %B %Y", "%b %d, %Y", "%B %d, %Y", "%b %d %Y", "%b %Y", "%B %Y", "%b-%Y", "%b-%y", "%m/%Y", "%m.%Y",
)  # fmt: skip
_CLOCKS = ("", "%H:%M", "%H:%M:%S", "%H:%M:%S.%f", "%I:%M %p", "%I:%M:%S %p", "%H", "%H%M", "%H%M%S", "%H.%M")
_BETWEEN = (" ", "T", ", ", ":", "_")
_FORMS = (*_DAYS, *("".join(parts) for parts in product(_DAYS, _BETWEEN, _CLOCKS[1:])))
_SAMPLE = 1000
_CLOCK = re.compile(r"\s*\d{1,2}:\d{2}(?::\d{2}(?:[.,]\d+)?)?\s*(?:[AaPp][Mm])?\s*", re.ASCII)


def forms_of(texts: Sequence[str]) -> list[str]:
    """The forms, as strptime takes them, that read the texts (of many a sample)."""
    some = texts[:: max(1, len(texts) // _SAMPLE)]
    return [form for form in _FORMS if all(_reads(form, text) for text in some)] if texts else []


def _reads(form: str, text: str) -> bool:
    try:
        datetime.strptime(text, form)
    except ValueError:
        return False
    return True


def are_clocks(texts: Sequence[str]) -> bool:
    """Whether every text is a time of day and no more."""
    return bool(len(texts)) and all(_CLOCK.fullmatch(text) for text in texts)


def are_hours(ids: Sequence[str]) -> bool:
    """Whether the values of a column may number the hours of a day: 0 to 23, or 1 to 24."""
    found = [re.fullmatch(r"(\d{1,2})(?:\.0*)?", text) for text in ids]
    return sorted(int(match[1]) for match in found if match) in (list(range(24)), list(range(1, 25)))


def joined(date: str, clock: str, minutes: str = "", first: int = 0) -> str:
    """The line of pandas that makes one column of dates and times of day.

    Args:
        minutes: text that follows the time of day, such as `:00` after a number of the hour.
        first: the number that stands for midnight's hour.
    """
    time = f"frame.pop({clock!r})"
    text = f"({time} - {first}).astype(str)" if first else f"{time}.astype(str)"
    ending = f" + {minutes!r}" if minutes else ""
    return f"frame[{date!r}] = frame[{date!r}].astype(str) + ' ' + {text}{ending}; frame.to_csv(FILE, index=False)"


def localized(name: str, twice: bool) -> str:
    """What to do about dates of a clock that is set forward in spring and back in autumn, an hour `twice` or never."""
    which = "'infer'" if twice else "True"
    return (
        "was the clock changed there? Dates with their offset, or in UTC, run on: with pandas, once the column holds "
        f"dates, frame[{name!r}] = frame[{name!r}].dt.tz_localize('Europe/Berlin', ambiguous={which}) (your own zone)"
    )
