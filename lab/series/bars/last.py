"""Last value: every step of the horizon is the last step read. On a random walk nothing beats it."""

import numpy as np

from lab.series.bars.bar import Bar, Problem, Solution


def _solve(problem: Problem) -> Solution:
    weight = np.zeros((problem.data.seq_len, problem.data.pred_len))
    weight[-1] = 1.0
    return Solution(weight, 0)


LAST = Bar("last_value", "last value", "the last value read, repeated", _solve)
