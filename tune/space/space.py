"""What a search varies: ranges beside dotted paths, from a table of defaults or a YAML file.

    model.hidden: {int: [4, 32], log: true}
    training.lr: {float: [3.0e-4, 1.0e-2], log: true}
    model.cell: {choice: [plain, gated]}
    model.gate_width: {float: [0.03, 3.0], log: true, when: {model.cell: gated}}

`when` makes a range conditional: it is drawn only where the other setting, searched or fixed, has that value
(or one of a list of values).
"""

from collections.abc import Callable, Collection, Iterator, Mapping
from contextlib import suppress
from pathlib import Path
from typing import Any, Literal

import optuna
from optuna.distributions import BaseDistribution, CategoricalDistribution

from lab.errors import ConfigError
from lab.settings.config import Config
from tune.space.categories import label
from tune.space.ranges import Range
from tune.space.rules import refusal

Kind = Literal["int", "float", "choice"]

MOST_WHOLE = 2**53  # Optuna keeps numbers as floats, which hold no larger whole number for sure

EDGE = 0.02  # share of a range, on its own scale, within which a value counts as at the edge


class Space:
    """The ranges of a search around a base config.

    Raises ConfigError if a range names no setting or one that no search may vary, an end of it is not allowed there, or
    two choices mean the same.
    """

    def __init__(
        self, specs: Mapping[str, Any], base: Config, fixed: Mapping[str, Any] | None = None, *, recorded: bool = False
    ):
        """`fixed` settings win over ranges: a range of a fixed setting is dropped, as is one that is never drawn.

        `recorded`: a space that was searched, to be read alone; whether it may be searched is not asked.
        """
        ranges = [Range.parse(path, spec, type(base)) for path, spec in specs.items() if path not in (fixed or {})]
        ranges = self._possible(ranges, base)
        self.base = base
        # A condition is decided before what depends on it.
        self.ranges: list[Range] = []
        waiting, names = ranges, {r.path for r in ranges}
        while waiting:
            settled = {r.path for r in self.ranges}
            ready = [r for r in waiting if all(k in settled or k not in names for k in r.when)]
            if not ready:
                raise ConfigError(f"space: conditions in a circle among {', '.join(r.path for r in waiting)}")
            self.ranges += ready
            waiting = [r for r in waiting if r not in ready]
        self._wanted: dict[str, dict[str, list[Any]]] = {}
        self._meanings: dict[str, dict[str, Any]] = {}  # of choices: what the config makes of each -> the choice
        for item in self.ranges:
            self._meanings[item.path] = self._meant(item) if recorded else self._checked(item)
            self._wanted[item.path] = {k: [self._held(k, v) for v in wanted] for k, wanted in item.when.items()}

    @classmethod
    def read(cls, path: str | Path, base: Config, fixed: Mapping[str, Any] | None = None) -> "Space":
        return cls(base.read_yaml(path), base, fixed)

    @staticmethod
    def _possible(ranges: list[Range], base: Config) -> list[Range]:
        """Those whose conditions can be met: by a value that is searched too, or as the base has it."""
        searched = {r.path: r for r in ranges}

        def held(key: str, value: Any) -> Any:
            return base.override({key: value}).flat()[key]

        def can(key: str, wanted: tuple[Any, ...]) -> bool:
            if key in searched and searched[key].kind != "choice":
                return True
            choices = searched[key].choices if key in searched else (base.flat()[key],)
            return any(held(key, value) == held(key, choice) for value in wanted for choice in choices)

        kept = [r for r in ranges if all(can(key, wanted) for key, wanted in r.when.items())]
        return kept if len(kept) == len(ranges) else Space._possible(kept, base)

    def _checked(self, item: Range) -> dict[str, Any]:
        """The choices by what they mean. Raises ConfigError where the range is none that can be searched."""
        if reason := refusal(item.path, item.kind, type(self.base)):
            raise ConfigError(f"space: {item.path}: {reason}")
        meanings: dict[str, Any] = {}
        conditions = {key: wanted[0] for key, wanted in item.when.items()}
        for end in item.ends():
            held = self.base.override({**conditions, item.path: end}).flat()[item.path]
            held = held or abs(held) if isinstance(held, float) else held  # -0.0 is 0.0
            if item.kind == "choice" and label(held) in meanings:
                one, other = (item.shown(each) for each in (meanings[label(held)], end))
                raise ConfigError(
                    f"space: {item.path}: choice: {one} and {other} are one setting, {item.shown(held)}; leave "
                    "one of them out"
                )
            meanings[label(held)] = end
        return meanings

    def _meant(self, item: Range) -> dict[str, Any]:
        """As `_checked`, of a space that need not be one that can be searched."""
        found: dict[str, Any] = {}
        for choice in item.choices:
            with suppress(ConfigError):
                found.setdefault(label(self._held(item.path, choice)), choice)
        return found

    def own(self, params: Mapping[str, Any]) -> dict[str, Any]:
        """A proposal on record as this space would draw it: what means the same is written the same."""
        found = dict(params)
        for item in self.ranges:
            if item.path not in params or item.kind != "choice":
                continue
            if label(params[item.path]) not in item.by_label and self._meanings[item.path]:
                held = label(self._held(item.path, params[item.path]))
                found[item.path] = self._meanings[item.path].get(held, params[item.path])
        return found

    def labelled(self, params: Mapping[str, Any]) -> dict[str, Any]:
        """A proposal as Optuna is to draw it."""
        choices = {item.path for item in self.ranges if item.kind == "choice"}
        return {path: label(value) if path in choices else value for path, value in self.own(params).items()}

    def distributions(self, params: Mapping[str, Any]) -> dict[str, BaseDistribution]:
        """Optuna's, of the choices among these settings that this space has."""
        own = self.own(params)
        return {
            item.path: CategoricalDistribution(list(item.by_label))
            for item in self.ranges
            if item.path in own and item.kind == "choice" and label(own[item.path]) in item.by_label
        }

    def _held(self, key: str, value: Any) -> Any:
        """A value as a config holds it: of a switch, what `off` stands for."""
        return self.base.override({key: value}).flat()[key]

    @property
    def conditional(self) -> bool:
        return any(item.when for item in self.ranges)

    def suggest(self, trial: optuna.trial.BaseTrial) -> dict[str, Any]:
        """One proposal: the searched settings by dotted path."""
        drawn: dict[str, Any] = {}
        settings = self.base.flat()
        for item in self.ranges:
            if all(settings[key] in wanted for key, wanted in self._wanted[item.path].items()):
                drawn[item.path] = item.suggest(trial)
                if self.conditional:
                    settings[item.path] = self._held(item.path, drawn[item.path])
        return drawn

    def config(self, params: Mapping[str, Any]) -> Config:
        return self.base.override(params)

    def every_point(self, most: int) -> list[dict[str, Any]] | None:
        """All proposals that can be drawn, None where there are more than so many. Not all need be valid configs."""
        points: list[dict[str, Any]] = [{}]
        for item in self.ranges:
            values = item.every(most)
            if values is None or len(points) * len(values) > most:
                return None
            points = [
                {**params, **drawn}
                for params in points
                for drawn in ([{item.path: value} for value in values] if self._draws(item, params) else [{}])
            ]
        return points

    def corners(self, paths: Collection[str]) -> Iterator[Config]:
        """The configs at every combination of the ends of these settings, as far as they are searched and allowed."""
        points: list[dict[str, Any]] = [{}]
        searched = {item.path for item in self.ranges}
        for item in (each for each in self.ranges if each.path in paths):
            grown = []
            for params in points:
                # What a condition on a setting that is not among them says is left open: both may come.
                free = any(key in searched and key not in paths for key in item.when)
                if free or not self._draws(item, params):
                    grown.append(params)
                if free or self._draws(item, params):
                    grown += [{**params, item.path: end} for end in item.ends()]
            points = grown
        for params in points:
            with suppress(ConfigError):  # values that are allowed each, but not together, are not proposed
                yield self.config(params)

    def _draws(self, item: Range, params: Mapping[str, Any]) -> bool:
        """Whether the range is drawn beside these settings, of which its conditions have been decided."""
        return all(
            (self._held(key, params[key]) if key in params else self.base.flat()[key]) in wanted
            for key, wanted in self._wanted[item.path].items()
        )

    def smallest(self, count: Callable[[Config], int]) -> int:
        """The fewest parameters, by `count`, of a config of this space: sizes grow with each setting on its own."""
        params: dict[str, Any] = {}
        for item in self.ranges:
            if self._draws(item, params):
                params[item.path] = min(item.ends(), key=lambda end: count(self.config({**params, item.path: end})))
        return count(self.config(params))

    def edges(self, params: Mapping[str, Any]) -> dict[str, str]:
        """The settings of a proposal at an end of their range that could be wider: path to `lower` or `upper`."""
        found: dict[str, str] = {}
        for item in self.ranges:
            edge = item.edge(params[item.path]) if item.path in params else None
            if edge and self._could_be_wider(item, edge):
                found[item.path] = edge
        return found

    def _could_be_wider(self, item: Range, edge: str) -> bool:
        """Whether the setting allows a value beyond that end: a layer count of 1 is no edge to look behind."""
        whole = item.kind == "int" or all(isinstance(choice, int) for choice in item.choices or (0.0,))
        beyond = item.beyond(edge)
        try:
            self.base.override({item.path: int(beyond) if whole else beyond})
        except ConfigError:
            return False
        return True

    def as_dict(self) -> dict[str, Any]:
        return {item.path: item.as_dict() for item in self.ranges}
