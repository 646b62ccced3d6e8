"""What a study found: the one structure that every report renders. `collect.findings_of` builds it from the records.

An effect is that of doing without a part: loss(without it) - loss(with it), paired by seed, on the z-scored scale, so
that it is positive where the part helps. What decides is the typical one, the pseudo-median over seeds. A number that
two reports show is one field, or one method here.
"""

import math
import statistics
from collections.abc import Mapping
from dataclasses import dataclass, field, replace
from typing import Any

from ablations.findings.league import League
from ablations.judging.pooling import Pooled
from ablations.judging.verdicts import DESCRIPTIVE, HELPS, HURTS, INCOMPLETE, NO_EFFECT, ON_THESE_ROWS, SAME
from ablations.study.study import Study
from lab.arms import PLAIN, Variant
from lab.references.by_run import ByRun
from lab.references.standing import Standing
from lab.training.window_errors import WindowDifference
from lab.unsealing.records import Opened

PRIMARY = "test_mse"  # its verdicts count; the other metrics are descriptive
METRICS = ("test_mse", "test_mae", "val_mse", "val_mae")


Interval = tuple[float, float]


@dataclass(frozen=True)
class Curve:
    """A number by epoch, over the seeds that were still training or had ended with it: their last value stays."""

    epochs: tuple[int, ...]
    mean: tuple[float, ...]
    deviation: tuple[float, ...]  # over seeds; 0 with one


@dataclass(frozen=True)
class Diagnosis:
    """A quantity that the forecasts of an arm give besides (see lab.forecaster.Diagnostic)."""

    name: str
    curve: Curve  # its mean over validation windows, by epoch
    held: float | None = None  # the number that it is held at; None where it is free to move
    still: int = 0  # complete runs in which it was free and never moved from its start
    why: str = ""  # a sentence: why it cannot move, where that is known


@dataclass(frozen=True)
class ArmRuns(ByRun):
    """The runs of one arm in one cell: a row in the table of errors."""

    cell: str
    arm: str
    about: str  # what the network does without, or what is added
    seeds: tuple[int, ...]
    runs: tuple[str, ...]  # content ids, by seed
    statuses: tuple[str, ...]  # by seed: complete, diverged, failed, or missing
    errors: Mapping[str, tuple[float, ...]]  # metric -> by seed; NaN unless the run is complete
    channels: Mapping[str, float]  # channel -> test MSE, mean over complete runs
    best_epochs: tuple[int | None, ...]  # by seed
    parameters: int
    effective: int  # see ablations.planning.capacity
    device_seconds: float  # of all its runs: GPU where they had one, else CPU
    validation: Curve  # validation MSE by epoch
    difference: Mapping[str, tuple[Any, Any]]  # setting -> value in `full` and here; {} for `full`
    diagnoses: tuple[Diagnosis, ...] = ()
    far: tuple[int, ...] = ()  # seeds of complete runs whose test MSE is far above the others' (reach.outlying_runs)

    def median(self, metric: str) -> float | None:
        known = self.known(metric)
        return statistics.median(known) if known else None

    @property
    def complete(self) -> int:
        return self.statuses.count("complete")

    @property
    def diverged(self) -> int:
        return self.statuses.count("diverged")

    @property
    def failed(self) -> int:
        """Failed for good, or not trained yet."""
        return len(self.statuses) - self.complete - self.diverged


@dataclass(frozen=True)
class Effect:
    """One comparison by one metric. Where fewer than two pairs are whole all numbers are NaN and n says how many."""

    metric: str
    n: int  # pairs whose two runs are complete
    by_seed: Mapping[int, float]  # seed -> effect
    without_mean: float  # over the n pairs; for a contrast of a factorial: over the cells with the minus sign
    without_deviation: float
    with_mean: float
    with_deviation: float
    typical: float  # pseudo-median of the paired effects
    interval: Interval  # of the typical effect over seeds, exact: 95%, at every look of an `auto` study
    mean: float
    mean_interval: Interval  # of the mean, bootstrap-t at the same level
    improvement: float  # share of the pairs whose loss is higher without the part
    without_middle: float  # interquartile means
    with_middle: float
    percent: float  # the typical effect, of the mean loss with the part
    standardised: float  # Hedges' g of the paired effects
    p: float  # exact signed-rank test (divergence counted as worst for the primary metric), unadjusted
    channels: Mapping[str, float] = field(default_factory=dict)  # channel -> mean effect; for test_mse and test_mae


@dataclass(frozen=True)
class Decision:
    """The primary metric's place in the family.

    `verdict`: helps, hurts, no practical effect, on these rows only (one of these three over seeds, which the interval
    over seeds and windows does not carry), undecided, invalid, incomplete (runs are missing). Of a pooled row, in
    percent: on these series only, at these origins only.
    """

    verdict: str
    look: int  # at which it was judged; 1 is the first
    seeds: int  # with which
    p_adjusted: float  # Holm, times looks
    interval: Interval  # at Holm's step: excludes 0 exactly where p_adjusted <= alpha
    interval_alpha: float  # 1 - its level
    margin: float  # of equivalence, in units of the loss
    equivalence_p: float
    equivalence_p_adjusted: float
    over_seeds: str = ""  # the verdict of seeds alone; "": as `verdict`

    @property
    def shown(self) -> str:
        return self.over_seeds or self.verdict


