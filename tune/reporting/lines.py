"""The figures of a search that Optuna's own would not show legibly: parallel coordinates, and curves by epoch."""

import math
from collections.abc import Iterable
from typing import Any

from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.lines import Line2D
from matplotlib.ticker import MaxNLocator

from lab.pages.formats import brief
from lab.pages.svg import BLUE, GREEN, GREY, INK, PURPLE, VERMILION, drawn_or_said, inline, style, tell
from tune.findings.findings import COMPLETE, SearchFindings, Trial
from tune.reporting.axes import LOSS, SHOWN, Reach, brief_value, marks_of, said, short_names, wrapped
from tune.space import Range

UNDRAWN = -0.19  # height, below an axis, of a trial that did not draw the setting


@drawn_or_said
def parallel(findings: SearchFindings, prefix: str) -> str:
    """Parallel coordinates: an axis for each setting, a line for each complete trial.

    Not Optuna's: with more than three settings its names, cut off at twenty letters, and its ticks lie over each other
    and over the lines, it spreads each axis over what was drawn and not over the range, and its palest lines, the
    best ones on black or the worst on white, cannot be seen.
    """
    ranked = [trial for trial in findings.ranked() if trial.outcome == COMPLETE]
    if not ranked or not findings.space:
        return ""
    names = short_names([item.path for item in findings.space])
    reach = Reach.of([trial.loss for trial in ranked])
    with style():
        last, conditional = len(findings.space), any(item.when for item in findings.space)
        below = -0.28 if conditional else -0.16
        figure = Figure(figsize=(max(5.5, 1.1 * (last + 1)), 3.6), layout="constrained")
        axes = figure.subplots()
        for place, item in enumerate(findings.space):
            _axis(axes, place, _ticks(item), aside=bool(item.when))
            axes.text(place, below, wrapped(names[item.path]), ha="center", va="top", fontsize=8)
        cut = [(reach.place(reach.cut), brief(reach.cut))] if reach.pressed else []
        _axis(axes, last, [(0.0, brief(reach.low)), *cut, (1.0, brief(reach.high))])
        axes.text(last, below, "validation\nMSE", ha="center", va="top", fontsize=8, fontweight="bold")
        for rank in reversed(range(len(ranked))):
            trial = ranked[rank]
            heights = [_height(item, trial.params[item.path]) if item.path in trial.params else UNDRAWN
                       for item in findings.space]  # fmt: skip
            heights.append(reach.place(trial.loss))
            colour, width, alpha = (
                (VERMILION, 2.2, 1.0) if rank == 0 else (BLUE, 1.3, 0.9) if rank < SHOWN else (GREY, 0.8, 0.55)
            )
            (line,) = axes.plot(
                range(last + 1), heights, color=colour, linewidth=width, alpha=alpha, solid_joinstyle="round"
            )
            tell(line, [said(trial, names)])
        if conditional:
            axes.text(-0.12, UNDRAWN, "not drawn", ha="right", va="center", fontsize=7.5)
        axes.set_xlim(-0.7 if conditional else -0.45, last + 0.4)
        axes.set_ylim(below - 0.22, 1.12)
        axes.axis("off")
        handles = [
            Line2D([], [], color=VERMILION, linewidth=2.2, label="best"),
            Line2D([], [], color=BLUE, linewidth=1.3, label=f"next {min(SHOWN, len(ranked)) - 1}"),
            Line2D([], [], color=GREY, linewidth=0.8, label="other complete trials"),
        ]
        wanted = 1 + (len(ranked) > 1) + (len(ranked) > SHOWN)
        axes.legend(handles=handles[:wanted], loc="lower left", bbox_to_anchor=(0, 1), ncols=3)
        return inline(figure, prefix, "Parallel coordinates of the complete trials")


def _axis(axes: Axes, place: int, ticks: Iterable[tuple[float, str]], aside: bool = False) -> None:
    """`aside`: lines pass below its lower end, so that its number stands beside it."""
    axes.plot([place, place], [0, 1], color=INK, linewidth=0.8, zorder=3)
    for height, text in ticks:
        if 0 < height < 1 or (aside and not height):
            axes.text(place - 0.05, height, text, ha="right", va="center", fontsize=7.5, zorder=4)
        else:  # beyond the ends no line passes
            axes.text(place, height + (0.04 if height else -0.04), text, ha="center",
                      va="bottom" if height else "top", fontsize=7.5)  # fmt: skip


def _ticks(item: Range) -> list[tuple[float, str]]:
    if item.kind == "choice":
        return [(_height(item, choice), brief_value(item, choice)) for choice in item.choices]
    return [(_height(item, value), brief(value)) for value in dict.fromkeys(item.ends())]


def _height(item: Range, value: Any) -> float:
    """Where a value lies in its range, on its own scale: 0 at the lower end, 1 at the upper."""
    if item.kind == "choice":
        return item.place(value) / max(len(item.choices) - 1, 1)
    if item.low == item.high:
        return 0.5
    if item.log:
        return math.log(value / item.low) / math.log(item.high / item.low)
    return float((value - item.low) / (item.high - item.low))


@drawn_or_said
def curves(findings: SearchFindings, prefix: str) -> str:
    """Loss so far by epoch: the best few trials in colour, the rest behind.

    Not Optuna's plot of intermediate values: it gives every trial a colour and a line in the legend, and a study of
    two objectives holds none.
    """
    shown = [trial for trial in findings.ranked() if trial.reports]
    if not shown:
        return ""
    best = [trial for trial in shown if trial.outcome == COMPLETE][:SHOWN]
    bars = marks_of(findings)
    reported = [value for trial in shown for _, value in trial.reports]
    reach = Reach.of(reported, least=max((trial.loss for trial in best), default=-math.inf))
    low, even = reach.low, reach.cut - reach.low
    with style():
        figure = Figure(figsize=(8, 3.4), layout="constrained")
        axes = figure.subplots()
        for trial in shown[len(best) :]:
            _curve(axes, trial, color=GREY, linewidth=0.8, alpha=0.6)
            if trial.outcome != COMPLETE:
                axes.plot(*trial.reports[-1], "o", color=GREY, markersize=3)
        colours = (VERMILION, BLUE, GREEN, PURPLE, INK)
        for rank, (trial, colour) in enumerate(zip(best, colours, strict=False)):
            _curve(axes, trial, color=colour, linewidth=1.6, label=trial.trial, zorder=4 - rank / 10)
        room = low - 0.5 * even  # a bar far below would press the curves flat: the caption says where it is
        for bar in bars:
            if room < bar.error <= reach.high:
                bar.line(axes, f"{bar.title} (best bar)" if bar.best else bar.title if bar.start else None)
                low = min(low, bar.error)
        for rung in findings.rungs:
            axes.axvline(rung.epoch, color=INK, linewidth=0.7, alpha=0.5, linestyle=(0, (1, 3)))
        Reach(low, reach.cut, reach.high).set(axes)
        axes.set(xlabel="epoch", ylabel=f"{LOSS}, best so far")
        axes.xaxis.set_major_locator(MaxNLocator(integer=True))
        axes.grid(axis="y")
        if axes.get_legend_handles_labels()[0]:
            axes.legend(loc="lower left", bbox_to_anchor=(0, 1), ncols=6)
        return inline(figure, prefix, f"{LOSS} by epoch of the best trials and the rest")


def _curve(axes: Axes, trial: Trial, **look: Any) -> None:
    epochs, values = zip(*trial.reports, strict=True)
    (line,) = axes.plot(epochs, values, **{"marker": "o" if len(epochs) == 1 else "", "markersize": 3, **look})
    tell(line, [said(trial)])
