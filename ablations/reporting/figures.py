"""The figures of a study, one of each kind per cell: SVG elements for inline use, the same bytes every time.

Each returns "" where there is nothing to draw. `prefix` starts every id in it, for several stand on one page.
"""

import math
from collections.abc import Callable, Sequence, Set

import numpy as np
from matplotlib.axes import Axes
from matplotlib.colors import LinearSegmentedColormap
from matplotlib.figure import Figure
from matplotlib.ticker import FuncFormatter, MaxNLocator

from ablations.findings.findings import PRIMARY, Finding, Findings
from ablations.judging.statistics import Array
from ablations.judging.verdicts import HELPS, HURTS, NO_EFFECT, ON_THESE_ROWS, UNDECIDED
from ablations.reporting.phrases import LOSS, interacts, minus
from ablations.reporting.tables import LINEAR, Row, arm_rows
from ablations.reporting.wording import brief
from lab.arms import FULL
from lab.pages.formats import decimal, known, signed
from lab.pages.outliers import outlying
from lab.pages.svg import BLUE, GREEN, GREY, INK, PURPLE, VERMILION, drawn_or_said, inline, style
from lab.references.drawing import Mark, marks, reached
from lab.references.standing import BarErrors

MOST_CHANNELS = 24  # of a heatmap
_INTERACTION = ("^", PURPLE)
_MARKS = {HELPS: ("o", BLUE), HURTS: ("s", VERMILION), NO_EFFECT: ("D", GREEN), UNDECIDED: ("o", GREY)}
_FEW_MARGINS = 10  # effects beyond so many margins are drawn on a logarithmic scale


@drawn_or_said
def forest(findings: Findings, cell: str, prefix: str) -> str:
    """Typical effects with their 95% interval over seeds and, thinner, over seeds and windows; the margin as a band."""
    shown = findings.of_cell(cell)
    if not any(drawn(finding) for finding in shown):
        return ""
    with style():
        figure = Figure(figsize=(8, 0.9 + 0.28 * len(shown)), layout="constrained")
        axes = figure.subplots()
        margin = _scale(axes, findings, [f for f in shown if drawn(f)])
        for row, finding in enumerate(shown):
            own = finding.decision.margin if finding.decision else math.nan
            _forest_row(axes, row, findings, finding, own if known(own) else margin)
        axes.axvline(0, color=INK, linewidth=0.8)
        axes.set_yticks(range(len(shown)), [finding.name for finding in shown])
        axes.set_ylim(len(shown) - 0.4, -0.6)
        axes.tick_params(axis="y", length=0)
        axes.spines["left"].set_visible(False)
        axes.grid(axis="x")
        return inline(figure, prefix, f"Effects on the {LOSS} with intervals, cell {cell}")


def mark_of(finding: Finding, shown: str) -> tuple[str, str]:
    """The marker and colour of what was shown of the finding's question."""
    return _INTERACTION if interacts(finding) and shown in (HELPS, HURTS) else _MARKS.get(shown, ("x", GREY))


def drawn(finding: Finding) -> bool:
    """Whether there is an effect to show."""
    return PRIMARY in finding.effects and known(finding.effects[PRIMARY].typical)


def _scale(axes: Axes, findings: Findings, drawn: Sequence[Finding]) -> float:
    """Linear, unless a few large effects would leave no room to see the small ones in. Returns the largest margin."""
    reach = [abs(bound) for f in drawn for bound in f.effects[PRIMARY].interval if math.isfinite(bound)]
    reach += [abs(f.effects[PRIMARY].typical) for f in drawn]
    margins = [f.decision.margin for f in drawn if f.decision and known(f.decision.margin)]
    text = f"effect on the {LOSS}: {minus(findings)}"
    limit = 1.15 * max([*reach, *(1.3 * margin for margin in margins)])
    if margins and stretched(axes, max(reach), max(margins)):
        text += f"\n{STRETCHED}"
        limit *= 1.5
    axes.set_xlim(-limit if any(_low(f) < -limit / 40 for f in drawn) else -limit / 3, limit)
    axes.set_xlabel(text)
    return max(margins, default=0.0)


STRETCHED = "linear within the margin, logarithmic beyond"


def stretched(axes: Axes, reach: float, margin: float, few: float = _FEW_MARGINS) -> bool:
    """Makes the horizontal axis logarithmic beyond the margin, where effects reach more than `few` times as far."""
    if reach <= few * margin:
        return False
    axes.set_xscale("symlog", linthresh=margin, linscale=1.0)
    axes.xaxis.set_major_formatter(FuncFormatter(lambda value, _: f"{value:g}".replace("-", "−")))
    decades = [10.0**power for power in range(-9, 9) if 1.5 * margin < 10.0**power]
    axes.set_xticks([*(-decade for decade in decades[::-1]), 0.0, *decades])  # those within would overlap
    axes.set_xticks([], minor=True)
    return True


def _low(finding: Finding) -> float:
    low = finding.effects[PRIMARY].interval[0]
    return low if math.isfinite(low) else finding.effects[PRIMARY].typical


