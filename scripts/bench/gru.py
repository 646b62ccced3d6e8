"""CPU time of the GRU kernel beside torch.nn.GRU and the plain torch path, at the paper's two sizes.

    python -m scripts.bench.gru [--repeats 5] [--threads 1] [--quick]

Process CPU time in ms (not wall time: shared machines), least and median of repeats that take turns, after one warm-up.
`floor` is the time the same number of multiplications takes as large matrix products: no elementwise work, no memory.
"""

from __future__ import annotations

import argparse
import os
import statistics
import time
import warnings
from collections.abc import Callable
from dataclasses import dataclass, replace

import torch
from torch import Tensor

from dynonet.network.gru import gru
from lab.compute.device import prepare_process, use_threads
from scripts.bench.turns import NO_MEASUREMENT

NAMES = ("weight_ih", "weight_hh", "bias_ih", "bias_hh")


@dataclass(frozen=True)
class Case:
    name: str
    groups: int
    steps: int
    inputs: int
    hidden: int
    batch: int
    last_only: bool  # and then x needs no gradient: a first layer

    def products(self, backward: bool) -> int:
        """Floating-point operations of the matrix products: W h, W x; their transposes; the weight gradients."""
        hh, ih = self.hidden, self.inputs
        forward = hh + ih
        count = forward + (hh + (0 if self.last_only else ih) + forward if backward else 0)
        return 2 * self.groups * self.steps * self.batch * 3 * self.hidden * count


CASES = [
    Case("workers", 7, 96, 8, 8, 512, last_only=False),
    Case("controller", 1, 512, 7, 64, 512, last_only=True),
]


def tensors(case: Case) -> list[Tensor]:
    bound = case.hidden**-0.5
    sizes = [(3 * case.hidden, case.inputs), (3 * case.hidden, case.hidden), (3 * case.hidden,), (3 * case.hidden,)]
    weights = [torch.empty(case.groups, *size).uniform_(-bound, bound) for size in sizes]
    return [torch.randn(case.groups, case.steps, case.inputs, case.batch), *weights]


def stacked(case: Case, backward: bool, kernel: str) -> Callable[[], None]:
    """One call of gru() for all groups."""
    x, *weights = tensors(case)
    leaves = [x.requires_grad_(backward and not case.last_only), *(w.requires_grad_(backward) for w in weights)]

    def call() -> None:
        os.environ["DYNONET_KERNEL"] = kernel
        output = gru(*leaves, last_only=case.last_only)
        if backward:
            output.backward(torch.ones_like(output))

    return call


def modules(case: Case, backward: bool, device: torch.device | None = None) -> Callable[[], None]:
    """One torch.nn.GRU for each group, one after the other, batch second, as it likes it best."""
    x, *weights = (t.to(device) for t in tensors(case))
    layers = [torch.nn.GRU(case.inputs, case.hidden, device=device) for _ in range(case.groups)]
    for group, layer in enumerate(layers):
        for name, weight in zip(NAMES, weights, strict=True):
            getattr(layer, f"{name}_l0").data.copy_(weight[group])
    xs = [part.permute(0, 2, 1).contiguous().requires_grad_(backward and not case.last_only) for part in x]

    def call() -> None:
        with torch.set_grad_enabled(backward):
            for part, layer in zip(xs, layers, strict=True):
                output = layer(part)[0]
                output = output[-1] if case.last_only else output
                if backward:
                    output.backward(torch.ones_like(output))

    return call


def floor(operations: int) -> Callable[[], None]:
    a, b = torch.randn(512, 512), torch.randn(512, 512)
    times = max(1, round(operations / (2 * 512**3)))

    def call() -> None:
        for _ in range(times):
            torch.mm(a, b)

    return call


def measure(calls: dict[str, Callable[[], None]], repeats: int) -> dict[str, tuple[float, float]]:
    taken: dict[str, list[float]] = {name: [] for name in calls}
    for repeat in range(repeats + 1):
        for name, call in calls.items():
            begin = time.process_time()
            call()
            if repeat:
                taken[name].append(1e3 * (time.process_time() - begin))
    return {name: (min(times), statistics.median(times)) for name, times in taken.items()}


def show(title: str, rows: dict[str, tuple[float, float]]) -> None:
    kernel = rows["kernel"][0]
    for name, (least, median) in rows.items():
        print(f"{title:<34} {name:<26} {least:9.1f} {median:9.1f} {least / kernel:8.2f}", flush=True)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--repeats", type=int, default=5)
    parser.add_argument("--threads", type=int, default=1)
    parser.add_argument(
        "--quick", action="store_true", help="all of it at tiny sizes: a check of this script, no measurement"
    )
    options = parser.parse_args()
    cases, repeats = CASES, options.repeats
    if options.quick:
        print(NO_MEASUREMENT)
        cases, repeats = [replace(case, steps=8, batch=32) for case in CASES], 1
    use_threads(options.threads)
    prepare_process()
    warnings.filterwarnings("ignore", message="DYNONET_KERNEL=torch")  # asked for, below
    print(f"{options.threads} thread(s), torch {torch.__version__}")
    print(f"{'case':<34} {'implementation':<26} {'min ms':>9} {'median':>9} {'/ kernel':>8}")
    for case in cases:
        eight = replace(case, groups=8 * case.groups)
        for backward in (False, True):
            title = f"{case.name}, {'forward+backward' if backward else 'forward'}"
            calls = {
                "kernel": stacked(case, backward, "compiled"),
                "torch path": stacked(case, backward, "torch"),
                f"nn.GRU x {case.groups}": modules(case, backward),
                "floor": floor(case.products(backward)),
            }
            rows = measure(calls, repeats)
            rows |= measure({"kernel, 8 models": stacked(eight, backward, "compiled")}, min(3, repeats))
            show(title, rows)


if __name__ == "__main__":
    main()
