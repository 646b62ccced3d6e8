"""What a search method that is not Optuna's has to be: three methods.

The trials stay in Optuna's study all the same, for its journal and its tools: to Optuna the method is one more sampler.
Records, restarts and points that are known already or not allowed are the caller's care (see tune.proposals).
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Protocol

from optuna import Study
from optuna.distributions import BaseDistribution
from optuna.samplers import BaseSampler
from optuna.trial import FrozenTrial, TrialState

from lab.console.printing import one_line
from lab.errors import ConfigError
from tune.space import Range, Space
from tune.space.categories import label


@dataclass(frozen=True)
class Told:
    """A proposal on record.

    Attributes:
        params: the searched settings by dotted path, without those whose conditions were not met.
        state: complete, stopped (early, or diverged) or failed; None: it has no outcome yet.
        values: one per objective, the least the best; none where it failed.
    """

    params: Mapping[str, Any]
    state: str | None
    values: tuple[float, ...] = ()


class Method(Protocol):
    """A way to search a space. It draws from its own seed, so that two starts on the same records go on alike."""

    def replay(self, told: Sequence[Told]) -> None:
        """Takes up the search where its records stand. Called once, before anything is asked."""

    def ask(self) -> Mapping[str, Any]:
        """A value for each range of the space by dotted path; those whose conditions are not met go unused.

        A point that is on record or not allowed is not tried, and another one asked for.
        """

    def tell(self, told: Told) -> None:
        """What became of a proposal, in the order in which they end."""


@dataclass(frozen=True)
class Start:
    """What a sampler begins with.

    Attributes:
        seed: of the search, from 0 to 2**32 - 1.
        fresh: a seed that differs with the number of proposals on record: Optuna's samplers keep no account of what
            they have drawn, and seeded alike would draw it again after a restart.
    """

    space: Space
    seed: int
    fresh: int
    told: Sequence[Told] = ()


class Asked(BaseSampler):
    """A method as Optuna takes it."""

    def __init__(self, method: Method, start: Start):
        self.method = method
        self._ranges: dict[str, Range] = {item.path: item for item in start.space.ranges}
        self._points: dict[int, Mapping[str, Any]] = {}  # of trials under way, by number
        method.replay(start.told)

    def infer_relative_search_space(self, study: Study, trial: FrozenTrial) -> dict[str, BaseDistribution]:
        return {}

    def sample_relative(self, study: Study, trial: FrozenTrial, search_space: Any) -> dict[str, Any]:
        return {}

    def sample_independent(
        self, study: Study, trial: FrozenTrial, param_name: str, param_distribution: BaseDistribution
    ) -> Any:
        # Asked for here and not as the trial begins: one whose settings are given draws nothing.
        if trial.number not in self._points:
            self._points[trial.number] = self.method.ask()
        point, item = self._points[trial.number], self._ranges[param_name]
        value = point.get(param_name)
        if not (label(value) in item.by_label if item.kind == "choice" else _within(item, value)):
            kind = type(self.method).__name__
            raise ConfigError(f"sampler {kind}: {param_name}: got {one_line(repr(value))}, allowed: {item.describe()}")
        return label(value) if item.kind == "choice" else value

    def after_trial(self, study: Study, trial: FrozenTrial, state: TrialState, values: Sequence[float] | None) -> None:
        self._points.pop(trial.number, None)
        if "trial" not in trial.user_attrs:  # never on record
            return
        params = {
            path: self._ranges[path].by_label[value] if self._ranges[path].kind == "choice" else value
            for path, value in trial.params.items()
        }
        ended = {TrialState.COMPLETE: "complete", TrialState.PRUNED: "stopped"}.get(state, "failed")
        self.method.tell(Told(params, ended, tuple(values or ())))


def _within(item: Range, value: Any) -> bool:
    whole = isinstance(value, int) and not isinstance(value, bool)
    return (whole or (isinstance(value, float) and item.kind == "float")) and item.low <= value <= item.high
