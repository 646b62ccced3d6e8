"""What a bar is: a map from window to horizon that follows from the training windows in closed form."""

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field, replace

import numpy as np

from lab.errors import DataError
from lab.ledger.looks import look_at
from lab.series.bars.windows import Metrics, Moments, map_errors
from lab.series.series import Series
from lab.settings.data import DataConfig


class Unavailable(DataError):
    """A bar that these windows or this calendar cannot have. The message says what it lacks."""


@dataclass(frozen=True, eq=False)
class Solution:
    """A map and how it was chosen."""

    weight: np.ndarray  # (S, H) float64: the forecast of a window x of mean m is (x - m) weight + m; S: its lookback
    fitted: int  # numbers that training windows set
    choices: Mapping[str, float] = field(default_factory=dict)  # what validation or the calendar chose, by name
    tried: tuple[Mapping[str, float], ...] = ()  # the choices that there were, with their `validation_mse`
    edges: tuple[str, ...] = ()  # choices at an end of what was tried: a better one may lie beyond


@dataclass(eq=False)
class Problem:
    """A series, how windows are cut from it, and what bars share of the work."""

    series: Series
    data: DataConfig
    role: str = "train"  # whose windows are fitted
    lookbacks: Mapping[str, Sequence[int]] = field(default_factory=dict)  # of a bar, for which validation chooses
    _moments: dict[str, Moments] = field(default_factory=dict)
    _solutions: dict[str, Solution] = field(default_factory=dict)
    _others: dict[int, "Problem"] = field(default_factory=dict)  # of other lookbacks
    _judged: "Problem | None" = None  # of the series that this one is `chosen_on`
    _recorded: Sequence[float] | None = None  # of the maps that are tried next: the errors that they had there

    @property
    def train(self) -> Moments:
        return self.moments(self.role)

    @property
    def validation(self) -> Moments:
        return self.moments("validation")

    def moments(self, role: str) -> Moments:
        """Raises DataError: the role's rows hold no window."""
        if role not in self._moments:
            self._moments[role] = Moments.of(self.series, self.data, role)
        return self._moments[role]

    def errors(self, maps: Sequence[np.ndarray]) -> Sequence[float]:
        """The validation MSE of each map (S, H) that a bar chooses among; of a series that is `chosen_on` another, what
        it was there, in the same order."""
        return [self.validation.mse(weight) for weight in maps] if self._recorded is None else self._recorded

    def solution(self, bar: "Bar") -> Solution:
        """Of a bar, found once. Raises as `Bar.solve`."""
        if bar.name not in self._solutions:
            lookbacks = self.lookbacks.get(bar.name)
            if self.series.chosen_on is not None:
                found = self._as_chosen(bar, self.series.chosen_on)
            elif lookbacks is None:
                found = bar.solve(self)
            else:
                found = self._of_lookbacks(bar, lookbacks)
            self._solutions[bar.name] = found
        return self._solutions[bar.name]

    def _as_chosen(self, bar: "Bar", series: Series) -> Solution:
        """These windows' numbers for what is chosen on another series."""
        self._judged = self._judged or Problem(series, self.data, self.role, self.lookbacks)
        judged = self._judged.solution(bar)
        if bar.name in self.lookbacks:
            steps = len(judged.weight)
            found = Problem(self.series, reading(self.data, steps), self.role).solution(bar)
            return replace(found, choices={"lookback": steps, **found.choices})
        outer, self._recorded = self._recorded, [tried["validation_mse"] for tried in judged.tried]
        try:
            return bar.solve(self)
        finally:
            self._recorded = outer

    def _at(self, steps: int) -> "Problem":
        if steps == self.data.seq_len:
            return self
        if steps not in self._others:
            self._others[steps] = Problem(self.series, reading(self.data, steps), self.role)
        return self._others[steps]

    def _of_lookbacks(self, bar: "Bar", lookbacks: Sequence[int]) -> Solution:
        """Of a bar that reads so many rows, each on every window of its own length; the best on validation.

        The targets of validation and test are the same rows, however far a window reaches back.
        """
        found: dict[int, tuple[float, Solution]] = {}
        for steps in sorted(set(lookbacks)):
            there = self._at(steps)
            try:
                solution = bar.solve(there)
                found[steps] = there.validation.mse(solution.weight), solution
            except DataError as error:
                raise type(error)(f"{bar.name} with a lookback of {steps}: {error}") from None
        best = min(found, key=lambda steps: found[steps][0])
        solution = found[best][1]
        tried = [
            {"lookback": steps, **each}
            for steps, (mse, other) in found.items()
            for each in other.tried or [{**other.choices, "validation_mse": mse}]
        ]
        edge = len(found) > 1 and best in (min(found), max(found))
        return replace(
            solution, choices={"lookback": best, **solution.choices}, tried=tuple(tried),
            edges=(*solution.edges, *(["lookback"] if edge else [])),
        )  # fmt: skip

    @property
    def period(self) -> int:
        """Steps of a season: `data.period`, or what the calendar gives, a day of hourly rows.

        Raises Unavailable: neither says it, or a window is shorter.
        """
        period, found = self.data.period, "data.period"
        if period is None:
            period, found = self.series.step.season, f"the calendar (a row every {self.series.step})"
        if period is None:
            raise Unavailable(f"{found} gives no period; data.period sets one")
        if period > self.data.seq_len:
            raise Unavailable(
                f"a period is {period} steps by {found}, and windows read data.seq_len={self.data.seq_len}"
            )
        return period


