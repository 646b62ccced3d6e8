"""CPU time of one alternating step at the paper setting, beside the published structure in stock torch modules.

    python scripts/bench_step.py [--repeats 5] [--models 1,2,4] [--denormals]

Process CPU time in seconds, one thread: median over repeats that take turns. A step is the workers' phase, the
controller's phase and both optimisers, on 512 windows each. `stock` is seven nn.GRU workers in a loop, an nn.GRU
controller and autograd throughout (the tests' oracle); `floor` is the time that the GRUs' multiplications and those of
the linear layers take as large matrix products in the same process. `--denormals` also times stock without flushing.
"""

import argparse
import resource
import statistics
import sys
import time
from collections.abc import Callable
from pathlib import Path

import numpy as np
import torch

from dynonet.config import Config
from dynonet.data import Series
from dynonet.draws import Draws
from dynonet.trainer import StackTrainer
from dynonet.training import STEPS

sys.path.insert(0, str(Path(__file__).parents[1] / "tests" / "dynonet"))
from oracle import Oracle, OracleTrainer

CHANNELS, ROWS = 7, 4000


def series() -> Series:
    values = np.random.default_rng(0).standard_normal((ROWS, CHANNELS)).cumsum(axis=0)
    names = tuple(f"c{i}" for i in range(CHANNELS))
    return Series("random walk", values, names, (0, 2400), (2400, 3200), (3200, 4000), "bench", "bench")


def stacked(models: int) -> Callable[[], None]:
    """One alternating step of a stack."""
    configs = [Config.create({"training.seed": seed}, preset="h96") for seed in range(models)]
    configs = [config.override({"training.protocol": "published"}) for config in configs]
    trainer = StackTrainer(configs, series())
    (place, group), *_ = trainer._groups
    starts = torch.arange(512)[None].expand(models, -1)
    factor, keys = torch.ones(models), trainer._keys
    step = iter(range(10**9))

    def run() -> None:
        draws = Draws((keys[0][place], keys[1][place]), 1, next(step))
        batch = trainer._windows.gather(starts)
        STEPS["alternating"](group, trainer._state, batch, lambda: trainer._windows.gather(starts), draws, factor)

    return run


def stock() -> Callable[[], None]:
    """The same step as published, with dropout drawn as torch draws it."""
    net = Oracle(CHANNELS, 64, 8, 1, 512, 96)
    trainer = OracleTrainer(net, 2e-3, 1e-4)
    scaled = torch.as_tensor(series().scaled.copy(), dtype=torch.float32)
    windows = scaled.unfold(0, 608, 1)[:512].transpose(1, 2).contiguous()
    x, y = windows[:, :512], windows[:, 512:]

    def masks() -> dict[str, object]:
        uniforms = [[torch.rand(512, 96, 8)] for _ in range(CHANNELS)]
        return {"worker_uniforms": uniforms, "mixer_uniforms": torch.rand(512, 96, 4 * CHANNELS), "mixer_rate": 0.1}

    def run() -> None:
        trainer.worker_step(x, y, torch.rand(CHANNELS), **masks())
        trainer.controller_step(x, y, **masks())

    return run


def operations() -> int:
    """Floating-point operations of the matrix products in one step at the paper setting, both phases."""
    batch, steps, horizon, control, hidden = 512, 512, 96, 64, 8
    controller = 2 * batch * steps * 3 * control * (control + CHANNELS)
    controller_back = 2 * batch * steps * 3 * control * (2 * control + CHANNELS)  # its input needs no gradient
    worker = 2 * batch * CHANNELS * 96 * 3 * hidden * (2 * hidden)
    linear = 2 * batch * CHANNELS * horizon * (steps + 2 * hidden) + 2 * batch * horizon * 8 * CHANNELS**2
    return 2 * controller + controller_back + 2 * 3 * worker + 5 * linear


def floor() -> Callable[[], None]:
    a, b = torch.randn(1024, 1024), torch.randn(1024, 1024)
    count = max(1, round(operations() / (2 * 1024**3)))

    def run() -> None:
        for _ in range(count):
            a @ b

    return run


def cpu(run: Callable[[], None]) -> float:
    start = time.process_time()
    run()
    return time.process_time() - start


def main() -> None:
    options = argparse.ArgumentParser(description=(__doc__ or "").split("\n")[0])
    options.add_argument("--repeats", type=int, default=5)
    options.add_argument("--models", default="1,2,4")
    options.add_argument("--denormals", action="store_true")
    args = options.parse_args()
    torch.set_num_threads(1)
    counts = [int(count) for count in args.models.split(",")]
    runs = {f"stack of {count}": stacked(count) for count in counts}
    for run in runs.values():
        run()
    memory = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1024
    runs |= {"floor": floor(), "stock": stock()}
    torch.set_flush_denormal(True)
    times: dict[str, list[float]] = {name: [] for name in runs}
    for _ in range(args.repeats):
        for name, run in runs.items():
            times[name].append(cpu(run))
    if args.denormals:
        torch.set_flush_denormal(False)
        times["stock, denormals kept"] = [cpu(runs["stock"])]
    medians = {name: statistics.median(values) for name, values in times.items()}
    print(f"{'':24s}{'CPU s':>8s}{'per model':>11s}{'times less than stock':>23s}{'times the floor':>17s}")
    for name, median in medians.items():
        models = int(name.split()[-1]) if name.startswith("stack") else 1
        each = median / models
        ratios = f"{medians['stock'] / each:>23.1f}{each / medians['floor']:>17.1f}"
        print(f"{name:24s}{median:>8.2f}{each:>11.3f}{ratios}")
    print(f"peak memory of the stacks, all in one process: {memory:.0f} MiB")


if __name__ == "__main__":
    main()
