"""What every command ends in, however it ends: an exit code, and a sentence with the way to go on."""

import functools
import os
import shlex
import shutil
import sys
import tempfile
import time
import traceback
from collections.abc import Callable, Sequence
from contextlib import suppress
from pathlib import Path

from lab.console.interrupts import ENDING, end_at_once, exit_code, interrupts_heard, leave
from lab.console.printing import USUAL, VERBOSE, one_line, print, set_verbosity, verbosity

FRONTS = ("lab", "dynonet", "tune", "ablations", "cluster")  # packages that have commands

INTERRUPTED = {128 + each for each in ENDING}


def command_named(module: str) -> Callable[[Callable[..., int]], Callable[..., int]]:
    """Decorates the `main(arguments)` of `python -m module`, which itself says what it refuses.

    Ctrl-C, SIGTERM and SIGHUP end it with 130, 143 and 129. An error that nobody planned ends it with 1: one sentence,
    the name of a file that holds the traceback, and the command that goes on.
    """

    def decorate(main: Callable[..., int]) -> Callable[..., int]:
        @functools.wraps(main)
        def whole(arguments: Sequence[str] | None = None) -> int:
            again = command_line(module, arguments)
            set_verbosity(USUAL)
            try:
                with interrupts_heard():
                    return main(arguments)
            except KeyboardInterrupt as interrupt:
                print(f"\ninterrupted. Go on with the same command:\n  {again}", file=sys.stderr)
                return exit_code(interrupt)
            except BrokenPipeError:  # `... | head`
                with suppress(OSError):
                    sys.stderr.close()
                return 0
            except Exception as error:
                print(f"error: {unplanned(error)}\nGo on with the same command:\n  {again}", file=sys.stderr)
                return 1

        @functools.wraps(main)
        def alone(arguments: Sequence[str] | None = None) -> int:
            try:
                code = whole(arguments)
            finally:
                end_at_once()
            if code in INTERRUPTED:
                leave(code)  # who sent the signal may not wait for long
            return code

        return alone if main.__module__ == "__main__" else whole

    return decorate


def as_typed(module: str) -> str:
    """The name under which a command runs: its module's, or that of the one in front of it that was typed."""
    spec = getattr(sys.modules["__main__"], "__spec__", None)
    name = "" if spec is None else spec.name.removesuffix(".__main__")
    return name if name.split(".")[0] in FRONTS else module


def command_line(module: str, arguments: Sequence[str] | None = None) -> str:
    """This call, as it can be typed again."""
    return shlex.join(["python", "-m", as_typed(module), *(sys.argv[1:] if arguments is None else arguments)])


def activation() -> str:
    """What makes `python` this environment's own in the shell of whoever typed this; "" where it is already."""
    script, found = Path(sys.prefix) / "bin" / "activate", shutil.which("python")
    if not script.is_file() or (found is not None and Path(found).parent == script.parent):
        return ""
    here = Path.cwd()
    return f"source {shlex.quote(str(script.relative_to(here) if script.is_relative_to(here) else script))}"


def refused(error: BaseException, text: str | None = None) -> int:
    """Says in one sentence why a command does not begin, or go on, and under --verbose where that was found. Returns
    the exit code, 2."""
    print(f"error: {error if text is None else text}", file=sys.stderr)
    if verbosity() == VERBOSE:
        print("".join(traceback.format_exception(error)), end="", file=sys.stderr)
    return 2


def unplanned(error: BaseException) -> str:
    """A sentence on an error, with the name of a file that holds its traceback."""
    said = one_line(next((line for line in str(error).splitlines() if line.strip()), "no message"))
    sentence = f"this was not expected: {type(error).__name__}: {said}"
    text = "".join(traceback.format_exception(error))
    try:
        descriptor, path = tempfile.mkstemp(prefix=time.strftime("dynonet-%m%d-%H%M%S-"), suffix=".txt")
        with os.fdopen(descriptor, "w", errors="backslashreplace") as file:
            file.write(f"{shlex.join(sys.argv)}\n{text}")
    except OSError:  # nowhere to write, where the traceback would be lost
        return f"{sentence}\n{text}"
    return f"{sentence}; the traceback is in {path}"
