"""What was found on sealed rows, beside test: one section of the page, and a few lines of a terminal."""

from collections.abc import Iterator

from ablations.findings.findings import Findings, SealedEffect, SealedFindings
from ablations.judging.verdicts import HELPS, HURTS
from ablations.reporting.phrases import LOSS, exploratory, held_against, place, positive
from ablations.reporting.pooled.wording import label as pooled_label
from ablations.reporting.wording import label
from lab.pages.blocks import Block, Text, table
from lab.pages.formats import MISSING, counted, percent
from lab.unsealing.blocks import error_table, ledger_says, readings
from lab.unsealing.records import error_lines

ABOUT = (
    "intervals are 95%, over seeds, and over seeds and stretches of these rows. Descriptive: no verdict rests on it. "
    "These rows, too, are some months and no others: whether the signs agree is what to look for."
)


def sealed(findings: Findings) -> Iterator[Block | None]:
    found = findings.sealed
    if found is None:
        return
    yield from readings(found.opened)
    yield Text(
        f"{ledger_says(found.opened)} An effect is that of the same trained models with the same seeds, in percent of "
        f"the error {held_against(findings)}, positive where {positive(findings)}; {ABOUT}"
    )
    yield Text(agreement(findings, found))
    verdict = "verdict on test, over all cells" if findings.pooled else "verdict on test"
    for cell in found.opened.cells:
        yield table(
            ("arm", verdict, "on test", "95% over seeds", "on sealed rows", "95% over seeds", "95% over both",
             "signs", "seeds"),
            [_row(findings, effect) for effect in found.effects if effect.cell == cell],
            f"Effects on the {LOSS}, on test and on sealed rows: {place(findings, cell)}",
            words=2,
        )  # fmt: skip
        yield error_table(found.opened, cell, place(findings, cell))


def agreement(findings: Findings, found: SealedFindings) -> str:
    """How many signs agree: of the effects beyond the margin, and of those that a verdict was spoken of."""
    margin = findings.study.margin_percent
    if not found.effects:
        return "No effect was read on both."
    beyond = [effect for effect in found.effects if effect.beyond]
    if not beyond:
        return f"No effect on test is beyond the margin of {margin:g}%: there is no sign to look for."
    agreeing = sum(effect.agrees for effect in beyond)
    said = (
        f"Of {counted(len(beyond), 'effect')} on test beyond the margin of {margin:g}%, {agreeing} "
        f"{'has' if agreeing == 1 else 'have'} the same sign on sealed rows"
    )
    spoken = [effect.agrees for effect in found.effects if effect.verdict in (HELPS, HURTS)]
    if spoken:
        said += f"; of {len(spoken)} found to help or hurt{exploratory(findings)}, {sum(spoken)}"
    return f"{said}."


def _signs(effect: SealedEffect) -> str:
    if not effect.beyond:
        return "within the margin"
    return "agree" if effect.agrees else "turn"


def _verdict(findings: Findings, effect: SealedEffect) -> str:
    """As every table has it, of the pooled row where cells are descriptive: with the part as its subject."""
    row = next((row for row in findings.pooled if row.name == effect.name), None)
    if row is not None:
        return pooled_label(findings, row)
    return label(findings, next(one for one in findings.of_cell(effect.cell) if one.name == effect.name))


def _row(findings: Findings, effect: SealedEffect) -> tuple[str, ...]:
    return (
        effect.name, _verdict(findings, effect), percent(effect.test), _bounds(effect.test_interval),
        percent(effect.sealed), _bounds(effect.sealed_interval), _bounds(effect.both), _signs(effect),
        str(effect.pairs),
    )  # fmt: skip


def _bounds(bounds: tuple[float, float] | None) -> str:
    return MISSING if bounds is None else f"{percent(bounds[0])} to {percent(bounds[1])}"


def sealed_lines(findings: Findings) -> list[str]:
    """For a terminal."""
    found = findings.sealed
    if found is None:
        return []
    lines = ["", "sealed rows, read when all else was settled:"]
    lines += [f"{look.text()}" for look in found.opened.looks]
    width = max([3, *(len(effect.name) for effect in found.effects)])
    for cell in found.opened.cells:
        lines.append(f"cell {cell}: effect on test and on sealed rows")
        lines += [
            f"  {effect.name:<{width}s}  {percent(effect.test):>9s}  {percent(effect.sealed):>9s}  {_signs(effect)}"
            for effect in found.effects
            if effect.cell == cell
        ]
    return [*lines, agreement(findings, found), *error_lines(found.opened)]
