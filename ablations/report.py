"""`python -m ablations.report STUDY`: a study's report as HTML, Markdown, CSV and LaTeX, from the records alone.

The same findings give the same bytes: nothing here reads a clock, draws a number or trains.
"""

import argparse
import os
import re
import sys
import tempfile
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from jinja2 import Environment, PackageLoader, StrictUndefined

from ablations.findings import Findings
from ablations.reporting.appendix import record
from ablations.reporting.console import verdict_lines
from ablations.reporting.sections import evidence
from ablations.reporting.tables import effects_csv, effects_tex
from dynonet.errors import ConfigError, DataError
from tune.results import ResultsError, StorageError, open_results


def render(findings: Findings) -> dict[str, str]:
    """File name -> text of report.html, report.md, effects.csv and effects.tex. Pure."""
    environment = Environment(
        loader=PackageLoader("ablations.reporting"),
        autoescape=lambda name: name is not None and name.endswith(".html.j2"),
        undefined=StrictUndefined,
        keep_trailing_newline=True,
    )
    environment.filters |= {"md": _markdown, "badge": _badge}
    page = {
        "title": f"Ablation study {findings.name}",
        "question": findings.study.question,
        "sections": [section for section in (*evidence(findings), *record(findings)) if section is not None],
    }
    return {
        "report.html": environment.get_template("report.html.j2").render(page),
        "report.md": re.sub(r"\n{3,}", "\n\n", environment.get_template("report.md.j2").render(page)),
        "effects.csv": effects_csv(findings),
        "effects.tex": effects_tex(findings),
    }


def write(files: Mapping[str, str], folder: Path) -> list[Path]:
    """Each file whole or not at all, a reader of an earlier one undisturbed."""
    folder.mkdir(parents=True, exist_ok=True)
    paths = []
    for name, text in files.items():
        handle, temporary = tempfile.mkstemp(dir=folder, prefix=f".{name}.")
        try:
            with open(handle, "w", encoding="utf-8", newline="") as file:
                file.write(text)
            os.chmod(temporary, 0o644)
            os.replace(temporary, folder / name)
        except BaseException:
            os.unlink(temporary)
            raise
        paths.append(folder / name)
    return paths


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


def _markdown(text: Any) -> str:
    """Text that stays text: underscores inside words mean nothing in Markdown and are left alone."""
    line = " ".join(str(text).split()).replace("&", "&amp;").replace("<", "&lt;")
    return re.sub(r"([\\`*|\[\]~]|(?<!\w)_|_(?!\w))", r"\\\1", line)


def _badge(text: str) -> str:
    """The class of a verdict's badge."""
    if "interaction" in text or text.endswith("each other"):
        return "interaction"
    return text.replace(" ", "-")


if __name__ == "__main__":
    sys.exit(main())
