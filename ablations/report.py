"""`python -m ablations.report STUDY`: a study's report as HTML, Markdown, CSV and LaTeX, from the records alone.

The same findings give the same bytes: nothing here reads a clock, draws a number or trains.
"""

import argparse
import os
import sys
from collections.abc import Sequence
from pathlib import Path

from ablations.findings import Findings
from ablations.reporting.appendix import record
from ablations.reporting.console import verdict_lines
from ablations.reporting.sections import evidence
from ablations.reporting.tables import effects_csv, effects_tex
from dynonet.errors import ConfigError, DataError
from tune.pages.page import Page, write
from tune.results import ResultsError, StorageError, open_results


def render(findings: Findings) -> dict[str, str]:
    """File name -> text of report.html, report.md, effects.csv and effects.tex. Pure."""
    page = Page.of(
        f"Ablation study {findings.name}", findings.study.question, (*evidence(findings), *record(findings)),
        "Figures are in report.html, every number in full precision in effects.csv.",
    )  # fmt: skip
    return {
        "report.html": page.html(_badge),
        "report.md": page.markdown(),
        "effects.csv": effects_csv(findings),
        "effects.tex": effects_tex(findings),
    }


def main(arguments: Sequence[str] | None = None) -> int:
    """Runs the command; returns its exit code: 0, or 2 with one line on stderr."""
    parser = argparse.ArgumentParser(prog="python -m ablations.report", description=__doc__)
    parser.add_argument("study", help="the name under which the study is on record")
    parser.add_argument(
        "--results", default=os.environ.get("DYNONET_RESULTS", "results"), help="folder or URL of the records"
    )
    parser.add_argument(
        "--out", type=Path, metavar="DIR", help="by default reports/STUDY beside local records, or here"
    )
    options = parser.parse_args(arguments)
    try:
        from ablations.collect import findings_of  # not needed to render

        results = open_results(options.results)
        findings = findings_of(results, options.study)
        folder = options.out
        if folder is None:
            folder = Path(results.storage.root if results.storage.local else ".") / "reports" / options.study
        for path in write(render(findings), folder):
            print(f"wrote {path}")
        print()
        print("\n".join(verdict_lines(findings)))
    except BrokenPipeError:  # `... | head`
        sys.stderr.close()
    except (ConfigError, DataError, ResultsError, StorageError, OSError) as error:
        print(f"error: {' '.join(_text(error).split())}", file=sys.stderr)
        return 2
    return 0


def _text(error: Exception) -> str:
    return error.strerror if isinstance(error, StorageError) and error.strerror else str(error)


def _badge(text: str) -> str:
    """The class of a verdict's badge."""
    if "interaction" in text or text.endswith("each other"):
        return "interaction"
    return text.replace(" ", "-")


if __name__ == "__main__":
    sys.exit(main())
