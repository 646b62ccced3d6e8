"""Findings as lines of a terminal: the verdicts, and the ledger of test readings."""

import textwrap

from ablations.findings.findings import PRIMARY, Finding, Findings
from ablations.reporting.league.sections import league_lines
from ablations.reporting.phrases import LOSS, adds, less, network
from ablations.reporting.pooled.console import said as pooled_sentences
from ablations.reporting.pooled.console import verdict_lines as pooled_lines
from ablations.reporting.sealed import sealed_lines
from ablations.reporting.tables import LINEAR, bar_rows, validated
from ablations.reporting.wording import against_linear, label, ordered, sentence
from lab.arms import FULL
from lab.console.printing import aligned
from lab.pages.formats import counted, decimal, mean_deviation, p_value, percent, signed, whole
from lab.pages.skipped import skipped_note
from lab.references.wording import added

WIDTH = 118  # columns of a sentence


def verdict_lines(findings: Findings) -> list[str]:
    """A table for each cell, the linear baseline beside it, and what a reader must know."""
    how = "the largest t of all arms under flips of whole seeds" if findings.study.correction == "max_t" else HOLM
    if findings.pooled:
        return pooled_lines(findings, how)
    lines = [f"study {findings.name}: {findings.study.asked}"]
    if findings.exploratory:
        lines.append(f"EXPLORATORY: {findings.exploratory}")
    for cell in findings.cells:
        about = f"{cell.dataset}, S={cell.seq_len}, H={cell.pred_len}"
        about += f", protocol {cell.protocol}" if cell.protocol else ""
        lines += ["", f"cell {cell.name}: {about}"]
        if cell.invalid:
            lines.append(f"INVALID: {cell.invalid}")
        rows = [_HEADER, *_baselines(findings, cell.name)]
        rows += [_row(findings, finding) for finding in findings.of_cell(cell.name)]
        lines += aligned(rows, _LEFT)
        for text in (against_linear(findings, cell.name), *added(cell.standing, network(findings))):
            lines += textwrap.wrap(text, WIDTH)
    level = f"alpha {findings.study.alpha:g}, {counted(findings.family, 'comparison')}"
    looks = "" if len(findings.looks) == 1 else f", look {findings.look} of {len(findings.looks)}"
    lines.append("")
    lines.append(f"effect: {less(findings, LOSS, 'the')}, paired by seed: that of the typical run (the")
    lines.append("pseudo-median over n seeds), its 95% interval over seeds, and over seeds and stretches of time;")
    lines.append(f"adj. p: {how} ({level}{looks});")
    lines.append("a verdict without more words holds over seeds and other stretches of this series, at 95% each;")
    lines.append("parameters: those that a gradient reaches and that the forecast reads")
    lines += sealed_lines(findings)
    lines += league_lines(findings)
    lines += [f"note: {note}" for note in (*skipped_note(findings.skipped), *findings.notes)]
    return lines


def sentence_lines(findings: Findings) -> list[str]:
    """What each question came to, in a sentence, what is decided first."""
    if findings.pooled:
        return pooled_sentences(findings)
    return [sentence(findings, finding) for finding in ordered(findings.findings)]


HOLM = "exact signed-rank test, adjusted by Holm's method"
_HEADER = (
    "",
    "test MSE",
    "effect",
    "over seeds",
    "seeds and windows",
    "percent",
    "adj. p",
    "n",
    "parameters",
    "verdict",
)
_LEFT = (0, 9)


def _baselines(findings: Findings, cell: str) -> list[tuple[str, ...]]:
    rows: list[tuple[str, ...]] = []
    for runs in findings.arms:
        if (runs.cell, runs.arm) == (cell, FULL):
            shown = mean_deviation(runs.mean(PRIMARY), runs.deviation(PRIMARY))
            rows.append(
                (
                    FULL,
                    shown,
                    "",
                    "",
                    "",
                    "",
                    "",
                    str(runs.complete),
                    f"{runs.effective:,}",
                    validated(runs.mean("val_mse")),
                )
            )
    data = findings.cell(cell)
    linear, val = decimal(data.linear.get(PRIMARY)), validated(data.linear.get("val_mse"))
    rows.append((LINEAR, linear, "", "", "", "", "", "", f"{data.linear_parameters:,}", val))
    return [
        *rows,
        *(
            (
                row["arm"],
                decimal(row[PRIMARY]),
                "",
                "",
                "",
                "",
                "",
                "",
                whole(row["effective"]),
                validated(row["val_mse"]),
            )
            for row in bar_rows(data)
        ),
    ]


def _row(findings: Findings, finding: Finding) -> tuple[str, ...]:
    effect, decision = finding.effects.get(PRIMARY), finding.decision
    own = int(adds(finding))  # which side the arm itself is
    size = f"{finding.effective[own]:,}" if finding.effective[own] else ""
    if effect is None:
        return (finding.name, "", "", "", "", "", "", "", size, label(findings, finding))
    without = effect.without_mean, effect.without_deviation
    return (
        finding.name, mean_deviation(*((effect.with_mean, effect.with_deviation) if own else without)),
        signed(effect.typical), _signed(effect.interval), _signed(finding.both), percent(effect.percent),
        p_value(decision.p_adjusted) if decision else "",
        str(effect.n), size, label(findings, finding),
    )  # fmt: skip


def _signed(bounds: tuple[float, float] | None) -> str:
    return "" if bounds is None else f"{signed(bounds[0])} to {signed(bounds[1])}"


def ledger_lines(findings: Findings) -> list[str]:
    """Every reading of test that runs of the study had, whoever asked for it."""
    lines = [f"{'time':<26s}{'arm':<26s}{'cell':<14s}{'seed':>6s}  {'run':<21s}{'test MSE':>9s}  purpose"]
    for reading in findings.ledger:
        seed = "" if reading.seed is None else str(reading.seed)
        lines.append(
            f"{reading.time:<26s}{reading.arm:<26s}{reading.cell:<14s}{seed:>6s}  {reading.run:<21s}"
            f"{decimal(reading.test_mse):>9s}  {reading.purpose}"
        )
    return [*lines, f"{len(findings.ledger)} readings of test"]
