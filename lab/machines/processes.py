"""Ray's own processes on this machine: kept from a hang-up of the terminal, and missed when they have gone.

A service manager's SIGTERM goes to all processes of a command. Without its own, Ray's library ends this one a fraction
of a second later, or waits for a minute and then ends it, without a word and with an exit code of its own.
"""

import os
import select
import signal
import socket
import sys
import threading
import time
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from typing import Any

import ray
from ray._common.utils import get_default_ray_temp_dir
from ray._private import utils as ray_utils
from ray._private import worker as ray_worker

from lab.console.commands import command_line
from lab.console.interrupts import heard
from lab.console.printing import print
from lab.errors import ConfigError

_NEEDED = ("gcs_server", "raylet")
_ORDERLY = (0, signal.SIGTERM, -signal.SIGTERM)  # what they return when they were told to end
# Ray's own names: a session's folder with time and process, and the longer of its two sockets.
_SOCKET = f"session_2026-01-02_03-04-05_678901_{2**22}/sockets/plasma_store"
MOST_SOCKET = 107 if sys.platform == "linux" else 103  # characters
LOOK_SECONDS = 0.25
TOLD_SECONDS = 0.3  # after a SIGTERM, for Ray's processes to have got it too


def check_socket_folder() -> None:
    """Raises ConfigError where the names of Ray's sockets would be longer than the system allows."""
    folder = get_default_ray_temp_dir()
    longest = len(os.fsencode(os.path.join(folder, _SOCKET)))
    if longest > MOST_SOCKET:
        raise ConfigError(
            f"Ray's sockets would lie in {folder}, whose name is {longest - MOST_SOCKET} characters too long for one; "
            "set RAY_TMPDIR to a short folder, such as RAY_TMPDIR=/tmp"
        )


@contextmanager
def signals_are_ours() -> Iterator[None]:
    """For the start of Ray. It would end a driver by SIGTERM at once, with a trace of its own and an exit code of its
    own; and its processes hear no hang-up of the terminal, which goes to them too."""
    if threading.current_thread() is not threading.main_thread():
        yield
        return
    before, handler = ray_utils.set_sigterm_handler, signal.getsignal(signal.SIGTERM)
    ray_utils.set_sigterm_handler = lambda handler: None
    # Its processes inherit that it is blocked. One that comes meanwhile is heard afterwards.
    blocked = signal.pthread_sigmask(signal.SIG_BLOCK, {signal.SIGHUP})
    try:
        yield
    finally:
        signal.signal(signal.SIGTERM, handler)  # in place of that of Ray's core, which Python does not know
        signal.pthread_sigmask(signal.SIG_SETMASK, blocked)
        ray_utils.set_sigterm_handler = before


@contextmanager
def missed(module: str) -> Iterator[None]:
    """Within it this process ends with Ray's own that it has started, and says how to go on. At its end it ends Ray."""
    over = threading.Event()
    told, tell = socket.socketpair()
    for each in (told, tell):
        each.setblocking(False)

    def look() -> None:
        while not over.is_set():
            # A signal is known here at once, wherever the main thread is. Sent to all, it ends Ray's lesser processes
            # first, and the raylet some 50 ms later, and this process with the first call to that.
            ready, _, _ = select.select([told], [], [], LOOK_SECONDS)
            signums = set(told.recv(64)) & {signal.SIGTERM} if ready else set()
            deadline = time.monotonic() + (TOLD_SECONDS if signums else 0.0)
            while not over.is_set():
                if codes := _returned(*([] if signums else _NEEDED)):
                    _leave(module, codes)
                if time.monotonic() >= deadline:
                    break
                time.sleep(0.002)

    in_main = threading.current_thread() is threading.main_thread()
    before = signal.set_wakeup_fd(tell.fileno(), warn_on_full_buffer=False) if in_main else -1
    watch = threading.Thread(target=look, name="ray-watch", daemon=True)
    watch.start()
    try:
        yield
    finally:
        if codes := _returned(*_NEEDED):
            _leave(module, codes)
        over.set()
        watch.join()
        if in_main:
            signal.set_wakeup_fd(before)
        told.close()
        tell.close()
        ray.shutdown()


def _returned(*names: str) -> list[int]:
    """What the processes of these names that we started for Ray, by default all, have returned as far as they ended."""
    node: Any = ray_worker._global_node
    if node is None:
        return []
    processes = dict(node.all_processes)
    found = [info.process.poll() for name in names or processes for info in processes.get(name, ())]
    return [code for code in found if code is not None]


def _leave(module: str, codes: list[int]) -> None:
    # One that they were sent with this process, which may not have come to hear it yet.
    signum = heard() or (signal.SIGTERM if all(code in _ORDERLY for code in codes) else None)
    what = "interrupted, and Ray's processes here with it" if signum else "error: Ray's own processes here have ended"
    print(
        f"\n{what}; everything finished is kept. Go on with the same command:\n  {command_line(module)}",
        file=sys.stderr, flush=True,
    )  # fmt: skip
    node: Any = ray_worker._global_node
    with suppress(Exception):
        node.kill_all_processes(check_alive=False, allow_graceful=False)
    with suppress(OSError, ValueError):
        sys.stdout.flush()
    os._exit(128 + signum if signum else 1)