@dataclass(frozen=True)
class Drawn:
    """How the side that starts from drawn weights was trained, where the other one starts from a closed form."""

    epochs: int  # at most
    rate: float  # the highest learning rate
    unfinished: int  # of its runs that are complete, those whose last epoch was their best
    runs: int


@dataclass(frozen=True)
class Finding:
    """One question of the study in one cell: an arm against its baseline arm, or a contrast of a factorial."""

    name: str
    cell: str
    claim: str
    about: str  # what is removed or added
    without: str  # the arm without the part; "" for a contrast
    with_part: str  # the arm with it; "" for a contrast
    noun: str = ""  # what is removed or added, as a sentence says it
    aside: str = ""  # what stands in its place, in brackets after the noun
    variant: Variant = PLAIN  # of the arm
    plain: str = ""  # the arm that it is a variant of
    against: str = ""  # the name of the baseline arm, with settings tuned for it or not
    factors: tuple[str, ...] = ()  # of a contrast
    attributable: bool = True  # to one part; else several things change together
    instead: bool = False  # an arm beside another one, neither of which is the other without a part
    inert: str = ""  # why it changes nothing, where it does
    same: bool = False  # it came to the same with every seed, up to rounding, and left the family
    effects: Mapping[str, Effect] = field(default_factory=dict)  # by metric; empty where nothing was trained
    decision: Decision | None = None  # None for what is inert, and for what is descriptive
    descriptive: bool = False  # what is decided is its pooled row (pooled.py)
    windows: Interval | None = None  # 95%, of the mean effect of these trained models over stretches of time
    both: Interval | None = None  # 95%, of the typical effect over seeds and windows
    windows_note: str = ""  # why there is none
    validation: Effect | None = None  # on the validation MSE, whether the study shows it or not
    parameters: tuple[int, int] = (0, 0)  # without and with the part; (0, 0) for a contrast
    effective: tuple[int, int] = (0, 0)
    mismatch: str = ""  # what capacity matching left, for an arm of matched width
    diverged: tuple[int, int] = (0, 0)  # runs, without and with the part
    failed: tuple[int, int] = (0, 0)
    drawn: Drawn | None = None  # where one side alone starts from a closed form
    flags: tuple[str, ...] = ()  # pairs that differ in device, kernel or code version

    @property
    def verdict(self) -> str:
        if self.same and not self.inert:
            return SAME
        if self.descriptive and not self.inert:
            return DESCRIPTIVE if self.effects else INCOMPLETE
        return "inert" if self.inert else self.decision.verdict if self.decision else "not trained"

    @property
    def shown(self) -> str:
        """The verdict of seeds alone, on the rows that test is."""
        return self.decision.shown if self.decision and not self.inert else self.verdict

    @property
    def on_average(self) -> bool:
        """Whether the interval of the mean carries what was shown of the typical run."""
        low, high = self.effects[PRIMARY].mean_interval
        margin = self.decision.margin if self.decision else math.nan
        return {HELPS: low > 0, HURTS: high < 0, NO_EFFECT: -margin <= low and high <= margin}.get(self.shown, False)

    @property
    def opposite(self) -> bool:
        """Whether validation shows, by itself, the other sign than was found on test."""
        if self.validation is None or self.verdict not in (HELPS, HURTS, ON_THESE_ROWS):
            return False
        low, high = self.validation.interval
        return high < 0 if self.effects[PRIMARY].typical > 0 else low > 0

    @property
    def tuned(self) -> bool:
        return self.variant.tuned

    @property
    def matched(self) -> bool:
        return self.variant.matched

    @property
    def untuned(self) -> str:
        """The name of the same comparison with the settings of the study."""
        return replace(self.variant, tuned=False).named(self.plain)

    @property
    def unmatched(self) -> str:
        """The name of the same comparison without another width."""
        return replace(self.variant, matched=False).named(self.plain)


@dataclass(frozen=True, eq=False)
class PooledFinding:
    """One question of the study over its cells. All numbers are in percent of the error with the part, cell by cell."""

    one: Finding  # of the first cell that it is pooled over: its texts are those of the question
    cells: tuple[str, ...]  # pooled over, in the order of the study
    left_out: Mapping[str, str]  # cell -> why not: inert there, made no difference, runs are missing, invalid
    pooled: Pooled | None  # None where no cell is left, or nothing is judged yet
    decision: Decision | None  # None where no cell asks anything: it is no member of the family
    validation: Pooled | None = None  # the same of the validation MSE
    reach_p: float = math.nan  # over series, adjusted in the family; what reaches has it at most at alpha
    reach_equivalence_p: float = math.nan  # likewise, of equivalence

    @property
    def name(self) -> str:
        return self.one.name

    @property
    def noun(self) -> str:
        return self.one.noun

    @property
    def verdict(self) -> str:
        """helps, hurts, no practical effect, on these series only, at these origins only, undecided, invalid or
        incomplete; else inert or made no difference, in every cell."""
        if self.decision is not None:
            return self.decision.verdict
        return SAME if self.one.same else "inert" if self.one.inert else "not trained"

    @property
    def shown(self) -> str:
        """The verdict of seeds alone, on these series at these origins."""
        return self.decision.shown if self.decision is not None else self.verdict

    @property
    def opposite(self) -> bool:
        """Whether validation shows, over seeds, the other sign than was found on test."""
        if self.validation is None or self.pooled is None or self.shown not in (HELPS, HURTS):
            return False
        low, high = self.validation.seeds
        return high < 0 if self.pooled.typical > 0 else low > 0