def _forest_row(axes: Axes, row: int, findings: Findings, finding: Finding, margin: float) -> None:
    left, right = axes.get_xlim()
    axes.fill_between([-margin, margin], row - 0.5, row + 0.5, color=GREEN, alpha=0.13, linewidth=0)
    text, colour = brief(findings, finding), INK
    if drawn(finding):
        effect = finding.effects[PRIMARY]
        marker, colour = mark_of(finding, finding.shown)
        for bounds, width in ((finding.both, 0.8), (effect.interval, 2.6)):
            if bounds is not None and all(map(known, bounds)):
                axes.plot(
                    np.clip(bounds, left, right), [row, row], color=colour, linewidth=width, solid_capstyle="butt"
                )
        hollow = finding.verdict in (UNDECIDED, ON_THESE_ROWS)
        face = "none" if hollow else colour
        axes.plot(
            [effect.typical],
            [row],
            marker=marker,
            markersize=6,
            color=colour,
            markerfacecolor=face,
            markeredgewidth=1.4,
        )
        text = f"{signed(effect.typical)}  {text}"
    axes.text(1.02, row, text, transform=axes.get_yaxis_transform(), va="center", fontsize=8.5)


def marks_of(findings: Findings, cell: str, metric: str) -> tuple[Mark, ...]:
    """The bars of a cell as figures draw them."""
    data = findings.cell(cell)
    linear = BarErrors("linear", data.linear, data.linear_parameters, ()) if data.linear else None
    return marks(data.standing, metric, linear)


@drawn_or_said
def accuracy(findings: Findings, cell: str, prefix: str) -> str:
    """Test MSE against effective parameters, each arm named at the right; bars as lines, the best a point, too.

    Arms far above the others stand as triangles at the upper edge, with their error beside their names; bars above
    all that are drawn are named there alike.
    """
    rows = [row for row in arm_rows(findings) if row["cell"] == cell and known(row.get(PRIMARY)) and row["effective"]]
    rows = [row for row in rows if row["arm"] != LINEAR]
    if not rows:
        return ""
    rows.sort(key=lambda row: (-row[PRIMARY], row["arm"]))
    bars = marks_of(findings, cell, PRIMARY)
    best = next((bar for bar in bars if bar.best), None)
    outliers = _outliers(rows, best)
    near = [row for row in rows if row["arm"] not in outliers]
    ends = [row[PRIMARY] + (d if known(d := row[f"{PRIMARY}_deviation"]) else 0) for row in near]
    top = max([*ends, *([best.error] if best else [])])
    shown = [bar for bar in bars if bar.error in reached(bars, top)]
    size = best.parameters if best is not None and best.parameters else 0  # a copy of values has none to stand at
    # Many times smaller, it would push the networks into a corner: it has a panel of its own then.
    apart = 0 < 2 * size < min(row["effective"] for row in rows)
    with style():
        figure = Figure(figsize=(8, max(3.2, 0.6 + 0.24 * (len(rows) + len(bars)))), layout="constrained")
        panels = figure.subplots(1, 1 + apart, sharey=True, squeeze=False, width_ratios=[1, 7][1 - apart :]).ravel()
        for row in near:
            _point(panels[-1], row)
        for axes in panels:
            for bar in shown:
                bar.line(axes)
            axes.margins(x=0.1, y=0.08)
            axes.xaxis.set_major_locator(MaxNLocator(6, integer=True))
            axes.xaxis.set_major_formatter(FuncFormatter(lambda value, _: f"{value:,.0f}"))
            axes.grid()
        if best is not None and size:
            panels[0].plot([size], [best.error], "D", color=INK, markersize=6, zorder=3)
        if apart:
            panels[0].set_xticks([size])
        _at_the_edge(panels[-1], [row for row in rows if row["arm"] in outliers])
        _name_at_the_right(panels[-1], rows, bars, outliers)
        panels[-1].set_xlabel("effective parameters")
        panels[0].set_ylabel(LOSS)
        return inline(figure, prefix, f"{LOSS} against effective parameters, cell {cell}")


def _outliers(networks: Sequence[Row], best: Mark | None) -> set[str]:
    means = {str(row["arm"]): float(row[PRIMARY]) for row in networks}
    deviations = [row[f"{PRIMARY}_deviation"] for row in networks]
    marks = [*([best.error] if best else []), *([means[FULL]] if FULL in means else [])]
    return outlying(means, deviations, marks)


def _point(axes: Axes, row: Row) -> None:
    whole, deviation = row["arm"] == FULL, row[f"{PRIMARY}_deviation"]
    axes.errorbar(
        [row["effective"]], [row[PRIMARY]], [deviation] if known(deviation) else None, elinewidth=1.2,
        color=BLUE if whole else VERMILION, marker="o", markersize=6 if whole else 4.5, zorder=4 if whole else 3,
    )  # fmt: skip


