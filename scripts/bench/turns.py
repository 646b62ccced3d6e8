"""Subjects of a benchmark, each in a process of its own, that take turns: the machine's noise falls on all alike."""

import multiprocessing
import resource
import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from multiprocessing.connection import Connection
from typing import Any

Make = Callable[..., Callable[[], Any]]  # makes the subject, in its process; each call of what it returns is one turn


@dataclass(frozen=True)
class Taken:
    """What the turns of one subject took."""

    cpu: list[float] = field(default_factory=list)  # seconds of the process, user and system
    peak_mib: float = 0.0  # most memory of the process, interpreter and libraries included


NO_MEASUREMENT = "QUICK: A CHECK OF THIS SCRIPT, NO MEASUREMENT"  # what --quick says first
Subjects = dict[str, tuple[Make, Sequence[Any]]]


def take_turns(subjects: Subjects, repeats: int, warm_up: int = 1) -> dict[str, Taken]:
    """CPU time of every subject `make(*arguments)()`, in turns: a round of all, then the next."""
    context = multiprocessing.get_context("spawn")
    ends: dict[str, Connection] = {}
    processes = []
    for name, (make, arguments) in subjects.items():
        ends[name], theirs = context.Pipe()
        processes.append(context.Process(target=_serve, args=(theirs, make, arguments, warm_up), daemon=True))
        processes[-1].start()
        theirs.close()
        ends[name].recv()  # one after the other: their starts do not compete
    cpu: dict[str, list[float]] = {name: [] for name in subjects}
    for _ in range(repeats):
        for name, end in ends.items():
            end.send("turn")
            cpu[name].append(end.recv())
    taken = {}
    for name, end in ends.items():
        end.send("end")
        taken[name] = Taken(cpu[name], end.recv())
    for process in processes:
        process.join()
    return taken


def one_turn(subjects: Subjects) -> dict[str, Taken]:
    """The same of a single turn, one subject after the other in this process: a check of them, no measurement."""
    taken = {}
    for name, (make, arguments) in subjects.items():
        run = make(*arguments)
        start = time.process_time()
        run()
        taken[name] = Taken([time.process_time() - start], _peak_mib())
    return taken


def _serve(end: Connection, make: Make, arguments: Sequence[Any], warm_up: int) -> None:
    run = make(*arguments)
    for _ in range(warm_up):
        run()
    end.send("ready")
    while end.recv() == "turn":
        start = time.process_time()
        run()
        end.send(time.process_time() - start)
    end.send(_peak_mib())


def _peak_mib() -> float:
    return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1024
