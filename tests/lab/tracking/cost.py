"""What W&B costs the driver of a real small search, against a server on this machine.

    python -m tests.lab.tracking.cost            # further arguments are `tune.search`'s

Prints the CPU seconds of the driver's thread, of the threads of W&B's client beside it, and of the whole driver.
"""

import os
import sys
import tempfile
import threading
import time
from pathlib import Path

from lab.tracking import wandb_sink
from lab.tracking.tracker import Tracker
from tests.lab.tracking.sent import surroundings
from tests.processes import drivers
from tests.wandb_server import KEY, WandbServer

SEARCH = ("--preset", "smoke", "--trials", "4", "--final-replicates", "1", "--max-epochs", "40", "--wandb", "online")
BESIDE: list[float] = []  # CPU seconds of the client's threads


def of_threads(prefix: str) -> float:
    """CPU seconds of this process's threads whose names begin so."""
    ticks = 0
    for thread in threading.enumerate():
        if thread.name.lower().startswith(prefix):
            fields = Path(f"/proc/self/task/{thread.native_id}/stat").read_text().rpartition(")")[2].split()
            ticks += int(fields[11]) + int(fields[12])
    return ticks / os.sysconf("SC_CLK_TCK")


def driver(arguments: list[str]) -> int:
    """The search, and a line of what it cost."""
    from tune.search import main

    close, end = Tracker.close, wandb_sink.end_service

    def ends(*given: object, **more: object) -> None:
        BESIDE.append(of_threads("wandb"))
        end(*given, **more)  # type: ignore[arg-type]

    def closes(tracker: Tracker) -> None:
        close(tracker)
        whole = time.process_time()
        print(
            f"CPU: the thread {tracker.cpu_seconds:.2f} s, W&B's client beside it {max(BESIDE, default=0.0):.2f} s, "
            f"the driver {whole:.2f} s: {tracker.cpu_seconds / whole:.1%} and {max(BESIDE, default=0.0) / whole:.1%}"
        )

    Tracker.close, wandb_sink.end_service = closes, ends  # type: ignore[method-assign,assignment]
    return main(arguments)


def measure(arguments: list[str]) -> int:
    with tempfile.TemporaryDirectory() as folder, WandbServer() as server:
        home = Path(folder) / "home"
        home.mkdir()
        told = surroundings(home, WANDB_BASE_URL=server.url, WANDB_API_KEY=KEY)
        told = {name: value for name, value in told.items() if value}
        with drivers("tests.lab.tracking.cost", Path(folder), "--driver") as start:
            ran = start(*SEARCH, *arguments, **told)
            code = ran.process.wait()
            lines = ran.said().splitlines()
        print(
            "\n".join(lines[-20:] if code else [line for line in lines if line.startswith(("CPU", "W&B", "warning"))])
        )
        rows = sum(len(run.received) for run in server.runs.values())
        print(f"{len(server.runs)} runs and {rows} epochs arrived, in {sum(server.operations.values())} calls beside")
    return code


if __name__ == "__main__":
    given = sys.argv[1:]
    sys.exit(driver(given[1:]) if given[:1] == ["--driver"] else measure(given))
