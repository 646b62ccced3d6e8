"""Durations as people type them: `90`, `90s`, `10m`, `1h30m`, `1.5 h`."""

import argparse
import re

_SECONDS = {"s": 1.0, "m": 60.0, "h": 3600.0, "d": 86400.0}
_WORDS = {
    "s": ("s", "sec", "secs", "second", "seconds"), "m": ("m", "min", "mins", "minute", "minutes"),
    "h": ("h", "hr", "hrs", "hour", "hours"), "d": ("d", "day", "days"),
}  # fmt: skip
_UNIT = {word: unit for unit, words in _WORDS.items() for word in words}
_PART = re.compile(r"\s*(\d+(?:\.\d*)?|\.\d+)\s*([a-z]+)\s*,?")


def seconds(text: str) -> float:
    """The type of an option: seconds as a plain number, or with units. Raises ArgumentTypeError for anything else."""
    return _duration(text, "s", "seconds")


def hours(text: str) -> float:
    """Likewise of one whose plain number is hours."""
    return _duration(text, "h", "hours")


def _duration(text: str, plain: str, noun: str) -> float:
    try:
        return float(text.replace("_", "x"))  # whether it can be, the option says: below 0, no number at all
    except ValueError:
        pass
    total, place, asked = 0.0, 0, text.strip().lower()
    while place < len(asked):
        found = _PART.match(asked, place)
        if found is None or found[2] not in _UNIT:
            raise argparse.ArgumentTypeError(
                f"got '{text}'; {noun} as a number, or with units such as 90s, 10m, 1h30m, is needed"
            )
        total += float(found[1]) * _SECONDS[_UNIT[found[2]]]
        place = found.end()
    if not asked:
        raise argparse.ArgumentTypeError(f"got nothing; {noun} are needed")
    return total / _SECONDS[plain]
