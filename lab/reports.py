"""What the two report commands share: their options, their errors, where files go, and the way to W&B."""

import argparse
import importlib
import sys
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

from lab.console.commands import refused
from lab.console.parser import Parser
from lab.console.printing import log_to_stderr, print
from lab.errors import ConfigError, DataError
from lab.pages.page import write
from lab.registry import add_model_argument
from lab.store.frames import open_results
from lab.store.place import Place, add_results_argument
from lab.store.tables import Results, ResultsError, StorageError

if TYPE_CHECKING:
    from lab.tracking.report import WandbReport

ANY = "ablations.any_report"  # the command that knows the report of every kind of study
SPECIFICATION = "wandb-report.json"


class PublishError(RuntimeError):
    """W&B could not be reached, or refused; the local report is there all the same."""


@dataclass(frozen=True)
class ReportCommand:
    """One of the two commands."""

    program: str
    about: str | None  # its module's docstring
    find: Callable[[Results, str], Any]  # raises ConfigError or DataError for a study that is not there
    render: Callable[[Any], Mapping[str, str]]  # file name -> text
    wandb_report: "Callable[[Any], WandbReport]"
    summary: Callable[[Any], Sequence[str]]  # lines to print at the end
    model_of: Callable[[Any], str]  # the model that the records name
    answer: Callable[[Any], str]  # what was found, in a line

    def main(self, arguments: Sequence[str] | None = None) -> int:
        """Runs the command; returns its exit code: 0, or 2 with one line on stderr."""
        options = self._parser().parse_args(arguments)
        log_to_stderr()
        try:
            there = destination(options.wandb, options.wandb_dry_run)  # a bad one is refused before anything is written
            results = open_results(Place.of(options.results).url)
            found = self.find(results, options.study)
            if options.model not in (None, model := self.model_of(found)):
                raise ConfigError(
                    f"study '{options.study}' is one of model '{model}', and '{options.model}' was asked for; --model "
                    "can be left out"
                )
            folder = _folder(options.out, results, options.study)
            for path in write(self.render(found), folder):
                print(f"wrote {path}")
            if there is not None and options.wandb_dry_run:
                (path,) = write({SPECIFICATION: self.wandb_report(found).specification(*there)}, folder)
                print(f"wrote {path}")
            elif there is not None:
                print(f"published {_publish(self.wandb_report(found), results, *there)}")
            print("\n" + "\n".join(self.summary(found)))
        except BrokenPipeError:  # `... | head`
            sys.stderr.close()
        except (ConfigError, DataError, ResultsError, StorageError, PublishError, OSError) as error:
            text = error.strerror if isinstance(error, StorageError) and error.strerror else str(error)
            return refused(error, " ".join(text.split()))
        return 0

    def _parser(self) -> argparse.ArgumentParser:
        parser = Parser(prog=f"python -m {self.program}", description=(self.about or "").split("\n")[0])
        add = parser.add_argument
        add("study", help="the name under which the study is on record")
        add_model_argument(parser, None, "the study's; another is refused")
        add_results_argument(parser, old=None)
        add("--out", type=Path, metavar="DIR", help="by default reports/STUDY beside local records, or here")
        add("--wandb", metavar="ENTITY/PROJECT", help="publish it as a W&B report, or update the one made before")
        add("--wandb-dry-run", action="store_true", help=f"write the W&B report as {SPECIFICATION}; touch no network")
        return parser


def any_report() -> ReportCommand:
    """That of any study, whatever kind it is of."""
    found: ReportCommand = importlib.import_module(ANY).COMMAND
    return found


def destination(text: str | None, dry_run: bool = False) -> tuple[str, str] | None:
    """Entity and project of --wandb, None without it. Raises ConfigError where they are not of that form."""
    if text is None:
        if dry_run:
            raise ConfigError("--wandb-dry-run goes with --wandb ENTITY/PROJECT, which the report will name")
        return None
    entity, slash, project = text.partition("/")
    if not slash or not entity or not project or "/" in project:
        raise ConfigError(f"--wandb: got '{text}', ENTITY/PROJECT is needed, such as my-team/dynonet")
    return entity, project


def _folder(out: Path | None, results: Results, study: str) -> Path:
    return out or Path(results.storage.root if results.storage.local else ".") / "reports" / study


def _publish(report: "WandbReport", results: Results, entity: str, project: str) -> str:
    """The report's address. Raises PublishError where W&B could not be reached, or refused."""
    from lab.tracking.report import publish  # here, since it imports wandb

    try:
        return publish(report, results, entity, project)
    except Exception as error:  # the client raises what its HTTP library, its service and its own checks raise
        raise PublishError(f"W&B: {' '.join(str(error).split())[:500]}") from error
