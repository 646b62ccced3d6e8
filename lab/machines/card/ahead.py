"""Processes that are ready before the first trial: torch imported, kernels read, or compiled by one of them.

Ray starts as many processes as a machine has CPUs with its first driver, and trials in them. What they import meanwhile
(`ready.py`), while the driver draws bars and proposals, no trial has to. A driver waits for those under way before its
first trial: Tune gives a trial whose process is slow to start any that falls free, and ends the one that was starting.
Processes that start later import when they are used, and are up at once.
"""

import atexit
import json
import os
import shutil
import site
import tempfile
import time
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import Any

from lab.machines.card.ready import ASKED

MOST_SECONDS, QUIET_SECONDS = 60.0, 5.0  # that a driver waits: in all, and for one more process to come
LOOK = 0.02
# Of such a Ray. Between a trial's claim on CPUs and the start of its actor Ray would end what is idle for longer than a
# second. When memory is short it ends such processes first.
IDLE_SECONDS = 600
SYSTEM_CONFIG: dict[str, Any] = {
    "preload_python_modules": ["lab.machines.card.ready"],
    "idle_worker_killing_time_threshold_ms": 1000 * IDLE_SECONDS,
}
ROOT = Path(__file__).resolve().parents[3]  # where the project's packages lie


class Ahead:
    """Of one driver that starts a Ray of its own."""

    def __init__(self, models: Sequence[str], gpu: bool):
        self.folder = Path(tempfile.mkdtemp(prefix="dynonet-ahead-"))
        atexit.register(shutil.rmtree, self.folder, ignore_errors=True)
        asked = {"root": str(ROOT), "models": list(models), "gpu": gpu}
        (self.folder / "asked.json").write_text(json.dumps(asked))

    @contextmanager
    def starting(self) -> Iterator[None]:
        """For the start of Ray, whose processes inherit what is asked of them, and where this project lies."""
        before = os.environ.get("PYTHONPATH")
        os.environ[ASKED] = str(self.folder)
        if str(ROOT) not in site.getsitepackages():
            os.environ["PYTHONPATH"] = os.pathsep.join(filter(None, [str(ROOT), before]))
        try:
            yield
        finally:
            del os.environ[ASKED]
            os.environ.pop("PYTHONPATH", None)
            if before is not None:
                os.environ["PYTHONPATH"] = before

    def wait(self, processes: int) -> list[int]:
        """Until so many have come and all under way are ready, or long enough. Returns those that are; none that comes
        later is asked for anything."""

        def look() -> tuple[int, bool]:
            begun, ready = (self._processes(state) for state in ("begun", "ready"))
            return len(begun), any(_lives(pid) for pid in begun - ready)

        until_ready(processes, look, LOOK)
        found = sorted(filter(_lives, self._processes("ready")))
        shutil.rmtree(self.folder, ignore_errors=True)
        return found

    def _processes(self, state: str) -> set[int]:
        return {int(path.stem) for path in self.folder.glob(f"[0-9]*.{state}")}


def until_ready(processes: int, look: Callable[[], tuple[int, bool]], pause: float) -> None:
    """Returns once so many processes have come and all under way are ready, or after long enough.

    Args:
        look: how many have come, and whether any of them is under way.
        pause: seconds between two looks.
    """
    came, seen = time.monotonic(), 0
    deadline = came + MOST_SECONDS
    while (now := time.monotonic()) < deadline:
        begun, under_way = look()
        came, seen = (now, begun) if begun > seen else (came, seen)
        if not under_way and (seen >= processes or now - came > QUIET_SECONDS):
            return
        time.sleep(pause)


def _lives(pid: int) -> bool:
    with suppress(ProcessLookupError):
        os.kill(pid, 0)
        return True
    return False
