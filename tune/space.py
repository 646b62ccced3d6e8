"""What a search varies: ranges beside dotted paths, from a table of defaults or a YAML file.

    model.hidden: {int: [4, 32], log: true}
    training.lr: {float: [3.0e-4, 1.0e-2], log: true}
    model.cell: {choice: [plain, gated]}
    model.gate_width: {float: [0.03, 3.0], log: true, when: {model.cell: gated}}

`when` makes a range conditional: it is drawn only where the other setting, searched or fixed, has that value
(or one of a list of values).
"""

import json
import math
from collections.abc import Callable, Collection, Iterator, Mapping
from contextlib import suppress
from dataclasses import dataclass, field
from functools import cached_property
from pathlib import Path
from typing import Any, Literal

import optuna
from optuna.distributions import BaseDistribution, CategoricalDistribution

from lab.errors import ConfigError, unknown
from lab.settings.config import Config
from tune.categories import label, plain, shown
from tune.space_rules import refusal

Kind = Literal["int", "float", "choice"]

MOST_WHOLE = 2**53  # Optuna keeps numbers as floats, which hold no larger whole number for sure

EDGE = 0.02  # share of a range, on its own scale, within which a value counts as at the edge


@dataclass(frozen=True)
class Range:
    """One searched setting."""

    path: str
    kind: Kind
    settings: type[Config]
    low: float = 0
    high: float = 0
    log: bool = False
    choices: tuple[Any, ...] = ()
    when: Mapping[str, tuple[Any, ...]] = field(default_factory=dict)

    @classmethod
    def parse(cls, path: str, spec: Any, settings: type[Config]) -> "Range":
        """Reads one entry of a space. Raises ConfigError: what, got, allowed."""
        settings.check_key(path)
        if not isinstance(spec, Mapping):
            raise ConfigError(f"space: {path}: expected a mapping such as {{int: [4, 32]}}, got {spec!r}")
        allowed = ("int", "float", "choice", "log", "when")
        for key in spec:
            if key not in allowed:
                raise unknown(f"space entry of {path}", str(key), allowed)
        kinds: list[Kind] = [kind for kind in ("int", "float", "choice") if kind in spec]
        if len(kinds) != 1:
            raise ConfigError(f"space: {path}: exactly one of int, float and choice is needed, got {list(spec)}")
        kind, values, log = kinds[0], spec[kinds[0]], spec.get("log", False)
        if not isinstance(log, bool):
            raise ConfigError(f"space: {path}: log is true or false, got {log!r}")
        when = {}
        conditions = spec.get("when") or {}
        if not isinstance(conditions, Mapping):
            raise ConfigError(f"space: {path}: when takes a mapping such as {{model.cell: gated}}, got {conditions!r}")
        for key, wanted in conditions.items():
            settings.check_key(str(key))
            when[key] = tuple(wanted) if isinstance(wanted, list) else (wanted,)
            if not when[key]:
                raise ConfigError(f"space: {path}: when: {key} is given no value; name one, or leave the condition out")
        if kind == "choice":
            if not isinstance(values, list) or not values or log:
                raise ConfigError(f"space: {path}: choice takes a list of values and no log, got {spec!r}")
            choices = tuple(plain(path, value, settings) for value in values)
            for choice in choices:
                try:
                    label(choice)
                except ConfigError as error:
                    raise ConfigError(f"space: {path}: choice: {error}") from None
            return cls(path, kind, settings, choices=choices, when=when)
        if not isinstance(values, list) or len(values) != 2:
            raise ConfigError(f"space: {path}: {kind} takes [lowest, highest], got {values!r}")
        try:
            numbers = [plain(path, value, settings) for value in values]
            low, high = (float("" if isinstance(value, bool | str) else value) for value in numbers)
        except (TypeError, ValueError, OverflowError):
            raise ConfigError(f"space: {path}: {kind} takes two numbers, got {values!r}") from None
        if kind == "int" and not (low.is_integer() and high.is_integer()):
            raise ConfigError(f"space: {path}: int takes two whole numbers, got {values!r}")
        if kind == "int":
            if max(abs(low), abs(high)) > MOST_WHOLE:
                raise ConfigError(f"space: {path}: got {values!r}; whole numbers from -2**53 to 2**53 are allowed")
            low, high = int(low), int(high)
        if not low <= high or (log and low <= 0):
            need = "0 < lowest <= highest (log)" if log else "lowest <= highest"
            raise ConfigError(f"space: {path}: got [{low}, {high}]; {need} is needed")
        return cls(path, kind, settings, low, high, log, when=when)

    def shown(self, value: Any) -> str:
        """A value of the setting as it is written in a file."""
        return shown(self.path, value, self.settings)

    def suggest(self, trial: optuna.trial.BaseTrial) -> Any:
        if self.kind == "choice":
            return self.by_label[trial.suggest_categorical(self.path, list(self.by_label))]
        if self.kind == "int":
            return trial.suggest_int(self.path, int(self.low), int(self.high), log=self.log)
        return trial.suggest_float(self.path, self.low, self.high, log=self.log)

    @cached_property
    def by_label(self) -> dict[str, Any]:
        """The choices by what Optuna knows them as (see tune.categories)."""
        return {label(choice): choice for choice in self.choices}

    def place(self, choice: Any) -> int:
        """Where a choice stands among all."""
        return list(self.by_label).index(label(choice))

    def ends(self) -> tuple[Any, ...]:
        """The extreme values (of a choice, all)."""
        if self.kind == "choice":
            return self.choices
        convert = int if self.kind == "int" else float
        return convert(self.low), convert(self.high)

    def every(self, most: int) -> tuple[Any, ...] | None:
        """All values, None where there are more than so many."""
        if self.kind == "choice" or self.low == self.high:
            values = self.choices or self.ends()[:1]
            return values if len(values) <= most else None
        if self.kind == "float" or self.high - self.low >= most:
            return None
        return tuple(range(int(self.low), int(self.high) + 1))

    def edge(self, value: Any) -> str | None:
        """`lower` or `upper` if a value lies at that end of the range, else None.

        Of choices, three numbers or more are a range.
        """
        if self.kind == "choice":
            numbers = self._numbers()
            if not numbers or isinstance(value, bool):
                return None
            return {numbers[0]: "lower", numbers[-1]: "upper"}.get(value)
        if self.low == self.high:
            return None
        scale: Callable[[float], float] = math.log if self.log else float
        share = (scale(value) - scale(self.low)) / (scale(self.high) - scale(self.low))
        return "lower" if share <= EDGE else "upper" if share >= 1 - EDGE else None

    def _numbers(self) -> list[float]:
        """The choices in order, where they are three numbers or more."""
        found = {c for c in self.choices if isinstance(c, int | float) and not isinstance(c, bool)}
        return sorted(found) if len(found) == len(self.choices) > 2 else []

    def beyond(self, edge: str) -> float:
        """A value past that end: a step further, a tenth, or the gap between the last two choices."""
        sign = -1 if edge == "lower" else 1
        if self.kind == "choice":
            end, inner = self._numbers()[:2] if edge == "lower" else self._numbers()[:-3:-1]
            return end / 2 if end - inner <= -end else end + (end - inner)
        end = self.low if edge == "lower" else self.high
        step = 1 if self.kind == "int" else (abs(end) or self.high - self.low) / 10
        return end + sign * step

    def describe(self) -> str:
        text = f"{self.low:g} to {self.high:g}"
        if self.kind == "choice":
            text = ", ".join(self.shown(choice) for choice in self.choices)
        text += " (log)" if self.log else ""
        conditions = [
            f"{key} is {' or '.join(shown(key, value, self.settings) for value in wanted)}"
            for key, wanted in self.when.items()
        ]
        return f"{self.kind}: {text}" + (f", when {' and '.join(conditions)}" if conditions else "")

    def as_dict(self) -> dict[str, Any]:
        spec: dict[str, Any] = {self.kind: list(self.ends())}
        if self.log:
            spec["log"] = True
        if self.when:
            spec["when"] = {key: list(wanted) for key, wanted in self.when.items()}
        return spec


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


def same_spec(path: str, one: Any, other: Any, settings: type[Config]) -> bool:
    """Whether two entries of a space mean the same: by type and value, but however a value is written."""
    try:
        return _meaning(path, one, settings) == _meaning(path, other, settings)
    except ConfigError:
        return bool(one == other)


def _meaning(path: str, spec: Any, settings: type[Config]) -> str:
    item = Range.parse(path, spec, settings)
    choices = [_default_held(path, choice, settings) for choice in item.choices]
    when = {key: [_default_held(key, value, settings) for value in wanted] for key, wanted in item.when.items()}
    return json.dumps([item.kind, item.low, item.high, item.log, choices, when], sort_keys=True, default=str)


def _default_held(path: str, value: Any, settings: type[Config]) -> Any:
    try:
        return settings().override({path: value}).flat()[path]
    except ConfigError:  # not beside the defaults
        return value
