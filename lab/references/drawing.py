"""Bars as figures show them: light lines behind what was trained, the best of them on validation dashed and named.

A figure of trained networks is for their differences: it reaches down to every bar, and up to the best alone; the
caption says where all of them are.
"""

import math
from collections.abc import Sequence
from dataclasses import dataclass

from matplotlib.axes import Axes

from lab.pages.formats import decimal
from lab.pages.svg import BLUE, GREY, INK
from lab.references.standing import BarErrors, Standing
from lab.store.schema import START


@dataclass(frozen=True)
class Mark:
    """A bar at one metric."""

    title: str
    error: float
    parameters: int | None
    best: bool = False  # of the bars, by validation
    start: bool = False  # the network before its first step

    def line(self, axes: Axes, label: str | None = None) -> None:
        """A horizontal line over the whole axes."""
        if self.best:
            axes.axhline(self.error, color=INK, linewidth=0.9, linestyle=(0, (4, 3)), label=label)
        elif self.start:
            axes.axhline(self.error, color=BLUE, linewidth=1.1, linestyle=(0, (1, 2)), label=label)
        else:
            axes.axhline(self.error, color=GREY, linewidth=0.7, alpha=0.8, label=label)


def marks(standing: Standing, metric: str, linear: BarErrors | None = None) -> tuple[Mark, ...]:
    """Of all that are on record with this error, the best first. `linear`: where nothing else is known, that alone."""
    rows, best = standing.rows, standing.best
    if not standing.bars and linear is not None:
        rows, best = (linear, *rows), linear
    found = [
        Mark(bar.title, bar.errors[metric], bar.parameters, bar is best, bar.name == START)
        for bar in rows
        if math.isfinite(bar.errors.get(metric, math.nan))
    ]
    return tuple(sorted(found, key=lambda mark: (not mark.best, mark.start, mark.error)))


def reached(found: Sequence[Mark], high: float) -> list[float]:
    """The errors that an axis must hold which reaches up to `high` for the networks."""
    return [mark.error for mark in found if mark.best or mark.error <= high]


def legend(found: Sequence[Mark]) -> str:
    """What a caption says of the lines, each with its error; "" where there is none."""
    parts = [f"dashed: the {_named(mark)}, of the bars the best on validation" for mark in found if mark.best]
    parts += [f"dotted: the network {_named(mark)}" for mark in found if mark.start]
    if others := [_named(mark) for mark in found if not (mark.best or mark.start)]:
        parts.append(f"thin grey lines, where the axis reaches: {', '.join(others)}")
    return "; ".join(parts)


def _named(mark: Mark) -> str:
    return f"{mark.title} ({decimal(mark.error)})"
