"""What commands say: text in which nothing is left that a terminal would act on, and how much of it is said.

Names of files, columns, studies and settings come from elsewhere, and are quoted in errors, tables and progress lines.
Every module of ours that prints takes its `print` from here, and its parser from lab.console.parser.
"""

import builtins
import logging
import os
import re
import sys
from collections.abc import Collection, Sequence
from typing import IO

# Control characters (but not tab and newline), what turns the direction of writing, ends a line unseen or is not seen
# at all, and halves of characters, which are what a name that is not UTF-8 consists of.
_UNPRINTABLE = re.compile(
    "[\x00-\x08\x0b-\x1f\x7f-\x9f\u061c\u200e\u200f\u2028-\u202e\u2066-\u2069\ufeff\ud800-\udfff\U000e0000-\U000e007f]"
)

# What a line begins with, and the terminal's colour of it.
_COLOURS = {"error": "1;31", "warning": "33", "WARNING": "33", "note": "36", "EXPLORATORY": "33", "best": "1;32"}
_COLOURED = re.compile(rf"^({'|'.join(_COLOURS)})(?=:)", re.M)

QUIET, USUAL, VERBOSE = -1, 0, 1
_said = USUAL  # how much of it, in this call


def printable(text: object) -> str:
    """The text with each such character as it is written in Python: `\\x1b`, `\\u202e`. Its lines stay lines."""
    return _UNPRINTABLE.sub(_escaped, str(text))


def one_line(name: object, most: int = 200) -> str:
    """A name as it is quoted in a message: no line ends in it, and a long one is cut."""
    text = re.sub(r"[\t\n]", _escaped, printable(name))
    return text if len(text) <= most else f"{text[: most - 1]}…"


def print(*values: object, sep: str = " ", end: str = "\n", file: IO[str] | None = None, flush: bool = False) -> None:
    """Python's own, of printable text: what `error:`, `warning:` and `note:` stand before is coloured on a terminal."""
    builtins.print(coloured(printable(sep.join(map(str, values))), file), end=end, file=file, flush=flush)


def say(*values: object, file: IO[str] | None = None) -> None:
    """What goes on meanwhile, and notes: left out under --quiet."""
    if _said > QUIET:
        print(*values, file=file, flush=True)


def coloured(text: str, file: IO[str] | None = None) -> str:
    """Printable text as a terminal shows it; as it is for a file, a pipe, or with NO_COLOR set (no-color.org)."""
    return _COLOURED.sub(_colour, text) if has_colours(sys.stdout if file is None else file) else text


def has_colours(stream: IO[str] | None) -> bool:
    if os.environ.get("NO_COLOR") or os.environ.get("TERM") == "dumb":
        return False
    try:
        return stream is not None and stream.isatty()
    except ValueError:  # closed
        return False


def verbosity() -> int:
    """QUIET, USUAL or VERBOSE."""
    return _said


def set_verbosity(level: int) -> None:
    """For the rest of this call of a command (`-q`, `-v`)."""
    global _said
    _said = level


def log_to_stderr() -> None:
    """Warnings of the log as lines of printable text; all that it tells, under --verbose."""
    handler = logging.StreamHandler()
    handler.setFormatter(_Formatter("%(levelname)s: %(message)s"))
    logging.basicConfig(level=logging.INFO if _said == VERBOSE else logging.WARNING, handlers=[handler])


class _Formatter(logging.Formatter):
    def format(self, record: logging.LogRecord) -> str:
        return coloured(printable(super().format(record)), sys.stderr)


def _escaped(match: re.Match[str]) -> str:
    return match.group().encode("unicode_escape").decode("ascii")


def _colour(match: re.Match[str]) -> str:
    return f"\x1b[{_COLOURS[match[1]]}m{match[1]}\x1b[0m"


def aligned(rows: Sequence[Sequence[str]], left: Collection[int] = (0,)) -> list[str]:
    """A line a row, its columns as wide as their widest text; flush right, but for those that `left` names."""
    widths = [max(map(len, column)) for column in zip(*rows, strict=True)]
    return [
        "  ".join(
            text.ljust(width) if at in left else text.rjust(width)
            for at, (text, width) in enumerate(zip(row, widths, strict=True))
        ).rstrip()
        for row in rows
    ]
