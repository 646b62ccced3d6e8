"""Effects as lines of text with a picture in each: an axis that all of them share, and where on it their marks are."""

import math
from collections.abc import Iterable
from dataclasses import dataclass

from matplotlib.ticker import MaxNLocator

from lab.pages.formats import known

FEW_LINEAR = 10.0  # effects beyond so many times the linear part are on a logarithmic axis
STRETCHED = "linear within the margin, logarithmic beyond"


@dataclass(frozen=True)
class Axis:
    """From `low` to `high`; where `linear` is finite, logarithmic beyond that on both sides of 0 (a decade is as long
    as the part from 0 to `linear`)."""

    low: float
    high: float
    linear: float = math.inf

    @classmethod
    def around_zero(cls, seen: Iterable[float], margin: float = 0.0, wide: Iterable[float] = ()) -> "Axis":
        """Holds all that is seen, and the margin on both sides.

        `wide`: ends of wider intervals, held as long as they do not press what is seen flat.
        """
        wide = [value for value in wide if math.isfinite(value)]
        there = [value for value in seen if math.isfinite(value)]
        far = max([*map(abs, there), 1.3 * margin, 1e-9])
        below = max([-min(there, default=0.0), 1.3 * margin])
        if margin > 0 and far > FEW_LINEAR * margin:
            return cls(-1.5 * max([below, *(-end for end in wide)]), 1.5 * max([far, *wide]), margin)
        room = 2 * far
        far, below = max([far, *(min(end, room) for end in wide)]), max([below, *(min(-end, room) for end in wide)])
        return cls(-1.08 * min(max(below, far / 4), room), 1.08 * far)

    @classmethod
    def holding(cls, seen: Iterable[float]) -> "Axis":
        """Holds all that is seen, which is no distance from 0."""
        there = [value for value in seen if math.isfinite(value)]
        low, high = min(there), max(there)
        room = 0.05 * (high - low) or 0.05 * abs(high) or 1.0
        return cls(low - room, high + room)

    @property
    def stretched(self) -> bool:
        return math.isfinite(self.linear)

    def place(self, value: float) -> float:
        """0 to 1; the end where it lies beyond."""
        low, high, at = map(self._straight, (self.low, self.high, value))
        return round(min(max((at - low) / (high - low), 0.0), 1.0), 4)

    def span(self, bounds: tuple[float, float] | None) -> tuple[tuple[float, float], ...]:
        """An interval, as a strip has it; none where it is not known."""
        if bounds is None or not all(map(known, bounds)):
            return ()
        return ((self.place(bounds[0]), self.place(bounds[1])),)

    def ticks(self) -> tuple[tuple[float, str], ...]:
        """Few round numbers, and where they are."""
        if self.stretched:
            decades = [10.0**power for power in range(-9, 9) if 1.5 * self.linear < 10.0**power]
            values = [*(-decade for decade in decades[::-1]), 0.0, *decades]  # those within would overlap
        else:
            values = list(MaxNLocator(5).tick_values(self.low, self.high))
        shown = [float(value) for value in values if self.low <= value <= self.high]
        return tuple((self.place(value), f"{value + 0.0:.6g}".replace("-", "−")) for value in shown)

    def _straight(self, value: float) -> float:
        if not self.stretched or abs(value) <= self.linear:
            return value / self.linear if self.stretched else value
        return math.copysign(1 + math.log10(abs(value) / self.linear), value)
