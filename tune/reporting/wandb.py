"""A search's findings as a W&B report: the local page's own words, and panels over the study's runs."""

import csv
import io

from lab.tracking.report import (
    Panels,
    WandbReport,
    comparer,
    curves_by,
    importance,
    parallel_coordinates,
    scatter,
)
from tune.findings.findings import SearchFindings
from tune.reporting.page import page_of, render

KIND = "search"
RUNS = ("search",)  # job_type of the runs of trials


def wandb_report(findings: SearchFindings) -> WandbReport:
    """What `python -m tune.report STUDY --wandb ...` publishes. Pure."""
    searched = [item.path for item in findings.space]
    loss, epochs = "val_mse", "validation MSE by epoch"
    panels = (
        Panels("", "trials", (importance(loss),), None, RUNS),
        Panels("", "trials", (parallel_coordinates(searched, loss, "settings and validation MSE"),), None, RUNS),
        Panels("", "trials", (curves_by(loss, f"{epochs}, by trial", "trial"),), "trial", RUNS),
        Panels("", "runs", (scatter("parameters", loss, "validation MSE against parameters"),), None, RUNS),
        Panels("", "final replicates", (curves_by(loss, f"{epochs}, final replicates", None),), None, ("final",)),
        Panels("", "runs", (comparer(),), "trial"),
    )
    files = render(findings)
    header, *rows = csv.reader(io.StringIO(files["trials.csv"]))
    return WandbReport(findings.name, KIND, page_of(findings), panels, files, (header, rows))
