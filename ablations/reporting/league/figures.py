"""The league's figures. Each returns "" where there is nothing to draw (see reporting.figures)."""

from collections.abc import Sequence

import numpy as np
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.ticker import FuncFormatter, NullFormatter

from ablations.findings.findings import Findings
from ablations.findings.league import Entrant, Kind, League
from ablations.judging.ranking import Ranking
from lab.pages.formats import chance, known, shortened
from lab.pages.svg import BLUE, GREEN, GREY, INK, VERMILION, drawn_or_said, inline, style
from lab.references.windows import name_rows, units, window

_COLOURS: dict[Kind, str] = {"model": BLUE, "start": GREEN, "bar": GREY}
WIDE, HIGH = 0.45, 0.042  # of an axes: what a name takes beside its point
LONG = 44  # letters of a name beside its row
FULL_COLOUR = VERMILION  # of the model that the study is of


@drawn_or_said
def ranks(findings: Findings, prefix: str) -> str:
    """Mean ranks, the best at the top, with their interval on these cells; the critical difference as a bar."""
    league = findings.league
    if league is None or league.ranking is None:
        return ""
    places = league.ranking.places
    with style():
        figure = Figure(figsize=(8, 1.3 + 0.28 * len(places)), layout="constrained")
        axes = figure.subplots()
        for row, place in enumerate(places):
            colour = _colour(findings, league.entrant(place.name))
            if known(place.ranks[0]):
                axes.plot(place.ranks, [row, row], color=colour, linewidth=2, solid_capstyle="butt")
            axes.plot([place.rank], [row], "o", color=colour, markersize=6)
            said = f"best in {chance(place.best)} of draws"
            axes.text(1.02, row, said, transform=axes.get_yaxis_transform(), va="center", fontsize=8.5)
        _difference(axes, league.ranking)
        axes.set_yticks(range(len(places)), [shortened(league.entrant(place.name).title, LONG) for place in places])
        axes.set_ylim(len(places) - 0.4, -2.0)
        axes.tick_params(axis="y", length=0)
        axes.spines["left"].set_visible(False)
        axes.set_xlabel("mean rank (1: the lowest error); 95% on these cells")
        axes.grid(axis="x")
        return inline(figure, prefix, "Mean ranks with intervals")


def _difference(axes: Axes, ranking: Ranking) -> None:
    """Nemenyi's, where it is shorter than the ranks there are."""
    if ranking.difference is None:
        return
    most = len(ranking.places) - 1
    length = min(ranking.difference, most)
    axes.plot([1, 1 + length], [-0.9, -0.9], color=INK, linewidth=2)
    over = "" if ranking.difference <= most else " (no two ranks are so far apart)"
    axes.text(1, -1.05, f"critical difference {ranking.difference:.1f}{over}", fontsize=8.5, va="bottom")


@drawn_or_said
def costs(findings: Findings, cell: str, prefix: str) -> str:
    """Test MSE against parameters, and against device seconds of a run; the best bar and the start as lines."""
    league = findings.league
    if league is None or league.ranking is None:
        return ""
    errors = {place.name: place.errors[cell] for place in league.ranking.places}
    models = [each for each in league.entrants if each.kind == "model" and known(errors[each.name])]
    if not models:
        return ""
    with style():
        figure = Figure(figsize=(9, 4.2), layout="constrained")
        left, right = figure.subplots(1, 2, sharey=True)
        for axes, text in ((left, "effective parameters"), (right, "device seconds of a run")):
            _lines(axes, league, errors, cell)
            axes.set_xscale("log")
            axes.xaxis.set_major_formatter(FuncFormatter(lambda value, _: f"{value:,.12g}"))
            axes.xaxis.set_minor_formatter(NullFormatter())
            axes.margins(x=0.1)
            axes.set_xlabel(text)
        _points(left, findings, [(each, each.parameters[cell], errors[each.name]) for each in models])
        _points(right, findings, [(each, max(each.seconds[cell], 1e-3), errors[each.name]) for each in models])
        left.set_ylabel("test MSE")
        figure.legend(*left.get_legend_handles_labels(), loc="outside upper left", ncols=2)
        return inline(figure, prefix, f"Accuracy and cost, cell {cell}")


def _points(axes: Axes, findings: Findings, points: Sequence[tuple[Entrant, float, float]]) -> None:
    """Each with its name to the right of it, and higher where another's name stands there already."""
    for entrant, x, y in points:
        axes.plot([x], [y], "o", color=_colour(findings, entrant), markersize=5)
    axes.autoscale_view()
    (left, right), (low, high) = np.log10(axes.get_xlim()), axes.get_ylim()
    taken: list[tuple[float, float]] = []
    for entrant, x, y in sorted(points, key=lambda point: point[2]):
        across, up = float((np.log10(x) - left) / (right - left)), (y - low) / (high - low)
        while any(abs(across - a) < WIDE and abs(up - b) < HIGH for a, b in taken):
            up += HIGH / 4
        taken.append((across, up))
        axes.annotate(
            shortened(entrant.title, 26), (x, y), xytext=(across + 0.015, up), textcoords="axes fraction", fontsize=7.5,
            va="center", annotation_clip=False, arrowprops={"arrowstyle": "-", "color": GREY, "linewidth": 0.5},
        )  # fmt: skip


def _lines(axes: Axes, league: League, errors: dict[str, float], cell: str) -> None:
    for name in (league.best_bars.get(cell), *(each.name for each in league.entrants if each.kind == "start")):
        if name is not None and known(errors.get(name)):
            entrant = league.entrant(name)
            axes.axhline(errors[name], color=_COLOURS[entrant.kind], linewidth=1, linestyle="--", label=entrant.title)


def _colour(findings: Findings, entrant: Entrant) -> str:
    return FULL_COLOUR if stands_out(findings, entrant) else _COLOURS[entrant.kind]


def stands_out(findings: Findings, entrant: Entrant) -> bool:
    """The model that the study is of, with its own settings or others."""
    own = {name for name, entry in findings.study.models.items() if entry.model == findings.study.model}
    plain = entrant.name.removesuffix("@tuned")
    return entrant.kind == "model" and (plain in own or plain not in findings.study.models)


@drawn_or_said
def forecasts(findings: Findings, cell: str, prefix: str) -> str:
    """A row a model, in the ranking's order, and a column a window: the forecast beside the truth."""
    league = findings.league
    found = {} if league is None else league.forecasts.get(cell, {})
    if league is None or not found:
        return ""
    models = [entrant for entrant in league.entrants if entrant.name in found]
    columns = len(found[models[0].name].rows)
    with style():
        figure = Figure(figsize=(2.8 * columns, 0.5 + 1.15 * len(models)), layout="constrained")
        grid = figure.subplots(len(models), columns, sharex="col", sharey="col", squeeze=False)
        for entrant, line in zip(models, grid, strict=True):
            shown = found[entrant.name]
            for place, axes in enumerate(line):
                window(axes, shown, place, _colour(findings, entrant))
            line[0].set_title(shortened(entrant.title, 60), loc="left", fontsize=8.5, pad=11)
        first = found[models[0].name]
        for place, axes in enumerate(grid[-1]):
            name_rows(axes, first, place)
        figure.supylabel(units(first), fontsize=9)
        return inline(figure, prefix, f"Forecasts of a few windows, cell {cell}")
