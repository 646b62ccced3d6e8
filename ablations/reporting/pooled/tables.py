"""The rows of a pooled study's tables, once for every renderer: as flat records, as CSV and as LaTeX."""

import math
from collections.abc import Mapping
from typing import Any

from ablations.findings.findings import PRIMARY, CellData, Finding, Findings, Interval, PooledFinding
from ablations.judging.pooling import Pooled
from ablations.reporting.phrases import LOSS, adds, kind, less, network, place, positive
from ablations.reporting.pooled.wording import held, label, one_series, reaching, without_cells
from ablations.reporting.tables import (
    COLUMNS,
    LINEAR,
    Row,
    as_csv,
    bar_rows,
    effect_rows,
    exploratory_said,
    tests_said,
    tex,
)
from lab.arms import FULL
from lab.pages.formats import METRIC_NAMES, MISSING, chance, decimal, known, mean_deviation, p_value, percent, percents

_NONE: Interval = (math.nan, math.nan)
_NUMBERS = ("percent_low", "percent_high", "percent_mean", "reach_low", "reach_high", "reach_p")
_SHARED = ("reach_p_adjusted", "reach_equivalence_p_adjusted")
# What a cell's rows have not, and where a cell is: added to the columns of a study that is not pooled.
MORE = (
    *("level", "series", "origin", "trains_to", "test_period", *_NUMBERS, *_SHARED, "margin_percent"),
    *(
        "pooled_over",
        "helps_on",
        "of",
        "next_series",
        "next_origin",
        "deviation_series",
        "deviation_origins",
        "cells",
        "left_out",
    ),
)


def pooled_rows(findings: Findings) -> list[Row]:
    """A record for each pooled row, in the order of the study. Percents are of the error with the part."""
    return [_pooled_row(findings, row) for row in findings.pooled]


def every_row(findings: Findings) -> list[Row]:
    """The pooled rows, then those of the cells, all with the same columns."""
    ones = [one for one in findings.findings for _ in dict.fromkeys((PRIMARY, *one.effects))]
    cells = [
        {**_BLANK, **row, **_whereabouts(findings.cell(one.cell)), **(_own_percents(one) if row["primary"] else {})}
        for one, row in zip(ones, effect_rows(findings), strict=True)
    ]
    return [*pooled_rows(findings), *cells]


def effects_csv(findings: Findings) -> str:
    """`every_row` in full precision; what is missing is empty."""
    return as_csv((*COLUMNS, *MORE), every_row(findings))


def in_percent(finding: Finding) -> tuple[float, Interval]:
    """A cell's typical effect and its interval over seeds, of the mean error with the part."""
    effect = finding.effects.get(PRIMARY)
    if effect is None or not known(effect.percent):
        return math.nan, _NONE
    low, high = (100 * bound / effect.with_mean for bound in effect.interval)
    return effect.percent, (low, high)


_BLANK: Mapping[str, Any] = dict.fromkeys((*COLUMNS, *MORE))


def _pooled_row(findings: Findings, row: PooledFinding) -> Row:
    one, decision, pooled = row.one, row.decision, row.pooled
    contrast = ("main effect" if len(one.factors) == 1 else "interaction") if one.factors else ""
    texts = {
        "level": "pooled", "cell": "", "finding": row.name, "metric": PRIMARY, "primary": True,
        "kind": contrast or ("adds" if adds(one) else "removes"), "without": one.without, "with_part": one.with_part,
        "attributable": one.attributable, "tuned": one.tuned, "verdict": row.verdict, "over_seeds": row.shown,
        "says": label(findings, row), "exploratory": findings.exploratory, "cells": "; ".join(row.cells),
        "left_out": without_cells(row), "reason": one.inert,
    }  # fmt: skip
    numbers: Row = {}
    if pooled is not None:
        reach = pooled.interval or _NONE
        numbers = {
            "percent": pooled.typical, "percent_low": pooled.seeds[0], "percent_high": pooled.seeds[1],
            "percent_mean": pooled.mean, "reach_low": reach[0], "reach_high": reach[1], "reach_p": pooled.p,
            "pooled_over": pooled.over, "helps_on": pooled.helps_on, "of": pooled.of, "n": len(pooled.by_seed),
            "next_series": pooled.next_series, "next_origin": pooled.next_origin,
            "deviation_series": pooled.spread[0], "deviation_origins": pooled.spread[1],
        }  # fmt: skip
    if decision is not None:
        numbers |= {
            "adjusted_alpha": decision.interval_alpha, "p_adjusted": decision.p_adjusted,
            "equivalence_p": decision.equivalence_p, "equivalence_p_adjusted": decision.equivalence_p_adjusted,
            "reach_p_adjusted": row.reach_p, "reach_equivalence_p_adjusted": row.reach_equivalence_p,
            "margin_percent": decision.margin, "seeds": decision.seeds, "look": decision.look,
        }  # fmt: skip
    return dict(_BLANK) | texts | numbers


