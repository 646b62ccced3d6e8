"""The pooled rows of a study: each question over all cells in which it is alive, decided once."""

import math
from collections.abc import Iterator, Sequence
from dataclasses import replace

from ablations.findings.effects import MISSED, UNDONE, Effects, pair_of
from ablations.findings.findings import Finding, PooledFinding
from ablations.judging.pooling import CellEffect, Pooled, pool, reached_by
from ablations.judging.signed_ranks import signed_rank_interval
from ablations.judging.verdicts import AT_THESE_ORIGINS, INCOMPLETE, INVALID, ON_THESE_SERIES, SAME
from ablations.planning.plan import POOLED


def pooled_findings(effects: Effects, findings: Sequence[Finding]) -> Iterator[PooledFinding]:
    """A row for each question that is asked in some cell, in the order of the study; none where it does not pool."""
    if effects.study.pooled:
        places = {comparison.name: place for place, comparison in enumerate(effects.study.comparisons)}
        names = dict.fromkeys(finding.name for finding in findings)  # the first cell may lack one
        ordered = sorted(names, key=lambda name: places.get(name, len(places)))
        found = {name: {each.cell: each for each in findings if each.name == name} for name in ordered}
        yield from _carried(effects, [_row(effects, name, by_cell) for name, by_cell in found.items()])


def _row(effects: Effects, name: str, found: dict[str, Finding]) -> PooledFinding:
    recorded, standing = effects.recorded, effects.standing
    hypothesis = name, POOLED
    alive, place = recorded.cells_of(hypothesis), effects.places.get(hypothesis)
    why_not = {cell: _why_not(effects, cell, found.get(cell)) for cell in effects.study.cell_names}
    pooled = decision = None
    if place is not None and standing is not None:
        seeds = effects.study.seed_list(int(standing.seeds[place]))
        for cell in alive:
            if not why_not[cell] and not recorded.whole((name, cell), seeds):
                why_not[cell] = f"{INCOMPLETE}: runs are missing"
        pooled = _pooled(effects, name, [cell for cell in alive if not why_not[cell]], seeds)
        decision = effects.decision(hypothesis, place, standing, seeds, recorded.pair(hypothesis, seeds))
        decision = replace(decision, over_seeds=decision.verdict)
    elif place is not None:
        decision = UNDONE
    cells = tuple(cell for cell in alive if not why_not[cell])
    one = next((found[cell] for cell in (*cells, *alive)), None) or max(found.values(), key=lambda each: each.same)
    return PooledFinding(one, cells, {cell: why for cell, why in why_not.items() if why}, pooled, decision)


def _why_not(effects: Effects, cell: str, finding: Finding | None) -> str:
    """Why a question is not pooled over a cell; "" where it is."""
    if finding is None:
        return "no other width brings its capacity closer"
    if finding.inert:
        return f"inert: {finding.inert}"
    if finding.same:
        return SAME
    return f"{INVALID}: {effects.invalid[cell]}" if cell in effects.invalid else ""


def _pooled(effects: Effects, name: str, cells: Sequence[str], seeds: Sequence[int]) -> Pooled | None:
    units = effects.recorded.units((name, POOLED), seeds, cells)
    if not units or len(seeds) < 2:
        return None
    pooled = pool(
        [
            CellEffect(", ".join(those), series, origin, without - with_part)
            for (series, origin), (those, (without, with_part)) in units.items()
        ]
    )
    if effects.missed != MISSED and pooled.interval is not None:  # looks share what the intervals may miss
        bounds = pair_of(signed_rank_interval(pooled.by_seed, effects.missed))
        pooled = replace(pooled, interval=pooled.interval_at(effects.missed), seeds=bounds)
    return pooled


def _carried(effects: Effects, rows: Sequence[PooledFinding]) -> Iterator[PooledFinding]:
    """The rows, whose verdicts hold for other series too only where these carry them, as a family of their own.

    In a study over several series only what is over series carries anything, even of a part that is alive on one alone.
    """
    study, looks = effects.study, effects.recorded.record.judged_looks[0]
    over = "series" if len(set(study.series_of.values())) > 1 else "origins"
    verdicts: dict[str, str] = {}
    arms: list[Pooled] = []
    for row in rows:
        if row.decision is not None and row.pooled is not None:
            verdicts[row.name] = row.decision.verdict
            arms.append(row.pooled if row.pooled.over == over else replace(row.pooled, interval=None, p=math.nan))
    if arms:
        alpha, family = study.alpha / len(looks), effects.recorded.family
        reach = reached_by(list(verdicts.values()), arms, study.margin_percent, alpha, family)
        verdicts = dict(zip(verdicts, reach, strict=True))
    for row in rows:
        if row.decision is not None and row.name in verdicts:
            only = verdicts[row.name] == ON_THESE_SERIES and over == "origins"
            row = replace(row, decision=replace(row.decision, verdict=AT_THESE_ORIGINS if only else verdicts[row.name]))
        yield row
