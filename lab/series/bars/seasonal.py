"""Seasonal: every step of the horizon is the last one read at its place in the period (this hour of the last day)."""

import numpy as np

from lab.series.bars.bar import Bar, Problem, Solution


def _solve(problem: Problem) -> Solution:
    steps, period = problem.data.seq_len, problem.period
    ahead = np.arange(problem.data.pred_len)
    weight = np.zeros((steps, len(ahead)))
    weight[steps - period + ahead % period, ahead] = 1.0
    return Solution(weight, 0, {"period": period})


SEASONAL = Bar("seasonal", "seasonal", "the last period read, repeated", _solve, periodic=True)
