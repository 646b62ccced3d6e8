"""A model alone and the same model in a stack, trained in float32: how far do their numbers lie apart?

    python -m scripts.check_stack [--stacks 6] [--epochs 60]

Draws, initial weights and batches are the same to the bit, and so is the compiled GRU. Products of matrices are the
BLAS library's: it may choose another order of summation for another number of products or another place in memory,
which changes the last bit of some. Training then carries that on, as it does any rounding.

Settings are drawn at random: sizes, training mode, rates and, model by model, switched-off parts and signals; once with
batch sizes that are multiples of 16 (rows of memory then begin alike), once with any. Numbers are relative, of the
validation MSE after an epoch; one thread.
"""

import argparse
import random
import statistics
from collections.abc import Sequence
from typing import Any

import numpy as np
import torch

from dynonet.config import Config
from dynonet.parts import OFF, SIGNALS
from lab.series import Series, load_series
from lab.training.trainer import Run, StackTrainer

ROWS = 500
MULTIPLE, ANY = "a multiple of 16", "any"


def stack(r: random.Random, batches: str, epochs: int) -> list[Config]:
    """Two to five models of one random shape."""
    shared: dict[str, Any] = {
        "data.dataset": "synthetic", "data.synthetic.rows": ROWS, "data.seq_len": r.randint(12, 32),
        "data.pred_len": r.randint(2, 12), "data.meta_fraction": 0.4, "training.max_epochs": epochs,
        "training.batch_size": r.choice([16, 32]) if batches == MULTIPLE else r.randint(12, 40),
        "training.patience": epochs, "model.control_hidden": r.randint(2, 20), "model.worker_hidden": r.randint(2, 10),
        "model.num_layers": r.randint(1, 2), "model.worker_seq_len": r.randint(6, 32),
        "training.mode": r.choice(["alternating", "joint", "unrolled"]),
    }  # fmt: skip
    return [Config.create({**shared, **own(r, seed)}) for seed in range(1, r.randint(2, 5) + 1)]


def own(r: random.Random, seed: int) -> dict[str, Any]:
    """What the models of a stack may differ in."""
    settings: dict[str, Any] = {"training.seed": seed, "training.lr": 10 ** r.uniform(-3.5, -2)}
    part, signal = r.choice(["", *OFF]), r.choice(["", *SIGNALS])
    return settings | ({f"model.{part}": False} if part else {}) | ({f"signals.{signal}": "off"} if signal else {})


def apart(alone: Run, among: Run) -> list[float] | None:
    """|difference| / value of the validation MSE of each epoch; None where every number and weight is the same."""
    if alone.history == among.history and alone.status == among.status and _same_weights(alone, among):
        return None
    pairs = zip(alone.history, among.history, strict=False)
    return [abs(a["val_mse"] / b["val_mse"] - 1) for a, b in pairs if "val_mse" in a and "val_mse" in b]


def _same_weights(alone: Run, among: Run) -> bool:
    mine, other = alone.weights or {}, among.weights or {}
    return mine.keys() == other.keys() and all(torch.equal(mine[name], other[name]) for name in mine)


def compare(configs: list[Config], series: Series) -> list[tuple[bool, list[float] | None]]:
    """For each model of a stack: are its best weights the same to the bit as alone, and `apart`."""
    among = StackTrainer(configs, series).train()
    found = []
    for config, run in zip(configs, among, strict=True):
        (alone,) = StackTrainer([config], series).train()
        found.append((_same_weights(alone, run), apart(alone, run)))
    return found


def main(arguments: Sequence[str] | None = None) -> None:
    options = argparse.ArgumentParser(description=(__doc__ or "").split("\n")[0])
    options.add_argument("--stacks", type=int, default=6, help="of each kind")
    options.add_argument("--epochs", type=int, default=60)
    args = options.parse_args(arguments)
    torch.set_num_threads(1)
    marks = sorted({1, min(10, args.epochs), args.epochs})
    print(f"{'':18s}{'':>8s}{'a weight':>10s}{'a number':>10s}  apart in validation MSE, median and largest of those")
    heads = "".join(f"{f'epoch {mark}':>16s}" for mark in marks)
    print(f"{'batch size':18s}{'models':>8s}{'differs':>10s}{'differs':>10s}{heads}")
    for batches in (MULTIPLE, ANY):
        r = random.Random(0)
        found = []
        for _ in range(args.stacks):
            configs = stack(r, batches, args.epochs)
            found += compare(configs, load_series(configs[0].data))
        differ = [values for _, values in found if values is not None]
        cells = []
        for mark in marks:
            values = [each[mark - 1] for each in differ if len(each) >= mark]
            cells.append(f"{statistics.median(values):.0e} {np.max(values):.0e}" if values else "none")
        changed = sum(not same for same, _ in found)
        figures = "".join(f"{cell:>16s}" for cell in cells)
        print(f"{batches:18s}{len(found):>8d}{changed:>10d}{len(differ):>10d}{figures}", flush=True)


if __name__ == "__main__":
    main()
