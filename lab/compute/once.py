"""What is compiled once for all processes of a machine: the first does it under a lock, the others wait and read."""

import fcntl
import hashlib
import time
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import BinaryIO

WAIT = 120.0  # seconds: compiling takes 4 to 14 of a free core
LOOK = 0.05
DONE = b"done\n"


@contextmanager
def once(name: str, cache: Path, wait: float = WAIT) -> Iterator[bool]:
    """Whether what goes by this name has still to be put into this cache; while it is being put there from here, no
    other process does so too, and when the context ends without an error it is there.

    Without `wait` it is also false while another process is at it. One that is killed leaves it to the next. Where no
    lock can be had (a folder that cannot be written, another process that stands still) everybody does it.
    """
    path = cache / f"{hashlib.sha256(name.encode()).hexdigest()[:20]}.once"
    try:
        file: BinaryIO = path.open("a+b", buffering=0)  # so that closing it never fails, on a full disk
    except OSError:
        yield True
        return
    with file:
        if _done(file):
            yield False
            return
        held = _locked(file, wait)
        if not held and not wait:
            yield False
            return
        if held and _done(file):
            yield False
            return
        yield True
        if held:
            with suppress(OSError):
                file.truncate(0)  # of whatever somebody has left
                file.write(DONE)


def _done(file: BinaryIO) -> bool:
    with suppress(OSError):
        file.seek(0)
        return file.read(len(DONE)) == DONE
    return False


def _locked(file: BinaryIO, wait: float) -> bool:
    """Tries for so many seconds. The lock goes with the file, and with the process."""
    deadline = time.monotonic() + wait
    while True:
        try:
            fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
            return True
        except BlockingIOError:
            if time.monotonic() >= deadline:
                return False
            time.sleep(LOOK)
        except OSError:  # a file system without locks
            return False
