"""An ablation's findings as a W&B report: the local page's own words, and panels over the study's runs."""

from ablations.findings.findings import PRIMARY, Findings
from ablations.reporting.page import page_of, render
from ablations.reporting.pooled.tables import every_row
from ablations.reporting.tables import effect_rows
from lab.arms import FULL
from lab.tracking.report import Panels, WandbReport, bar_by, comparer, curves_by, scatter

KIND = "ablation"
ARMS = ("arm",)  # job_type of the runs of arms


def wandb_report(findings: Findings) -> WandbReport:
    """What `python -m ablations.report STUDY --wandb ...` publishes. Pure."""
    panels: list[Panels] = []
    for cell in findings.cells:
        where = {"cell": cell.name}
        said = "" if len(findings.cells) == 1 else f", {cell.name}"
        panels += [
            Panels("arms", f"arms{said}", (bar_by(PRIMARY, f"test MSE by arm, with deviation{said}", "arm"),), "arm",
                   ARMS, where),
            Panels("curves", f"arms{said}", (curves_by("val_mse", f"validation MSE by arm{said}", "arm"),), "arm",
                   ARMS, where),
            Panels("accuracy", f"runs{said}", (scatter("parameters", PRIMARY, f"test MSE against parameters{said}"),),
                   None, ARMS, where),
        ]  # fmt: skip
    panels.append(Panels("changes", f"runs, {FULL} among them", (comparer(),), "arm", ARMS))
    rows = (every_row if findings.pooled else effect_rows)(findings)
    header = list(rows[0]) if rows else []
    table = (header, [[row[name] for name in header] for row in rows])
    return WandbReport(findings.name, KIND, page_of(findings), tuple(panels), render(findings), table)
