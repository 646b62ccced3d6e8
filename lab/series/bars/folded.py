"""Folded ridge: each step of the period (each hour of the day) is a series of periods (days) of its own, and one small
map from past periods to coming ones serves all of them: 336 steps of hourly rows are 14 days x 24, and H=96 takes 56
weights.

The mean that is taken off is the whole window's, not that of each step of the period: how the hours differ from each
other is what the map carries over. Of a window that is no whole number of periods the last ones are read.
"""

import numpy as np

from lab.series.bars.bar import Bar, Problem, Solution
from lab.series.bars.ridge import PENALTIES, chosen, ridge_maps


def _solve(problem: Problem) -> Solution:
    train, period = problem.train, problem.period
    steps, horizon = train.cross.shape
    periods = steps // period
    first = steps - periods * period
    by_step = [np.arange(first + step, steps, period) for step in range(period)]  # where a window holds each step
    maps = {penalty: np.zeros((steps, horizon)) for penalty in PENALTIES}
    fitted = 0
    for ahead in range(0, horizon, period):  # a coming period, the last of which may be cut off
        there = by_step[: horizon - ahead]
        past = sum(train.past[np.ix_(rows, rows)] for rows in there)
        cross = sum(train.cross[rows, ahead + step] for step, rows in enumerate(there))
        for penalty, weight in ridge_maps(np.asarray(past), np.asarray(cross)[:, None]):
            for step, rows in enumerate(there):
                maps[penalty][rows, ahead + step] = weight[:, 0]
        fitted += periods
    candidates = [({"penalty": penalty}, weight) for penalty, weight in maps.items()]
    found = chosen(candidates, problem, fitted)
    return Solution(found.weight, fitted, {"period": period, **found.choices}, found.tried, found.edges)


FOLDED = Bar(
    "folded", "folded ridge", "ridge regression of coming periods on past ones, one map for every step of a period",
    _solve, periodic=True, lookback=True,
)  # fmt: skip
