"""The figures of a pooled study: every row at once, a row by cell, arms by cells, effects from origin to origin.

All effects are in percent of the error with the part, cell by cell, as the tables have them. Each figure is "" where
there is nothing to draw; see `ablations.reporting.figures`.
"""

import math
from collections.abc import Iterable, Sequence
from dataclasses import dataclass

import numpy as np
from matplotlib.axes import Axes
from matplotlib.figure import Figure

from ablations.findings.findings import CellData, Finding, Findings, Interval, PooledFinding
from ablations.judging.verdicts import AT_THESE_ORIGINS, INCOMPLETE, ON_THESE_SERIES, UNDECIDED
from ablations.reporting.figures import STRETCHED, fields, mark_of, stretched
from ablations.reporting.phrases import LOSS, day, held_against, positive
from ablations.reporting.pooled.tables import in_percent
from ablations.reporting.pooled.wording import brief, reaching
from lab.pages.formats import known, percent, percents
from lab.pages.svg import BLUE, GREEN, GREY, INK, PURPLE, VERMILION, drawn_or_said, inline, style

_POOLED = "pooled"
_FEW_MARGINS = 30  # effects beyond so many are drawn on a logarithmic scale
_HOLLOW = (UNDECIDED, ON_THESE_SERIES, AT_THESE_ORIGINS, INCOMPLETE)


@dataclass(frozen=True)
class _Line:
    """A line of a forest plot."""

    name: str
    effect: float
    thick: Interval | None  # over seeds
    thin: Interval | None  # over series and origins
    text: str  # at the right
    marker: str = "o"
    colour: str = INK
    hollow: bool = False
    size: float = 5


@drawn_or_said
def overview(findings: Findings, prefix: str) -> str:
    """Every pooled row: its interval over seeds, thinner that over series and origins, and the verdict beside it."""
    lines = [_pooled_line(findings, row, row.name) for row in findings.pooled]
    if not any(known(line.effect) for line in lines):
        return ""
    with style():
        figure = Figure(figsize=(8, 0.9 + 0.28 * len(lines)), layout="constrained")
        _forest(figure.subplots(), lines, findings.study.margin_percent, axis(findings))
        return inline(figure, prefix, f"Effects on the {LOSS}, pooled over cells, with intervals")


@drawn_or_said
def forest(findings: Findings, row: PooledFinding, prefix: str) -> str:
    """One row by cell, in the order of the study, and pooled last."""
    lines = _by_cell(findings, row)
    if not any(known(line.effect) for line in lines):
        return ""
    lines.append(_pooled_line(findings, row, _POOLED, numbers=True))
    with style():
        figure = Figure(figsize=(8, 0.95 + 0.24 * len(lines)), layout="constrained")
        axes = figure.subplots()
        _forest(axes, lines, findings.study.margin_percent, axis(findings))
        axes.axhline(len(lines) - 1.5, color=INK, linewidth=0.6)
        for series, after in zip(_series(findings, lines), _series(findings, lines[1:]), strict=False):
            if after[1] and series[1] != after[1]:
                axes.axhline(after[0] + 0.5, color=INK, linewidth=0.4, alpha=0.25)
        axes.get_yticklabels()[-1].set_fontweight("bold")
        axes.set_title(row.name, loc="left", fontweight="bold")
        return inline(figure, prefix, f"Effect of {row.name} on the {LOSS} by cell, and pooled")


def _series(findings: Findings, lines: Sequence[_Line]) -> list[tuple[int, str]]:
    """Place and series of each line that is a cell's."""
    known_cells = {_cell_name(cell): cell.series for cell in findings.cells}
    return [(place, known_cells.get(line.name, "")) for place, line in enumerate(lines)]


def _by_cell(findings: Findings, row: PooledFinding) -> list[_Line]:
    """Of the cells that it is pooled over; those left out are said."""
    lines = []
    for cell in findings.cells:
        one = next((f for f in findings.of_cell(cell.name) if f.name == row.name), None)
        why = row.left_out.get(cell.name, "")
        effect, bounds = in_percent(one) if one is not None and not why else (math.nan, None)
        if known(effect):
            text = f"{percent(effect)} ({percents(bounds)})"
        else:
            text = f"left out: {why.split(':')[0]}" if why else "too few whole pairs"
        lines.append(_Line(_cell_name(cell), effect, bounds, None, text, colour=GREY))
    return lines


def _cell_name(cell: CellData) -> str:
    """With the date that tells one origin from another."""
    return f"{cell.name}, to {day(cell.trains_to)}" if cell.trains_to else cell.name


