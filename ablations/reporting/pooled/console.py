"""A pooled study's findings as lines of a terminal."""

import textwrap
from collections.abc import Iterator

from ablations.findings.findings import PRIMARY, Findings, PooledFinding
from ablations.reporting.league.sections import league_lines
from ablations.reporting.phrases import LOSS, day, exploratory, less, network
from ablations.reporting.pooled.tables import cell_bars, header, shown
from ablations.reporting.pooled.wording import counts, one_series, sentence
from ablations.reporting.sealed import sealed_lines
from ablations.reporting.wording import ordered
from lab.console.printing import aligned
from lab.pages.formats import METRIC_NAMES, MISSING, counted, percent
from lab.pages.skipped import skipped_note
from lab.references.wording import over_cells

WIDTH = 118  # columns of a sentence


def verdict_lines(findings: Findings, how: str) -> list[str]:
    """The pooled rows, their effects series by series, and the cells with the bars. `how`: the test of the effects."""
    lines = [f"study {findings.name}: {findings.study.asked}"]
    if findings.exploratory:
        lines.append(f"EXPLORATORY: {findings.exploratory}")
    lines += [f"INVALID: cell {cell.name}: {cell.invalid}" for cell in findings.cells if cell.invalid]
    series, place = len({cell.series for cell in findings.cells}), "origin" if one_series(findings) else "series"
    extent = f"{series} series ({counted(len(findings.cells), 'cell')})"
    name, verdict, *numbers = header(findings)
    rows = [(name, *numbers, verdict)]
    for row in findings.pooled:
        first, says, *rest = shown(findings, row)
        rows.append((first, *("" if text == MISSING else text for text in rest), says))
    lines += ["", f"pooled over {extent}", *aligned(rows, (0, len(numbers) + 1))]
    lines += ["", f"effect by {place}, percent, mean over seeds", *aligned(list(_apart(findings)), (0,))]
    for metric in (PRIMARY, "val_mse"):
        about = f"{METRIC_NAMES[metric]} by cell (*: the best bar on validation)"
        lines += ["", about, *aligned(list(_cells(findings, metric)), (0, 1, 2) if metric == PRIMARY else (0,))]
    lines.append("")
    for text in over_cells([cell.standing for cell in findings.cells], network(findings)):
        lines += textwrap.wrap(text, WIDTH)
    lines += textwrap.wrap(_legend(findings) + _adjusted(findings, how), WIDTH)
    lines += sealed_lines(findings)
    lines += league_lines(findings)
    return [*lines, *(f"note: {note}" for note in (*skipped_note(findings.skipped), *findings.notes))]


def said(findings: Findings) -> list[str]:
    """A sentence for each pooled row, what is decided first."""
    return [sentence(findings, row) for row in ordered(findings.pooled)]


def _legend(findings: Findings) -> str:
    alone = one_series(findings)
    over = "origins" if alone else "the origins of a series, then over series"
    reach = (
        "that over origins, by Student's t as if they were independent, is too short: origins of one series share "
        "rows, so that every verdict is of these alone. "
        if alone
        else "that over series and origins, by Student's t, for others like these, each for its own arm alone; a "
        "verdict without more words stands in the family of tests over series, too (Holm). "
    )
    return (
        f"effect: {less(findings, LOSS, 'the')}, paired by seed, in percent of the latter, averaged over {over}: that "
        f"of the typical run. Its 95% interval over seeds holds for these cells; {reach}"
    )


def _adjusted(findings: Findings, how: str) -> str:
    level = f"alpha {findings.study.alpha:g}, {counted(findings.family, 'comparison')}"
    looks = "" if len(findings.looks) == 1 else f", look {findings.look} of {len(findings.looks)}"
    tally = "; ".join(f"{name} {number}" for name, number in counts(findings.pooled).items())
    tally += exploratory(findings)
    return f"Adjusted p over seeds: {how} ({level}{looks}). In all: {tally}."


def _apart(findings: Findings) -> Iterator[tuple[str, ...]]:
    """The mean effect of each arm on each series; in a study of one, at each origin."""
    alone = one_series(findings)
    places = {cell.name: str(cell.origin or -cell.back) if alone else cell.series for cell in findings.cells}
    names = list(dict.fromkeys(places.values()))
    yield ("arm", *names)
    for row in findings.pooled:
        means = _means(row, places)
        yield (row.name, *(percent(means[name]) if name in means else "" for name in names))


def _means(row: PooledFinding, places: dict[str, str]) -> dict[str, float]:
    if row.pooled is None:
        return {}
    return dict(zip(dict.fromkeys(places[cell] for cell in row.cells), row.pooled.means, strict=False))


def _cells(findings: Findings, metric: str) -> Iterator[tuple[str, ...]]:
    """On test with the dates of the cell."""
    (name, *titles), body = cell_bars(findings, metric)
    dated = metric == PRIMARY
    yield (name, *(("trained to", "test period") if dated else ()), *titles)
    for cell, row in zip(findings.cells, body, strict=True):
        yield (row[0], *((day(cell.trains_to), cell.test_period) if dated else ()), *row[1:])
