"""Ray's own processes on this machine: kept from the signals that end a command, and missed when they have gone.

Without them Ray's library in this process waits for a minute and then ends it, whatever is still to be said.
"""

import os
import signal
import sys
import threading
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from typing import Any

import ray
from ray._private import utils as ray_utils
from ray._private import worker as ray_worker

_NEEDED = ("gcs_server", "raylet")
LOOK_SECONDS = 0.5
PATIENCE_SECONDS = 5.0  # with an end of Ray whose processes have gone meanwhile


class RayGone(RuntimeError):
    """Ray's own processes on this machine have ended."""


@contextmanager
def signals_are_ours() -> Iterator[None]:
    """For the start of Ray. It would end a driver by SIGTERM at once, without a word and with an exit code of its own;
    and its processes hear no hang-up of the terminal, which goes to them too."""
    before = ray_utils.set_sigterm_handler
    ray_utils.set_sigterm_handler = lambda handler: None
    # Its processes inherit that it is blocked. One that comes meanwhile is heard afterwards.
    blocked = signal.pthread_sigmask(signal.SIG_BLOCK, {signal.SIGHUP})
    try:
        yield
    finally:
        signal.pthread_sigmask(signal.SIG_SETMASK, blocked)
        ray_utils.set_sigterm_handler = before


def gone() -> list[str]:
    """Which of the processes that we started for Ray, and that it cannot be without, have ended."""
    node: Any = ray_worker._global_node
    return [] if node is None else [name for name, _ in node.dead_processes() if name in _NEEDED]


@contextmanager
def missed(signum: signal.Signals) -> Iterator[None]:
    """Within it this thread gets the signal, again and again, once Ray's processes have gone: it may hang in a call of
    Ray's that nobody answers any more."""
    here, over = threading.get_ident(), threading.Event()

    def look() -> None:
        while not over.wait(LOOK_SECONDS):
            if gone() and not over.is_set():
                signal.pthread_kill(here, signum)

    watch = threading.Thread(target=look, name="ray-watch", daemon=True)
    watch.start()
    try:
        yield
    finally:
        over.set()
        watch.join()


def end(code: int) -> None:
    """Ends Ray as far as we started it; and this process with it where Ray's library would wait for what has gone."""
    over = threading.Event()

    def look() -> None:
        missing = 0.0
        while missing < PATIENCE_SECONDS and not over.wait(LOOK_SECONDS):
            missing = missing + LOOK_SECONDS if gone() else 0.0
        if not over.is_set():
            _leave(code)

    if gone():
        _leave(code)
    threading.Thread(target=look, name="ray-end", daemon=True).start()
    ray.shutdown()
    over.set()


def _leave(code: int) -> None:
    node: Any = ray_worker._global_node
    with suppress(Exception):
        node.kill_all_processes(check_alive=False, allow_graceful=False)
    for stream in (sys.stdout, sys.stderr):
        with suppress(OSError, ValueError):
            stream.flush()
    os._exit(code)
