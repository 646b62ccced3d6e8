"""Ridge: normalised windows and one linear map (S, H), no intercept, shared by all channels, solved exactly.

From each window normalised by its own mean m and deviation s to the targets normalised alike: the least squares of the
z-scored error with penalty lambda,
    W = (sum s^2 a a^T + lambda I)^-1 (sum s^2 a t^T),  a = (x - m) / s,  t = (y - m) / s,
with the forecast a W s + m. The deviation cancels in all three (s a = x - m), so it is never computed.
"""

from collections.abc import Iterator

import numpy as np

from lab.series.bars.bar import Bar, Problem, Solution
from lab.series.bars.windows import Moments

PENALTIES = tuple(10.0**power for power in range(-1, 6))  # lambda; validation MSE chooses


def ridge_maps(past: np.ndarray, cross: np.ndarray) -> Iterator[tuple[float, np.ndarray]]:
    """Each penalty and its map (S, H), from the sums a a^T (S, S) and a t^T (S, H)."""
    # One decomposition serves every penalty: (G + lambda I)^-1 = V (e + lambda)^-1 V^T.
    values, vectors = np.linalg.eigh(past)
    rotated = vectors.T @ cross
    for penalty in PENALTIES:
        yield penalty, vectors @ (rotated / (np.maximum(values, 0) + penalty)[:, None])


def smoothed_maps(train: Moments, smooth: np.ndarray) -> Iterator[tuple[float, np.ndarray]]:
    """As `ridge_maps`, from `smooth` (S, S) times each window."""
    return ridge_maps(smooth @ train.past @ smooth.T, smooth @ train.cross)


def chosen(candidates: list[tuple[dict[str, float], np.ndarray]], problem: Problem, fitted: int) -> Solution:
    """The map of the lowest validation MSE of those that were made with these choices."""
    errors = problem.errors([weight for _, weight in candidates])
    choices, weight = candidates[int(np.argmin(errors))]
    tried = tuple({**each, "validation_mse": mse} for (each, _), mse in zip(candidates, errors, strict=True))
    values = {name: [each[name] for each, _ in candidates] for name in choices}
    edges = tuple(n for n, v in values.items() if min(v) < max(v) and choices[n] in (min(v), max(v)))
    return Solution(weight, fitted, choices, tried, edges)


def _solve(problem: Problem) -> Solution:
    maps = ridge_maps(problem.train.past, problem.train.cross)
    return chosen([({"penalty": penalty}, weight) for penalty, weight in maps], problem, problem.train.cross.size)


RIDGE = Bar("linear", "linear baseline", "ridge regression of the horizon on the window", _solve, lookback=True)