@dataclass(frozen=True)
class Bar:
    """A row of `lab.series.bars.BARS`."""

    name: str  # column `model` of its runs, and what `--bar` takes
    title: str  # as tables call it
    about: str  # one line, for help and pages
    solve: Callable[[Problem], Solution]  # raises Unavailable, or DataError: no window
    periodic: bool = False  # whether `data.period` changes it, and is part of its runs' ids
    lookback: bool = False  # whether how far a window reaches back changes it
    members: tuple["Bar", ...] = ()  # bars that it is made of, each with a lookback of its own
    version: int = 1  # raised when a change to its code changes its numbers; part of its runs' ids


@dataclass(frozen=True, eq=False)
class FittedBar:
    """A bar on data. It holds no test figure: `evaluate(series, data, 'test')` reads test on request."""

    bar: Bar
    solution: Solution
    validation: Metrics
    train_windows: int
    seconds: float  # of the fit

    @property
    def weight(self) -> np.ndarray:
        """(S, H) float64, read-only."""
        return self.solution.weight

    @property
    def num_weights(self) -> int:
        """Numbers that training windows set."""
        return self.solution.fitted

    @property
    def penalty(self) -> float:
        """Of ridge regression: lambda. KeyError for a bar without one."""
        return self.solution.choices["penalty"]

    @property
    def penalties(self) -> dict[float, float]:
        """Each lambda tried -> its validation MSE, the lowest where it was tried with several kernels."""
        found: dict[float, float] = {}
        for tried in self.solution.tried:
            found[tried["penalty"]] = min(tried["validation_mse"], found.get(tried["penalty"], np.inf))
        return found

    @property
    def penalty_at_edge(self) -> bool:
        """The best penalty is the smallest or the largest tried, so a better one may lie beyond."""
        return "penalty" in self.solution.edges

    def forecast(self, windows: np.ndarray) -> np.ndarray:
        """(B, S, C) z-scored windows -> (B, H, C) forecasts."""
        mean = windows.mean(axis=1, keepdims=True)
        return np.einsum("bsc,sh->bhc", windows - mean, self.weight, optimize=True) + mean

    def evaluate(self, series: Series, data: DataConfig, role: str) -> Metrics:
        """The errors over every window of a role of `lab.series.window_starts`; of test, that is a look."""
        look_at(series, role, f"bar {self.bar.name}")
        return map_errors(self.weight, series, reading(data, len(self.weight)), role)


def reading(data: DataConfig, steps: int) -> DataConfig:
    """The same windows, reaching so many rows back."""
    return data if data.seq_len == steps else data.model_copy(update={"seq_len": steps})
