"""The page of all studies, and each study's own with a way back to it."""

from collections.abc import Iterable, Mapping
from pathlib import Path
from urllib.parse import quote

from lab.console.printing import one_line
from lab.errors import DataError
from lab.pages.blocks import Text, section, table
from lab.pages.formats import MISSING, counted, decimal
from lab.pages.page import Page, linked_up, write
from lab.pages.skipped import skipped_note, skipped_section
from lab.reports import any_report
from lab.site.studies import READ_FAULTS, Entry, entries
from lab.store.tables import Results

INDEX, REPORT = "index.html", "report.html"
HEADER = ("study", "kind", "what was found", "state", "data", "model", "runs", "lowest validation MSE of a run",
          "last run ended (UTC)")  # fmt: skip


def index(results: Results, found: Iterable[Entry], answers: Mapping[str, str]) -> Page:
    """`answers`: what was found, by study, as far as that is known."""
    found = list(found)
    running = sum(entry.running for entry in found)
    said = f"{counted(len(found), 'study').replace('studys', 'studies')}, {running} running now."
    skipped = results.skipped_lines()
    return Page.of(
        f"Studies in {Path(results.storage.root).name or results.storage.url}", said,
        [
            section("All studies", "studies", [
                *(Text(note, "banner") for note in skipped_note(skipped)),
                table(HEADER, [_row(entry, answers) for entry in found], words=7,
                      links=[f"{quote(entry.study)}/{REPORT}" for entry in found])
                or Text(f"There is no study in {results.storage.url} yet.", "banner"),
            ]),
            skipped_section(skipped),
        ],
        f"Records: {results.storage.url}",
    )  # fmt: skip


def _row(entry: Entry, answers: Mapping[str, str]) -> tuple[str, ...]:
    return (
        entry.study, entry.kind, answers.get(entry.study, MISSING), entry.state, entry.data or MISSING,
        entry.models or MISSING, entry.statuses or MISSING, decimal(entry.lowest),
        entry.changed.strftime("%Y-%m-%d %H:%M") if entry.changed else MISSING,
    )  # fmt: skip


def study_files(results: Results, study: str) -> tuple[dict[str, str], str]:
    """A study's report by file name, with a way up to the page of all, and its answer in a line.

    Raises what finding out may: ConfigError, DataError, ResultsError, StorageError.
    """
    command = any_report()
    found = command.find(results, study)
    files = dict(command.render(found))
    return files | {REPORT: linked_up(files[REPORT], f"../{INDEX}", "all studies")}, command.answer(found)


def no_page(study: str, error: Exception) -> dict[str, str]:
    """In place of a report that cannot be made: why."""
    why = section("No report yet", "why", [Text(one_line(str(error), 600) or type(error).__name__, "banner")])
    page = Page.of(f"Study {study}", "What was found?", [why])
    return {REPORT: linked_up(page.html(), f"../{INDEX}", "all studies")}


def build(results: Results, folder: Path) -> tuple[Path, dict[str, str]]:
    """Writes every study's report and the page that links them: its path, and why, by study, there is none.

    Raises DataError where there is no study.
    """
    found = entries(results)
    if not found:
        raise DataError(f"there is no study in {results.storage.url}: nothing to show")
    answers, without = {}, {}
    for entry in found:
        try:
            files, answers[entry.study] = study_files(results, entry.study)
        except READ_FAULTS as error:
            without[entry.study] = one_line(str(error), 300)
            files = no_page(entry.study, error)
        write(files, folder / entry.study)
    (path,) = write({INDEX: index(results, found, answers).html()}, folder)
    return path, without
