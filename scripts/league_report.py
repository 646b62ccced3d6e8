"""`make league-report`: what the league measured, from its records alone: its page, one figure, and docs/league.md's
section "How DynoNet stands among its rivals" as these records tell it.
"""

import argparse
import math
import statistics
import sys
from collections.abc import Iterator, Sequence
from pathlib import Path

from matplotlib.axes import Axes
from matplotlib.figure import Figure

import ablations.report
from ablations.findings.collect import findings_of
from ablations.findings.findings import PRIMARY, Findings
from ablations.findings.league import Beside, Entrant, League
from ablations.judging.ranking import Place, Ranking
from ablations.reporting.league.sections import headline
from ablations.reporting.league.tables import lookback, lookbacks_differ
from lab.arms import FULL
from lab.console.commands import command_named, refused
from lab.console.parser import Parser
from lab.console.printing import print
from lab.errors import ConfigError, DataError
from lab.pages import svg
from lab.pages.formats import counted, decimal, shortened, signed
from lab.store.frames import open_results
from lab.store.objects.storage import StorageError
from lab.store.schema import ResultsError

ROOT = Path(__file__).parents[1]
KEPT = ROOT / "results" / "league"
STUDY, FIGURE = "league", "league.svg"
FAR = 1.3  # times the lowest mean error of a panel: off its axis


def parser() -> argparse.ArgumentParser:
    result = Parser(prog="python -m scripts.league_report", description=(__doc__ or "").split("\n")[0])
    result.add_argument("--results", default=str(KEPT), help="the records (default: those that are kept with the code)")
    result.add_argument("--study", default=STUDY, help="its name on record (default: %(default)s)")
    result.add_argument("--out", type=Path, default=ROOT / "results" / "league-pages", help="where page and figure go")
    return result


@command_named("scripts.league_report")
def main(arguments: Sequence[str] | None = None) -> int:
    options = parser().parse_args(arguments)
    try:
        findings = found(options)
        if code := ablations.report.main([options.study, "--results", options.results, "--out", str(options.out)]):
            return code
    except (ConfigError, DataError, ResultsError, StorageError) as error:
        return refused(error)
    assert findings.league is not None and findings.league.ranking is not None
    (options.out / FIGURE).write_text(figure(findings, findings.league))
    print("\n".join(["", *section(findings, findings.league, findings.league.ranking)]))
    return 0


def found(options: argparse.Namespace) -> Findings:
    """Raises ResultsError: no records of a league, or none that can be ranked."""
    if not (Path(options.results) / "studies").is_dir():
        raise ResultsError(
            f"no records of a league in {options.results}: `make league` trains one, and `python -m tune.results copy "
            f"{options.study} --to {options.results}` keeps what it measured"
        )
    findings = findings_of(open_results(options.results), options.study)
    if findings.league is None or findings.league.ranking is None:
        raise ResultsError(
            f"study '{options.study}' in {options.results} ranks no models: it is no league, or not done"
        )
    return findings


def section(findings: Findings, league: League, ranking: Ranking) -> Iterator[str]:
    """What the docs say of it, each sentence with its numbers."""
    seeds = max(len(runs.seeds) for runs in findings.arms)
    yield "## How DynoNet stands among its rivals"
    yield ""
    yield (
        f"Measured here by `make league`: {counted(len(models(league)), 'model')}, {' and '.join(ranking.cells)}, "
        f"{counted(seeds, 'seed')}, every test window; `make league-report` reprints all of it from `results/league`."
    )
    yield ""
    for cell in ranking.cells:
        yield f"- **{cell}**: {of_cell(league, ranking, cell)}"
    yield f"- **Together**: {headline(league, ranking)} {spans(league, ranking)}"
    yield f"- **Training and its price**: {costs(league, ranking)}"
    if measured := ", ".join(f"{each.name} {signed(each.difference)}" for each in nearest(league)):
        yield f"- **Measured less reported**, ETTh1 (of several reports that of the nearest lookback): {measured}."
    yield f"- **Still quoted, not measured**: {', '.join(league.absent) or 'none'}."
    yield f"- **What does not carry over**: {lookbacks_differ(league)} {reach(ranking, seeds)}"
    yield ""
    yield f"![Test MSE of every seed, by cell and model](../results/league/{FIGURE})"


def models(league: League) -> list[Entrant]:
    return [each for each in league.entrants if each.kind == "model"]


def of_cell(league: League, ranking: Ranking, cell: str) -> str:
    """Where DynoNet stands among the models, who leads, and who is below the best bar for sure."""
    trained = [place for place in ranking.places if league.entrant(place.name).kind == "model"]
    trained.sort(key=lambda place: place.errors[cell] if not math.isnan(place.errors[cell]) else math.inf)
    said = [
        f"{league.entrant(place.name).title} is {at} of {len(trained)} ({decimal(place.errors[cell])})"
        for at, place in enumerate(trained, 1)
        if at == 1 or is_own(league.entrant(place.name))
    ]
    bar = league.best_bars.get(cell)
    if bar is None:
        return "; ".join(said) + "."
    error = next(place.errors[cell] for place in ranking.places if place.name == bar)
    below = [league.entrant(place.name).title for place in trained if surely_below(place, cell)]
    who = f"below it over seeds and windows: {', '.join(below)}" if below else "no model is surely below it"
    return f"{'; '.join(said)}. The best bar on validation, {league.entrant(bar).title}, has {decimal(error)}; {who}."