def _whereabouts(cell: CellData) -> Row:
    return {
        "level": "cell", "series": cell.series, "origin": cell.origin or None, "trains_to": cell.trains_to,
        "test_period": cell.test_period,
    }  # fmt: skip


def _own_percents(finding: Finding) -> Row:
    _, (low, high) = in_percent(finding)
    return {"percent_low": low, "percent_high": high}


# What the pages show -------------------------------------------------------------------------------------------------


def header(findings: Findings) -> tuple[str, ...]:
    first = ("arm", "verdict", "effect", "95% over seeds")
    better = "helps" if findings.league is None else f"{network(findings)} lower"
    if one_series(findings):
        over = "95% over origins, as if independent"
        return (*first, over, f"{better} on origins", "next origin", "adjusted p", "equivalence p")
    over, ps = "95% over series and origins", ("adjusted p, seeds / series", "equivalence p, seeds / series")
    return (*first, over, f"{better} on series", "next series / origin", *ps)


def shown(findings: Findings, row: PooledFinding) -> tuple[str, ...]:
    """A pooled row under `header`."""
    pooled, decision = row.pooled, row.decision
    numbers: tuple[str, ...] = (MISSING,) * 5
    ps: tuple[str, ...] = (MISSING,) * 2
    if pooled is not None:
        count, whole = held(pooled)
        of = f"{count} of {whole}" + (" origins" if pooled.over == "origins" and not one_series(findings) else "")
        reach = percents(reaching(findings, row))
        numbers = (percent(pooled.typical), percents(pooled.seeds), reach, of, _chances(findings, pooled))
    if decision is not None:
        both = ((decision.p_adjusted, row.reach_p), (decision.equivalence_p_adjusted, row.reach_equivalence_p))
        ps = tuple(" / ".join(map(p_value, pair[: 1 if one_series(findings) else 2])) for pair in both)
    return (row.name, label(findings, row), *numbers, *ps)


def _chances(findings: Findings, pooled: Pooled) -> str:
    """That the part helps on the next series, and at the next origin: `87% / 84%`; a dash where there is none."""
    if not known(pooled.typical):
        return MISSING
    return " / ".join(map(chance, (pooled.next_series, pooled.next_origin)[one_series(findings) :]))


def cell_bars(findings: Findings, metric: str) -> tuple[tuple[str, ...], list[tuple[str, ...]]]:
    """Header and rows of a table of bars by cell: the whole network, each bar; a star: the best one on validation."""
    titles = list(dict.fromkeys((LINEAR, *(row["arm"] for cell in findings.cells for row in bar_rows(cell)))))
    body = []
    for cell in findings.cells:
        errors = {row["arm"]: row[metric] for row in bar_rows(cell)} | {LINEAR: cell.linear.get(metric)}
        best = "" if cell.standing.best is None else cell.standing.best.title
        stars = {title: "*" if title == best else "" for title in titles}
        body.append(
            (cell.name, full(findings, cell.name, metric), *(decimal(errors.get(t)) + stars[t] for t in titles))
        )
    return ("cell", "whole network", *titles), body


