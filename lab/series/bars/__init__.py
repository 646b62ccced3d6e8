"""Bars: what a network has to beat, fitted in closed form on the same windows. They stand beside every result.

A bar is a map from the window, less its own mean, to the horizon, one for all channels: each of them one file and one
row of `BARS`. To add one, write `solve(problem) -> Solution` from the moments of the windows (`windows.Moments`, which
cost next to nothing, whatever the series' length), say whether windows of another `lookback` change it, and give it a
row: the command `python -m lab.baseline`, records, tables and reports have it then.
"""

import time
from collections.abc import Iterable, Iterator, Mapping, Sequence

from lab.series.bars.bar import Bar, FittedBar, Problem, Solution, Unavailable, reading
from lab.series.bars.folded import FOLDED
from lab.series.bars.last import LAST
from lab.series.bars.mean import MEAN
from lab.series.bars.ridge import RIDGE
from lab.series.bars.seasonal import SEASONAL
from lab.series.bars.smoothed import SMOOTHED
from lab.series.bars.windows import Metrics, map_errors
from lab.series.roles import window_starts
from lab.series.series import Series
from lab.settings.data import DataConfig

BARS = {bar.name: bar for bar in (LAST, SEASONAL, RIDGE, SMOOTHED, FOLDED, MEAN)}


def fit_bars(
    series: Series, data: DataConfig, bars: Iterable[Bar] = tuple(BARS.values()), role: str = "train",
    lookbacks: Mapping[str, Sequence[int]] | None = None,
) -> Iterator[FittedBar | Unavailable]:  # fmt: skip
    """Each bar fitted on every window of `role`, or why these windows cannot have it; in the order given.

    Args:
        lookbacks: by a bar's name, rows that it reads in place of `data.seq_len`; of several validation chooses.

    Raises:
        DataError: the training or validation rows hold no window of this S and H.
    """
    problem = Problem(series, data, role, lookbacks or {})
    for bar in bars:
        try:
            yield fit(problem, bar)
        except Unavailable as reason:
            yield reason


def fit_bar(
    series: Series, data: DataConfig, bar: Bar, role: str = "train",
    lookbacks: Mapping[str, Sequence[int]] | None = None,
) -> FittedBar:  # fmt: skip
    """One bar. Raises Unavailable where these windows cannot have it, and as `fit_bars`."""
    return fit(Problem(series, data, role, lookbacks or {}), bar)


def fit_linear(series: Series, data: DataConfig, role: str = "train") -> FittedBar:
    """The ridge: one shared map, its penalty chosen on validation. Raises as `fit_bars`."""
    return fit_bar(series, data, RIDGE, role)


def fit(problem: Problem, bar: Bar) -> FittedBar:
    """One bar, sharing what others of the problem have worked out. Raises as `fit_bar`."""
    began = time.perf_counter()
    solution = problem.solution(bar)
    solution.weight.setflags(write=False)
    data = reading(problem.data, len(solution.weight))
    windows = len(window_starts(problem.series, data, problem.role))
    validation = map_errors(solution.weight, problem.series, data, "validation")
    return FittedBar(bar, solution, validation, windows, time.perf_counter() - began)


__all__ = [
    "BARS", "Bar", "FittedBar", "Metrics", "Problem", "Solution", "Unavailable", "fit", "fit_bar", "fit_bars",
    "fit_linear",
]  # fmt: skip
