"""What a study's effects came to on sealed rows, beside test: the same trained models, the same seeds, other rows.

Descriptive: no verdict rests on it, and no alpha is spent. What was found on test either shows again or does not.
"""

from collections.abc import Iterator, Mapping, Sequence

import numpy as np

from ablations.findings.effects import MISSED, Interval, pair_of
from ablations.findings.findings import PRIMARY, Finding, PooledFinding, SealedEffect, SealedFindings
from ablations.findings.runs import Recorded
from ablations.judging.signed_ranks import pseudo_median, signed_rank_interval
from ablations.judging.statistics import Array
from lab.arms import FULL
from lab.ledger.looks import SEALED
from lab.store.tables import Results
from lab.training.over_time import crossed
from lab.training.window_errors import window_errors, window_interval
from lab.unsealing.records import Opened, opened

LEAST_PAIRS = 2


def sealed_findings(
    results: Results, recorded: Recorded, findings: Sequence[Finding], pooled: Sequence[PooledFinding] = ()
) -> SealedFindings | None:
    """None where the study was not unsealed. `pooled`: where cells are descriptive, the verdicts are of these."""
    found = opened(results, recorded.record.name)
    if not found.looks:
        return None
    effects = _Effects(results, recorded, found, {each.name: each.verdict for each in pooled})
    return SealedFindings(found, tuple(effects.of(findings)))


class _Effects:
    def __init__(self, results: Results, recorded: Recorded, found: Opened, pooled: Mapping[str, str]):
        self.results, self.recorded, self.pooled = results, recorded, pooled
        self.losses = {
            run: value
            for group in found.groups
            for run, value in zip(group.runs, group.errors["sealed_mse"], strict=True)
        }

    def of(self, findings: Sequence[Finding]) -> Iterator[SealedEffect]:
        """Of each finding whose runs were read on sealed rows, with two seeds or more."""
        for finding in findings:
            effect = finding.effects.get(PRIMARY)
            if effect is None or finding.inert:
                continue
            sides = self.recorded.sides((finding.name, finding.cell))
            both = sides.without, sides.with_part
            runs = {seed: [self._runs(arms, finding.cell, seed) for arms in both] for seed in effect.by_seed}
            seeds = [seed for seed, pair in runs.items() if all(run in self.losses for side in pair for run in side)]
            if len(seeds) >= LEAST_PAIRS:
                yield self._effect(finding, seeds, [runs[seed] for seed in seeds])

    def _runs(self, arms: Sequence[str], cell: str, seed: int) -> list[str]:
        return [self.recorded.row(arm, cell, seed).get("run", "") for arm in arms]

    def _effect(self, finding: Finding, seeds: Sequence[int], runs: Sequence[list[list[str]]]) -> SealedEffect:
        sides = self.recorded.sides((finding.name, finding.cell))
        test = [self.recorded.side(arms, finding.cell, seeds) for arms in (sides.without, sides.with_part)]
        sealed = [np.array([np.mean([self.losses[run] for run in pair[side]]) for pair in runs]) for side in (0, 1)]
        scale = float(sealed[1].mean())
        typical, interval = _typical(sealed)
        both = self._both(finding, runs, typical * scale / 100, interval, scale)
        verdict = self.pooled.get(finding.name, finding.verdict) if finding.descriptive else finding.verdict
        on_test, test_interval = _typical(test)
        return SealedEffect(
            name=finding.name, cell=finding.cell, pairs=len(seeds), test=on_test, test_interval=test_interval,
            sealed=typical, sealed_interval=interval, both=both, verdict=verdict,
            beyond=abs(on_test) > self.recorded.study.margin_percent,
        )  # fmt: skip

    def _both(
        self, finding: Finding, runs: Sequence[list[list[str]]], typical: float, interval: Interval, scale: float
    ) -> Interval | None:
        """In percent, over seeds and stretches of the sealed rows."""
        losses: list[list[Array]] = [[], []]
        for pair in runs:
            for side in (0, 1):
                errors = [window_errors(self.results, run, SEALED) for run in pair[side]]
                if any(each is None for each in errors):
                    return None
                losses[side].append(np.mean(np.asarray(errors, float), axis=0))
        data = self.recorded.study.config(finding.cell, FULL).data
        try:
            windows = window_interval(np.stack(losses[0]), np.stack(losses[1]), data.seq_len + data.pred_len)
        except ValueError:  # too few
            return None
        seeds = (interval[0] * scale / 100, interval[1] * scale / 100)
        low, high = crossed(typical, seeds, windows)
        return 100 * low / scale, 100 * high / scale


def _typical(losses: Sequence[Array]) -> tuple[float, Interval]:
    """The pseudo-median of paired effects and its interval over seeds, in percent of the mean loss with the part."""
    percent = 100 * (losses[0] - losses[1]) / losses[1].mean()
    return float(pseudo_median(percent)), pair_of(signed_rank_interval(percent, MISSED))
