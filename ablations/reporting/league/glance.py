"""The ranking as a picture whose lines are the entrants, the best mean rank first."""

from ablations.findings.findings import Findings
from ablations.findings.league import Entrant, League
from ablations.judging.ranking import Ranking
from ablations.reporting.league import figures
from lab.pages.blocks import Strip, Strips
from lab.pages.formats import chance
from lab.pages.strips import Axis
from lab.pages.svg import slug

_TONES = {"model": ("dot", "blue"), "start": ("triangle", "green"), "bar": ("diamond", "grey")}


def picture(findings: Findings, league: League, ranking: Ranking) -> Strips:
    axis = Axis.holding([1.0, float(len(ranking.places)), *(end for place in ranking.places for end in place.ranks)])
    strips = []
    for place in ranking.places:
        mark, tone = _look(findings, league.entrant(place.name))
        said = f"{place.rank:.1f}, best in {chance(place.best)} of draws"
        strips.append(
            Strip(league.entrant(place.name).title, said, at=axis.place(place.rank), reaches=axis.span(place.ranks),
                  mark=mark, tone=tone)
        )  # fmt: skip
    caption = "Round: models, that of the study red; triangles: a network before its first step; diamonds: bars."
    if ranking.difference is not None:
        caption += f" Over series, mean ranks less than {ranking.difference:.1f} apart cannot be told from each other."
    return Strips(
        tuple(strips), axis.ticks(), "Mean rank (1: the lowest error), with its 95% interval on these cells", caption,
        svg=figures.ranks(findings, slug("league", "ranks")),
    )  # fmt: skip


def _look(findings: Findings, entrant: Entrant) -> tuple[str, str]:
    return ("dot", "red") if figures.stands_out(findings, entrant) else _TONES[entrant.kind]
