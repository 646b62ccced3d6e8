"""A study's report: one page of its findings, as HTML and Markdown, and its tables as CSV and LaTeX."""

import re

from ablations.findings.findings import Findings
from ablations.judging.verdicts import AT_THESE_ORIGINS, ON_THESE_ROWS, ON_THESE_SERIES
from ablations.reporting import sections, tables
from ablations.reporting.appendix import record
from ablations.reporting.league.sections import league_sections
from ablations.reporting.league.tables import league_csv, league_tex
from ablations.reporting.phrases import exploratory, kind
from ablations.reporting.pooled import sections as pooled_sections
from ablations.reporting.pooled import tables as pooled_tables
from ablations.reporting.pooled.wording import counts as pooled_counts
from ablations.reporting.wording import counts
from lab.pages.page import Page


def render(findings: Findings) -> dict[str, str]:
    """File name -> text of report.html, report.md, effects.csv and effects.tex; of a league, its own tables. Pure."""
    page, written = page_of(findings), pooled_tables if findings.pooled else tables
    league = {} if findings.league is None else {"league.csv": league_csv(findings), "league.tex": league_tex(findings)}
    return league | {
        "report.html": page.html(_badge),
        "report.md": page.markdown(),
        "effects.csv": written.effects_csv(findings),
        "effects.tex": written.effects_tex(findings),
    }


def answer(findings: Findings) -> str:
    """How many questions came to which verdict."""
    kinds = pooled_counts(findings.pooled) if findings.pooled else counts(findings.findings)
    return "; ".join(f"{name} {number}" for name, number in kinds.items()) + exploratory(findings)


def page_of(findings: Findings) -> Page:
    evidence = (pooled_sections if findings.pooled else sections).evidence(findings)
    evidence = [*league_sections(findings), *evidence]
    return Page.of(
        f"{kind(findings)} {findings.name}", findings.study.asked, (*evidence, *record(findings)),
        "Figures are in report.html, every number in full precision in effects.csv.",
    )  # fmt: skip


def _badge(text: str) -> str:
    """The class of a verdict's badge, whatever stands in brackets behind the verdict."""
    text = re.sub(r" \([^()]*\)$", "", text)
    if any(only in text for only in (ON_THESE_ROWS, ON_THESE_SERIES, AT_THESE_ORIGINS)):
        return "rows-only"
    if "interaction" in text or text.endswith("each other"):
        return "interaction"
    for name, stem in (("helps", " help"), ("hurts", " hurt")):
        if stem in text:
            return name
    return text.replace(" ", "-")
