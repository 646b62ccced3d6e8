"""How far work of known length is, where it takes long before there is anything else to say."""

import sys
import time
from types import TracebackType
from typing import Self

from tqdm import tqdm

from lab.console.printing import QUIET, say, verbosity

LOG_SECONDS = 10.0  # between lines in a log


class Counting:
    """A bar on a terminal, a line now and then in a log, nothing under --quiet."""

    def __init__(self, total: int, noun: str):
        self.total, self.noun, self.count = total, noun, 0
        on_terminal = sys.stderr.isatty() and verbosity() > QUIET
        self._bar = tqdm(total=total, desc=noun, leave=False) if on_terminal else None
        self._told = time.monotonic()

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        if self._bar is not None:
            self._bar.close()

    def done(self) -> None:
        """One more is."""
        self.count += 1
        if self._bar is not None:
            self._bar.update()
        elif self.count < self.total and time.monotonic() - self._told >= LOG_SECONDS:
            self._told = time.monotonic()
            say(f"  {self.count} of {self.total} {self.noun}", file=sys.stderr)
