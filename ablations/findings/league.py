"""What a league found: its models, bars and starts in one ranking, and what is reported of each beside what was
measured. `ranked.league_of` builds it from the records."""

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Literal

from ablations.judging.ranking import Ranking
from lab.references.forecasts import Forecasts

Kind = Literal["model", "start", "bar"]


@dataclass(frozen=True)
class Entrant:
    """A row of the league."""

    name: str  # an arm's, or a bar's
    title: str
    kind: Kind
    parameters: Mapping[str, int]  # by cell: those that a gradient reaches and the forecast reads; numbers of a bar
    seconds: Mapping[str, float]  # by cell: device seconds of training one run, mean over seeds; {} for a bar
    validation: Mapping[str, float] = field(default_factory=dict)  # by cell: mean MSE there; NaN: not on record
    # By cell: device seconds of a step of one model, with what validation takes between; where steps are on record.
    step: Mapping[str, float] = field(default_factory=dict)
    lookback: Mapping[str, int] = field(default_factory=dict)  # by cell: S, rows that a window reaches back
    epochs: Mapping[str, tuple[float, int]] = field(default_factory=dict)  # by cell: mean over seeds, and at most
    source: str = ""  # of a model's settings


@dataclass(frozen=True)
class Beside:
    """What a source reports of a model, beside what was measured."""

    name: str
    cell: str
    reported: str  # MSE / MAE
    measured: str
    difference: float  # of the MSE: measured less reported
    why: str  # it may differ; "" where nothing is known to
    farther: int | None = 0  # rows by which the lookbacks differ; None: the source does not say its own
    searched: bool = False  # whether its settings were searched here, which the source's were not


@dataclass(frozen=True, eq=False)
class League:
    entrants: tuple[Entrant, ...]  # in the ranking's order
    ranking: Ranking | None  # None: fewer than two can be ranked
    best_bars: Mapping[str, str]  # cell -> the bar of the lowest validation error: chosen before test
    beside: tuple[Beside, ...]
    left_out: Mapping[str, str]  # title -> why it is not ranked
    absent: tuple[str, ...] = ()  # registered models that the study does not ask for
    # Cell -> model -> what its first complete run makes of a few test windows, all of the same rows.
    forecasts: Mapping[str, Mapping[str, Forecasts]] = field(default_factory=dict)

    def entrant(self, name: str) -> Entrant:
        return next(entrant for entrant in self.entrants if entrant.name == name)
