"""The figures of a search: SVG elements for inline use, the same bytes every time.

Where Optuna's own visualisation can be read on the page it is what is drawn, in the page's style; where it cannot, the
function says why. Each returns "" where there is nothing to draw; `prefix` starts every id in the figure.
"""

import math
import warnings
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from typing import Any

import matplotlib.style
import numpy as np
from matplotlib import pyplot
from matplotlib.axes import Axes
from matplotlib.collections import PathCollection
from matplotlib.colors import LinearSegmentedColormap
from matplotlib.figure import Figure
from matplotlib.ticker import FuncFormatter, MaxNLocator, NullFormatter
from optuna.visualization import matplotlib as optuna_plots

from lab.pages.formats import shortened, whole
from lab.pages.svg import BLUE, GREY, INK, PURPLE, VERMILION, drawn_or_said, inline, style, tell
from lab.references.drawing import reached
from lab.references.measured import titles_of
from tune.findings.findings import COMPLETE, DIVERGED, FAILED, RACED_OUT, STOPPED, Published, SearchFindings, Trial
from tune.reporting.axes import LOSS, Reach, marks_of, plain_log, said, short_names
from tune.space import Range
from tune.space.categories import label

PANELS = 4  # slices side by side
_SLICE = LinearSegmentedColormap.from_list("trials", [GREY, BLUE])


@contextmanager
def _drawn_by_optuna() -> Iterator[None]:
    """Optuna's functions draw in our style: the style sheet that they ask for holds nothing meanwhile."""
    sheets: Any = matplotlib.style.library
    theirs = sheets["ggplot"]
    sheets["ggplot"] = {}
    try:
        with style(), pyplot.ioff(), warnings.catch_warnings():
            warnings.simplefilter("ignore")  # that these functions are experimental, that limits are of no width
            yield
    finally:
        sheets["ggplot"] = theirs


def _finish(figure: Figure, size: tuple[float, float], prefix: str, title: str) -> str:
    """An Optuna figure at our size, without its title, which the page has."""
    for axes in figure.axes:
        axes.set_title("")
        axes.set_title("", loc="left")
    figure.suptitle("")
    figure.set_layout_engine("constrained")
    figure.set_size_inches(size)
    text = inline(figure, prefix, title)
    pyplot.close(figure)
    return text


@drawn_or_said
def history(findings: SearchFindings, prefix: str) -> str:
    """Optuna's optimisation history, with the trials that it leaves out: stopped, diverged and failed ones."""
    if not findings.improvements:
        return ""
    with _drawn_by_optuna():
        axes = optuna_plots.plot_optimization_history(findings.study(), target_name=LOSS)
        figure = _figure(axes)
        points = axes.collections[0]
        points.set(color=BLUE, label=COMPLETE)
        names = short_names([item.path for item in findings.space])
        tell(points, [said(findings.trials[int(x)], names) for x, _ in np.asarray(points.get_offsets())])
        axes.lines[0].set(color=BLUE, alpha=1, linewidth=1.2, label="best so far", drawstyle="steps-post")
        places = {trial.trial: place for place, trial in enumerate(findings.trials)}  # Optuna's numbers
        stopped = [t for t in findings.of(STOPPED, RACED_OUT) if not math.isnan(t.loss)]
        if stopped:
            points = axes.scatter(
                [places[t.trial] for t in stopped], [t.loss for t in stopped], facecolors="none", edgecolors=GREY,
                label=_stopped(findings),
            )  # fmt: skip
            tell(points, [said(trial, names) for trial in stopped])
        for outcome, marker in ((FAILED, "x"), (DIVERGED, "^")):
            if bad := findings.of(outcome):
                points = axes.scatter(
                    [places[t.trial] for t in bad], [0.03] * len(bad), marker=marker, color=VERMILION, label=outcome,
                    transform=axes.get_xaxis_transform(),
                )  # fmt: skip
                tell(points, [said(trial, names) for trial in bad])
        bars, losses = marks_of(findings), [t.loss for t in (*findings.of(COMPLETE), *stopped)]
        shown = [bar for bar in bars if bar.start or bar.error in reached(bars, max(losses))]
        Reach.of([*losses, *(bar.error for bar in shown)]).set(axes, below=0.12)
        for bar in shown:
            bar.line(axes, f"{bar.title} (best bar)" if bar.best else bar.title if bar.start else None)
        axes.xaxis.set_major_locator(MaxNLocator(integer=True))
        axes.set_xlabel("trial, in the order of the proposals")
        axes.grid(axis="y")
        axes.legend(loc="lower left", bbox_to_anchor=(0, 1), ncols=3)
        return _finish(figure, (8, 3.6), prefix, f"{LOSS} by trial, and the best so far")


