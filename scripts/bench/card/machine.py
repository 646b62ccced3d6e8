"""The card: its time, its limits, its launches; and what is measured on it."""

from __future__ import annotations

import statistics
import time
from collections.abc import Callable
from dataclasses import dataclass, replace

import torch
from torch.utils._python_dispatch import TorchDispatchMode

from scripts.bench.gru import CASES, Case


@dataclass(frozen=True)
class Sizes:
    """How much is measured."""

    models: tuple[int, ...]  # in a stack
    batch: int  # windows a step
    rows: int  # of the series
    repeats: int
    epochs: int  # of each stack that are timed
    gru_steps: int | None = None  # of the GRUs alone; None: all

    @property
    def ends(self) -> tuple[int, ...]:
        """The smallest and the largest stack."""
        return tuple(dict.fromkeys((min(self.models), max(self.models))))

    def cases(self) -> list[Case]:
        return [replace(each, batch=self.batch, steps=min(each.steps, self.gru_steps or each.steps)) for each in CASES]


@dataclass(frozen=True)
class Machine:
    device: torch.device
    bytes_per_second: float
    operations_per_second: float

    def limits(self, moved: float, operations: float) -> tuple[float, float]:
        """Least time in ms by memory and by arithmetic."""
        return 1e3 * moved / self.bytes_per_second, 1e3 * operations / self.operations_per_second


def milliseconds(run: Callable[[], object], device: torch.device, repeats: int, warm_up: int = 3) -> float:
    """Median time of a call on the device (on a CPU wall time).

    The device first sleeps for a millisecond, in which the host hands in the call: else short kernels would be timed
    as long as it takes to launch them. What waits for the host by itself, as the stock step, is timed with its waits.
    """
    for _ in range(warm_up if device.type == "cuda" else 0):
        run()
    taken = []
    for _ in range(repeats):
        if device.type == "cuda":
            begin, end = torch.cuda.Event(enable_timing=True), torch.cuda.Event(enable_timing=True)
            torch.cuda._sleep(2_000_000)  # clock cycles
            begin.record()
            run()
            end.record()
            end.synchronize()
            taken.append(begin.elapsed_time(end))
        else:
            start = time.perf_counter()
            run()
            taken.append(1e3 * (time.perf_counter() - start))
    return statistics.median(taken)


def graphed(run: Callable[[], object], device: torch.device) -> Callable[[], object]:
    """The call as a CUDA graph, as a step makes it; on a CPU the call itself."""
    if device.type != "cuda":
        return run
    stream = torch.cuda.Stream(device)
    stream.wait_stream(torch.cuda.current_stream())
    with torch.cuda.stream(stream):
        for _ in range(3):
            run()
    torch.cuda.current_stream().wait_stream(stream)
    graph = torch.cuda.CUDAGraph()
    with torch.cuda.graph(graph):
        run()
    return graph.replay


def measured(device: torch.device, repeats: int) -> Machine:
    gpu = device.type == "cuda"
    source = torch.ones(1 << (28 if gpu else 20), device=device)  # 1 GiB: far more than any cache
    target = torch.empty_like(source)
    copy = milliseconds(lambda: target.copy_(source), device, repeats)
    size = 8192 if gpu else 128
    a, b = torch.randn(2, size, size, device=device)
    product = milliseconds(lambda: a @ b, device, repeats)
    return Machine(device, 2 * 4 * source.numel() / (copy / 1e3), 2 * size**3 / (product / 1e3))


class _Operations(TorchDispatchMode):
    """Counts torch's operations, views left out."""

    def __init__(self) -> None:
        super().__init__()
        self.count = 0

    def __torch_dispatch__(self, function, types, args=(), kwargs=None):  # type: ignore[no-untyped-def]
        self.count += not function.is_view
        return function(*args, **(kwargs or {}))


def launches(run: Callable[[], object], device: torch.device) -> int:
    """Kernels that a call launches, those of replayed graphs included; on a CPU torch's operations, as a stand-in."""
    if device.type != "cuda":
        with _Operations() as counted:
            run()
        return counted.count
    with torch.profiler.profile(activities=[torch.profiler.ProfilerActivity.CUDA]) as profile:
        run()
        torch.cuda.synchronize()
    on_device = torch.autograd.DeviceType.CUDA
    return sum(event.device_type == on_device for event in profile.events())


def columns(**widths: int) -> str:
    return "".join(f"{name.replace('_', ' '):>{width}s}" for name, width in widths.items())


def peak_gib(device: torch.device) -> float:
    return torch.cuda.max_memory_allocated(device) / 2**30 if device.type == "cuda" else float("nan")


def forget(device: torch.device) -> None:
    """Frees what is held, so that the next peak is its own."""
    if device.type == "cuda":
        torch.cuda.empty_cache()
        torch.cuda.reset_peak_memory_stats(device)
