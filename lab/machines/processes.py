"""Ray's own processes on this machine: kept from signals that go to all of a command's, and missed when they have gone.

A service manager's SIGTERM goes to all processes of a command, a terminal's hang-up too. Without its raylet, Ray's
library ends this one at once, or waits for a minute and then ends it, without a word and with an exit code of its own.
So on Linux no process of a Ray that we start hears them, and we end all of them ourselves.
"""

import os
import signal
import sys
import threading
import time
import uuid
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import Any

import ray
from ray._common.utils import get_default_ray_temp_dir
from ray._private import utils as ray_utils
from ray._private import worker as ray_worker

from lab.console.commands import command_line
from lab.console.interrupts import Background, heard, leave
from lab.console.printing import print
from lab.errors import ConfigError

_NEEDED = ("gcs_server", "raylet")
# Elsewhere Ray relies on SIGTERM to end them after a driver that was killed.
_UNHEARD = (signal.SIGHUP, signal.SIGTERM) if sys.platform == "linux" else (signal.SIGHUP,)
_MARK = "DYNONET_RAY_OF"  # in the environment of all processes of the Ray that we start
# Ray's own names: a session's folder with time and process, and the longer of its two sockets.
_SOCKET = f"session_2026-01-02_03-04-05_678901_{2**22}/sockets/plasma_store"
MOST_SOCKET = 107 if sys.platform == "linux" else 103  # characters
LOOK_SECONDS = 0.25
CLEAR_LOOKS = 3  # in a row: one that is just being started may be overlooked

_mark = uuid.uuid4().hex


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
    own; and its processes hear no signal that goes to them too. One that comes meanwhile is put off (see `missed`)."""
    if threading.current_thread() is not threading.main_thread():
        yield
        return
    before, handler = ray_utils.set_sigterm_handler, signal.getsignal(signal.SIGTERM)
    ray_utils.set_sigterm_handler = lambda handler: None
    # Its processes inherit what is blocked. And the handler of Ray's core gets no SIGTERM before we replace it.
    blocked = signal.pthread_sigmask(signal.SIG_BLOCK, _UNHEARD)
    os.environ[_MARK] = _mark
    try:
        yield
    finally:
        os.environ.pop(_MARK, None)
        signal.signal(signal.SIGTERM, handler)  # in place of that of Ray's core, which Python does not know
        ray_utils.set_sigterm_handler = before
        signal.pthread_sigmask(signal.SIG_SETMASK, blocked)


def end_ray() -> None:
    """Ends the Ray that we have started, with all of its processes; leaves one that we have joined."""
    node: Any = ray_worker._global_node
    session = _session()
    processes = [] if node is None else [info.process for infos in node.all_processes.values() for info in infos]

    def kill_all() -> None:
        for process in processes:
            process.kill()

    if signal.SIGTERM in _UNHEARD:  # Ray would wait a second for each
        for process in processes:
            process.terminate = kill_all
    try:
        ray.shutdown()
    finally:
        _end_rest(session)


def _end_rest(session: str | None) -> None:
    """Ends the workers and agents of a raylet that was killed: some would stay, and an agent is nobody's child."""
    killed: set[int] = set()
    clear = 0
    while clear < CLEAR_LOOKS:
        fresh = set(_of_our_ray(session)) - killed
        for pid in fresh:
            with suppress(ProcessLookupError):
                os.kill(pid, signal.SIGKILL)
        killed |= fresh
        clear = 0 if fresh else clear + 1
        time.sleep(0.03)


def _of_our_ray(session: str | None) -> list[int]:
    """By our mark, or by what they have open in Ray's folder of this session: a title that a process gives itself can
    be written over its environment."""
    found, mark = [], f"{_MARK}={_mark}".encode()
    for folder in Path("/proc").glob("[0-9]*"):
        with suppress(OSError):  # another user's, or gone
            ours = mark in (folder / "environ").read_bytes().split(b"\0")
            if not ours and session and (folder / "cmdline").read_bytes().startswith(b"ray::"):
                ours = any(os.readlink(each).startswith(session) for each in (folder / "fd").iterdir())
            if ours:
                found.append(int(folder.name))
    return found


def _session() -> str | None:
    """The folder of the Ray that we have started."""
    node: Any = ray_worker._global_node
    return f"{node.get_session_dir_path()}/" if node is not None and node.all_processes else None


@contextmanager
def missed(module: str) -> Iterator[None]:
    """Within it this process ends with Ray's own that it has started, and says how to go on. At its end it ends Ray."""
    over = threading.Event()

    def look() -> None:
        while not over.wait(LOOK_SECONDS):
            # One that is put off while Ray starts, which can take long, and when there is nothing yet to lose.
            if put_off := signal.sigpending() & {signal.SIGHUP, signal.SIGTERM}:
                _leave(module, min(put_off))
            if _gone():
                _leave(module, heard())

    watch = Background(look, "ray-watch")
    watch.start()
    try:
        yield
    finally:
        if _gone():
            _leave(module, heard())
        over.set()
        watch.join()
        end_ray()


def _gone() -> bool:
    """Whether one that we started for Ray, and that it cannot do without, has ended."""
    node: Any = ray_worker._global_node
    processes = {} if node is None else dict(node.all_processes)
    return any(info.process.poll() is not None for name in _NEEDED for info in processes.get(name, ()))


def _leave(module: str, signum: int | None) -> None:
    what = "interrupted, and Ray's processes here with it" if signum else "error: Ray's own processes here have ended"
    print(
        f"\n{what}; everything finished is kept. Go on with the same command:\n  {command_line(module)}",
        file=sys.stderr, flush=True,
    )  # fmt: skip
    node: Any = ray_worker._global_node
    session = None
    with suppress(Exception):
        session = _session()
        node.kill_all_processes(check_alive=False, allow_graceful=False)
    _end_rest(session)
    leave(128 + signum if signum else 1)
