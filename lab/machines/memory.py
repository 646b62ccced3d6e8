"""Want of memory: how Ray reports it, whose doing it was, and no new process until others have let go of some.

Ray's monitor ends processes when a machine's memory runs out, the youngest first, whoever took it. It reports that by
an error that Ray Tune does not know, which would end the whole command.
"""

import math
import os
import re
import time
from collections import Counter
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from ray._private.utils import get_system_memory, get_used_memory
from ray.air.execution._internal import RayActorManager
from ray.exceptions import OutOfMemoryError, RayActorError, RayTaskError
from ray.tune.execution import tune_controller

from lab.compute.device import out_of_memory

PAUSE = 0.05  # seconds between looks while what may not start waits
FIRST_WAIT, MOST_WAIT = 2.0, 60.0  # seconds until another process is started; doubled each time
THRESHOLD = 0.95  # Ray's own, where RAY_memory_usage_threshold does not say another
# How Ray says that it ended a process for that; its text for any other end names memory too, as one possible reason.
_MEMORY = ("low on memory", "node_out_of_memory")
_PROCESS = re.compile(r"pid=(\d+), actual memory used=([\d.]+)GB")
_MACHINE = re.compile(r"was ([\d.]+)GB used / ([\d.]+)GB limit")


class ProcessEnded(RayActorError):
    """A process of a trial has ended, and Ray says so by an error that Tune does not know."""


@dataclass(frozen=True)
class Shortage:
    """A process ended, or a step failed, for want of memory."""

    own: float = math.nan  # bytes that the process held, where that is known
    machine: str = ""  # how much was in use
    raised: bool = False  # by a step, whose process goes on

    def was_its_own(self, share: float) -> bool:
        """Whether the process held more than its share (bytes); where either is not known, it may have been."""
        return not (self.own <= share)

    def text(self) -> str:
        held = "" if math.isnan(self.own) else f", {self.own / 2**30:.2f} GB its own"
        return f" ({self.machine}{held})" if self.machine else ""


def shortage(error: BaseException | None, pid: int | None = None) -> Shortage | None:
    """What an error says of a want of memory; None if it is of another kind. `pid`: of the process, where known."""
    while isinstance(error, RayTaskError) and isinstance(error.cause, BaseException):
        error = error.cause
    if error is None:
        return None
    text = str(error)
    if not isinstance(error, OutOfMemoryError) and not (
        isinstance(error, RayActorError) and any(words in text.lower() for words in _MEMORY)
    ):
        return Shortage(raised=True) if out_of_memory(error) else None
    held = {int(process): float(size) * 2**30 for process, size in _PROCESS.findall(text)}
    machine = _MACHINE.search(text)
    said = f"{machine[1]} of {machine[2]} GB in use" if machine else ""
    return Shortage(held.get(pid or 0, max(held.values(), default=math.nan)), said)


class KernelKills:
    """Whether the kernel has ended a process of this machine for want of memory since the last look.

    Ray only knows that such a process has gone. Where neither file is there, none has.
    """

    def __init__(self) -> None:
        self._seen = self._count()

    def happened(self) -> bool:
        before, self._seen = self._seen, self._count()
        return self._seen > before

    @staticmethod
    def _count() -> int:
        found = 0
        for path in ("/proc/vmstat", "/sys/fs/cgroup/memory.events"):
            with suppress(OSError):
                found += sum(int(n) for n in re.findall(r"^oom_kill (\d+)", Path(path).read_text(), re.MULTILINE))
        return found


class MemoryGate:
    """Whether a new process may be started: not for a while after one was ended because others took the memory, and
    longer each time.

    Args:
        here: all processes run on this machine, so that its memory in use says when there is some again.
    """

    def __init__(self, here: bool = False):
        self._here = here
        self._times: Counter[str] = Counter()  # that each trial was ended so, since its last epoch
        self._until = -math.inf

    def shut(self, name: str) -> float:
        """After a trial's process was ended so. Returns for how many seconds, at least."""
        self._times[name] += 1
        seconds = float(min(MOST_WAIT, FIRST_WAIT * 2 ** min(self._times[name] - 1, 10)))
        self._until = max(self._until, time.monotonic() + seconds)
        return seconds

    def went_on(self, name: str) -> None:
        self._times.pop(name, None)

    def is_open(self) -> bool:
        if time.monotonic() < self._until:
            return False
        if self._here and self._times and memory_in_use() > _threshold():
            self._until = time.monotonic() + FIRST_WAIT
            return False
        return True

    def wait(self) -> None:
        while not self.is_open():
            time.sleep(0.2)


def memory_in_use() -> float:
    """The share of this machine's memory, or of this container's, as Ray counts."""
    return float(get_used_memory() / get_system_memory())


def _threshold() -> float:
    with suppress(ValueError):
        return float(os.environ.get("RAY_memory_usage_threshold", THRESHOLD))  # noqa: SIM112
    return THRESHOLD


def as_tune_knows_it(error: Exception) -> Exception:
    """The error as one of the two kinds that Tune takes for a trial's; any other ends the command."""
    known = isinstance(error, (RayActorError, RayTaskError))
    return error if known else ProcessEnded("", str(error) or type(error).__name__)


@contextmanager
def waiting_actors(gate: MemoryGate, hurried: Callable[[], bool] = lambda: False) -> Iterator[None]:
    """Within it Tune starts actors only while the gate is open, and takes every end of one for what it is. When it is
    hurried it kills them, where it would wait ten seconds for the steps under way."""

    class Actors(RayActorManager):
        def _try_start_actors(self, max_actors: int | None = None) -> int:
            return int(super()._try_start_actors(max_actors)) if gate.is_open() else 0

        def next(self, timeout: int | float | None = None) -> bool:
            if hurried():
                for actor in list(self._live_actors_to_ray_actors_resources):
                    self.remove_actor(actor, kill=True)
            happened = bool(super().next(timeout))
            if not gate.is_open():
                time.sleep(PAUSE)  # for what is ready to start, and may not, ends every wait at once
            return happened

        def _actor_start_failed(self, tracked_actor: Any, exception: Exception) -> None:
            super()._actor_start_failed(tracked_actor, as_tune_knows_it(exception))

        def _actor_task_failed(self, tracked_actor_task: Any, exception: Exception) -> None:
            super()._actor_task_failed(tracked_actor_task, as_tune_knows_it(exception))

    before = tune_controller.RayActorManager  # there is no public way to give Tune's controller one of our own
    tune_controller.RayActorManager = Actors  # type: ignore[misc]
    try:
        yield
    finally:
        tune_controller.RayActorManager = before  # type: ignore[misc]
