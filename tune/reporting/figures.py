"""The figures of a search: SVG elements for inline use, the same bytes every time.

Where Optuna's own visualisation can be read on the page it is what is drawn, in the page's style; where it cannot, the
function says why. Each returns "" where there is nothing to draw; `prefix` starts every id in the figure.
"""

import math
import warnings
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from typing import Any

import matplotlib.style
from matplotlib import pyplot
from matplotlib.axes import Axes
from matplotlib.collections import PathCollection
from matplotlib.colors import LinearSegmentedColormap
from matplotlib.figure import Figure
from matplotlib.ticker import FuncFormatter, MaxNLocator, NullFormatter, PercentFormatter
from optuna.importance import BaseImportanceEvaluator
from optuna.visualization import matplotlib as optuna_plots

from lab.pages.formats import shortened
from lab.pages.svg import BLUE, GREY, INK, PURPLE, VERMILION, drawn_or_said, inline, style
from lab.references.drawing import reached
from lab.references.measured import titles_of
from tune.findings.findings import COMPLETE, DIVERGED, FAILED, STOPPED, Published, SearchFindings, Trial
from tune.reporting.axes import LOSS, marks_of, plain_log, reach, short_names
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
        axes.collections[0].set(color=BLUE, label=COMPLETE)
        axes.lines[0].set(color=BLUE, alpha=1, linewidth=1.2, label="best so far", drawstyle="steps-post")
        places = {trial.trial: place for place, trial in enumerate(findings.trials)}  # Optuna's numbers
        stopped = [t for t in findings.of(STOPPED) if not math.isnan(t.loss)]
        axes.scatter(
            [places[t.trial] for t in stopped], [t.loss for t in stopped], facecolors="none", edgecolors=GREY,
            label="stopped early, where it stood" if stopped else None,
        )  # fmt: skip
        for outcome, marker in ((FAILED, "x"), (DIVERGED, "^")):
            if bad := findings.of(outcome):
                axes.plot(
                    [places[t.trial] for t in bad], [0.03] * len(bad), marker, color=VERMILION, label=outcome,
                    transform=axes.get_xaxis_transform(),
                )  # fmt: skip
        low, high = reach([t.loss for t in findings.of(COMPLETE)] + [t.loss for t in stopped])
        axes.set_ylim(low - 0.08 * (high - low), high)
        axes.xaxis.set_major_locator(MaxNLocator(integer=True))
        axes.set_xlabel("trial, in the order of the proposals")
        axes.grid(axis="y")
        axes.legend(loc="lower left", bbox_to_anchor=(0, 1), ncols=5)
        return _finish(figure, (8, 3.2), prefix, f"{LOSS} by trial, and the best so far")


class _Known(BaseImportanceEvaluator):
    """The importances of the findings, for Optuna to draw: they are not computed twice."""

    def __init__(self, shares: Mapping[str, float]):
        self._shares = dict(shares)

    def evaluate(self, study: Any, params: Any = None, *, target: Any = None) -> dict[str, float]:
        return self._shares


@drawn_or_said
def importance(findings: SearchFindings, prefix: str) -> str:
    """Optuna's bars."""
    shares = findings.importance.shares
    if not shares:
        return ""
    with _drawn_by_optuna():
        axes = optuna_plots.plot_param_importances(findings.study(), evaluator=_Known(shares), target_name=LOSS)
        figure = _figure(axes)
        for bar, text, value in zip(axes.patches, axes.texts, list(shares.values())[::-1], strict=True):
            bar.set_facecolor(BLUE)
            text.set_text(share(value))  # as it stands in the table
            text.set_x(value + 0.008 * max(shares.values()))
        legend = axes.get_legend()
        assert legend is not None
        legend.remove()
        axes.set(xlabel="share of the importance", ylabel="")
        axes.xaxis.set_major_formatter(PercentFormatter(1, decimals=0))
        axes.tick_params(axis="y", length=0)
        axes.margins(x=0.12)
        return _finish(figure, (8, 0.7 + 0.32 * len(shares)), prefix, "Importance of the searched settings")


def share(value: float) -> str:
    return f"{value:.1%}"


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
        low, high = reach([trial.loss for trial in findings.of(COMPLETE)])
        for axes, item in zip(panels, row, strict=True):
            assert axes.get_xlabel() == item.path
            _slice_axis(axes, item)
            axes.set_xlabel(names[item.path])
            axes.set_ylim(low, high)
            axes.grid(axis="y")
            for points in axes.collections:
                assert isinstance(points, PathCollection)
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
    complete, stopped = ([t for t in trials if t.outcome == outcome] for outcome in (COMPLETE, STOPPED))
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
            steps = sorted((t.parameters or 0, t.loss) for t in findings.front)
            axes.step(*zip(*steps, strict=True), where="post", color=VERMILION, linewidth=1)
        else:  # Optuna draws no second quantity that is no objective
            figure, axes = pyplot.subplots()
            _points(axes, complete, COMPLETE, color=BLUE)
            _points(axes, complete[:1], "best", color=VERMILION, zorder=4)
        _points(axes, stopped, "stopped early, where it stood", facecolors="none", edgecolors=GREY)
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
        low, high = reach(losses + [mse for _, _, mse in others])
        axes.set_ylim(low, high)
        for bar in bars:
            if low < bar.error < high:
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
        axes.scatter([t.parameters or 0 for t in trials], [t.loss for t in trials], label=label, **look)


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
    (low, high), gap = axes.get_ylim(), 0.055
    height = 1.0 + gap
    for place, (name, parameters, mse) in enumerate(sorted(models, key=lambda model: (-model[2], model[0]))):
        wanted = (min(mse, high) - low) / (high - low)
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
