"""The commands that texts of this project name, and how far one gets before it does anything: its arguments are read.

`python -m MODULE ...` and `python -m scripts.FILE ...` are found wherever they stand; in a list of alternatives
(`python -m tune.results list | show STUDY`) each of them is one command.
"""

import argparse
import re
import runpy
import shlex
import signal
import subprocess
import sys
import warnings
from collections.abc import Iterator
from dataclasses import dataclass
from functools import wraps
from pathlib import Path
from typing import Any

import pytest

from cluster.sending.request import MODULES
from lab.console.interrupts import ENDING

ROOT = Path(__file__).parents[2]
SCRIPTS = ROOT / "scripts"
START = re.compile(r"python (?:-m (?:lab|dynonet|tune|ablations|cluster|scripts)[\w.]*|cluster/entry\.py)")
SENT = re.compile(r"(?:cluster/slurm\.sh|cluster/entry\.py --) (search|ablations)\b")  # what becomes a command
END = re.compile(r"`|\)|&&|;|\s#|:\s|\s{3,}")  # what follows a command in its line


@dataclass(frozen=True)
class Command:
    program: str  # a module, or a path from the project's folder
    arguments: tuple[str, ...]

    def __str__(self) -> str:
        option = "" if self.program.endswith(".py") else "-m "
        return f"python {option}{shlex.join((self.program, *self.arguments))}"


def commands(text: str) -> Iterator[Command]:
    """Those of a text; brackets around what may be left out are taken off."""
    text = re.sub(r" *\\\n\s*", " ", text)
    text = re.sub(r"`[^`\n]+\n?[^`\n]+`", lambda span: span[0].replace("\n", " "), text)  # a span over two lines
    for found in [*START.finditer(text), *SENT.finditer(text)]:
        line = text[found.end() :].split("\n")[0]
        end = END.search(line)
        program = MODULES[found[1]] if found.re is SENT else found[0].split()[-1]
        for part in (line[: end.start()] if end else line).split(" | "):
            words = shlex.split(part.replace("[", "").replace("]", ""))
            yield Command(program, tuple(word.removesuffix("...") for word in words))


class Read(BaseException):  # no error that a command would make a sentence of
    """A command has read its arguments, and was about to begin."""

    def __init__(self, arguments: argparse.Namespace, rest: list[str]):
        super().__init__(arguments)
        self.arguments, self.rest = arguments, rest


def read(command: Command, patch: pytest.MonkeyPatch) -> Read:
    """What a command makes of its arguments, as `python` would run it. SystemExit if it refuses them."""
    within = 0

    def stopping(method: Any) -> Any:
        @wraps(method)
        def parse(self: argparse.ArgumentParser, *args: Any, **kwargs: Any) -> Any:
            nonlocal within
            within += 1
            try:
                found = method(self, *args, **kwargs)
            finally:
                within -= 1
            if within:
                return found
            raise Read(*found) if isinstance(found, tuple) else Read(found, [])

        return parse

    for name in ("parse_args", "parse_intermixed_args", "parse_known_args", "parse_known_intermixed_args"):
        patch.setattr(argparse.ArgumentParser, name, stopping(getattr(argparse.ArgumentParser, name)))
    patch.setattr(sys, "argv", [command.program, *command.arguments])
    before = {each: signal.getsignal(each) for each in ENDING}  # a command that has ended leaves its own
    try:
        if command.program.endswith(".py"):
            runpy.run_path(str(ROOT / command.program), run_name="__main__")
        else:
            with warnings.catch_warnings():
                warnings.simplefilter("ignore", RuntimeWarning)  # it has been imported already
                runpy.run_module(command.program, run_name="__main__", alter_sys=True)
    except Read as done:
        return done
    finally:
        for each, handler in before.items():
            signal.signal(each, handler)
    raise AssertionError(f"{command} reads no arguments")


def script_says(name: str, *arguments: str) -> str:
    """What a script prints, from its start to its good end."""
    command = [sys.executable, "-m", f"scripts.{name}", *arguments]
    done = subprocess.run(command, cwd=ROOT, capture_output=True, text=True, timeout=900, check=False)
    assert done.returncode == 0 and "Traceback" not in done.stderr, f"{done.stdout}\n{done.stderr}"
    return done.stdout
