"""The league's figures. Each returns "" where there is nothing to draw (see reporting.figures)."""

from collections.abc import Sequence

from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.ticker import FuncFormatter, NullFormatter

from ablations.findings.findings import Findings
from ablations.findings.league import Entrant, Kind, League
from ablations.judging.ranking import Ranking
from lab.pages.formats import chance, known
from lab.pages.svg import BLUE, GREEN, GREY, INK, VERMILION, drawn_or_said, inline, style

_COLOURS: dict[Kind, str] = {"model": BLUE, "start": GREEN, "bar": GREY}
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
            said = f"likely best {chance(place.best)}"
            axes.text(1.02, row, said, transform=axes.get_yaxis_transform(), va="center", fontsize=8.5)
        _difference(axes, league.ranking)
        axes.set_yticks(range(len(places)), [league.entrant(place.name).title for place in places])
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
        figure = Figure(figsize=(9, 4), layout="constrained")
        left, right = figure.subplots(1, 2, sharey=True)
        for axes, text in ((left, "effective parameters"), (right, "device seconds of a run")):
            _lines(axes, league, errors, cell)
            axes.set_xscale("log")
            axes.xaxis.set_major_formatter(FuncFormatter(lambda value, _: f"{value:,g}"))
            axes.xaxis.set_minor_formatter(NullFormatter())
            axes.margins(x=0.15)
            axes.set_xlabel(text)
        _points(left, findings, [(each, each.parameters[cell], errors[each.name]) for each in models])
        _points(right, findings, [(each, max(each.seconds[cell], 1e-3), errors[each.name]) for each in models])
        left.set_ylabel("test MSE")
        return inline(figure, prefix, f"Accuracy and cost, cell {cell}")


def _points(axes: Axes, findings: Findings, points: Sequence[tuple[Entrant, float, float]]) -> None:
    for entrant, x, y in points:
        axes.plot([x], [y], "o", color=_colour(findings, entrant), markersize=5)
        axes.annotate(entrant.title, (x, y), xytext=(4, 3), textcoords="offset points", fontsize=7.5)


def _lines(axes: Axes, league: League, errors: dict[str, float], cell: str) -> None:
    for name in (league.best_bars.get(cell), *(each.name for each in league.entrants if each.kind == "start")):
        if name is not None and known(errors.get(name)):
            entrant = league.entrant(name)
            axes.axhline(errors[name], color=_COLOURS[entrant.kind], linewidth=1, linestyle="--")
            axes.text(
                0.01, errors[name], entrant.title, transform=axes.get_yaxis_transform(), fontsize=7.5, ha="left",
                va="bottom", color=INK,
            )  # fmt: skip


def _colour(findings: Findings, entrant: Entrant) -> str:
    """The model that the study is of stands out, with its own settings or others."""
    own = {name for name, entry in findings.study.models.items() if entry.model == findings.study.model}
    plain = entrant.name.removesuffix("@tuned")
    mine = entrant.kind == "model" and (plain in own or plain not in findings.study.models)
    return FULL_COLOUR if mine else _COLOURS[entrant.kind]
