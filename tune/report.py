"""`python -m tune.report STUDY`: a search's report as HTML, Markdown and CSV, from the records alone.

The same findings give the same bytes: nothing here reads a clock, draws a number or trains.
"""

import sys
from collections.abc import Sequence
from typing import TYPE_CHECKING

import matplotlib

from lab.console.commands import command_named
from lab.pages.skipped import skipped_note
from lab.reports import ReportCommand
from lab.store.tables import Results
from lab.unsealing.records import error_lines
from tune.findings.findings import SearchFindings
from tune.reporting.page import page_of, render
from tune.reporting.sections import comparisons

if TYPE_CHECKING:
    from lab.tracking.report import WandbReport

__all__ = ["COMMAND", "main", "page_of", "render"]


def _find(results: Results, study: str) -> SearchFindings:
    from tune.findings.collect import findings_of  # not needed to render

    return findings_of(results, study)


def _wandb_report(findings: SearchFindings) -> "WandbReport":
    from tune.reporting.wandb import wandb_report  # here, since it imports wandb

    return wandb_report(findings)


def _summary(findings: SearchFindings) -> list[str]:
    best = findings.best
    lines = ["no trial is complete" if best is None else f"best: {best.trial}, validation MSE {best.loss:.4f}"]
    lines += [f"on {split}, {text}" for split, text in comparisons(findings).items()]
    lines += error_lines(findings.sealed)
    return lines + [f"note: {note}" for note in skipped_note(findings.skipped)]


COMMAND = ReportCommand(
    "tune.report", __doc__, _find, render, _wandb_report, _summary, lambda found: found.model,
    lambda found: _summary(found)[0],
)  # fmt: skip


@command_named("tune.report")
def main(arguments: Sequence[str] | None = None) -> int:
    """Runs the command; returns its exit code: 0, or 2 with one line on stderr."""
    matplotlib.use("agg")  # Optuna draws by pyplot, which would ask for a display
    return COMMAND.main(arguments)


if __name__ == "__main__":
    sys.exit(main())
