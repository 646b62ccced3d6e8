"""What became of the trials of a study, by their records alone: no optimiser and no model is asked."""

import math
from collections.abc import Collection, Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any, Protocol, TypeVar

from lab.store.tables import Results

STATES = ("complete", "stopped", "failed")  # of an outcome, the one that stands first
_BEFORE = {"pruned": "stopped"}  # what records of before call it


def state_of(row: Mapping[str, Any]) -> str | None:
    """How a row of table `trials` says that a trial ended, in the words of now."""
    return _BEFORE.get(row["state"], row["state"])


class Judged(Protocol):
    """A trial, or all that is told of one."""

    state: str | None  # None: no outcome yet
    values: list[float]  # one per objective


Trial = TypeVar("Trial", bound=Judged)


@dataclass
class Outcome:
    """How a trial ended."""

    trial: str
    state: str | None
    values: list[float]
    reports: list[tuple[int, float]]  # (epoch, value) from the first epoch
    error: str | None
    seeds: int | None = None  # this and the two below: of a search that races over seeds (see schema)
    losses: list[float] = field(default_factory=list)
    reason: str | None = None

    @property
    def raced_out(self) -> bool:
        return out_of_race(self.state, self.seeds, self.losses)


def out_of_race(state: str | None, seeds: int | None, losses: Sequence[float]) -> bool:
    """Whether the seeds of a trial of a race came to their end, and no more were trained."""
    return state == "stopped" and 0 < len(losses) == seeds


def standing_outcomes(
    rows: Iterable[Mapping[str, Any]], trials: Collection[str], results: Results
) -> dict[str, Outcome]:
    """The outcome of each of these trials that rows of table `trials` tell of. Rows that tell nothing of the kind are
    named in `results.skipped`."""
    found: dict[str, Outcome] = {}
    for row in sorted((row for row in rows if row["event"] == "outcome"), key=_standing):
        if row["trial"] not in trials:
            pass_over(results, row, "its outcome", ValueError("its proposal cannot be read"))
            continue
        if row["trial"] in found:
            continue
        values = list(row["values"] or [])
        state = state_of(row)
        if state not in STATES or None in values or (state == "complete" and not values):
            pass_over(results, row, "its outcome", ValueError(f"state {row['state']!r} with values {values}"))
            continue
        losses = [loss for loss in row.get("losses") or () if loss is not None]
        found[row["trial"]] = Outcome(
            row["trial"], state, values, _reports(row), row["error"], row.get("seeds"), losses, row.get("reason")
        )
    return found


def _reports(row: Mapping[str, Any]) -> list[tuple[int, float]]:
    reports = [(r["epoch"], r["value"]) for r in row["reports"] or [] if r is not None]
    return [report for report in reports if None not in report]


@dataclass
class Raced:
    """How far a trial has come whose seeds are trained one after the other, as long as none excludes it."""

    seeds: int  # that it has, or is to have
    losses: list[float]  # of those before the last ones
    reports: list[tuple[int, float]]  # of the first seed


def races(rows: Iterable[Mapping[str, Any]], trials: Collection[str], results: Results) -> dict[str, Raced]:
    """The furthest that rows of table `trials` tell of each of these trials; of none that has its first seed alone."""
    found: dict[str, Raced] = {}
    for row in (row for row in rows if row["event"] == "raced" and row["trial"] in trials):
        losses, seeds = list(row["losses"] or ()), row["seeds"]
        if seeds is None or None in losses or not 0 < len(losses) < seeds:
            pass_over(results, row, "its race", ValueError(f"{seeds} seeds with losses {losses}"))
        elif row["trial"] not in found or seeds > found[row["trial"]].seeds:
            found[row["trial"]] = Raced(seeds, losses, _reports(row))
    return found


def _standing(outcome: Mapping[str, Any]) -> tuple[int, Any]:
    """Orders the outcomes that drivers of two clocks gave one trial, the one that stands first: what was trained to its
    end was trained, whatever else was said."""
    state = state_of(outcome)
    return (STATES.index(state) if state in STATES else len(STATES), outcome["time"])


def pass_over(results: Results, row: Mapping[str, Any], what: str, error: Exception) -> None:
    """Names a row that cannot be made sense of."""
    reason = (str(error) or type(error).__name__).splitlines()[0][:200]
    results.skip({f"trials/study={row['study']}, {what} of {row['trial']}": reason})


def in_order_of_proposal(rows: Iterable[Mapping[str, Any]]) -> list[Mapping[str, Any]]:
    """The proposals among rows of table `trials`."""
    return sorted((r for r in rows if r["event"] == "proposed"), key=lambda r: (r["number"] or 0, r["trial"]))


def best_of(trials: Iterable[Trial]) -> Trial | None:
    """The complete trial of the lowest first objective."""
    return min((t for t in trials if t.state == "complete"), key=lambda t: t.values[0], default=None)


def front_of(trials: Iterable[Trial]) -> list[Trial]:
    """Complete trials that no other beats in every objective, by the first objective."""
    complete: Sequence[Trial] = [t for t in trials if t.state == "complete"]

    def beaten(one: Trial) -> bool:
        return any(
            all(a <= b for a, b in zip(other.values, one.values, strict=True)) and other.values != one.values
            for other in complete
        )

    return sorted((t for t in complete if not beaten(t)), key=lambda t: t.values)


def over_origins(values: Sequence[float]) -> float:
    """A trial's error, from that at each of its origins: their geometric mean; of a single one itself, to the bit.

    Errors are z-scored by each origin's own training rows, and some months are harder than others: a plain mean would
    mostly be that of the hardest. In a geometric mean one percent counts the same at every origin, and no scale that an
    origin has, its scaler's or that of a bar that one might divide by, changes which of two trials is the better
    (Fleming and Wallace 1986, Communications of the ACM 29(3), on normalised results).
    """
    if len(values) == 1:
        return values[0]
    return math.exp(sum(map(math.log, values)) / len(values)) if min(values) > 0 else 0.0
