"""The answer at a glance: a picture whose lines are the arms, the largest effect first, each with its sentence."""

from collections.abc import Iterator

from ablations.findings.findings import PRIMARY, Finding, Findings
from ablations.judging.verdicts import HELPS, HURTS, NO_EFFECT, ON_THESE_ROWS, UNDECIDED
from ablations.reporting import figures
from ablations.reporting.phrases import LOSS, exploratory, interacts, minus, place
from ablations.reporting.wording import label, ordered, sentence
from lab.pages.blocks import Strip, Strips
from lab.pages.formats import known, percent, signed
from lab.pages.strips import STRETCHED, Axis
from lab.pages.svg import slug

_INTERACTION = ("triangle", "violet")
_MARKS = {HELPS: ("dot", "blue"), HURTS: ("square", "red"), NO_EFFECT: ("diamond", "green"), UNDECIDED: ("dot", "grey")}
REACH = (
    "Thick: 95% over seeds; thin: over {over}; hollow: undecided, not judged, or on {only} only; shaded: the margin "
    "within which an effect is none in practice. Each line unfolds into what was found."
)


def pictures(findings: Findings) -> Iterator[Strips | None]:
    """One for each cell."""
    for cell in findings.cells:
        yield _picture(findings, cell.name)


def mark_of(finding: Finding, shown: str) -> tuple[str, str]:
    """The mark and its tone of what was shown of the finding's question."""
    return _INTERACTION if interacts(finding) and shown in (HELPS, HURTS) else _MARKS.get(shown, ("dot", "grey"))


def _picture(findings: Findings, cell: str) -> Strips | None:
    mine = ordered(findings.of_cell(cell))
    if not mine:
        return None
    drawn = [finding for finding in mine if figures.drawn(finding)]
    drawn.sort(key=lambda finding: -abs(finding.effects[PRIMARY].typical))
    ends = [(*finding.effects[PRIMARY].interval, finding.effects[PRIMARY].typical) for finding in drawn]
    margins = [f.decision.margin for f in drawn if f.decision and known(f.decision.margin)]
    margin = max(margins, default=0.0)
    wide = [end for finding in drawn for end in finding.both or ()]
    axis = Axis.around_zero([end for each in ends for end in each], margin, wide)
    about = f"Effect on the {LOSS}{exploratory(findings)}: {minus(findings)}"
    return Strips(
        tuple(_strip(findings, finding, axis) for finding in [*drawn, *(f for f in mine if f not in drawn)]),
        axis.ticks() if drawn else (), f"{about}, {STRETCHED}" if axis.stretched else about,
        REACH.format(over="seeds and windows", only="these rows"),
        axis.span((-margin, margin))[0] if margin else None, axis.place(0.0) if drawn else None,
        place(findings, cell) if len(findings.cells) > 1 else "", figures.forest(findings, cell, slug("forest", cell)),
    )  # fmt: skip


def _strip(findings: Findings, finding: Finding, axis: Axis) -> Strip:
    words = (label(findings, finding), sentence(findings, finding))
    if not figures.drawn(finding):
        return Strip(finding.name, "", *words)
    effect, (mark, tone) = finding.effects[PRIMARY], mark_of(finding, finding.shown)
    said = signed(effect.typical) + (f" ({percent(effect.percent)})" if known(effect.percent) else "")
    reaches = (*axis.span(finding.both), *axis.span(effect.interval))
    hollow = finding.verdict in (UNDECIDED, ON_THESE_ROWS) or finding.shown not in _MARKS
    return Strip(finding.name, said, *words, axis.place(effect.typical), reaches, mark, tone, hollow)
