"""What a command shows while trials run: lines that redraw themselves on a terminal, bounded lines in a log."""

import re
import sys
import time
from abc import abstractmethod
from pathlib import Path
from typing import Any, TextIO

from ray import tune as ray_tune
from rich.console import Console
from rich.live import Live
from rich.text import Text

from lab.console.printing import QUIET, one_line, print, verbosity
from lab.machines.queue import DriverOnly

WIDTH = 160  # columns of a line at most
LOG_SECONDS = 20.0  # between summary lines in a log
DRAW_SECONDS = 0.5
SHARE = 50  # so many times what drawing takes lies between two drawings


def duration(seconds: float) -> str:
    minutes, rest = divmod(round(seconds), 60)
    hours, minutes = divmod(minutes, 60)
    return f"{hours}:{minutes:02d}:{rest:02d}"


def _shown(line: str) -> str:
    return one_line(line, WIDTH)


class LiveLines(DriverOnly, ray_tune.Callback):
    """Lines that stand for the state of things, drawn again and again. `close` must be called at the end."""

    def __init__(self, stream: TextIO | None = None):
        self._stream = stream or sys.stdout
        self._started = time.monotonic()
        self._drawn = 0.0
        self._took = 0.0  # to make the lines: of very many trials not at every turn
        self._live: Live | None = None
        if self._stream.isatty() and verbosity() > QUIET:
            self._live = Live(Text(""), console=Console(file=self._stream), auto_refresh=False, transient=True)
            self._live.start()

    @abstractmethod
    def lines(self) -> list[str]:
        """The state, a bounded number of lines, without escape codes; a log shows the first `log_lines`."""

    @property
    def log_lines(self) -> int:
        return 1

    def news(self) -> list[str]:
        """What has happened since the last call, a line each, to stay above the state."""
        return []

    def elapsed(self) -> float:
        return time.monotonic() - self._started

    def draw(self, force: bool = False) -> None:
        now = time.monotonic()
        new = self.news()
        if verbosity() == QUIET:
            return
        for line in new:
            self.say(line)
        if self._live is not None:
            if force or now - self._drawn >= max(0.0 if new else DRAW_SECONDS, SHARE * self._took):
                self._drawn = now
                self._live.update(Text("\n".join(_shown(line) for line in self.lines())), refresh=True)
                self._took = time.monotonic() - now
        elif force or now - self._drawn >= LOG_SECONDS:
            self._drawn = now
            for line in self.lines()[: self.log_lines]:
                self.say(line)

    def say(self, line: str) -> None:
        """A line that stays."""
        line = _shown(line)
        if self._live is not None:
            self._live.console.print(Text(line))
        else:
            print(line, file=self._stream, flush=True)

    def close(self) -> None:
        self.draw(force=True)
        if self._live is not None:
            lines = self.lines()
            self._live.stop()
            self._live = None
            for line in lines:
                print(_shown(line), file=self._stream)

    def on_step_end(self, iteration: int, trials: list[Any], **info: Any) -> None:
        self.draw()


def trial_error(trial: Any) -> str:
    """The text of what a trial raised, without terminal colours."""
    path = trial.error_file
    try:
        text = Path(path).read_text() if path else ""
    except OSError:
        text = ""
    return re.sub(r"\x1b\[[0-9;]*m", "", text).strip() or "no message"
