"""What is compiled: kernels of a default search and of the published sizes, ahead and by several processes at once, as
before a search's first trial; and what the compiler says of each, by a process beside the parts that follow.

    python -m scripts.bench.card.compiling [--cpu]     the first, one of the processes
"""

from __future__ import annotations

import argparse
import json
import os
import subprocess
import sys
import time
from typing import Any

import torch

from scripts.bench.card.machine import Machine, Sizes
from scripts.bench.step import series

PROCESSES = 8  # at most: there are as many kernels for the GRUs
ROWS = 14_400  # of the series: enough for a batch as published


def show_ahead(sizes: Sizes, machine: Machine, found: dict[str, Any]) -> None:
    dry = machine.device.type == "cpu"
    count = 1 if dry else min(PROCESSES, os.cpu_count() or 1)
    command = [sys.executable, "-m", "scripts.bench.card.compiling", *(["--cpu"] if dry else [])]
    start = time.perf_counter()
    running: list[subprocess.Popen[bytes]] = []
    try:
        running += [subprocess.Popen(command) for _ in range(count)]
        failed = [process.returncode for process in running if process.wait()]
    finally:
        for process in running:
            process.kill()
    if failed:
        raise RuntimeError(f"{' '.join(command[1:])} ended with {failed[0]}")
    seconds = time.perf_counter() - start
    print(f"\nkernels of a default search compiled, or read: {seconds:.1f} s, {count} processes at once", flush=True)
    found |= {"seconds": seconds, "processes": count}


def compile_ahead(device: torch.device) -> None:
    import optuna

    from dynonet.config import Config
    from dynonet.learning.warm import warm
    from tune.costs import points_of
    from tune.search import asked, parser

    optuna.logging.set_verbosity(optuna.logging.WARNING)
    names = ("control_hidden", "worker_hidden", "num_layers")
    points = points_of(asked(parser().parse_args(["--preset", "etth1-h96"])).settings().space)
    sizes = dict.fromkeys(tuple(getattr(point.model, name) for name in names) for point in points)
    told = [{f"model.{name}": value for name, value in zip(names, each, strict=True)} for each in sizes]
    warm([Config.create(each, preset="h96") for each in ({}, *told)], series(ROWS), device)


class Registers:
    """`scripts.bench.card.registers` for this card, in a process that needs a core of the host alone.

    Args:
        arch: compute capability, as 90.
    """

    def __init__(self, arch: int, quick: bool):
        command = [sys.executable, "-m", "scripts.bench.card.registers", "--arch", str(arch), "--json"]
        self._command = [*command, *(["--quick"] if quick else [])]
        self._process: subprocess.Popen[str] | None = None
        self._said: tuple[str, str] | None = None

    def begin(self) -> None:
        if self._process is None:
            plain = {name: value for name, value in os.environ.items() if name != "TRITON_INTERPRET"}
            pipe = subprocess.PIPE
            self._process = subprocess.Popen(self._command, stdout=pipe, stderr=pipe, text=True, env=plain)

    def wait(self) -> None:
        self.begin()
        assert self._process is not None
        if self._said is None:
            self._said = self._process.communicate()

    def show(self, sizes: Sizes, machine: Machine, found: dict[str, Any]) -> None:
        self.wait()
        assert self._process is not None and self._said is not None
        if self._process.returncode:
            raise RuntimeError(f"scripts.bench.card.registers: {self._said[1].strip()[-500:]}")
        *said, figures = self._said[0].splitlines()
        print("\n" + "\n".join(said), flush=True)
        found |= json.loads(figures)

    def end(self) -> None:
        if self._process is not None and self._process.poll() is None:
            self._process.kill()
            self._process.communicate()


def main() -> None:
    options = argparse.ArgumentParser(description=(__doc__ or "").split("\n")[0])
    options.add_argument("--cpu", action="store_true", help="without a GPU: a check of this script")
    torch.set_num_threads(1)
    compile_ahead(torch.device("cpu" if options.parse_args().cpu else "cuda"))


if __name__ == "__main__":
    main()
