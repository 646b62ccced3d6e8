"""CPU time and memory of one training step at the paper setting, beside stock torch modules.

    python -m scripts.bench.step [--repeats 7] [--models 1,8] [--quick]

An alternating step is the workers' phase, the controller's phase and both optimisers, on 512 windows of 512 steps
each; seconds of process CPU time, one thread, medians over turns that all subjects take (each in a process of its own).

stock      the published structure in torch's own modules and default settings (the tests' oracle): seven nn.GRU
           workers in a loop, an nn.GRU controller, autograd throughout; and the same with denormals flushed
unrolled   a stack of one in mode unrolled at unroll_every=1: at most 3.5 times an alternating step is the aim
floor      the time of all multiplications of the step (GRUs and linear layers, none left out) as large matrix products
"""

import argparse
import itertools
import statistics
from collections.abc import Callable

import numpy as np
import torch

from dynonet.config import Config
from dynonet.reference.oracle import Oracle, OracleTrainer
from lab.series import Series
from lab.training.trainer import StackTrainer
from scripts.bench.turns import NO_MEASUREMENT, Subjects, one_turn, take_turns

CHANNELS, ROWS, BATCH = 7, 4000, 512
PAPER = {"training.protocol": "published"}  # over the preset h96: 512 windows of 512 steps, K=64, D=8, one layer


def series(rows: int = ROWS) -> Series:
    values = np.random.default_rng(0).standard_normal((rows, CHANNELS)).cumsum(axis=0)
    names = tuple(f"c{i}" for i in range(CHANNELS))
    bounds = (0, rows * 6 // 10), (rows * 6 // 10, rows * 8 // 10), (rows * 8 // 10, rows)
    return Series("random walk", values, names, *bounds, "bench", "bench")


def stacked(models: int, mode: str = "alternating", batch: int = BATCH) -> Callable[[], None]:
    """One step of a stack at the paper setting."""
    torch.set_num_threads(1)
    settings = {**PAPER, "training.mode": mode, "training.batch_size": batch}
    configs = [Config.create({**settings, "training.seed": seed}, preset="h96") for seed in range(models)]
    return steps_of(StackTrainer(configs, series()))


def steps_of(trainer: StackTrainer) -> Callable[[], None]:
    """Step after step of a trainer's first epochs."""

    numbers = itertools.cycle(range(trainer.steps))

    def run() -> None:
        number = next(numbers)
        if number == 0:
            trainer.begin_epoch()
        trainer.step(number)

    return run


def stock(flush: bool, batch: int = BATCH) -> Callable[[], None]:
    """The same step as published, with dropout drawn as torch draws it."""
    torch.set_num_threads(1)
    torch.set_flush_denormal(flush)
    net = Oracle(CHANNELS, 64, 8, 1, 512, 96)
    trainer = OracleTrainer(net, 2e-3, 1e-4)
    scaled = torch.as_tensor(series().scaled.copy(), dtype=torch.float32)
    windows = scaled.unfold(0, 608, 1)[:batch].transpose(1, 2).contiguous()
    x, y = windows[:, :512], windows[:, 512:]

    def masks() -> dict[str, object]:
        uniforms = [[torch.rand(batch, 96, 8)] for _ in range(CHANNELS)]
        return {"worker_uniforms": uniforms, "mixer_uniforms": torch.rand(batch, 96, 4 * CHANNELS), "mixer_rate": 0.1}

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
    torch.set_num_threads(1)
    a, b = torch.randn(1024, 1024), torch.randn(1024, 1024)
    count = max(1, round(operations() / (2 * 1024**3)))

    def run() -> None:
        for _ in range(count):
            a @ b

    return run


def main() -> None:
    options = argparse.ArgumentParser(description=(__doc__ or "").split("\n")[0])
    options.add_argument("--repeats", type=int, default=7)
    options.add_argument("--models", default="1,8", help="sizes of the stacks (default: 1,8)")
    options.add_argument(
        "--quick", action="store_true", help="all of it at tiny sizes: a check of this script, no measurement"
    )
    args = options.parse_args()
    batch = 8 if args.quick else BATCH
    counts = [1, 2] if args.quick else [int(count) for count in args.models.split(",")]
    subjects: Subjects = {
        "stock": (stock, [False, batch]),
        "stock, flushed": (stock, [True, batch]),
        "floor": (floor, []),
        **{f"stack of {count}": (stacked, [count, "alternating", batch]) for count in sorted({1, *counts})},
        "unrolled": (stacked, [1, "unrolled", batch]),
    }
    if args.quick:
        print(NO_MEASUREMENT)
    taken = one_turn(subjects) if args.quick else take_turns(subjects, args.repeats)
    medians = {name: statistics.median(turns.cpu) for name, turns in taken.items()}
    print(f"one alternating (and one unrolled) step, B={batch} S=512 H=96 C=7 K=64 D=8, one thread; CPU seconds\n")
    print(f"{'':16s}{'a model':>9s}{'stock /':>9s}{'flushed stock /':>17s}{'/ floor':>9s}{'peak MiB':>10s}")
    for name, median in medians.items():
        each = median / (int(name.split()[-1]) if name.startswith("stack") else 1)
        ratios = [medians["stock"] / each, medians["stock, flushed"] / each, each / medians["floor"]]
        print(
            f"{name:16s}{each:>9.3f}{ratios[0]:>9.1f}{ratios[1]:>17.1f}{ratios[2]:>9.2f}{taken[name].peak_mib:>10.0f}"
        )
    ratio = statistics.median(a / b for a, b in zip(taken["unrolled"].cpu, taken["stack of 1"].cpu, strict=True))
    print(f"\nCPU time of an unrolled step / that of an alternating step: {ratio:.2f} (aim: at most 3.5)")
    if len(counts) > 1:
        first, last = counts[0], counts[-1]
        more = taken[f"stack of {last}"].peak_mib - taken[f"stack of {first}"].peak_mib
        print(f"\nmemory of each further model: {more / (last - first):.0f} MiB")


if __name__ == "__main__":
    main()