def _pooled_line(findings: Findings, row: PooledFinding, name: str, numbers: bool = False) -> _Line:
    """`numbers`: its intervals beside it, too, as those of cells have them."""
    pooled, verdict = row.pooled, brief(findings, row)
    if pooled is None or not known(pooled.typical):
        return _Line(name, math.nan, None, None, verdict)
    (marker, colour), reach = mark_of(row.one, row.shown), reaching(findings, row)
    size, hollow = percent(pooled.typical), row.verdict in _HOLLOW
    text = f"{size} ({percents(reach) if reach else 'over seeds ' + percents(pooled.seeds)})"
    text = text if numbers else f"{size}  {verdict}"
    return _Line(name, pooled.typical, pooled.seeds, reach, text, marker, colour, hollow, 6)


def axis(findings: Findings) -> str:
    """What the axis of effects says."""
    return f"effect in percent of the {LOSS} {held_against(findings)} (positive: {positive(findings)})"


def _forest(axes: Axes, lines: Sequence[_Line], margin: float, label: str) -> None:
    """Rows from the top; the axis holds every effect and its interval over seeds, wider ones end at its edge."""
    drawn = [line for line in lines if known(line.effect)]
    ends = [abs(end) for line in drawn for end in (line.effect, *(line.thick or ())) if math.isfinite(end)]
    # An interval over two series reaches far beyond all that was seen: it must not press that flat.
    wide = [abs(end) for line in drawn for end in line.thin or () if math.isfinite(end)]
    seen = max([*ends, 1.3 * margin])
    limit = 1.12 * max(seen, min(max(wide, default=0.0), 2 * seen))
    if margin > 0 and stretched(axes, seen, margin, _FEW_MARGINS):
        label, limit = f"{label}\n{STRETCHED}", 1.5 * seen
    axes.set_xlim(-limit, limit)
    axes.axvspan(-margin, margin, color=GREEN, alpha=0.13, linewidth=0)
    axes.axvline(0, color=INK, linewidth=0.8)
    for place, line in enumerate(lines):
        for bounds, width in ((line.thin, 0.8), (line.thick, 2.6)):
            if known(line.effect) and bounds is not None and all(map(known, bounds)):
                _bar(axes, place, bounds, limit, line.colour, width)
        if known(line.effect):
            axes.plot(
                [line.effect], [place], marker=line.marker, markersize=line.size, color=line.colour,
                markerfacecolor="none" if line.hollow else line.colour, markeredgewidth=1.4,
            )  # fmt: skip
        axes.text(1.02, place, line.text, transform=axes.get_yaxis_transform(), va="center", fontsize=8.5)
    axes.set_xlabel(label)
    axes.set_yticks(range(len(lines)), [line.name for line in lines])
    axes.set_ylim(len(lines) - 0.4, -0.6)
    axes.tick_params(axis="y", length=0)
    axes.spines["left"].set_visible(False)
    axes.grid(axis="x")


def _bar(axes: Axes, place: int, bounds: Interval, limit: float, colour: str, width: float) -> None:
    """An interval; an arrow where it goes on beyond the axis."""
    low, high = np.clip(bounds, -limit, limit)
    axes.plot([low, high], [place, place], color=colour, linewidth=width, solid_capstyle="butt")
    for end, bound, sign in ((low, bounds[0], "<"), (high, bounds[1], ">")):
        if abs(bound) > limit:
            axes.plot([end], [place], marker=sign, markersize=5, color=colour, clip_on=False)


@drawn_or_said
def heatmap(findings: Findings, prefix: str) -> str:
    """Arms by cells, in percent, the pooled effect in the last column."""
    rows = [row for row in findings.pooled if row.pooled is not None]
    values = np.array([_percents(findings, row) for row in rows])
    sizes = np.abs(values[np.isfinite(values)]) if rows else np.array([])
    if not len(sizes):
        return ""
    names = [cell.name for cell in findings.cells]
    with style():
        size = (max(5.0, 2.2 + 0.62 * (len(names) + 1)), 0.9 + 0.3 * len(rows))
        figure = Figure(figsize=size, layout="constrained")
        axes = figure.subplots()
        fields(axes, values, float(np.quantile(sizes, 0.9)), lambda value: percent(value).rstrip("%"))
        axes.axvline(len(names), color=INK, linewidth=1.2)
        turned = max(map(len, names)) > 6
        axes.set_xticks(
            np.arange(len(names) + 1) + 0.5, [*names, _POOLED], rotation=40 if turned else 0,
            ha="right" if turned else "center", rotation_mode="anchor",
        )  # fmt: skip
        axes.set_yticks(np.arange(len(rows)) + 0.5, [row.name for row in rows])
        return inline(figure, prefix, f"Effects on the {LOSS} in percent, arms by cells")


