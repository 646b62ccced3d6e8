"""Smoothed ridge: the ridge of a moving average of the window; validation chooses kernel and penalty together.

With edges padded by repetition the average is a matrix, as the trend of a decomposition is, so the whole is one map.
"""

import numpy as np

from lab.series.bars.bar import Bar, Problem, Solution, Unavailable
from lab.series.bars.ridge import chosen, smoothed_maps

KERNELS = (3, 7, 13, 25, 49, 97)  # steps, odd


def moving_average(length: int, kernel: int) -> np.ndarray:
    """The (S, S) matrix whose product with a window is its moving average, edges padded by repetition."""
    matrix, reach = np.zeros((length, length)), kernel // 2
    for offset in range(-reach, reach + 1):
        np.add.at(matrix, (np.arange(length), np.clip(np.arange(length) + offset, 0, length - 1)), 1.0 / kernel)
    return matrix


def _solve(problem: Problem) -> Solution:
    steps = problem.data.seq_len
    candidates: list[tuple[dict[str, float], np.ndarray]] = []
    for kernel in [kernel for kernel in KERNELS if kernel <= steps]:
        smooth = moving_average(steps, kernel)
        candidates += [
            ({"kernel": kernel, "penalty": penalty}, smooth.T @ weight)
            for penalty, weight in smoothed_maps(problem.train, smooth)
        ]
    if not candidates:
        raise Unavailable(f"the shortest average takes {KERNELS[0]} steps, and windows read data.seq_len={steps}")
    return chosen(candidates, problem, problem.train.cross.size)


SMOOTHED = Bar(
    "smoothed", "smoothed ridge", "ridge regression on a moving average of the window", _solve, lookback=True
)