def full(findings: Findings, cell: str, metric: str) -> str:
    runs = next((runs for runs in findings.arms if (runs.arm, runs.cell) == (FULL, cell)), None)
    return decimal(None) if runs is None else mean_deviation(runs.mean(metric), runs.deviation(metric))


# LaTeX ---------------------------------------------------------------------------------------------------------------


def effects_tex(findings: Findings) -> str:
    r"""Tables for a paper, of pooled effects and of errors by cell, on test and on validation; they need
    \usepackage{booktabs} alone."""
    _, _, _, seeds, reach, helps, chances, p, _ = header(findings)
    head = " & ".join(map(tex, ("Arm", f"effect [{seeds}]", reach, helps, chances, p)))
    rows = [_tex_row(findings, row) for row in findings.pooled]
    about_effects = (
        f"{kind(findings)} {findings.name}: effects on the {LOSS} on z-scored data, pooled. {_reading(findings)} "
        f"{tests_said(findings)}{exploratory_said(findings)}"
    )
    name = findings.name.replace("_", "-")
    return _tex_table(about_effects, name, "lrrrrrl", f"{head} & verdict", rows) + "".join(
        _tex_cells(findings, metric, f"{name}-{mark}")
        for metric, mark in ((PRIMARY, "cells"), ("val_mse", "validation"))
    )


def _reading(findings: Findings) -> str:
    """How the pooled table of a paper is to be read."""
    alone = one_series(findings)
    return (
        f"An effect is {less(findings, 'the error')}, paired by seed, in percent of the latter and averaged over the "
        f"origins{'' if alone else ' of a series, then over series'}: positive where {positive(findings)}; it is that "
        "of the typical run, the pseudo-median, with its exact interval over seeds. "
        f"{_OVER_ORIGINS if alone else _OVER_SERIES}"
    )


_OVER_SERIES = (
    "The interval over series and origins holds for other series like these, 95% for one arm alone; a verdict that is "
    "not said to hold on these series only is carried by a family of tests over series, too (Student's t, Holm). Next: "
    "the chance that the part helps on another series like these, and at the next origin of one."
)
_OVER_ORIGINS = (
    "There is one series: every verdict is of these origins only. The interval over origins is Student's t as if they "
    "were independent, which they are not, and so is too short. Next: the chance that the part helps at the next "
    "origin."
)


def _tex_cells(findings: Findings, metric: str, name: str) -> str:
    titles, bars = cell_bars(findings, metric)
    where = {cell.name: place(findings, cell.name) for cell in findings.cells}
    error = METRIC_NAMES[metric]
    about = (
        f"{error[0].upper()}{error[1:]} by cell of study {findings.name}, on z-scored data: {network(findings)}, mean "
        "± standard deviation over its seeds, and bars fitted in closed form on the same windows (*: the best of them "
        "on validation)."
    )
    body = [tuple(map(tex, (where[cell], *numbers))) for cell, *numbers in bars]
    return _tex_table(about, name, "l" + "r" * (len(titles) - 1), " & ".join(map(tex, titles)), body)


def _tex_row(findings: Findings, row: PooledFinding) -> tuple[str, ...]:
    name, verdict, effect, seeds, reach, helps, chances, p, _ = shown(findings, row)
    size = f"{effect} [{seeds}]" if row.pooled is not None and known(row.pooled.typical) else ""
    return tuple(map(tex, (name, size, reach, helps, chances, p, verdict)))


def _tex_table(about: str, name: str, columns: str, head: str, rows: list[tuple[str, ...]]) -> str:
    lines = [
        r"\begin{table}[t]", r"\centering", r"\small", rf"\caption{{{tex(about)}}}", rf"\label{{tab:{name}}}",
        rf"\begin{{tabular}}{{{columns}}}", r"\toprule", rf"{head} \\", r"\midrule",
        *(" & ".join(row) + r" \\" for row in rows), r"\bottomrule", r"\end{tabular}", r"\end{table}", "",
    ]  # fmt: skip
    return "\n".join(lines)