@dataclass(frozen=True)
class SealedEffect:
    """An effect on test beside the same on sealed rows, of the same trained models, in percent of the error with the
    part: that of the typical run, with its 95% interval over seeds."""

    name: str
    cell: str
    pairs: int  # seeds whose runs were read on both
    test: float
    test_interval: Interval
    sealed: float
    sealed_interval: Interval
    both: Interval | None  # on sealed rows, over seeds and stretches of time; None where they are too few for that
    verdict: str  # on test; of the pooled row, where cells are descriptive
    beyond: bool  # whether that on test is beyond the margin within which an effect is none in practice

    @property
    def agrees(self) -> bool:
        """Whether the signs are one."""
        return math.copysign(1, self.test) == math.copysign(1, self.sealed)


@dataclass(frozen=True)
class SealedFindings:
    """What was read on rows set aside, once all else was settled."""

    opened: Opened
    effects: tuple[SealedEffect, ...]  # in the order of the findings, cell by cell


@dataclass(frozen=True)
class CellData:
    """Where the arms of a cell were compared, and the bar beside them."""

    name: str
    dataset: str
    sha256: str
    seq_len: int
    pred_len: int
    protocol: str
    channels: tuple[str, ...]
    test_windows: int | None  # the same for every run, else the cell is invalid
    settings: Mapping[str, Any]  # of `full`, by dotted key
    linear: Mapping[str, float]  # metric -> error of the closed-form linear baseline
    linear_channels: Mapping[str, float]  # channel -> its test MSE
    linear_parameters: int
    less_linear: WindowDifference | None = None  # of the whole network and the linear baseline
    invalid: str = ""  # why nothing in it may be compared
    standing: Standing = field(default_factory=Standing)  # of the whole network against the bars
    series: str = ""  # which the cell is of: what effects are pooled over (see Study.series_of)
    place: str = ""  # the cell's name without its origin
    origin: int = 0  # the row where training ends; 0: not on record
    back: int = 0  # origins of its series in this study that are later
    trains_to: str = ""  # the date of the last training row; "": a series without dates
    test_period: str = ""  # the dates of the first and the last test row


@dataclass(frozen=True)
class Reading:
    """One reading of test: a line of the ledger."""

    run: str
    arm: str
    cell: str
    seed: int | None
    purpose: str
    time: str  # ISO 8601, UTC
    test_mse: float


@dataclass(frozen=True)
class Findings:
    name: str  # under which the study is on record
    study: Study
    cells: tuple[CellData, ...]
    arms: tuple[ArmRuns, ...]  # in the order of the study, cell by cell; `full` first
    findings: tuple[Finding, ...]  # comparisons in the order of the study, then contrasts; cell by cell
    family: int  # m
    looks: tuple[int, ...]  # numbers of seeds, fixed beforehand
    look: int  # how many of them were taken
    seeds: tuple[int, ...]
    exploratory: str  # why the verdicts are exploratory, or ""
    notes: tuple[str, ...]  # what a reader must know: failures, flags, conditions on one search
    device_seconds: float  # of every run, each once
    ledger: tuple[Reading, ...]
    events: tuple[str, ...]  # of the study's record: begun, seeds added, searches
    provenance: Mapping[str, str]  # code version, packages, devices, hosts, first start and last end
    data_ledger: tuple[str, ...] = ()  # how often the test rows of its series were looked at, whoever did
    incidents: tuple[str, ...] = ()  # what went wrong on the way and was mended (see lab/store/events.py)
    skipped: tuple[str, ...] = ()  # what could not be read of the records: `path: reason`
    pooled: tuple[PooledFinding, ...] = ()  # of a pooled study, in the order of `findings`: its family
    sealed: SealedFindings | None = None  # None: it was not unsealed
    league: League | None = None  # of a study of models

    def cell(self, name: str) -> CellData:
        return next(cell for cell in self.cells if cell.name == name)

    def runs_of(self, arm: str, cell: str) -> ArmRuns:
        return next(runs for runs in self.arms if (runs.arm, runs.cell) == (arm, cell))

    def of_cell(self, cell: str) -> tuple[Finding, ...]:
        return tuple(finding for finding in self.findings if finding.cell == cell)
