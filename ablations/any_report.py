"""`dynonet-report STUDY`, `python -m ablations.any_report STUDY`: the report of a search or of an ablation study.

The records say which of the two a study is; each has the report of its own command.
"""

import json
import sys
from collections.abc import Sequence
from typing import Any

import matplotlib

import ablations.report
import tune.report
from ablations.findings.findings import Findings
from ablations.findings.record import KIND
from lab.console.commands import command_named
from lab.reports import ReportCommand
from lab.store.tables import Results


def _command(findings: Any) -> ReportCommand:
    return ablations.report.COMMAND if isinstance(findings, Findings) else tune.report.COMMAND


def _find(results: Results, study: str) -> Any:
    results.check_known(study)
    told = (json.loads(row["settings"]) for row in results.table("studies", study).to_pylist())
    of = ablations.report if any(isinstance(each, dict) and each.get("kind") == KIND for each in told) else tune.report
    return of.COMMAND.find(results, study)


COMMAND = ReportCommand(
    "ablations.any_report", __doc__, _find, lambda found: _command(found).render(found),
    lambda found: _command(found).wandb_report(found), lambda found: _command(found).summary(found),
    lambda found: _command(found).model_of(found), lambda found: _command(found).answer(found),
)  # fmt: skip


@command_named("ablations.any_report")
def main(arguments: Sequence[str] | None = None) -> int:
    """Runs the command; returns its exit code: 0, or 2 with one line on stderr."""
    matplotlib.use("agg")  # Optuna draws by pyplot, which would ask for a display
    return COMMAND.main(arguments)


if __name__ == "__main__":
    sys.exit(main())
