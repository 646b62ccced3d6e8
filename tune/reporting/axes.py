"""What the figures of a search have in common: how far an axis reaches, its numbers, the settings' names on it."""

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
from matplotlib.axes import Axes
from matplotlib.ticker import FixedFormatter, FixedLocator, MaxNLocator, NullFormatter

from lab.pages.formats import METRIC_NAMES, brief, decimal, mean_deviation, whole
from lab.pages.svg import INK
from lab.references.drawing import Mark, marks
from lab.references.standing import BarErrors
from tune.findings.findings import SearchFindings, Trial
from tune.space import Range

LOSS = METRIC_NAMES["val_mse"]
SHOWN = 5  # trials in colour


IN_VIEW = "Above the dotted line, where there is one, the axis is pressed together, so that every trial is in view."
PRESSED = 0.22  # of the even part's length: what is beyond it has


@dataclass(frozen=True)
class Reach:
    """An axis that holds every value: even up to `cut`, and logarithmic beyond, where bad values would else leave the
    better half less than a fifth of the room."""

    low: float
    cut: float
    high: float

    @classmethod
    def of(cls, values: Sequence[float], least: float = -math.inf) -> "Reach":
        """`least`: to where it is even at least."""
        there = [value for value in values if math.isfinite(value)]
        low, middle, high = min(there), float(np.median(there)), max(there)
        if low == high:
            low, high = low - 0.5 * (abs(low) or 1.0), high + 0.5 * (abs(high) or 1.0)
            return cls(low, high, high)
        cut = max(middle + 4 * (middle - low), least) if high - middle > 4 * (middle - low) > 0 else high
        return cls(low, min(cut, high), high)

    @property
    def pressed(self) -> bool:
        return self.cut < self.high

    def place(self, value: float) -> float:
        """0 at the low end, 1 at the high one."""
        low, high = self._forward(np.array([self.low, self.high]))
        return float((self._forward(np.array(value)) - low) / (high - low))

    def set(self, axes: Axes, which: str = "y", below: float = 0.06) -> None:
        """Gives an axis this reach, with round numbers; `below`: of its length, room under the lowest."""
        even = self.cut - self.low
        ends = [self.low - below * even, self.high + 0.06 * even]
        if self.pressed:
            getattr(axes, f"set_{which}scale")("function", functions=(self._forward, self._backward))
            ends[1] = float(self._backward(self._forward(np.array(self.high)) + 0.05 * even))
            ticks = [float(tick) for tick in MaxNLocator(5 if which == "y" else 2).tick_values(self.low, self.cut)]
            ticks = [*(tick for tick in ticks if ends[0] <= tick <= self.cut), self.high]
            axis = axes.yaxis if which == "y" else axes.xaxis
            axis.set_major_locator(FixedLocator(ticks))
            axis.set_major_formatter(FixedFormatter([brief(round(tick, 12)) for tick in ticks]))
            axis.set_minor_formatter(NullFormatter())
            (axes.axhline if which == "y" else axes.axvline)(
                self.cut, color=INK, linewidth=0.8, alpha=0.5, linestyle=(0, (1, 3)), label="_cut"
            )
        getattr(axes, f"set_{which}lim")(*ends)

    def _forward(self, values: Any) -> Any:
        even = self.cut - self.low
        beyond = np.log1p(np.maximum(values - self.cut, 0.0) / even) / self._decay
        return np.where(values <= self.cut, values, self.cut + PRESSED * even * beyond)

    def _backward(self, places: Any) -> Any:
        even = self.cut - self.low
        beyond = np.minimum(np.maximum(places - self.cut, 0.0) / (PRESSED * even), 50.0)
        return np.where(places <= self.cut, places, self.cut + even * np.expm1(beyond * self._decay))

    @property
    def _decay(self) -> float:
        return math.log1p((self.high - self.cut) / (self.cut - self.low)) or 1.0


def said(trial: Trial, names: Mapping[str, str] | None = None) -> str:
    """What a trial's point says when it is touched; `names`: of the settings to add, by path."""
    first = f"{trial.trial}, {trial.outcome}: {mean_deviation(trial.loss, trial.deviation)}"
    if names is None:
        return f"{trial.trial}: {decimal(trial.loss)}"
    lines = [first, f"{whole(trial.last_epoch)} epochs, {whole(trial.parameters)} parameters"]
    params = (f"{name}\u00a0{brief(trial.params[path])}" for path, name in names.items() if path in trial.params)
    return "\n".join([*lines, ", ".join(params)])


def marks_of(findings: SearchFindings) -> tuple[Mark, ...]:
    """The bars as figures draw them, by the loss."""
    linear = None if findings.origins else findings.linear
    return marks(
        findings.marked, "val_mse",
        None if linear is None else BarErrors("linear", {"val_mse": linear.mean("val_mse")}, linear.parameters, ()),
    )  # fmt: skip


def short_names(paths: Sequence[str]) -> dict[str, str]:
    """The last part of each path, where it says which is meant."""
    last = [path.rsplit(".", 1)[-1] for path in paths]
    return {path: name if last.count(name) == 1 else path for path, name in zip(paths, last, strict=True)}


def brief_value(item: Range, value: object) -> str:
    """A value of a searched setting beside many others; a choice as it is written in a file."""
    return item.shown(value) if item.kind == "choice" and isinstance(value, bool | str) else brief(value)


def wrapped(name: str) -> str:
    """Lines of some ten letters, broken after an underscore or a dot."""
    lines = [""]
    for part in name.replace(".", ".\0").replace("_", "_\0").split("\0"):
        if lines[-1] and len(lines[-1]) + len(part) > 11:
            lines.append("")
        lines[-1] += part
    return "\n".join(lines)


def plain_log(axes: Axes, item: Range) -> None:
    """Few numbers that can be read: powers of ten where there are enough of them, else the ends and the middle."""
    powers = [10.0**power for power in range(-12, 13) if item.low <= 10.0**power <= item.high]
    ticks = powers[:: math.ceil(len(powers) / 4)] if len(powers) > 1 else [item.low, item.high]
    if len(powers) < 2 and item.high > 4 * item.low:
        middle = math.sqrt(item.low * item.high)
        ticks.insert(1, round(middle) if item.kind == "int" else float(f"{middle:.1g}"))
    axes.set_xticks(ticks, [f"{tick:g}".replace("-", "−") for tick in ticks])
    axes.set_xticks([], minor=True)
    axes.xaxis.set_minor_formatter(NullFormatter())
