"""What commands say: text in which nothing is left that a terminal would act on.

Names of files, columns, studies and settings come from elsewhere, and are quoted in errors, tables and progress lines.
Every module of ours that prints takes its `print` and its parser from here.
"""

import argparse
import builtins
import logging
import re
from collections.abc import Collection, Sequence
from typing import IO, Any

# Control characters (but not tab and newline), what turns the direction of writing, ends a line unseen or is not seen
# at all, and halves of characters, which are what a name that is not UTF-8 consists of.
_UNPRINTABLE = re.compile(
    "[\x00-\x08\x0b-\x1f\x7f-\x9f\u061c\u200e\u200f\u2028-\u202e\u2066-\u2069\ufeff\ud800-\udfff\U000e0000-\U000e007f]"
)


def printable(text: object) -> str:
    """The text with each such character as it is written in Python: `\\x1b`, `\\u202e`. Its lines stay lines."""
    return _UNPRINTABLE.sub(_escaped, str(text))


def one_line(name: object, most: int = 200) -> str:
    """A name as it is quoted in a message: no line ends in it, and a long one is cut."""
    text = re.sub(r"[\t\n]", _escaped, printable(name))
    return text if len(text) <= most else f"{text[: most - 1]}…"


def print(*values: object, sep: str = " ", end: str = "\n", file: IO[str] | None = None, flush: bool = False) -> None:
    """Python's own, of printable text."""
    builtins.print(printable(sep.join(map(str, values))), end=end, file=file, flush=flush)


class Parser(argparse.ArgumentParser):
    """Python's own, which quotes arguments in its errors, and knows the version."""

    def __init__(self, *args: Any, **kwargs: Any):
        super().__init__(*args, **kwargs)
        if self.add_help:
            self.add_argument("--version", action=_Version, help="show the project's version and commit, and end")

    def _print_message(self, message: str, file: Any = None) -> None:
        super()._print_message(printable(message), file)


class _Version(argparse.Action):
    def __init__(self, option_strings: Any, dest: str, help: str | None = None):
        super().__init__(option_strings, argparse.SUPPRESS, nargs=0, default=argparse.SUPPRESS, help=help)

    def __call__(self, parser: argparse.ArgumentParser, *args: Any) -> None:
        from lab.provenance import version_text  # asks git

        print(version_text())
        parser.exit()


def log_to_stderr() -> None:
    """Warnings of the log as lines of printable text."""
    handler = logging.StreamHandler()
    handler.setFormatter(_Formatter("%(levelname)s: %(message)s"))
    logging.basicConfig(level=logging.WARNING, handlers=[handler])


class _Formatter(logging.Formatter):
    def format(self, record: logging.LogRecord) -> str:
        return printable(super().format(record))


def _escaped(match: re.Match[str]) -> str:
    return match.group().encode("unicode_escape").decode("ascii")


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
