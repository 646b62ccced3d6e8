"""Mode unrolled: the controller's gradient beside brute force, and what it makes of problems with known answers.

    python -m scripts.check_unrolled [--quick]

Gradient: a small model in float64 (two channels) is trained in mode unrolled. At steps 1 and 10 the gradient of each
head, along each of its biases and one random direction, is compared with brute force: the parameter is moved, the
workers' step taken (freezing by its expectation, masks fixed), the held-out loss read. A number is |ours - brute
force| / |brute force| in the norm of the head. `clip active`: every worker's gradient is longer than its bound;
inactive: none's.

Known answers: see dynonet.reference.known_answers, where the directions are stated; one signal adaptive at a time.
"""

import argparse

import numpy as np
import torch

from dynonet.parts import SIGNALS
from dynonet.reference.brute_force import CASES, STEPS, Row, check
from dynonet.reference.known_answers import EPOCHS, SEEDS, SHIFT, answers
from scripts.bench.turns import NO_MEASUREMENT

LIMIT = 1e-3
COLUMNS = [(clipping, step) for clipping in ("active", "inactive") for step in STEPS]


def main() -> int:
    parser = argparse.ArgumentParser(description=(__doc__ or "").split("\n")[0])
    parser.add_argument("--quick", action="store_true", help="two cases, two seeds, two epochs: a check of this script")
    cases, seeds, epochs = list(CASES), SEEDS, EPOCHS
    if parser.parse_args().quick:
        print(NO_MEASUREMENT)
        cases, seeds, epochs = ["lr_scale", "together"], 2, 2
    torch.set_num_threads(1)
    rows = [row for case in cases for clipping in ("active", "inactive") for row in check(case, clipping)]
    print(f"{'':24s}" + "".join(f"{f'clip {clipping}, step {step}':>24s}" for clipping, step in COLUMNS))
    for name in SIGNALS:
        show(f"{name} alone", [row for row in rows if row.case == name and row.group == name])
        show(f"{name} together", [row for row in rows if row.case == "together" and row.group == name])
    for name in ("film", "context", "gru"):
        show(f"{name} together", [row for row in rows if row.case == "together" and row.group == name])
    print("the largest of all heads:")
    for case in cases:
        if case not in SIGNALS:
            show(case, [row for row in rows if row.case == case])
    worst = np.max([row.off for row in rows])
    print(f"{len(rows)} comparisons, the largest difference {worst:.1e} (allowed {LIMIT:g})")
    print("none: no gradient by brute force (clipping is not active), and exactly none of ours")
    print(f"\nmoved from its start after {epochs} epochs, mean of {seeds} seeds")
    print(f"{'':24s}{'of the noise':>14s}{'of the waves':>14s}   expected")
    for answer in answers(seeds, epochs):
        if answer.case in SHIFT:
            print(f"{'':24s}{'level up':>14s}{'level down':>14s}")
        expected = "up, down" if answer.case in SHIFT else "more" if answer.case.more else "less"
        first, second = answer.first.mean().item(), answer.second.mean().item()
        right = f"right in {answer.right} of {seeds}"
        print(f"{answer.case.name:24s}{first:>+14.3f}{second:>+14.3f}   {expected:9s} {right}")
    return int(not worst <= LIMIT)


def show(label: str, rows: list[Row]) -> None:
    cells = []
    for clipping, step in COLUMNS:
        here = [row for row in rows if (row.clipping, row.step) == (clipping, step)]
        unmoved = all(row.slope == row.off == 0 for row in here)
        cells.append("none" if unmoved else f"{np.max([row.off for row in here]):.0e}")
    print(f"{label:24s}" + "".join(f"{cell:>24s}" for cell in cells))


if __name__ == "__main__":
    raise SystemExit(main())
