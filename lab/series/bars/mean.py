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
    solutions = {member.name: problem.solution(member) for member in MEMBERS}
    longest = max(len(solution.weight) for solution in solutions.values())
    weight = np.mean([reaching_back(solution.weight, longest) for solution in solutions.values()], axis=0)
    lookbacks = {
        f"{name}_lookback": solution.choices["lookback"]
        for name, solution in solutions.items()
        if "lookback" in solution.choices
    }
    return Solution(weight, sum(solution.fitted for solution in solutions.values()), lookbacks)


def reaching_back(weight: np.ndarray, steps: int) -> np.ndarray:
    """A map (S, H) as one of longer windows (steps, H): it reads their last S steps, less the mean of those."""
    short, horizon = weight.shape
    if short == steps:
        return weight
    longer = np.zeros((steps, horizon))
    longer[-short:] = weight - weight.mean(axis=0) + 1 / short  # (a - mean a) W + mean a, a less the longer mean
    return longer


MEAN = Bar(
    "mean_of_ridges", "mean of ridges", "the equal mean of linear baseline and folded ridge", _solve, periodic=True,
    members=MEMBERS,
)  # fmt: skip
