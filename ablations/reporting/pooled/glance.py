"""The answer at a glance of a pooled study: its rows, the largest effect first, and how far each reaches."""

from ablations.findings.findings import Findings, PooledFinding
from ablations.judging.verdicts import AT_THESE_ORIGINS, INCOMPLETE, ON_THESE_SERIES, UNDECIDED
from ablations.reporting.glance import REACH, mark_of
from ablations.reporting.phrases import exploratory
from ablations.reporting.pooled import figures
from ablations.reporting.pooled.wording import label, one_series, reaching, sentence
from ablations.reporting.wording import ordered
from lab.pages.blocks import Strip, Strips
from lab.pages.formats import known, percent
from lab.pages.strips import STRETCHED, Axis

_HOLLOW = (UNDECIDED, ON_THESE_SERIES, AT_THESE_ORIGINS, INCOMPLETE)


def picture(findings: Findings) -> Strips:
    rows = ordered(findings.pooled)
    drawn = [row for row in rows if row.pooled is not None and known(row.pooled.typical)]
    drawn.sort(key=lambda row: -abs(row.pooled.typical) if row.pooled else 0.0)
    seen = [end for row in drawn if row.pooled for end in (row.pooled.typical, *row.pooled.seeds)]
    wide = [end for row in drawn for end in reaching(findings, row) or ()]
    margin = findings.study.margin_percent
    axis = Axis.around_zero(seen, margin, wide)
    over, only = (
        ("origins as if independent", "at these origins")
        if one_series(findings)
        else ("series and origins", "these series")
    )
    about = _capital(figures.axis(findings)) + exploratory(findings)
    return Strips(
        tuple(_strip(findings, row, axis) for row in [*drawn, *(row for row in rows if row not in drawn)]),
        axis.ticks() if drawn else (), f"{about}, {STRETCHED}" if axis.stretched else about,
        REACH.format(over=over, only=only).replace("or on at", "or at"),
        axis.span((-margin, margin))[0] if margin else None, axis.place(0.0) if drawn else None,
        svg=figures.overview(findings, "pooled-overview"),
    )  # fmt: skip


def _capital(text: str) -> str:
    return text[0].upper() + text[1:]


def _strip(findings: Findings, row: PooledFinding, axis: Axis) -> Strip:
    words, pooled = (label(findings, row), sentence(findings, row)), row.pooled
    if pooled is None or not known(pooled.typical):
        return Strip(row.name, "", *words)
    mark, tone = mark_of(row.one, row.shown)
    reaches = (*axis.span(reaching(findings, row)), *axis.span(pooled.seeds))
    at, hollow = axis.place(pooled.typical), row.verdict in _HOLLOW
    return Strip(row.name, percent(pooled.typical), *words, at, reaches, mark, tone, hollow)
