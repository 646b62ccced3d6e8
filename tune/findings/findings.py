"""What a search found: the one structure that every report of it renders. `search_records.findings_of` builds it.

A number that two reports show is one field, or one method here.
"""

import math
import statistics
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field
from typing import Any

import optuna
from optuna.trial import FrozenTrial

from lab.references.forecasts import Forecasts
from lab.references.measured import Measured
from lab.references.standing import Standing
from lab.series.bars.ridge import RIDGE
from lab.training.window_errors import WindowDifference
from lab.unsealing.records import Opened
from tune.findings.agreement import Agreement
from tune.findings.origins import AtOrigin, bar_over_all
from tune.space import Range

METRICS = ("val_mse", "test_mse", "test_mae")

COMPLETE, STOPPED, DIVERGED, FAILED, UNFINISHED = "complete", "stopped", "diverged", "failed", "unfinished"
RACED_OUT = "raced out"  # of a race over seeds: on record as `stopped`, as are diverged ones
OUTCOMES = (COMPLETE, STOPPED, RACED_OUT, DIVERGED, FAILED, UNFINISHED)


@dataclass(frozen=True)
class Trial:
    """One proposal and what became of it."""

    trial: str
    number: int
    params: Mapping[str, Any]  # searched settings by dotted path; a conditional one may be absent
    outcome: (
        str  # of OUTCOMES: of what is on record as `stopped`, what diverged is told apart; Optuna calls both pruned
    )
    loss: float  # mean over its seeds of their best validation MSE (see `over_origins`); NaN where there is none
    reports: tuple[tuple[int, float], ...]  # (epoch, loss so far)
    error: str  # last line of what it raised last; "" unless it failed
    runs: tuple[str, ...]  # content ids, by seed
    losses: tuple[float, ...]  # validation MSE of each seed, over the origins; NaN where there is none
    epochs: int  # trained, all its runs together
    parameters: int | None  # of one model; None where nothing is on record
    cpu_seconds: float
    gpu_seconds: float
    wall_seconds: float  # of the longest of its runs
    optuna: FrozenTrial = field(repr=False, compare=False)
    at: Mapping[str, float] = field(default_factory=dict)  # loss at each of several origins; {} unless it is complete
    reason: str = ""  # of a race over seeds: why it has no more of them

    @property
    def deviation(self) -> float:
        """Over its seeds; NaN with fewer than two, or where one has no loss."""
        there = len(self.losses) > 1 and not any(map(math.isnan, self.losses))
        return statistics.stdev(self.losses) if there else math.nan

    @property
    def last_epoch(self) -> int:
        """0 where nothing was reported."""
        return self.reports[-1][0] if self.reports else 0


@dataclass(frozen=True)
class RunErrors:
    """Errors of some runs of one kind: the final replicates of a trial, or the linear baseline."""

    trial: str  # "" for the baseline
    runs: tuple[str, ...]
    statuses: tuple[str, ...]  # of the runs; `missing` where there is no record
    errors: Mapping[str, tuple[float, ...]]  # metric -> by run; NaN where there is none
    parameters: int | None

    def known(self, metric: str) -> list[float]:
        return [value for value in self.errors[metric] if not math.isnan(value)]

    def mean(self, metric: str) -> float:
        found = self.known(metric)
        return statistics.fmean(found) if found else math.nan

    def deviation(self, metric: str) -> float:
        found = self.known(metric)
        return statistics.stdev(found) if len(found) > 1 else math.nan


@dataclass(frozen=True)
class Published:
    """A model's test errors as its paper reports them."""

    name: str
    mse: float
    mae: float
    parameters: float
    printed: str  # the parameters as printed: 94K, 1M+


@dataclass(frozen=True)
class Importance:
    """How much each searched setting matters for the first objective, by Optuna's PED-ANOVA."""

    shares: Mapping[str, float]  # path -> share of all, the largest first; {} where `why_none` says why
    complete: int  # trials it rests on
    top: int  # the best of them, which are set against all
    why_none: str = ""


@dataclass(frozen=True)
class Edge:
    """The best value of a setting lies at an end of its range that could be wider."""

    path: str
    value: Any
    end: str  # lower or upper


@dataclass(frozen=True)
class Rung:
    """Where ASHA compares: of the trials that reached it the weaker are stopped."""

    epoch: int
    reached: int
    stopped: int


@dataclass(frozen=True)
class Cost:
    """What some runs took."""

    of: str  # an outcome of trials, `final replicates` or `bars`
    trials: int
    runs: int
    epochs: int
    all_epochs: int  # had every run of the trials been trained to the last epoch; 0 where that means nothing
    cpu_seconds: float
    gpu_seconds: float
    wall_seconds: float  # summed over trials, which may have run side by side


