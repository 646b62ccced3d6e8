"""A search's report: one page of its findings, as HTML and Markdown, and every trial as CSV."""

from lab.pages.page import Page
from tune.findings.findings import SearchFindings
from tune.reporting.appendix import record, trials_csv
from tune.reporting.sections import evidence


def page_of(findings: SearchFindings) -> Page:
    return Page.of(
        f"Hyperparameter search {findings.name}", f"Which settings are best on {findings.data}?",
        (*evidence(findings), *record(findings)),
        "Figures are in report.html, every trial in full precision in trials.csv.",
    )  # fmt: skip


def render(findings: SearchFindings) -> dict[str, str]:
    """File name -> text of report.html, report.md and trials.csv. Pure."""
    page = page_of(findings)
    return {"report.html": page.html(), "report.md": page.markdown(), "trials.csv": trials_csv(findings)}
