"""A study's report: one page of its findings, as HTML and Markdown, and its tables as CSV and LaTeX."""

import re

from ablations.findings.findings import Findings
from ablations.judging.verdicts import ON_THESE_ROWS
from ablations.reporting.appendix import record
from ablations.reporting.sections import evidence
from ablations.reporting.tables import effects_csv, effects_tex
from lab.pages.page import Page


def render(findings: Findings) -> dict[str, str]:
    """File name -> text of report.html, report.md, effects.csv and effects.tex. Pure."""
    page = page_of(findings)
    return {
        "report.html": page.html(_badge),
        "report.md": page.markdown(),
        "effects.csv": effects_csv(findings),
        "effects.tex": effects_tex(findings),
    }


def page_of(findings: Findings) -> Page:
    return Page.of(
        f"Ablation study {findings.name}", findings.study.question, (*evidence(findings), *record(findings)),
        "Figures are in report.html, every number in full precision in effects.csv.",
    )  # fmt: skip


def _badge(text: str) -> str:
    """The class of a verdict's badge, whatever stands in brackets behind the verdict."""
    text = re.sub(r" \([^()]*\)$", "", text)
    if ON_THESE_ROWS in text:
        return "rows-only"
    if "interaction" in text or text.endswith("each other"):
        return "interaction"
    for name, stem in (("helps", " help"), ("hurts", " hurt")):
        if stem in text:
            return name
    return text.replace(" ", "-")
