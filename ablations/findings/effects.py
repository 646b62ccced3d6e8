"""What the runs of a study say of one of its hypotheses: effects by every metric, the decision, its reach, flags."""

from collections.abc import Mapping, Sequence
from dataclasses import replace
from typing import Any

import numpy as np

from ablations.findings.drawn import drawn_side
from ablations.findings.findings import METRICS, PRIMARY, Decision, Effect, Interval
from ablations.findings.runs import Recorded, Sides
from ablations.judging import signed_ranks, statistics
from ablations.judging.reach import middle_mean
from ablations.judging.statistics import Array
from ablations.judging.verdicts import INCOMPLETE, INVALID, Standing, reaching
from ablations.planning.plan import POOLED, Hypothesis
from ablations.study.models import MODELS
from lab.arms import FULL
from lab.store.tables import Results
from lab.training.over_time import crossed
from lab.training.window_errors import window_errors, window_interval

NOTHING = float("nan")
MISSED = 0.05  # by an interval that is shown; shared among the looks of a study, so that it holds whenever that stops
NO_NUMBERS: Interval = (NOTHING, NOTHING)
UNDONE = Decision(INCOMPLETE, 0, 0, NOTHING, NO_NUMBERS, NOTHING, NOTHING, NOTHING, NOTHING)  # before the first look
# Columns of a run that its partner in a pair should share.
_ALIKE = {"device": ("device",), "kernel": ("kernel",), "code version": ("git_commit", "git_dirty", "versions")}