def surely_below(place: Place, cell: str) -> bool:
    return cell in place.above and place.above[cell][1][1] < 0


def spans(league: League, ranking: Ranking) -> str:
    """The mean ranks of DynoNet's settings, with their intervals."""
    return "; ".join(
        f"{entrant.title}: mean rank {place.rank:.1f} of {len(ranking.places)} models, starts and bars "
        f"({place.ranks[0]:.1f} to {place.ranks[1]:.1f})"
        for place in ranking.places
        if (entrant := league.entrant(place.name)).kind == "model" and is_own(entrant)
    ) + "."  # fmt: skip


def costs(league: League, ranking: Ranking) -> str:
    """The cheapest of those that are about as good as the best, and DynoNet."""
    cell = ranking.cells[0]
    found = {place.name: place.errors[cell] for place in ranking.places}
    trained = [each for each in models(league) if not math.isnan(found[each.name])]
    best = min(found[each.name] for each in trained)
    near = min((each for each in trained if found[each.name] <= 1.01 * best), key=lambda each: each.parameters[cell])
    full = next((each for each in trained if each.name == FULL), near)
    return (
        f"within 1% of the best model on {cell}, the smallest is {near.title}: {near.parameters[cell]:,} parameters, "
        f"{near.seconds[cell]:.3g} device seconds a run; {full.title} has {full.parameters[cell]:,} and takes "
        f"{full.seconds[cell]:.3g}."
    )


def nearest(league: League) -> Iterator[Beside]:
    """Of each model with settings that a source may have used: the report of the nearest lookback."""
    usual = [each for each in league.beside if not each.searched]
    for name in dict.fromkeys(each.name for each in usual):
        yield min(
            (each for each in usual if each.name == name),
            key=lambda each: (math.inf if each.farther is None else each.farther, len(each.why)),
        )


def reach(ranking: Ranking, seeds: int) -> str:
    return (
        f"{ranking.series} series at one horizon and origin, settings for ETTh1 in each; {seeds} seeds decide no pair."
    )


def figure(findings: Findings, league: League) -> str:
    """Test MSE of every seed, a panel a cell, the lowest first; the best bar on validation as a line."""
    assert league.ranking is not None
    cells = league.ranking.cells
    with svg.style():
        drawing = Figure(figsize=(7.2, len(cells) * (0.8 + 0.23 * len(models(league)))), layout="constrained")
        for axes, cell in zip(drawing.subplots(len(cells), squeeze=False)[:, 0], cells, strict=True):
            panel(axes, findings, league, cell)
        axes.set_xlabel("test MSE, a dot a seed, the stroke their mean")
        # It stands alone in the docs, on white or on black: currentColor would be black there.
        return svg.inline(drawing, "league", "Test MSE by model").replace("currentColor", svg.GREY)


def panel(axes: Axes, findings: Findings, league: League, cell: str) -> None:
    """What is far from the lowest is written at the edge."""
    assert league.ranking is not None
    rows = [(each, findings.runs_of(each.name, cell).known(PRIMARY)) for each in models(league)]
    rows = sorted(((each, errors) for each, errors in rows if errors), key=lambda row: statistics.fmean(row[1]))
    far, right = FAR * statistics.fmean(rows[0][1]), axes.get_yaxis_transform()
    for place, (each, errors) in enumerate(rows):
        if (mean := statistics.fmean(errors)) > far:
            axes.text(1, place, f"{mean:.3f} →", transform=right, color=svg.INK, fontsize=8, ha="right", va="center")
            continue
        colour = svg.VERMILION if is_own(each) else svg.BLUE
        axes.plot(errors, [place] * len(errors), "o", color=colour, markersize=4, alpha=0.6, markeredgewidth=0)
        axes.plot([mean], [place], "|", color=svg.INK, markersize=9)
    if (bar := league.best_bars.get(cell)) is not None:
        error = next(place.errors[cell] for place in league.ranking.places if place.name == bar)
        axes.axvline(error, color=svg.GREEN, linewidth=1)
        axes.text(error, -0.6, f" {league.entrant(bar).title} {error:.3f}", color=svg.GREEN, fontsize=7, va="bottom")
    axes.set_yticks(range(len(rows)), [f"{shortened(each.title, 34)}, S={lookback(each)}" for each, _ in rows])
    axes.set_ylim(len(rows) - 0.5, -1.4)
    axes.set_title(cell, loc="left", weight="bold")
    axes.grid(axis="x")


def is_own(entrant: Entrant) -> bool:
    """Whether it is DynoNet, with its published settings or others."""
    return entrant.name == FULL or entrant.name.startswith("dynonet")


if __name__ == "__main__":
    sys.exit(main())