def _percents(findings: Findings, row: PooledFinding) -> list[float]:
    ones = {f.cell: f for f in findings.findings if f.name == row.name and f.cell in row.cells}
    assert row.pooled is not None
    return [*(in_percent(ones[c.name])[0] if c.name in ones else math.nan for c in findings.cells), row.pooled.typical]


_LOOKS = [(colour, dash) for dash in ("-", (0, (4, 2))) for colour in (BLUE, VERMILION, GREEN, PURPLE, GREY)]
_SHAPES = "osD^v"


@drawn_or_said
def by_origin(findings: Findings, prefix: str) -> str:
    """Effect against origin: a panel an arm, in it a line a series (and horizon), from the earliest to the latest."""
    lines = {place: cells for place, cells in _places(findings.cells).items() if len(cells) > 1}
    rows = [row for row in findings.pooled if any(known(v) for v in (_percents(findings, row) if row.pooled else ()))]
    if not lines or not rows:
        return ""
    most, across = max(map(len, lines.values())), min(3, len(rows))
    down = -(-len(rows) // across)
    with style():
        figure = Figure(figsize=(8, 0.75 + 1.7 * down), layout="constrained")
        panels = figure.subplots(down, across, squeeze=False).ravel()
        for axes in panels[len(rows) :]:
            axes.set_visible(False)
        for axes, row in zip(panels, rows, strict=False):
            _origins_of(axes, findings, row, lines, most)
            axes.set_title(row.name if len(row.name) < 31 else f"{row.name[:28]}…", loc="left")
        named = {str(line.get_label()): line for axes in panels for line in axes.lines if line.get_label() in lines}
        figure.legend(named.values(), named, loc="outside upper left", ncols=min(len(named), 4))
        figure.supylabel("effect, percent", fontsize=9)
        return inline(figure, prefix, f"Effects on the {LOSS} in percent by origin")


def _places(cells: Iterable[CellData]) -> dict[str, list[CellData]]:
    """The cells of each place of the study's file, earliest origin first."""
    found: dict[str, list[CellData]] = {}
    for cell in cells:
        found.setdefault(cell.place, []).append(cell)
    return {place: sorted(those, key=lambda cell: -cell.back) for place, those in found.items()}


def _origins_of(
    axes: Axes, findings: Findings, row: PooledFinding, lines: dict[str, list[CellData]], most: int
) -> None:
    ones: dict[str, Finding] = {f.cell: f for f in findings.findings if f.name == row.name and f.cell in row.cells}
    margin = findings.study.margin_percent
    axes.axhspan(-margin, margin, color=GREEN, alpha=0.13, linewidth=0)
    axes.axhline(0, color=INK, linewidth=0.8)
    for number, (place, cells) in enumerate(lines.items()):
        shown = [(most - 1 - cell.back, *in_percent(ones[cell.name])) for cell in cells if cell.name in ones]
        shown = [each for each in shown if known(each[1])]
        if not shown:
            continue
        colour, dash = _LOOKS[number % len(_LOOKS)]
        aside = 0.07 * (number - (len(lines) - 1) / 2)  # so that intervals do not hide each other
        at, effects = [x + aside for x, *_ in shown], [effect for _, effect, _ in shown]
        for x, (_, _, bounds) in zip(at, shown, strict=True):
            if all(map(math.isfinite, bounds)):
                axes.plot([x, x], bounds, color=colour, linewidth=1.2)
        axes.plot(
            at, effects, color=colour, linestyle=dash, linewidth=0.9, marker=_SHAPES[number % len(_SHAPES)],
            markersize=4.5, label=place,
        )  # fmt: skip
    axes.set_xlim(-0.4, most - 0.6)
    axes.set_xticks(range(most), _ticks(lines, most))
    axes.grid(axis="y")


def _ticks(lines: dict[str, list[CellData]], most: int) -> list[str]:
    """Dates, where there is but one series to have them; else how far before the latest."""
    if len(lines) == 1:
        (cells,) = lines.values()
        if most <= 4 and all(cell.trains_to for cell in cells):
            return [day(cell.trains_to) for cell in cells]
    return [*(f"{back} before" for back in range(most - 1, 0, -1)), "latest"]