def _stopped(findings: SearchFindings) -> str:
    return f"stopped{' or raced out' if findings.raced else ''}, where it stood"


def slices(findings: SearchFindings, prefix: str) -> list[tuple[str, str]]:
    """Optuna's slices, a few settings to a figure, for all in a row would be too small: names and figure of each."""
    drawn = [r for r in findings.space if any(r.path in trial.params for trial in findings.of(COMPLETE))]
    drawn.sort(key=lambda item: item.path)  # as Optuna has them
    rows = [drawn[start : start + PANELS] for start in range(0, len(drawn), PANELS)]
    return [
        (", ".join(item.path for item in row), _slices(findings, row, f"{prefix}-{number}"))
        for number, row in enumerate(rows, 1)
    ]


@drawn_or_said
def _slices(findings: SearchFindings, row: Sequence[Range], prefix: str) -> str:
    with _drawn_by_optuna():
        found = optuna_plots.plot_slice(
            findings.study(), params=[item.path for item in row], target_name=LOSS
        )  # fmt: skip
        panels: list[Axes] = [found] if isinstance(found, Axes) else list(found)
        figure = _figure(panels[0])
        names = short_names([item.path for item in findings.space])
        complete = findings.of(COMPLETE)
        reach = Reach.of([trial.loss for trial in complete])
        for axes, item in zip(panels, row, strict=True):
            assert axes.get_xlabel() == item.path
            _slice_axis(axes, item)
            axes.set_xlabel(names[item.path])
            reach.set(axes)
            axes.grid(axis="y")
            drew = [trial for trial in complete if item.path in trial.params]
            for points in axes.collections:
                assert isinstance(points, PathCollection)
                tell(points, [said(trial) for trial in drew])
                points.set(cmap=_SLICE, edgecolors="none", sizes=[22])
                if points.colorbar is not None:  # an image in a page of lines; the caption says it
                    points.colorbar.remove()
            best = findings.best
            if best is not None and item.path in best.params:
                value = best.params[item.path]
                at = repr(label(value)) if item.kind == "choice" else value
                axes.plot([at], [best.loss], "o", color="none", markeredgecolor=VERMILION, markersize=9)
        width = 0.6 + 1.85 * len(panels)
        return _finish(figure, (width, 2.5), prefix, f"{LOSS} by {', '.join(item.path for item in row)}")


def _slice_axis(axes: Axes, item: Range) -> None:
    """The whole range that was searched, not only what was drawn of it."""
    if item.kind == "choice":
        written = {repr(name): item.shown(choice) for name, choice in item.by_label.items()}
        axes.set_xticks(axes.get_xticks(), [written[tick.get_text()] for tick in axes.get_xticklabels()])
        axes.margins(x=0.2)
        axes.autoscale(axis="x")
    elif item.low < item.high:
        pad = 0.07
        if item.log:
            ratio = (item.high / item.low) ** pad
            axes.set_xlim(item.low / ratio, item.high * ratio)
        else:
            axes.set_xlim(item.low - pad * (item.high - item.low), item.high + pad * (item.high - item.low))
    if item.kind == "int":
        axes.xaxis.set_major_locator(MaxNLocator(4, integer=True))
    if item.log:
        plain_log(axes, item)


