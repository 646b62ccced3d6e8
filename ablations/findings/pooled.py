"""The pooled rows of a study: each question over all cells in which it is alive, decided once."""

from collections.abc import Sequence
from dataclasses import replace

from ablations.findings.effects import MISSED, NOTHING, UNDONE, Effects, pair_of
from ablations.findings.findings import PRIMARY, Finding, PooledFinding
from ablations.judging.pooling import CellEffect, Pooled, pool, reached_by, shared
from ablations.judging.signed_ranks import signed_rank_interval
from ablations.judging.verdicts import AT_THESE_ORIGINS, INCOMPLETE, INVALID, ON_THESE_SERIES, SAME
from ablations.planning.plan import POOLED


def pooled_findings(effects: Effects, findings: Sequence[Finding]) -> list[PooledFinding]:
    """A row for each question that is asked in some cell, in the order of the study; none where it does not pool."""
    if not effects.study.pooled:
        return []
    places = {comparison.name: place for place, comparison in enumerate(effects.study.comparisons)}
    names = dict.fromkeys(finding.name for finding in findings)  # the first cell may lack one
    return _reaching(
        effects,
        [
            _row(effects, name, {finding.cell: finding for finding in findings if finding.name == name})
            for name in sorted(names, key=lambda name: places.get(name, len(places)))
        ],
    )


def _reaching(effects: Effects, rows: Sequence[PooledFinding]) -> list[PooledFinding]:
    """The rows with verdicts as far as they reach: over series. Origins of one series carry none any further, whether
    the study has no other series or a part is alive on that one alone: they share rows and drift, and an interval that
    takes them for independent covers 78 to 89% where it says 95% (`python -m scripts.verdicts.pooled`).
    """
    confined = ON_THESE_SERIES if len(set(effects.study.series_of.values())) > 1 else AT_THESE_ORIGINS
    judged = {row.name: row.decision for row in rows if row.decision is not None and row.decision is not UNDONE}
    carriers = [
        row.pooled if row.pooled is not None and row.pooled.over == "series" else None
        for row in rows
        if row.name in judged
    ]
    looks, margin = len(effects.recorded.record.judged_looks[0]), effects.study.margin_percent
    family = effects.recorded.family
    reach = reached_by(
        [decision.verdict for decision in judged.values()], carriers, margin, effects.study.alpha / looks, family
    )
    apart, same = (
        {
            name: NOTHING if one is None else min(looks * p, 1.0)
            for name, one, p in zip(judged, carriers, shared(given, family).tolist(), strict=True)
        }
        for given in (
            [NOTHING if one is None else one.p for one in carriers],
            [NOTHING if one is None else one.equivalence_p(margin) for one in carriers],
        )
    )
    far = dict(zip(judged, (confined if verdict == ON_THESE_SERIES else verdict for verdict in reach), strict=True))
    return [
        replace(
            row, decision=replace(judged[row.name], verdict=far[row.name], over_seeds=judged[row.name].verdict),
            reach_p=apart[row.name], reach_equivalence_p=same[row.name],
        )
        if row.name in judged
        else row
        for row in rows
    ]  # fmt: skip


def _row(effects: Effects, name: str, found: dict[str, Finding]) -> PooledFinding:
    recorded, standing = effects.recorded, effects.standing
    hypothesis = name, POOLED
    alive, place = recorded.cells_of(hypothesis), effects.places.get(hypothesis)
    why_not = {cell: _why_not(effects, cell, found.get(cell)) for cell in effects.study.cell_names}
    pooled = validation = decision = None
    if place is not None and standing is not None:
        seeds = effects.study.seed_list(int(standing.seeds[place]))
        for cell in alive:
            if not why_not[cell] and not recorded.whole((name, cell), seeds):
                why_not[cell] = f"{INCOMPLETE}: runs are missing"
        inside = [cell for cell in alive if not why_not[cell]]
        pooled, validation = (_pooled(effects, name, inside, seeds, metric) for metric in (PRIMARY, "val_mse"))
        decision = effects.decision(hypothesis, place, standing, seeds, recorded.pair(hypothesis, seeds))
    elif place is not None:
        decision = UNDONE
    cells = tuple(cell for cell in alive if not why_not[cell])
    one = next((found[cell] for cell in (*cells, *alive)), None) or max(found.values(), key=lambda each: each.same)
    return PooledFinding(one, cells, {cell: why for cell, why in why_not.items() if why}, pooled, decision, validation)


def _why_not(effects: Effects, cell: str, finding: Finding | None) -> str:
    """Why a question is not pooled over a cell; "" where it is."""
    if finding is None:
        return "no other width brings its capacity closer"
    if finding.inert:
        return f"inert: {finding.inert}"
    if finding.same:
        return SAME
    return f"{INVALID}: {effects.invalid[cell]}" if cell in effects.invalid else ""


def _pooled(effects: Effects, name: str, cells: Sequence[str], seeds: Sequence[int], metric: str) -> Pooled | None:
    units = effects.recorded.units((name, POOLED), seeds, cells, metric)
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
