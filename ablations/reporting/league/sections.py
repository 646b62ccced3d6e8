"""The league's sections, and its lines for a terminal."""

import textwrap
from collections.abc import Iterator

from ablations.findings.findings import Findings
from ablations.findings.league import League
from ablations.judging.ranking import Ranking
from ablations.reporting.league import figures
from ablations.reporting.league.glance import picture
from ablations.reporting.league.tables import (
    BESIDE,
    BESIDE_HEADER,
    COST,
    SETTINGS_HEADER,
    above_header,
    above_rows,
    beside_rows,
    caption,
    cost_header,
    cost_rows,
    lookbacks_differ,
    ranking_header,
    ranking_rows,
    settings_rows,
)
from lab.console.printing import aligned
from lab.pages.blocks import Block, Item, Section, Text, drawing, items, section, table
from lab.pages.formats import chance
from lab.pages.svg import slug

WIDTH = 118  # columns of a sentence


def league_sections(findings: Findings) -> list[Section | None]:
    """None of them in a study that is no league."""
    league = findings.league
    if league is None:
        return []
    return [
        section("The ranking", "ranking", _ranking(findings, league)),
        section("Whose settings", "settings", _settings(league)),
        section("Accuracy and what it costs", "cost", _cost(findings, league)),
        section("Forecasts", "forecasts", _forecasts(findings, league)),
        section("Reported and measured", "reported", _beside(league)),
    ]


def _ranking(findings: Findings, league: League) -> Iterator[Block | None]:
    ranking = league.ranking
    if ranking is None:
        yield Text("Fewer than two entrants are on record in every cell: there is nothing to rank.")
    else:
        said = headline(league, ranking)
        yield Text(said[0].upper() + said[1:])
        yield picture(findings, league, ranking)
        yield table(
            ranking_header(ranking), ranking_rows(findings), "Models, starts and bars, the best mean rank first"
        )
        yield Text(caption(ranking), "note")
        yield table(
            above_header(ranking), above_rows(league), "Error less that of the best bar on validation ("
            + "; ".join(f"{cell}: {league.entrant(bar).title}" for cell, bar in league.best_bars.items()) + ")",
        )  # fmt: skip
    yield items(Item(why, title) for title, why in league.left_out.items())
    if league.absent:
        yield Text(f"Not in this league: {', '.join(league.absent)}.", "note")


def _settings(league: League) -> Iterator[Block | None]:
    if said := lookbacks_differ(league):
        yield Text(said)
    yield table(SETTINGS_HEADER, settings_rows(league), "Epochs trained are means over seeds, cell by cell", words=2)


def headline(league: League, ranking: Ranking) -> str:
    """One sentence: who is best most often where seeds and stretches of test are drawn anew, and who else is."""
    ordered = sorted(ranking.places, key=lambda place: -place.best)
    first, *rest = ordered
    others = [place for place in rest if place.best >= 0.05]
    said = (
        f"{league.entrant(first.name).title} has the lowest error on these cells in {chance(first.best)} of draws over "
        "seeds and stretches of test"
    )
    if not others:
        return f"{said}; no other has it in 5%."
    named = ", ".join(f"{league.entrant(place.name).title} ({chance(place.best)})" for place in others)
    return f"{said}; so have {named}."


def _cost(findings: Findings, league: League) -> Iterator[Block | None]:
    cells = next((tuple(entrant.parameters) for entrant in league.entrants if entrant.kind == "model"), ())
    yield table(cost_header(league), cost_rows(league))
    if any(entrant.step for entrant in league.entrants):
        yield Text(COST, "note")
    for cell in cells:
        yield drawing(
            figures.costs(findings, cell, slug("league", "cost", cell)),
            f"Test MSE against parameters and against device seconds of a run, cell {cell}; lines are bars.",
        )


def _forecasts(findings: Findings, league: League) -> Iterator[Block | None]:
    for cell, found in league.forecasts.items():
        if not found:
            yield Text(f"Of cell {cell} no forecasts are on record.", "note")
            continue
        first = next(iter(found.values()))
        yield drawing(
            figures.forecasts(findings, cell, slug("league", "forecasts", cell)),
            f"What the first seed of each model makes of {len(first.rows)} test windows, channel {first.channel}, cell "
            f"{cell}; the thin line is the truth. The windows are the middles of equal stretches of test, whatever the "
            "errors; of each its MSE.",
        )
        if lacking := [each.title for each in league.entrants if each.kind == "model" and each.name not in found]:
            yield Text(f"No forecasts are on record of {', '.join(lacking)} in cell {cell}.", "note")


def _beside(league: League) -> Iterator[Block | None]:
    rows = list(beside_rows(league))
    if rows:
        yield Text(BESIDE)
    yield table(BESIDE_HEADER, rows, words=3)


def league_lines(findings: Findings) -> list[str]:
    """For a terminal."""
    league = findings.league
    if league is None or league.ranking is None:
        return []
    lines = ["", "the ranking", *aligned([ranking_header(league.ranking), *ranking_rows(findings)], (0,))]
    lines += textwrap.wrap(headline(league, league.ranking), WIDTH)
    lines += textwrap.wrap(caption(league.ranking), WIDTH)
    lines += textwrap.wrap(lookbacks_differ(league), WIDTH)
    lines += ["", "whose settings", *aligned([SETTINGS_HEADER, *settings_rows(league)], (0, 1)), ""]
    lines += [f"not ranked: {title}: {why}" for title, why in league.left_out.items()]
    return [*lines, *textwrap.wrap(f"not in this league: {', '.join(league.absent) or 'none'}", WIDTH)]
