"""What the figures of a search have in common: how far an axis reaches, its numbers, the settings' names on it."""

import math
from collections.abc import Sequence

import numpy as np
from matplotlib.axes import Axes
from matplotlib.ticker import NullFormatter

from lab.pages.formats import METRIC_NAMES, brief
from lab.references.drawing import Mark, marks
from lab.references.standing import BarErrors
from tune.findings.findings import SearchFindings
from tune.space import Range

LOSS = METRIC_NAMES["val_mse"]
SHOWN = 5  # trials in colour


def reach(values: Sequence[float], least: float = -math.inf, margin: float = 0.06) -> tuple[float, float]:
    """What an axis shows: everything, unless bad values would leave the better half less than a fifth of the room.

    `least`: that it reaches at least.
    """
    there = [value for value in values if math.isfinite(value)]
    low, middle, high = min(there), float(np.median(there)), max(there)
    if high - middle > 4 * (middle - low) > 0:
        high = max(middle + 4 * (middle - low), least)
    if low == high:
        low, high = low - 0.5 * (abs(low) or 1.0), high + 0.5 * (abs(high) or 1.0)
    return low - margin * (high - low), high + margin * (high - low)


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
