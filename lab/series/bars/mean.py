"""The equal mean of ridge and folded ridge: two views of a window that err unlike, and nothing fitted weighs them.

Its members are these two alone: a smoothed ridge is the ridge's twin, which the mean would count double, and copies of
values (last value, seasonal) are far behind wherever there is something to fit.
"""

import numpy as np

from lab.series.bars.bar import Bar, Problem, Solution
from lab.series.bars.folded import FOLDED
from lab.series.bars.ridge import RIDGE

MEMBERS = (RIDGE, FOLDED)


def _solve(problem: Problem) -> Solution:
    solutions = [problem.solution(member) for member in MEMBERS]
    weight = np.mean([solution.weight for solution in solutions], axis=0)
    return Solution(weight, sum(solution.fitted for solution in solutions))


MEAN = Bar(
    "mean_of_ridges", "mean of ridges", "the equal mean of linear baseline and folded ridge", _solve, periodic=True
)
