"""CPU time per model of stacks of 1 to 16 models: what the model axis costs or saves.

    python -m scripts.bench.stack [--repeats 9] [--quick]

Seconds of process CPU time of one alternating step divided by the models of the stack, one thread; medians over turns
that all stacks take, each in a process of its own. At the paper setting arithmetic is all there is, and a stack must
not cost more; at that of preset regimes calls from Python weigh, and a stack shares them.
"""

import argparse
import statistics
from collections.abc import Callable
from functools import partial

import torch

from dynonet.config import Config
from dynonet.presets import PRESETS
from lab.training.trainer import StackTrainer
from scripts.bench.step import BATCH, series, stacked, steps_of
from scripts.bench.turns import NO_MEASUREMENT, Subjects, Taken, one_turn, take_turns

PAPER, SMALL = (1, 2, 4, 8), (1, 2, 4, 8, 16)


def small(models: int) -> Callable[[], None]:
    """Five steps of a stack at the setting of preset regimes, in the middle of its ranges of sizes."""
    torch.set_num_threads(1)
    settings = PRESETS["regimes"]
    settings = {key: value for key, value in settings.items() if key != "data.dataset"}
    settings |= {"model.control_hidden": 16, "model.worker_hidden": 8}
    configs = [Config.create({**settings, "training.seed": seed}) for seed in range(models)]
    step = steps_of(StackTrainer(configs, series()))

    def run() -> None:
        for _ in range(5):
            step()

    return run


def paper(models: int, batch: int) -> Callable[[], None]:
    return stacked(models, batch=batch)


def compilations(models: int, batch: int) -> Callable[[], None]:
    """Fails if a step of a stack of this size compiles a kernel beyond the first."""
    from dynonet.kernels import gru_numba

    step = paper(models, batch)

    def run() -> None:
        step()
        for function in (gru_numba.forward, gru_numba.backward):
            if len(function.signatures) != 1:
                raise RuntimeError(f"{function} was compiled {len(function.signatures)} times")

    return run


def main() -> None:
    options = argparse.ArgumentParser(description=(__doc__ or "").split("\n")[0])
    options.add_argument("--repeats", type=int, default=9)
    options.add_argument(
        "--quick", action="store_true", help="all of it at tiny sizes: a check of this script, no measurement"
    )
    args = options.parse_args()
    batch = 8 if args.quick else BATCH
    papers, smalls = ((1, 2), (1, 2)) if args.quick else (PAPER, SMALL)

    if args.quick:
        print(NO_MEASUREMENT)

    def turns(subjects: Subjects, repeats: int) -> dict[str, Taken]:
        return one_turn(subjects) if args.quick else take_turns(subjects, repeats)

    print("CPU ms a model and step, one thread\n")
    print(f"{'setting':34s}{'stack of':>10s}{'ms a model':>12s}{'/ alone':>9s}{'peak MiB':>10s}")
    for title, make, counts, steps in (
        (f"paper: B={batch} S=512 K=64 D=8", partial(paper, batch=batch), papers, 1),
        ("regimes: B=64 S=96 K=16 D=8", small, smalls, 5),
    ):
        taken = turns({str(count): (make, [count]) for count in counts}, args.repeats)
        each = {count: 1e3 * statistics.median(taken[str(count)].cpu) / count / steps for count in counts}
        for count in counts:
            memory = taken[str(count)].peak_mib
            print(f"{title:34s}{count:>10d}{each[count]:>12.2f}{each[count] / each[1]:>9.2f}{memory:>10.0f}")
    turns({"1": (compilations, [1, batch]), "3": (compilations, [3, batch])}, 1)
    print("\nthe kernel was compiled once for all sizes")


if __name__ == "__main__":
    main()