@drawn_or_said
def accuracy(findings: SearchFindings, prefix: str) -> str:
    """Loss against parameters, other models behind. Of two objectives: Optuna's Pareto front, and its line."""
    trials = [t for t in findings.ranked() if t.parameters is not None]
    if not trials:
        return ""
    complete, stopped = (
        [t for t in trials if t.outcome in outcomes] for outcomes in ((COMPLETE,), (STOPPED, RACED_OUT))
    )
    with _drawn_by_optuna():
        if findings.front:
            axes = optuna_plots.plot_pareto_front(
                findings.front_study(), targets=lambda trial: (trial.values[1], trial.values[0]),
                target_names=["parameters", LOSS],
            )  # fmt: skip
            figure = _figure(axes)
            colours = ([(BLUE, COMPLETE)] if len(complete) > len(findings.front) else []) + [
                (VERMILION, "Pareto front")
            ]
            for points, (colour, label) in zip(axes.collections, colours, strict=True):
                points.set(color=colour, label=label)
                at = {(t.parameters, t.loss): f"{said(t)}, {whole(t.parameters)} parameters" for t in complete}
                tell(points, [at.get((int(x), float(y)), "") for x, y in np.asarray(points.get_offsets())])
            steps = sorted((t.parameters or 0, t.loss) for t in findings.front)
            axes.step(*zip(*steps, strict=True), where="post", color=VERMILION, linewidth=1)
        else:  # Optuna draws no second quantity that is no objective
            figure, axes = pyplot.subplots()
            _points(axes, complete, COMPLETE, color=BLUE)
            _points(axes, complete[:1], "best", color=VERMILION, zorder=4)
        _points(axes, stopped, _stopped(findings), facecolors="none", edgecolors=GREY)
        bars, losses = marks_of(findings), [trial.loss for trial in trials]
        losses += reached(bars, max(losses))
        others = _others(findings)
        axes.set(xscale="log", xlabel="parameters", ylabel="MSE" if others else LOSS)
        for of, fill, label in (
            (findings.measured, PURPLE, "measured in a league, test MSE"),
            (quoted(findings), "none", "quoted test MSE"),
        ):  # fmt: skip
            if of:
                axes.plot(
                    [model.parameters for model in of], [model.mse for model in of], "s", color=PURPLE,
                    markerfacecolor=fill, label=label,
                )  # fmt: skip
        reach = Reach.of(losses + [mse for _, _, mse in others])
        reach.set(axes)
        for bar in bars:
            if reach.low <= bar.error <= reach.high:
                if bar.best and bar.parameters:
                    axes.plot([bar.parameters], [bar.error], "D", color=INK)
                bar.line(axes, f"{bar.title} (best bar)" if bar.best else bar.title if bar.start else None)
        _named_at_the_right(axes, others)
        axes.xaxis.set_major_formatter(FuncFormatter(lambda value, _: f"{value:,.0f}"))
        axes.xaxis.set_minor_formatter(NullFormatter())
        left, right = axes.get_xlim()
        if right < 100 * left:  # too few powers of ten to read a size by
            axes.xaxis.set_minor_formatter(FuncFormatter(_some_minor))
        axes.grid()
        axes.legend(loc="lower left", bbox_to_anchor=(0, 1), ncols=3 if others else 4)
        return _finish(figure, (8, 3.8), prefix, f"{LOSS} against parameters")


def _points(axes: Axes, trials: Sequence[Trial], label: str, **look: Any) -> None:
    if trials:
        points = axes.scatter([t.parameters or 0 for t in trials], [t.loss for t in trials], label=label, **look)
        tell(points, [f"{said(trial)}, {whole(trial.parameters)} parameters" for trial in trials])


def quoted(findings: SearchFindings) -> tuple[Published, ...]:
    """Published figures of models that no league has measured."""
    known = titles_of(findings.measured)
    return tuple(model for model in findings.published if model.name.partition(" (")[0] not in known)


def _others(findings: SearchFindings) -> list[tuple[str, float, float]]:
    """Name, parameters and test MSE of other models, each once."""
    found = [(shortened(each.title, 34), float(each.parameters), each.mse) for each in findings.measured]
    return [*found, *((model.name, model.parameters, model.mse) for model in quoted(findings))]


def _named_at_the_right(axes: Axes, models: Sequence[tuple[str, float, float]]) -> None:
    """Other models' names in a column, evenly apart where their marks are too close, each with a line to it."""
    gap = 0.055
    height = 1.0 + gap
    for place, (name, parameters, mse) in enumerate(sorted(models, key=lambda model: (-model[2], model[0]))):
        wanted = float(axes.transAxes.inverted().transform(axes.transData.transform((parameters, mse)))[1])
        height = max(min(wanted, height - gap), gap * (len(models) - 1 - place))
        axes.annotate(
            name, (parameters, mse), (1.03, height), textcoords="axes fraction", va="center",
            fontsize=7.5, annotation_clip=False,
            arrowprops={"arrowstyle": "-", "color": PURPLE, "alpha": 0.45, "linewidth": 0.6, "shrinkA": 1,
                        "shrinkB": 4, "relpos": (0, 0.5)},
        )  # fmt: skip


def _some_minor(value: float, _: Any) -> str:
    first = f"{value:.0e}"[0]
    return f"{value:,.0f}" if first in "235" else ""


def _figure(axes: Any) -> Figure:
    figure = axes.get_figure(root=True)
    assert isinstance(figure, Figure)
    return figure