@dataclass(frozen=True)
class SearchFindings:
    name: str  # under which the study is on record
    model: str  # a name of lab.registry
    space: tuple[Range, ...]
    objectives: tuple[str, ...]
    budget: Mapping[str, Any]  # what is part of the study: replicates, grace_epochs, sampler, seed, ...
    settings: Mapping[str, Any]  # that are not searched, by dotted key
    changed: Mapping[str, tuple[Any, Any]]  # those that differ from their default: (default, here)
    data: str  # what was forecast: the series, and the steps in and out where they are not searched
    seeds: tuple[int, ...]  # of each trial's runs
    max_epochs: int  # the last one, where it is not searched
    trials: tuple[Trial, ...]  # by number
    best: Trial | None  # the complete trial of the lowest loss
    improvements: tuple[Trial, ...]  # complete trials that were better than every one before them, by number
    front: tuple[Trial, ...]  # with two objectives: those that no other beats in both, by loss
    finals: tuple[RunErrors, ...]  # the best trial's first; then those of trials that were the best once
    linear: RunErrors | None
    less_linear: WindowDifference | None  # of the best trial's final replicates and the linear baseline
    standing: Standing  # of the best trial's final replicates against the bars, at the data's own origin
    published: tuple[Published, ...]  # where the published table applies
    measured: tuple[Measured, ...]  # what leagues on record have of the same series and horizon
    importance: Importance
    edges: tuple[Edge, ...]
    rungs: tuple[Rung, ...]
    repeated: tuple[tuple[str, ...], ...]  # trials of the same settings
    costs: tuple[Cost, ...]
    shared: int  # runs that were on record before this study began
    journal: str  # Optuna's journal, from the results' folder; "" where there is none to open
    notes: tuple[str, ...]  # what a reader must know
    provenance: Mapping[str, str]
    incidents: tuple[str, ...] = ()  # what went wrong on the way and was mended (see lab/store/events.py)
    sealed: Opened = field(default_factory=Opened)  # what was read on rows set aside, when all else was settled
    skipped: tuple[str, ...] = ()  # what could not be read of the records: `path: reason`
    origins: tuple[AtOrigin, ...] = ()  # of a search over several, the data's own last
    agreements: tuple[Agreement, ...] = ()  # of the rankings at them
    forecasts: Forecasts | None = None  # of the best trial's first final replicate, a few test windows
    over: Standing = field(default_factory=Standing)  # of bars as trials are valued over several origins

    @property
    def final(self) -> RunErrors | None:
        """The final replicates of the best trial."""
        return next((f for f in self.finals if self.best is not None and f.trial == self.best.trial), None)

    @property
    def marked(self) -> Standing:
        """The bars to hold against the loss of a trial."""
        return self.over if self.origins else self.standing

    @property
    def linear_loss(self) -> float:
        """Of the linear baseline, as that of a trial; NaN where it is not on record."""
        if self.origins:
            bar = bar_over_all(self.over, RIDGE.name)
            return math.nan if bar is None else bar.errors["val_mse"]
        return math.nan if self.linear is None else self.linear.mean("val_mse")

    @property
    def raced(self) -> bool:
        """Whether trials had their seeds in turn, as long as they could still be the best."""
        return bool(self.budget.get("race"))

    def of(self, *outcomes: str) -> tuple[Trial, ...]:
        return tuple(trial for trial in self.trials if trial.outcome in outcomes)

    def ranked(self) -> list[Trial]:
        """Trials with a loss: complete ones first, the best first."""
        there = [trial for trial in self.trials if not math.isnan(trial.loss)]
        return sorted(there, key=lambda trial: (trial.outcome != COMPLETE, trial.loss, trial.number))

    def study(self) -> optuna.Study:
        """Of the loss alone, for Optuna to draw."""
        return loss_study(self.trials)

    def front_study(self) -> optuna.Study:
        """Of all objectives."""
        return _study((trial.optuna for trial in self.trials), len(self.objectives))


def loss_study(trials: Iterable[Trial]) -> optuna.Study:
    """The trials as a study in memory whose one objective is the loss, numbered by their order."""
    return _study(map(_loss_alone, trials), 1)


def _study(trials: Iterable[FrozenTrial], objectives: int) -> optuna.Study:
    optuna.logging.set_verbosity(optuna.logging.WARNING)
    study = optuna.create_study(directions=["minimize"] * objectives)
    for trial in trials:
        study.add_trial(trial)
    return study


def _loss_alone(trial: Trial) -> FrozenTrial:
    known = trial.optuna
    if known.values is None or len(known.values) == 1:
        return known
    return optuna.trial.create_trial(
        state=known.state, value=known.values[0], params=known.params, distributions=known.distributions
    )
