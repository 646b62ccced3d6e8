"""The rows of a study's tables, once for every renderer: as flat records, as CSV and as LaTeX."""

import csv
import io
import math
from collections.abc import Iterable, Sequence
from typing import Any

from ablations.findings.findings import PRIMARY, ArmRuns, CellData, Finding, Findings
from ablations.reporting.phrases import LOSS, adds, kind, less, place, positive
from ablations.reporting.wording import label
from lab.console.printing import printable
from lab.pages.formats import METRIC_NAMES, counted, decimal, interval, known, mean_deviation, p_value, signed
from lab.references.standing import BarErrors

Row = dict[str, Any]

LINEAR = "linear baseline"
_NONE = (math.nan, math.nan)


def effect_rows(findings: Findings) -> list[Row]:
    """One row per finding and metric, in the order of the findings; NaN or None where there is no number.

    What decides (adjusted p, interval at Holm's step, equivalence, test windows, verdict) stands in the primary
    metric's row alone: the other metrics are descriptive. A finding without runs has one row.
    """
    return [
        row
        for finding in findings.findings
        for row in [_effect_row(findings, finding, metric) for metric in dict.fromkeys((PRIMARY, *finding.effects))]
    ]


def arm_rows(findings: Findings) -> list[Row]:
    """The errors of each arm in each cell, and of the linear baseline: means and deviations over complete runs."""
    rows = []
    for cell in findings.cells:
        rows += [_arm_row(runs) for runs in findings.arms if runs.cell == cell.name]
        if cell.linear:
            rows.append(_linear_row(cell))
    return rows


def effects_csv(findings: Findings) -> str:
    """`effect_rows` in full precision; what is missing is empty."""
    return as_csv(COLUMNS, effect_rows(findings))


def as_csv(columns: Sequence[str], rows: Iterable[Row]) -> str:
    text = io.StringIO()
    writer = csv.writer(text, lineterminator="\n")
    writer.writerow(columns)
    writer.writerows([[_cell(row[column]) for column in columns] for row in rows])
    return text.getvalue()


def _effect_row(findings: Findings, finding: Finding, metric: str) -> Row:
    effect, primary = finding.effects.get(metric), metric == PRIMARY
    decision = finding.decision if primary else None
    data = findings.cell(finding.cell)
    seconds = [_device_seconds(findings, arm, finding.cell) for arm in (finding.without, finding.with_part)]
    bounds = {
        "interval": effect.interval if effect else _NONE,
        "mean": effect.mean_interval if effect else _NONE,
        "adjusted": decision.interval if decision else _NONE,
        "window": finding.windows or _NONE if primary else _NONE,
        "both": finding.both or _NONE if primary else _NONE,
    }
    contrast = bool(finding.factors)
    kind = ("main effect" if len(finding.factors) == 1 else "interaction") if contrast else ""
    return {
        "cell": finding.cell,
        "dataset": data.dataset,
        "pred_len": data.pred_len,
        "protocol": data.protocol,
        "finding": finding.name,
        "kind": kind or ("adds" if adds(finding) else "removes"),
        "without": finding.without,
        "with_part": finding.with_part,
        "attributable": finding.attributable,
        "tuned": finding.tuned,
        "metric": metric,
        "primary": primary,
        "verdict": finding.verdict if primary else "",
        "over_seeds": finding.shown if primary else "",
        "says": label(findings, finding) if primary else "",
        "n": effect.n if effect else None,
        "effect": effect.typical if effect else math.nan,
        "mean": effect.mean if effect else math.nan,
        "improvement": effect.improvement if effect else math.nan,
        "without_middle": effect.without_middle if effect else math.nan,
        "with_middle": effect.with_middle if effect else math.nan,
        **{f"{name}_{side}": pair[at] for name, pair in bounds.items() for at, side in enumerate(("low", "high"))},
        "adjusted_alpha": decision.interval_alpha if decision else math.nan,
        "p": effect.p if effect else math.nan,
        "p_adjusted": decision.p_adjusted if decision else math.nan,
        "equivalence_p": decision.equivalence_p if decision else math.nan,
        "equivalence_p_adjusted": decision.equivalence_p_adjusted if decision else math.nan,
        "margin": decision.margin if decision else math.nan,
        "standardised": effect.standardised if effect else math.nan,
        "percent": effect.percent if effect else math.nan,
        "without_mean": effect.without_mean if effect else math.nan,
        "without_deviation": effect.without_deviation if effect else math.nan,
        "with_mean": effect.with_mean if effect else math.nan,
        "with_deviation": effect.with_deviation if effect else math.nan,
        **_both("parameters", (None, None) if contrast else finding.parameters),
        **_both("effective", (None, None) if contrast else finding.effective),
        **_both("device_seconds", (seconds[0], seconds[1])),
        **_both("diverged", finding.diverged),
        **_both("failed", finding.failed),
        "seeds": decision.seeds if decision else None,
        "look": decision.look if decision else None,
        "exploratory": findings.exploratory,
        "reason": finding.inert or (data.invalid if primary else ""),
        "mismatch": finding.mismatch,
        "flags": "; ".join(finding.flags),
    }


