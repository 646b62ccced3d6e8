"""What options share: an old name that still works and says what the new one is."""

import argparse
import sys
from typing import Any

from lab.console.printing import print


class OldName(argparse.Action):
    """An option under the name that it had: it works, is in no help, and says once a call how it is spelled now."""

    def __init__(self, *args: Any, new: str, **kwargs: Any):
        super().__init__(*args, **{**kwargs, "help": argparse.SUPPRESS})
        self.new, self._said = new, False

    def __call__(
        self, parser: argparse.ArgumentParser, namespace: argparse.Namespace, values: Any, option_string: Any = None
    ) -> None:
        if not self._said:
            self._said = True
            print(f"note: {option_string} is now {self.new}; the old name still works", file=sys.stderr)
        setattr(namespace, self.dest, values)


def add_option(parser: argparse.ArgumentParser, name: str, *, old: str | None = None, **settings: Any) -> None:
    """An option, and what it was called before."""
    made = parser.add_argument(name, **settings)
    if old is not None:
        parser.add_argument(old, action=OldName, new=name, dest=made.dest, default=argparse.SUPPRESS)
