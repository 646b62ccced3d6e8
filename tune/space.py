"""What a search varies: ranges beside dotted paths, from a table of defaults or a YAML file.

    model.worker_hidden: {int: [4, 32], log: true}
    training.lr: {float: [3.0e-4, 1.0e-2], log: true}
    training.mode: {choice: [alternating, unrolled, joint]}
    training.steering_lr_ratio: {float: [0.03, 3.0], log: true, when: {training.mode: unrolled}}

`when` makes a range conditional: it is drawn only where the other setting, searched or fixed, has that value
(or one of a list of values).
"""

import math
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Literal

import optuna

from dynonet.config import Config, check_key, read_yaml
from dynonet.errors import ConfigError, unknown

Kind = Literal["int", "float", "choice"]

# The default space, beside the defaults of dynonet.config.
DEFAULT: dict[str, dict[str, Any]] = {
    "model.control_hidden": {"int": [8, 128], "log": True},
    "model.worker_hidden": {"int": [4, 32], "log": True},
    "model.num_layers": {"int": [1, 3]},
    "model.dropout": {"float": [0.0, 0.4]},
    "model.trend_start": {"choice": ["uniform", "closed_form"]},
    "training.batch_size": {"choice": [64, 128, 256, 512]},
    # From the linear baseline on, small rates do; from random weights, large ones.
    "training.lr": {"float": [3e-5, 1e-2], "log": True},
    "training.weight_decay": {"float": [1e-6, 1e-1], "log": True},
    # The published 0.05 and 0.1 lie well inside; on the synthetic series smaller ratios do better, 0.2 and more worse.
    "training.controller_lr_ratio": {"float": [0.003, 0.3], "log": True},
    # Of mode unrolled alone: a space in which the mode is not searched and is another does without them.
    "training.steering_lr_ratio": {"float": [0.03, 3.0], "log": True, "when": {"training.mode": "unrolled"}},
    "training.unroll_every": {"int": [1, 8], "log": True, "when": {"training.mode": "unrolled"}},
}

# What says which data is read: one study has one series, by whose checksum its runs are named.
DATA = ("data.dataset", "data.path", "data.date_column", "data.split", "data.synthetic.")

EDGE = 0.02  # share of a range, on its own scale, within which a value counts as at the edge


@dataclass(frozen=True)
class Range:
    """One searched setting."""

    path: str
    kind: Kind
    low: float = 0
    high: float = 0
    log: bool = False
    choices: tuple[Any, ...] = ()
    when: Mapping[str, tuple[Any, ...]] = field(default_factory=dict)

    @classmethod
    def parse(cls, path: str, spec: Any) -> "Range":
        """Reads one entry of a space. Raises ConfigError: what, got, allowed."""
        check_key(path)
        if not isinstance(spec, Mapping):
            raise ConfigError(f"space: {path}: expected a mapping such as {{int: [4, 32]}}, got {spec!r}")
        allowed = ("int", "float", "choice", "log", "when")
        for key in spec:
            if key not in allowed:
                raise unknown(f"space entry of {path}", str(key), allowed)
        kinds: list[Kind] = [kind for kind in ("int", "float", "choice") if kind in spec]
        if len(kinds) != 1:
            raise ConfigError(f"space: {path}: exactly one of int, float and choice is needed, got {list(spec)}")
        kind, values, log = kinds[0], spec[kinds[0]], bool(spec.get("log", False))
        when = {}
        conditions = spec.get("when") or {}
        if not isinstance(conditions, Mapping):
            raise ConfigError(
                f"space: {path}: when takes a mapping such as {{training.mode: joint}}, got {conditions!r}"
            )
        for key, wanted in conditions.items():
            check_key(str(key))
            when[key] = tuple(wanted) if isinstance(wanted, list) else (wanted,)
        if kind == "choice":
            if not isinstance(values, list) or not values or log:
                raise ConfigError(f"space: {path}: choice takes a list of values and no log, got {spec!r}")
            return cls(path, kind, choices=tuple(values), when=when)
        if not isinstance(values, list) or len(values) != 2:
            raise ConfigError(f"space: {path}: {kind} takes [lowest, highest], got {values!r}")
        try:
            low, high = (float(value) for value in values)
        except (TypeError, ValueError):
            raise ConfigError(f"space: {path}: {kind} takes two numbers, got {values!r}") from None
        if kind == "int" and not (low.is_integer() and high.is_integer()):
            raise ConfigError(f"space: {path}: int takes two whole numbers, got {values!r}")
        if kind == "int":
            low, high = int(low), int(high)
        if not low <= high or (log and low <= 0):
            need = "0 < lowest <= highest (log)" if log else "lowest <= highest"
            raise ConfigError(f"space: {path}: got [{low}, {high}]; {need} is needed")
        return cls(path, kind, low, high, log, when=when)

    def suggest(self, trial: optuna.trial.BaseTrial) -> Any:
        if self.kind == "choice":
            return trial.suggest_categorical(self.path, self.choices)
        if self.kind == "int":
            return trial.suggest_int(self.path, int(self.low), int(self.high), log=self.log)
        return trial.suggest_float(self.path, self.low, self.high, log=self.log)

    def ends(self) -> tuple[Any, ...]:
        """The extreme values (of a choice, all)."""
        if self.kind == "choice":
            return self.choices
        convert = int if self.kind == "int" else float
        return convert(self.low), convert(self.high)

    def edge(self, value: Any) -> str | None:
        """`lower` or `upper` if a value lies at that end of the range, else None.

        Of choices, three numbers or more are a range.
        """
        if self.kind == "choice":
            numbers = self._numbers()
            return {numbers[0]: "lower", numbers[-1]: "upper"}.get(value) if numbers else None
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
        text = ", ".join(map(str, self.choices)) if self.kind == "choice" else f"{self.low:g} to {self.high:g}"
        text += " (log)" if self.log else ""
        conditions = [f"{key} is {' or '.join(map(str, wanted))}" for key, wanted in self.when.items()]
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

    Raises ConfigError if a range names no setting, or an end of it is not allowed there.
    """

    def __init__(self, specs: Mapping[str, Any], base: Config, fixed: Mapping[str, Any] | None = None):
        """`fixed` settings win over ranges: a range of a fixed setting is dropped, as is one that is never drawn."""
        ranges = [Range.parse(path, spec) for path, spec in specs.items() if path not in (fixed or {})]
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
        for item in self.ranges:
            if item.path.startswith(DATA):
                raise ConfigError(f"space: {item.path}: a study has one series; make a study for each (--study NAME)")
            for end in item.ends():
                conditions = {key: wanted[0] for key, wanted in item.when.items()}
                base.override({**conditions, item.path: end})
            self._wanted[item.path] = {k: [self._held(k, v) for v in wanted] for k, wanted in item.when.items()}

    @classmethod
    def read(cls, path: str | Path, base: Config, fixed: Mapping[str, Any] | None = None) -> "Space":
        return cls(read_yaml(path), base, fixed)

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

    def _held(self, key: str, value: Any) -> Any:
        """A value as a config holds it: a signal's `off` is its neutral number."""
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

    def smallest(self, count: Callable[[Config], int]) -> int:
        """The fewest parameters, by `count`, of a config of this space: sizes grow with each setting on its own."""
        params: dict[str, Any] = {}
        for item in self.ranges:
            if all(self.config(params).flat()[key] in wanted for key, wanted in self._wanted[item.path].items()):
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
