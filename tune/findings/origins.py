"""The origins of a search: where the best trial stands at each, beside the bars there."""

import math
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Any

from lab.references.standing import BarErrors, Standing
from lab.store.outcomes import over_origins
from tune.findings.agreement import Losses


@dataclass(frozen=True)
class AtOrigin:
    """One of several origins.

    Attributes:
        trains_on: rows before it.
        validates: the period of the rows by which trials are judged there.
        loss: validation MSE of the best trial; NaN where none is complete.
        rank: of the best trial among the complete ones there, of `trials`; 0 where none is.
        lowest: that one has there, with the trial that has it.
        standing: the bars there, and the best trial's networks before their first step.
    """

    name: str
    trains_on: int
    validates: str
    loss: float
    rank: int
    trials: int
    lowest: float
    lowest_trial: str
    standing: Standing

    @property
    def behind(self) -> float:
        """By how many percent the best trial's error is above the lowest there."""
        return 100 * (self.loss / self.lowest - 1) if self.lowest > 0 else math.nan


def at_origins(
    told: Mapping[str, Any], losses: Losses, best: str | None, standing: Callable[[str], Standing]
) -> tuple[AtOrigin, ...]:
    """Of what a study's settings tell of its origins, by name; () of a search that has one alone.

    Args:
        best: the best trial of all.
        standing: at the origin of a name.
    """
    found = []
    for name, each in told.items():
        there = {trial: at[name] for trial, at in losses.items()}
        lowest = min(there, key=lambda trial: there[trial], default="")
        loss = there.get(best or "", math.nan)
        found.append(AtOrigin(
            name, each["trains_on"], each["validates"], loss,
            0 if math.isnan(loss) else 1 + sum(error < loss for error in there.values()), len(there),
            there.get(lowest, math.nan), lowest, standing(name),
        ))  # fmt: skip
    return tuple(found)


def over_all(standings: Sequence[Standing]) -> Standing:
    """The bars as trials are valued, by the geometric means of their validation MSE over the origins, where they stand
    at each; the best of them is so by that. They have no test errors."""
    rows = [{bar.name: bar for bar in each.rows} for each in standings]
    starts = {each.start.name for each in standings if each.start is not None}
    found = []
    for name in rows[0] if rows else ():
        errors = [each[name].errors["val_mse"] for each in rows if name in each]
        if len(errors) == len(rows) and all(map(math.isfinite, errors)):
            alone = dict.fromkeys(rows[-1][name].errors, math.nan) | {"val_mse": over_origins(errors)}
            found.append(replace(rows[-1][name], errors=alone))
    bars = tuple(bar for bar in found if bar.name not in starts)
    best = min(bars, key=lambda bar: bar.errors["val_mse"], default=None)
    return Standing(bars, next((bar for bar in found if bar.name in starts), None), best)


def bar_over_all(standing: Standing, name: str) -> BarErrors | None:
    """The bar of that name."""
    return next((bar for bar in standing.bars if bar.name == name), None)