def _both(name: str, pair: tuple[Any, Any]) -> Row:
    return {f"{name}_without": pair[0], f"{name}_with": pair[1]}


def _device_seconds(findings: Findings, arm: str, cell: str) -> float:
    return next((runs.device_seconds for runs in findings.arms if (runs.arm, runs.cell) == (arm, cell)), math.nan)


def _arm_row(runs: ArmRuns) -> Row:
    row: Row = {"cell": runs.cell, "arm": runs.arm, "about": runs.about, "n": runs.complete}
    for metric in runs.errors:
        mean, deviation = runs.mean(metric), runs.deviation(metric)
        row[metric] = math.nan if mean is None else mean
        row[f"{metric}_deviation"] = math.nan if deviation is None else deviation
    return row | {
        "diverged": runs.diverged,
        "failed": runs.failed,
        "parameters": runs.parameters,
        "effective": runs.effective,
        "device_seconds": runs.device_seconds,
        "channels": dict(runs.channels),
    }


def bar_rows(cell: CellData) -> list[Row]:
    """The other bars of a cell, and the whole network before its first step, as `arm_rows` has the linear baseline."""
    return [_bar_row(cell, bar) for bar in cell.standing.rows if bar.title != LINEAR]


def validated(mse: float | None) -> str:
    """Where others have their verdict: by which error bars are chosen, before test."""
    return f"{METRIC_NAMES['val_mse']} {decimal(mse)}" if known(mse) else ""


def _bar_row(cell: CellData, bar: BarErrors) -> Row:
    return {
        "cell": cell.name, "arm": bar.title, "n": None, **bar.errors,
        **{f"{metric}_deviation": math.nan for metric in bar.errors},
        "diverged": None, "failed": None, "device_seconds": math.nan, "channels": {},
        "parameters": bar.parameters, "effective": bar.parameters,
    }  # fmt: skip


def _linear_row(cell: CellData) -> Row:
    """Fitted in closed form, it has no seeds to deviate over."""
    blank = {f"{metric}_deviation": math.nan for metric in cell.linear}
    return {
        **{"cell": cell.name, "arm": LINEAR, "about": "closed form, fitted on the same windows", "n": None},
        **cell.linear,
        **blank,
        **{"diverged": None, "failed": None, "device_seconds": math.nan, "channels": dict(cell.linear_channels)},
        **{"parameters": cell.linear_parameters, "effective": cell.linear_parameters},
    }


def _cell(value: Any) -> str:
    if value is None or (isinstance(value, float) and math.isnan(value)):
        return ""
    if isinstance(value, bool):
        return str(value).lower()
    return repr(float(value)) if isinstance(value, float) else str(value)  # float: numpy's repr names its type


COLUMNS = (
    *("cell", "dataset", "pred_len", "protocol", "finding", "kind", "without", "with_part", "attributable", "tuned"),
    *("metric", "primary", "verdict", "over_seeds", "says", "n", "effect", "interval_low", "interval_high", "both_low"),
    *("both_high", "window_low", "window_high", "mean", "mean_low", "mean_high", "improvement", "adjusted_low"),
    *("adjusted_high", "adjusted_alpha", "p", "p_adjusted", "equivalence_p", "equivalence_p_adjusted", "margin"),
    *("standardised", "percent", "without_mean", "without_deviation", "without_middle", "with_mean"),
    *("with_deviation", "with_middle", "parameters_without", "parameters_with", "effective_without"),
    *("effective_with", "device_seconds_without", "device_seconds_with", "diverged_without", "diverged_with"),
    *("failed_without", "failed_with", "seeds", "look", "exploratory", "reason", "mismatch", "flags"),
)


# LaTeX ---------------------------------------------------------------------------------------------------------------

