"""Time and memory of a training step of every registered forecaster at its published settings.

    python -m scripts.bench.forecasters [--models dlinear,patchtst] [--preset authors] [--repeats 3] [--device cuda]

Settings are those of preset `scripts`, or h96 (DynoNet's paper); H=96, C=7. On a CPU: seconds of process CPU time, one
thread, medians over turns that all take, each in a process of its own. On a GPU: seconds between two moments at which
it has nothing left to do, one model after the other. `epoch` is minutes of all training windows of ETTh1, at one such
device; validation is not in it.
"""

import argparse
import statistics
import time
from collections.abc import Callable
from functools import partial
from itertools import cycle
from typing import Any

import torch

from lab.compute.device import pick_device, prepare_process
from lab.errors import ConfigError
from lab.registry import forecaster, names
from lab.series import load_series
from lab.settings.config import Config
from scripts.bench.turns import NO_MEASUREMENT, Subjects, Taken, one_turn, take_turns

PUBLISHED = ("scripts", "benchmark-defaults", "h96")  # presets: the first that a forecaster has
ROWS, TRAIN_ROWS = 14_400, 8640  # of ETTh1


def config_of(name: str, preset: str | None, quick: bool) -> Config:
    found = forecaster(name)
    presets = [each for each in ([preset] if preset else PUBLISHED) if each in found.config.presets]
    settings: dict[str, Any] = {"data.dataset": "synthetic", "data.synthetic.rows": ROWS, "data.pred_len": 96}
    if quick:
        settings |= {
            "data.seq_len": 48,
            "data.pred_len": 12,
            "data.synthetic.rows": 800,
            "training.batch_size": 8,
            **found.small,
        }
    return found.config.create(settings, preset=presets[0] if presets else None)


def stepping(name: str, preset: str | None, quick: bool, device: str = "cpu") -> Callable[[], None]:
    """Step after step of a stack of one."""
    torch.set_num_threads(1)
    prepare_process()
    config = config_of(name, preset, quick)
    stack = forecaster(name).stack([config], load_series(config.data), torch.device(device), torch.float32)
    numbers, epochs = cycle(range(stack.steps)), iter(range(1, 10_000))

    def run() -> None:
        if (number := next(numbers)) == 0:
            stack.begin_epoch(next(epochs))
        stack.step(number)

    return run


def on_device(name: str, make: partial[Callable[[], None]], repeats: int) -> Taken:
    """Seconds of steps of one model on a GPU, and the most of its memory that they took."""
    torch.cuda.reset_peak_memory_stats()
    run, seconds = make(), []
    for _ in range(repeats + 3):
        torch.cuda.synchronize()
        start = time.perf_counter()
        run()
        torch.cuda.synchronize()
        seconds.append(time.perf_counter() - start)
    return Taken(seconds[3:], torch.cuda.max_memory_allocated() / 2**20)


def main() -> None:
    options = argparse.ArgumentParser(description=(__doc__ or "").split("\n")[0])
    options.add_argument("--models", default=",".join(names()), help="comma-separated (default: all)")
    options.add_argument("--preset", help="of those that have it (default: scripts, or h96)")
    options.add_argument("--repeats", type=int, default=3)
    options.add_argument("--device", default="cpu")
    options.add_argument("--quick", action="store_true", help="one tiny step each: a check of this script")
    args = options.parse_args()
    try:
        presets = {name: forecaster(name).config.presets for name in args.models.split(",")}
        pick_device(args.device)
    except ConfigError as error:
        options.error(str(error))
    chosen = [name for name, known in presets.items() if not args.preset or args.preset in known]
    if not chosen:
        options.error(f"no such preset: {args.preset}; there are {', '.join(sorted(set().union(*presets.values())))}")
    if args.quick:
        print(NO_MEASUREMENT)
    subjects: Subjects = {name: (stepping, [name, args.preset, args.quick]) for name in chosen}
    if args.quick:
        taken = one_turn(subjects)
    elif args.device == "cpu":
        taken = take_turns(subjects, args.repeats)
    else:
        print(torch.cuda.get_device_name())
        makes = {name: partial(stepping, name, args.preset, False, args.device) for name in chosen}
        taken = {name: on_device(name, make, args.repeats) for name, make in makes.items()}
    print(f"{'':14s}{'parameters':>12s}{'effective':>12s}{'S':>5s}{'B':>5s}{'s a step':>10s}", end="")
    print(f"{'ms a window':>13s}{'epoch, min':>12s}{'peak MiB':>10s}")
    for name, turns in taken.items():
        config = config_of(name, args.preset, args.quick)
        size, batch, seq_len = forecaster(name).size(config, 7), config.training.batch_size, config.data.seq_len
        step, windows = statistics.median(turns.cpu), TRAIN_ROWS - seq_len - config.data.pred_len + 1
        print(
            f"{name:14s}{size.parameters:>12,}{size.effective:>12,}{seq_len:>5}{batch:>5}{step:>10.4f}"
            f"{1e3 * step / batch:>13.3f}{step * windows / batch / 60:>12.2f}{turns.peak_mib:>10.0f}"
        )


if __name__ == "__main__":
    main()
