"""What went on by epoch, in small panels: validation curves of every arm, and what the whole network's
forecasts give besides."""

import math
from collections.abc import Sequence

import numpy as np
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.ticker import MaxNLocator, ScalarFormatter

from ablations.findings.findings import ArmRuns, Curve, Diagnosis, Findings
from ablations.reporting.figures import marks_of
from ablations.reporting.phrases import network
from lab.arms import FULL
from lab.pages.formats import known
from lab.pages.outliers import outlying
from lab.pages.svg import BLUE, GREY, PURPLE, VERMILION, drawn_or_said, inline, style
from lab.references.drawing import Mark, reached

STILL = "never moved"
OWN_SCALE = "a scale of its own"
TITLES = 0.75  # inches between two rows of panels: numbers of the axis above, then a title of two lines


@drawn_or_said
def validation(findings: Findings, cell: str, prefix: str) -> str:
    """Validation MSE by epoch, a small panel per arm with `full` behind it and the bars as lines.

    Arms that end far above the others have a scale of their own, for they would press all others flat.
    """
    arms = [runs for runs in findings.arms if runs.cell == cell and runs.validation.epochs]
    if not arms:
        return ""
    full = next((runs for runs in arms if runs.arm == FULL), None)
    bars = marks_of(findings, cell, "val_mse")
    shared = _shared_scale(arms, bars)
    if shared is None:
        return ""
    names, (low, high) = shared
    with style():
        figure, panels = _panels(len(arms), 1.75)
        for axes, runs in zip(panels, arms, strict=True):
            if full is not None and runs is not full:
                axes.plot(full.validation.epochs, full.validation.mean, color=GREY, linewidth=1)
            _band(axes, runs.validation, BLUE if runs is full else VERMILION)
            for bar in bars:
                if bar.best or (runs.arm in names and low <= bar.error <= high):
                    bar.line(axes)
            if runs.arm in names:
                axes.set_ylim(low, high)
            axes.set_title(_short(runs.arm) if runs.arm in names else f"{_short(runs.arm)}\n{OWN_SCALE}", loc="left")
        figure.supylabel("validation MSE", fontsize=9, x=0.02)
        return inline(figure, prefix, f"Validation MSE by epoch, cell {cell}")


def _shared_scale(arms: Sequence[ArmRuns], bars: Sequence[Mark]) -> tuple[set[str], tuple[float, float]] | None:
    """The arms whose panels share a vertical axis, and its ends; None where no arm has a number to show."""
    ends = {runs.arm: runs.validation.mean[-1] for runs in arms if math.isfinite(runs.validation.mean[-1])}
    if not ends:
        return None
    best = [bar.error for bar in bars if bar.best]
    marks = [*best, *(value for value in (ends.get(FULL, math.nan),) if known(value))]
    deviations = {runs.arm: runs.validation.deviation[-1] for runs in arms}
    outliers = outlying(ends, deviations.values(), marks)
    near = [name for name in ends if name not in outliers]
    values = [value for runs in arms if runs.arm in near for value in runs.validation.mean if math.isfinite(value)]
    bands = [ends[name] + sign * deviations[name] for name in near for sign in (-1, 1) if known(deviations[name])]
    # First epochs can be many times worse: the panels are for where training ends.
    high = max([float(np.quantile(values, 0.9)), *(ends[name] for name in near), *bands, *marks])
    low = min([*values, *bands, *marks, *reached(bars, high)])
    margin = 0.06 * (high - low)
    return set(near), (low - margin, high + margin)


@drawn_or_said
def diagnoses(findings: Findings, cell: str, prefix: str) -> str:
    """What the forecasts of `full` give besides, by epoch: a panel each, with those that never moved named."""
    full = next((runs for runs in findings.arms if (runs.arm, runs.cell) == (FULL, cell)), None)
    drawn = [each for each in full.diagnoses if each.curve.epochs] if full else []
    if full is None or not drawn:
        return ""
    with style():
        figure, panels = _panels(len(drawn), 1.65)
        for axes, each in zip(panels, drawn, strict=True):
            curve, note = each.curve, diagnosis_note(full, each)
            _band(axes, curve, GREY if note == STILL or each.held is not None else PURPLE)
            axes.set_title(f"{each.name}\n{note}" if note else each.name, loc="left")
            if len({*curve.mean}) == 1:  # an axis of its own would show rounding
                axes.set_ylim(curve.mean[0] - 0.5, curve.mean[0] + 0.5)
        title = findings.study.forecaster.diagnostics_title
        return inline(figure, prefix, f"{title}, {network(findings)} by epoch, cell {cell}")


def diagnosis_note(full: ArmRuns, each: Diagnosis) -> str:
    """`held at 1`, `never moved`, `moved in 3 of 9 runs`, or nothing for what moved in every run."""
    if each.held is not None:
        return f"held at {each.held}"
    if not each.still:
        return ""
    return STILL if each.still >= full.complete else f"moved in {full.complete - each.still} of {full.complete} runs"


def _panels(count: int, height: float) -> tuple[Figure, list[Axes]]:
    """As many small panels as asked for, four to a row; placed in inches, for solving for a layout takes long."""
    columns = min(4, count)
    rows = math.ceil(count / columns)
    size = (2.1 * columns + 0.3, height * rows + 0.45)
    figure = Figure(figsize=size)
    grid = figure.subplots(rows, columns, squeeze=False).ravel()
    figure.subplots_adjust(
        left=0.75 / size[0], right=1 - 0.1 / size[0], bottom=0.5 / size[1], top=1 - 0.42 / size[1], wspace=0.42,
        hspace=TITLES / (height - TITLES),
    )  # fmt: skip
    for axes in grid[count:]:
        axes.set_visible(False)
    for axes in grid[:count]:
        axes.xaxis.set_major_locator(MaxNLocator(4, integer=True))
        axes.yaxis.set_major_locator(MaxNLocator(4))
        numbers = ScalarFormatter(useOffset=False)  # a factor or an offset would stand where the title is
        numbers.set_scientific(False)
        axes.yaxis.set_major_formatter(numbers)
        axes.grid()
    figure.supxlabel("epoch", fontsize=9, y=0.06 / size[1], va="bottom")
    return figure, list(grid[:count])


def _band(axes: Axes, curve: Curve, colour: str) -> None:
    mean, deviation = np.array(curve.mean), np.array(curve.deviation)
    axes.fill_between(curve.epochs, mean - deviation, mean + deviation, color=colour, alpha=0.25, linewidth=0)
    axes.plot(curve.epochs, mean, color=colour, linewidth=1.6)


def _short(name: str) -> str:
    return name if len(name) <= 24 else f"{name[:22]}…"
