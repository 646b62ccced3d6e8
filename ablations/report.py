"""`python -m ablations.report STUDY`: a study's report as HTML, Markdown, CSV and LaTeX, from the records alone.

The same findings give the same bytes: nothing here reads a clock, draws a number or trains.
"""

import sys
from collections.abc import Sequence
from typing import TYPE_CHECKING

from ablations.findings.findings import Findings
from ablations.reporting.appendix import record
from ablations.reporting.console import verdict_lines
from ablations.reporting.sections import evidence
from ablations.reporting.tables import effects_csv, effects_tex
from lab.console.commands import command_named
from lab.pages.page import Page
from lab.reports import ReportCommand
from lab.store.tables import Results

if TYPE_CHECKING:
    from lab.tracking.report import WandbReport


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


@command_named("ablations.report")
def main(arguments: Sequence[str] | None = None) -> int:
    """Runs the command; returns its exit code: 0, or 2 with one line on stderr."""
    return ReportCommand("ablations.report", __doc__, _find, render, _wandb_report, verdict_lines).main(arguments)


def _find(results: Results, study: str) -> Findings:
    from ablations.findings.collect import findings_of  # not needed to render

    return findings_of(results, study)


def _wandb_report(findings: Findings) -> "WandbReport":
    from ablations.reporting.wandb import wandb_report  # here, since it imports wandb

    return wandb_report(findings)


def _badge(text: str) -> str:
    """The class of a verdict's badge."""
    if "interaction" in text or text.endswith("each other"):
        return "interaction"
    return text.replace(" ", "-")


if __name__ == "__main__":
    sys.exit(main())
