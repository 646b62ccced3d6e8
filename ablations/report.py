"""`python -m ablations.report STUDY`: a study's report as HTML, Markdown, CSV and LaTeX, from the records alone.

The same findings give the same bytes: nothing here reads a clock, draws a number or trains.
"""

import sys
from collections.abc import Sequence
from typing import TYPE_CHECKING

from ablations.findings.findings import Findings
from ablations.reporting.console import verdict_lines
from ablations.reporting.page import answer, page_of, render
from lab.console.commands import command_named
from lab.reports import ReportCommand
from lab.store.tables import Results

if TYPE_CHECKING:
    from lab.tracking.report import WandbReport

__all__ = ["COMMAND", "main", "page_of", "render"]


def _find(results: Results, study: str) -> Findings:
    from ablations.findings.collect import findings_of  # not needed to render

    return findings_of(results, study)


def _wandb_report(findings: Findings) -> "WandbReport":
    from ablations.reporting.wandb import wandb_report  # here, since it imports wandb

    return wandb_report(findings)


COMMAND = ReportCommand(
    "ablations.report", __doc__, _find, render, _wandb_report, verdict_lines, lambda found: found.study.model,
    answer,
)  # fmt: skip


@command_named("ablations.report")
def main(arguments: Sequence[str] | None = None) -> int:
    """Runs the command; returns its exit code: 0, or 2 with one line on stderr."""
    return COMMAND.main(arguments)


if __name__ == "__main__":
    sys.exit(main())