def _at_the_edge(axes: Axes, rows: Sequence[Row]) -> None:
    """Holds the vertical axis where it is, with a triangle at its upper end for each of the rows."""
    axes.autoscale_view(scalex=False)
    axes.set_ylim(axes.get_ylim())
    for row in rows:
        axes.plot(
            [row["effective"]], [axes.get_ylim()[1]], marker="^", color=VERMILION, markerfacecolor="none", clip_on=False
        )


def _name_at_the_right(axes: Axes, networks: Sequence[Row], bars: Sequence[Mark], outliers: Set[str]) -> None:
    """Names in a column, evenly apart where their points are too close, each with a thin line to its point."""
    axes.autoscale_view(scaley=False)
    (left, right), (low, high) = axes.get_xlim(), axes.get_ylim()
    axes.set_xlim(left, right)
    axes.set_ylim(low, high)
    # Name, error, where its point is (a bar's line ends at the edge), colour, whether it stands out.
    named = [(row["arm"], row[PRIMARY], row["effective"], INK, row["arm"] == FULL) for row in networks]
    named += [(bar.title, bar.error, right, INK if bar.best else GREY, bar.best) for bar in bars]
    named.sort(key=lambda each: (-each[1], each[0]))
    figure = axes.get_figure(root=True)
    assert figure is not None
    gap = min(1 / max(len(named) - 1, 1), 0.22 / (figure.get_figheight() - 0.6))
    height = 1.0 + gap
    for index, (name, error, at, colour, bold) in enumerate(named):
        wanted = (min(error, high) - low) / (high - low)
        height = max(min(wanted, height - gap), gap * (len(named) - 1 - index))
        beyond = name in outliers or error > high
        axes.annotate(
            f"{name} {decimal(error)}" if beyond else name, (at, min(error, high)), (1.05, height),
            textcoords="axes fraction", va="center", fontsize=8.5, color=colour,
            fontweight="bold" if bold else "normal", annotation_clip=False,
            arrowprops={"arrowstyle": "-", "color": INK, "alpha": 0.35, "linewidth": 0.6, "shrinkA": 1, "shrinkB": 2,
                        "relpos": (0, 0.5)},
        )  # fmt: skip


@drawn_or_said
def heatmap(findings: Findings, cell: str, prefix: str) -> str:
    """The primary effect by channel: arms by channels, blue where the part helps, the number in each field."""
    shown = [f for f in findings.of_cell(cell) if drawn(f) and f.effects[PRIMARY].channels]
    if not shown:
        return ""
    channels = heatmap_channels(findings, cell)
    values = np.array([[f.effects[PRIMARY].channels.get(name, math.nan) for name in channels] for f in shown])
    sizes = np.abs(values[np.isfinite(values)])
    with style():
        size = (max(5.0, 1.9 + 0.62 * len(channels)), 0.6 + 0.3 * len(shown))
        figure = Figure(figsize=size, layout="constrained")
        axes = figure.subplots()
        fields(axes, values, float(np.quantile(sizes, 0.9)), signed)
        axes.set_xticks(np.arange(len(channels)) + 0.5, channels, rotation=0 if len(channels) < 10 else 60)
        axes.set_yticks(np.arange(len(shown)) + 0.5, [finding.name for finding in shown])
        return inline(figure, prefix, f"Effects on the {LOSS} by channel, cell {cell}")


def fields(axes: Axes, values: Array, limit: float, written: Callable[[float], str]) -> None:
    """A field each of (rows, columns), the first row on top: blue where the part helps, red where it hurts.

    `limit`: the size from which on colours are full, for one large effect must not bleach the others.
    """
    limit = max(limit, 1e-12)
    colours = LinearSegmentedColormap.from_list("effects", ["#b5430f", "#ee9d74", "#f4f4f2", "#7fb6e6", "#12599b"])
    axes.pcolormesh(values, cmap=colours, vmin=-limit, vmax=limit, edgecolors="face", linewidth=0.4)
    for row, column in np.ndindex(values.shape):
        value = float(values[row, column])
        red, green, blue, _ = colours((value / limit + 1) / 2)
        colour = "#ffffff" if 0.299 * red + 0.587 * green + 0.114 * blue < 0.52 else "#1a1a1a"
        text = written(value) if known(value) else ""
        axes.text(column + 0.5, row + 0.5, text, ha="center", va="center", fontsize=7.5, color=colour)
    axes.invert_yaxis()
    axes.tick_params(length=0)
    axes.spines[:].set_visible(False)


def heatmap_channels(findings: Findings, cell: str) -> list[str]:
    """All channels of the cell, or the few with the largest effects, in the order of the series."""
    channels = findings.cell(cell).channels
    largest = dict.fromkeys(channels, 0.0)
    for finding in findings.of_cell(cell):
        for name, value in finding.effects[PRIMARY].channels.items() if drawn(finding) else ():
            largest[name] = max(largest.get(name, 0.0), abs(value) if known(value) else 0.0)
    chosen = sorted(channels, key=lambda name: -largest[name])[:MOST_CHANNELS]
    return [name for name in channels if name in chosen]
