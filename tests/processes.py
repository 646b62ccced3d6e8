"""Commands as processes that a test can kill, and what they leave behind."""

import os
import re
import shutil
import signal
import subprocess
import sys
import tempfile
import time
import uuid
import weakref
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import Any

ROOT = Path(__file__).parents[1]
MARK = "DYNONET_TEST"  # in the environment of all processes of a test
IDLE = (b"ray::DashboardAgent", b"ray::RuntimeEnvAgent")
WAIT = 450.0  # seconds at most for anything, on a loaded machine


class Driver:
    """A command as a process of its own, in a session of its own, all of whose processes bear a mark."""

    def __init__(self, module: str, folder: Path, arguments: tuple[str, ...], mark: str, tmp: str, **environment: str):
        self.log = folder / f"{uuid.uuid4().hex[:6]}.log"
        self.mark = mark
        env = {**os.environ, MARK: mark, "RAY_TMPDIR": tmp, "PYTHONPATH": str(ROOT), **environment}
        env.pop("RAY_ADDRESS", None)
        command = [sys.executable, "-m", module, *arguments]
        with self.log.open("wb") as log:
            self.process = subprocess.Popen(
                command, cwd=folder, env=env, stdout=log, stderr=subprocess.STDOUT, start_new_session=True
            )

    def said(self) -> str:
        return self.log.read_text()

    def wait(self) -> int:
        return self.process.wait(WAIT)

    def until(self, condition: Callable[[], Any]) -> Any:
        deadline = time.monotonic() + WAIT
        while not (found := condition()):
            assert self.process.poll() is None and time.monotonic() < deadline, self.said()
            time.sleep(0.02)
        return found

    def kill(self) -> None:
        os.kill(self.process.pid, signal.SIGKILL)
        self.process.wait()

    @contextmanager
    def held(self) -> Iterator[None]:
        """Its trials stand still as long as the context lasts: in the meantime it cannot come to its end."""
        pids = self.trials()
        signal_all(pids, signal.SIGSTOP)
        try:
            yield
        finally:
            signal_all(pids, signal.SIGCONT)

    def trials(self) -> list[int]:
        """Processes that train, by their title."""
        return [pid for pid in marked(self.mark) if re.match(rb"ray::\w+Trainable", command_of(pid))]


class Thing:
    pass


def press_ctrl_c() -> None:
    """On oneself; raised at the latest in the loop's second turn."""
    os.kill(os.getpid(), signal.SIGINT)
    for _ in range(1000):
        pass


def press_where_it_is_lost() -> None:
    """In a weak reference's callback, where Python swallows what is raised."""
    thing = Thing()
    reference = weakref.ref(thing, lambda _: press_ctrl_c())
    del thing
    assert reference() is None


def lost_ctrl_c(*_: Any) -> int:
    """Work that a Ctrl-C should end at once, though Python swallows it: 0 after a minute if it did not."""
    press_where_it_is_lost()
    time.sleep(60)
    return 0


def signal_all(pids: Sequence[int], number: int) -> None:
    """Those that are gone are passed over."""
    for pid in pids:
        with suppress(ProcessLookupError):
            os.kill(pid, number)


def command_of(pid: int) -> bytes:
    with suppress(OSError):
        return Path(f"/proc/{pid}/cmdline").read_bytes()
    return b""


def marked(mark: str) -> list[int]:
    """The living processes that inherited a mark."""
    found = []
    for folder in Path("/proc").glob("[0-9]*"):
        with suppress(OSError):
            if f"{MARK}={mark}".encode() in (folder / "environ").read_bytes():
                found.append(int(folder.name))
    return [pid for pid in found if pid != os.getpid()]


def gone(mark: str, seconds: float = WAIT) -> bool:
    """Whether nothing that trains or writes is left, in the end. After a kill two idle agents of Ray's may stay."""
    deadline = time.monotonic() + seconds
    while [pid for pid in marked(mark) if not command_of(pid).startswith(IDLE)]:
        if time.monotonic() > deadline:
            return False
        time.sleep(0.1)
    return True


@contextmanager
def drivers(module: str, folder: Path, *first: str) -> Iterator[Callable[..., Driver]]:
    """Starts `python -m module` in a folder, each time with these first arguments; no process outlives the context."""
    mark = uuid.uuid4().hex
    tmp = tempfile.mkdtemp(prefix="ray", dir="/tmp")  # a socket's path must be short

    def start(*arguments: str, **environment: str) -> Driver:
        return Driver(module, folder, (*first, *arguments), mark, tmp, **environment)

    yield start
    for _ in range(50):
        if not (left := marked(mark)):
            break
        for pid in left:
            with suppress(ProcessLookupError):
                os.kill(pid, signal.SIGKILL)
        time.sleep(0.1)
    shutil.rmtree(tmp, ignore_errors=True)
    assert not marked(mark)
