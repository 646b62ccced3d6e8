"""One searched setting: its range, how Optuna draws it, and its ends."""

import json
import math
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from functools import cached_property
from typing import Any, Literal

import optuna

from lab.errors import ConfigError, unknown
from lab.settings.config import Config
from tune.space.categories import label, plain, shown

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
        """The choices by what Optuna knows them as (see tune.space.categories)."""
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