_TEX = {
    **{sign: f"\\{sign}" for sign in "&%$#_{}"},
    **{"\\": r"\textbackslash{}", "~": r"\textasciitilde{}", "^": r"\textasciicircum{}"},
    **{"<": "$<$", ">": "$>$", "|": r"\textbar{}", '"': "''"},
    **{"−": "$-$", "±": r"$\pm$", "×": r"$\times$", "∞": r"$\infty$", "–": "--", "…": r"\ldots{}", "\n": " "},
}


def tex(text: str) -> str:
    """Escaped for LaTeX's text mode."""
    return "".join(_TEX.get(sign, sign) for sign in printable(text))


def effects_tex(findings: Findings) -> str:
    r"""A table for a paper, one block per cell; it needs \usepackage{booktabs} and nothing else."""
    lines = [
        r"\begin{table}[t]",
        r"\centering",
        r"\small",
        rf"\caption{{{tex(_caption(findings))}}}",
        rf"\label{{tab:{findings.name.replace('_', '-')}}}",
        r"\begin{tabular}{lrrrl}",
        r"\toprule",
        rf"Arm & {tex(LOSS)} & effect [95\% interval] & adjusted $p$ & verdict \\",
    ]
    primary = [row for row in effect_rows(findings) if row["primary"]]
    errors = arm_rows(findings)
    for cell in findings.cells:
        lines += [r"\midrule", rf"\multicolumn{{5}}{{l}}{{\textit{{{tex(place(findings, cell.name))}}}}} \\"]
        found = [(f, row) for f, row in zip(findings.findings, primary, strict=True) if f.cell == cell.name]
        mine = [row for row in errors if row["cell"] == cell.name]
        losses = {row["arm"]: mean_deviation(row.get(PRIMARY), row.get(f"{PRIMARY}_deviation")) for row in mine}
        compared = {f.name for f, _ in found if not f.factors}
        bars = {row["arm"]: row for row in (*mine, *bar_rows(findings.cell(cell.name)))}
        beside = [name for name in losses if name not in compared and name != LINEAR]
        lines += [_tex_row(name, losses[name], validated(bars[name].get("val_mse"))) for name in beside]
        lines += [_tex_row(f.name, "" if f.factors else losses.get(f.name, ""), row["says"], row) for f, row in found]
        lines += [
            _tex_row(name, mean_deviation(bars[name][PRIMARY], None), validated(bars[name].get("val_mse")))
            for name in bars
            if name not in losses or name == LINEAR
        ]
    return "\n".join([*lines, r"\bottomrule", r"\end{tabular}", r"\end{table}", ""])


_TESTS = {"holm": "Holm", "max_t": "max-t"}


def _test(correction: str) -> str:
    return "exact signed-rank test" if correction == "holm" else "joint permutation of whole seeds"


def _tex_row(name: str, loss: str, last: str, row: Row | None = None) -> str:
    """`last`: the verdict; of what has none its error on validation."""
    effect = p = ""
    if row is not None and known(row["effect"]):
        effect = f"{signed(row['effect'])} [{interval((row['interval_low'], row['interval_high']))}]"
        p = p_value(row["p_adjusted"])
    return " & ".join(map(tex, (name, loss, effect, p, last))) + r" \\"


def _caption(findings: Findings) -> str:
    return (
        f"{kind(findings)} {findings.name}. {LOSS[0].upper()}{LOSS[1:]} on z-scored data, mean ± standard deviation "
        f"over {len(findings.seeds)} seeds. An effect is {less(findings, 'the loss')}, paired by seed: positive where "
        f"{positive(findings)}; it is that of the typical run, the pseudo-median. Intervals are exact ones of "
        f"signed ranks, over seeds. {tests_said(findings)} A verdict that is not said to hold on these rows "
        "only has a 95% interval over seeds and test windows that carries it. Bars are fitted in closed form on the "
        f"same windows, and chosen by their error on validation.{exploratory_said(findings)}"
    )


def tests_said(findings: Findings) -> str:
    """A sentence for a caption: how what is decided was tested."""
    study = findings.study
    looks = "" if len(findings.looks) == 1 else f" and over {len(findings.looks)} looks (Bonferroni)"
    return (
        f"p: {_test(study.correction)}, adjusted for {counted(findings.family, 'comparison')} "
        f"({_TESTS[study.correction]}){looks}, alpha = {study.alpha:g}; no practical effect: signed ranks within "
        f"±{study.margin_percent:g}%."
    )


def exploratory_said(findings: Findings) -> str:
    return f" Exploratory: {findings.exploratory.rstrip('.')}." if findings.exploratory else ""