class Effects:
    """Of the hypotheses of one study.

    Args:
        standing: of its family; None where every comparison is inert.
        seeds: at which what is not in the family is shown.
        invalid: cell -> why nothing in it may be compared.
    """

    def __init__(
        self,
        results: Results,
        recorded: Recorded,
        standing: Standing | None,
        seeds: Sequence[int],
        invalid: Mapping[str, str],
    ):
        self.results, self.recorded, self.standing = results, recorded, standing
        self.study, self.seeds, self.invalid = recorded.study, seeds, invalid
        self.missed = MISSED / len(recorded.record.judged_looks[0])
        self.places = {hypothesis: place for place, hypothesis in enumerate(recorded.hypotheses)}

    def of(self, hypothesis: Hypothesis) -> dict[str, Any]:
        """The fields of a Finding that come from the runs."""
        sides, cell = self.recorded.sides(hypothesis), hypothesis[1]
        pooled = self.study.pooled and cell in self.recorded.cells_of((hypothesis[0], POOLED))
        # None: inert, no member of the family
        place = self.places.get((hypothesis[0], POOLED) if pooled else hypothesis)
        arms = (*sides.without, *sides.with_part)
        if place is None:
            seeds = [seed for seed in self.seeds if all(self.recorded.row(arm, cell, seed) for arm in arms)]
            if not seeds:
                return {}
        elif self.standing is None:
            return {
                "decision": None if pooled else UNDONE, "descriptive": pooled,
                "diverged": self._count(sides, cell, self.seeds, "diverged"),
                "failed": self._count(sides, cell, self.seeds, "failed", "missing"),
            }  # fmt: skip
        else:
            seeds = list(self.study.seed_list(int(self.standing.seeds[place])))
        losses = {metric: self.recorded.pair(hypothesis, seeds, metric) for metric in METRICS}
        shown = [PRIMARY, *(metric for metric in METRICS if metric in self.study.descriptive)]
        effects = {metric: self._effect(metric, seeds, losses[metric], sides, cell) for metric in shown}
        decision = None
        windows, both, why_not = self._reach(sides, cell, seeds, effects[PRIMARY])
        if place is not None and self.standing is not None and not pooled:
            decision = self.decision(hypothesis, place, self.standing, seeds, losses[PRIMARY])
            reaches = reaching(decision.verdict, both, decision.margin)
            decision = replace(decision, verdict=reaches, over_seeds=decision.verdict)
            if self.standing.evidence.diverged[place]:
                effects[PRIMARY] = replace(effects[PRIMARY], p=float(self.standing.evidence.p[place]))
        return {
            "effects": effects, "decision": decision, "descriptive": pooled, "windows": windows, "both": both,
            "windows_note": why_not,
            "validation": self._effect("val_mse", seeds, losses["val_mse"], sides, cell),
            "diverged": self._count(sides, cell, seeds, "diverged"),
            "failed": self._count(sides, cell, seeds, "failed", "missing"),
            "drawn": drawn_side(self.recorded, sides, cell, seeds), "flags": self._flags(sides, cell, seeds),
        }  # fmt: skip

    def _count(self, sides: Sides, cell: str, seeds: Sequence[int], *statuses: str) -> tuple[int, int]:
        """Runs of these statuses, without and with the part."""
        without, with_part = (
            sum(self.recorded.status(arm, cell, seed) in statuses for arm in side for seed in seeds)
            for side in (sides.without, sides.with_part)
        )
        return without, with_part

    def _effect(
        self, metric: str, seeds: Sequence[int], losses: tuple[Array, Array], sides: Sides, cell: str
    ) -> Effect:
        without, with_part = losses
        whole = np.isfinite(without) & np.isfinite(with_part)
        pairs = [seed for seed, here in zip(seeds, whole, strict=True) if here]
        one, other = without[whole], with_part[whole]
        if len(pairs) < 2:
            return Effect(
                metric=metric, n=len(pairs), by_seed=dict(zip(pairs, (one - other).tolist(), strict=True)),
                without_mean=NOTHING, without_deviation=NOTHING, with_mean=NOTHING, with_deviation=NOTHING,
                typical=NOTHING, interval=NO_NUMBERS, mean=NOTHING, mean_interval=NO_NUMBERS, improvement=NOTHING,
                without_middle=NOTHING, with_middle=NOTHING, percent=NOTHING, standardised=NOTHING, p=NOTHING,
            )  # fmt: skip
        effects = statistics.paired_effects(one, other)
        typical = float(signed_ranks.pseudo_median(effects))
        return Effect(
            metric=metric, n=len(pairs), by_seed=dict(zip(pairs, effects.tolist(), strict=True)),
            without_mean=float(one.mean()), without_deviation=float(one.std(ddof=1)),
            with_mean=float(other.mean()), with_deviation=float(other.std(ddof=1)), typical=typical,
            interval=pair_of(signed_ranks.signed_rank_interval(effects, self.missed)), mean=float(effects.mean()),
            mean_interval=pair_of(statistics.bootstrap_t_interval(effects, 1 - self.missed)),
            improvement=float(signed_ranks.probability_of_improvement(effects)),
            without_middle=float(middle_mean(one)), with_middle=float(middle_mean(other)),
            percent=100 * typical / float(other.mean()), standardised=float(statistics.hedges_g(effects)),
            p=float(signed_ranks.signed_rank_p(effects)), channels=self._by_channel(metric, pairs, sides, cell),
        )  # fmt: skip

    def _by_channel(self, metric: str, seeds: Sequence[int], sides: Sides, cell: str) -> dict[str, float]:
        """Mean effect on each channel, of the test metrics."""
        if not metric.startswith("test_"):
            return {}

        def mean(arms: Sequence[str], channel: str) -> float:
            rows = [self.recorded.row(arm, cell, seed) for arm in arms for seed in seeds]
            return float(np.mean([row.get(f"{metric}_channels", {}).get(channel, np.nan) for row in rows]))

        return {
            channel: mean(sides.without, channel) - mean(sides.with_part, channel)
            for channel in self.recorded.channels(cell)
        }

    def decision(
        self, hypothesis: Hypothesis, place: int, standing: Standing, seeds: Sequence[int], losses: tuple[Array, Array]
    ) -> Decision:
        """Of a member of the family, over seeds, from its losses without and with the part."""
        verdict = str(standing.verdict[place])
        if not self.invalid.keys().isdisjoint(self.recorded.cells_of(hypothesis)):
            verdict = INVALID
        elif not self.recorded.whole(hypothesis, seeds):
            verdict = INCOMPLETE
        alpha, interval = float(standing.interval_alpha[place]), NO_NUMBERS
        effects, known = losses[0] - losses[1], losses[1][np.isfinite(losses[1])]
        if np.isfinite(effects).all() and len(effects) >= 2:
            critical = float(standing.critical[place])
            interval = pair_of(signed_ranks.signed_rank_interval(effects, alpha))
            if np.isfinite(critical):
                reach = critical * float(statistics.standard_error(effects))
                interval = (float(effects.mean()) - reach, float(effects.mean()) + reach)
        return Decision(
            verdict=verdict, look=int(standing.look[place]), seeds=int(standing.seeds[place]),
            p_adjusted=float(standing.p_adjusted[place]), interval=interval, interval_alpha=alpha,
            margin=float(self.study.margin_percent / 100 * known.mean()) if len(known) else NOTHING,
            equivalence_p=float(standing.evidence.equivalence_p[place]),
            equivalence_p_adjusted=float(standing.equivalence_p_adjusted[place]),
        )  # fmt: skip

    def _reach(
        self, sides: Sides, cell: str, seeds: Sequence[int], effect: Effect
    ) -> tuple[Interval | None, Interval | None, str]:
        """The intervals over test windows and over both, of the seeds whose pairs are whole; or why not."""
        losses: list[list[Array]] = [[], []]
        for seed in seeds:
            rows = [[self.recorded.row(arm, cell, seed) for arm in arms] for arms in (sides.without, sides.with_part)]
            if any(self.recorded.status(arm, cell, seed) != "complete" for arm in (*sides.without, *sides.with_part)):
                continue
            errors = [[window_errors(self.results, row["run"]) for row in side] for side in rows]
            if any(found is None for side in errors for found in side):
                return None, None, "the errors of single windows are not on record"
            for place, side in enumerate(errors):
                losses[place].append(np.mean(np.asarray(side, float), axis=0))
        data = self.study.config(cell, FULL).data
        block = data.seq_len + data.pred_len
        if not losses[0]:
            return None, None, "no pair of runs is complete"
        try:
            windows = window_interval(np.stack(losses[0]), np.stack(losses[1]), block, 1 - self.missed)
        except ValueError as error:
            return None, None, str(error)
        if np.isnan(effect.typical):
            return windows, None, ""
        return windows, crossed(effect.typical, effect.interval, windows), ""

    def _flags(self, sides: Sides, cell: str, seeds: Sequence[int]) -> tuple[str, ...]:
        """Where the two runs of a pair were not trained alike."""
        differing: dict[str, int] = {}
        for seed in seeds:
            rows = [self.recorded.row(arm, cell, seed) for arm in (*sides.without, *sides.with_part)]
            for what, columns in _ALIKE.items():
                if what == "kernel" and self.study.kind == MODELS:  # each model has its own
                    continue
                if len({tuple(row.get(column) for column in columns) for row in rows if row}) > 1:
                    differing[what] = differing.get(what, 0) + 1
        return tuple(f"{count} of {len(seeds)} pairs differ in {what}" for what, count in differing.items())


def pair_of(bounds: tuple[Array, Array]) -> Interval:
    return float(bounds[0]), float(bounds[1])
