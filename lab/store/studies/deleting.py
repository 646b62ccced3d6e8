"""`python -m lab.results delete STUDY...`: studies taken off the records, with the runs that no other study has.

What stays: the ledger, whole, and the readings that count on it; runs that another study shares; pages that were
written. What goes is gone: a run of the same content would be trained again.
"""

from collections import defaultdict
from collections.abc import Collection, Iterable, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from contextlib import ExitStack
from dataclasses import dataclass, field

import pyarrow as pa
import pyarrow.compute as pc

from lab.pages.formats import counted
from lab.store.objects.checksums import plain
from lab.store.pruning import KINDS, Facts, Member, StudyNeeds, own_of, size_text, sizes
from lab.store.schema import PARTITIONED, ResultsError
from lab.store.segments import rewrite_folder
from lab.store.studies.begun import DELETE, Begun, begun, check_whole, held, marked, own_searches
from lab.store.tables import Results

FOLDERS = ("artifacts", "forecasts", "tracking")  # where a folder of a study's name lies
FILES = ("optuna/{}.journal", "checkpoints/studies/{}.json")
FORECASTS = "test_forecasts"
LAST = ("trials", "events", "studies", "members")  # the order in which a study's own tables go
REWRITES = 10  # of a table, while compactions may bring back what was read before
DELETES_AT_ONCE = 16


@dataclass
class Deletion:
    """What goes with some studies."""

    studies: list[str]
    runs: set[str]  # that no other study has
    shared: set[str]  # that others have
    listed: set[str]  # of `runs`: read on test, of which their rows alone tell
    files: dict[str, int] = field(default_factory=dict)  # bytes by path, beside the tables

    def lines(self, done: bool) -> list[str]:
        """In sentences."""
        names = f"{'study' if len(self.studies) == 1 else 'studies'} {', '.join(self.studies)}"
        files = f"{counted(len(self.files), 'file')} beside the tables ({size_text(sum(self.files.values()))})"
        runs = counted(len(self.runs - self.listed), "run")
        lines = [f"{names}: {runs} and {files} {'are deleted' if done else 'would be deleted'}"]
        if self.shared:
            lines.append(f"other studies have {counted(len(self.shared), 'run')} of it, too, which stay")
        if self.listed:
            lines.append(f"rows of {counted(len(self.listed), 'run')} stay: they were read on test before looks were")
        return [*lines, "the ledger stays: every look that it took at test rows still counts"]


def planned(results: Results, studies: Sequence[str]) -> Deletion:
    """What would go. Raises ResultsError: no such study, or records that cannot be read, so that who shares a run is
    not known."""
    for name in studies:
        check_whole(results, name, Begun(DELETE, name))
        if Begun(DELETE, name) not in begun(results):
            results.check_known(name)
    names = _with_searches(results, studies)
    members: dict[str, list[Member]] = defaultdict(list)
    for row in results.table("members").to_pylist():
        members[row["study"]].append(row)
    runs = {row["run"] for name in names for row in members[name]}
    others = {row["run"] for name, rows in members.items() if name not in names for row in rows}
    found = Deletion(names, runs - others, runs & others, _listed(results, runs - others))
    sharing = {name: rows for name, rows in members.items() if any(row["run"] in runs for row in rows)}
    stacks = _stacks(results, sharing, names)
    if results.skipped:
        raise ResultsError(
            f"{len(results.skipped)} files of the records cannot be read (named above), so who shares a run is not "
            "known for sure; nothing is deleted. Move them out of the results first, or bring them back"
        )
    for folder in (*KINDS, FORECASTS):
        for path, size in sizes(results.storage, folder).items():
            own = (folder, path.split("/")[1]) if folder == FORECASTS else own_of(path)
            if (own is not None and own[1] in found.runs) or path.rpartition("/")[0] in stacks:
                found.files[path] = size
    for name in names:
        found.files |= _of_study(results, name)
    return found


def delete(results: Results, studies: Sequence[str]) -> Deletion:
    """Deletes them. The rows that say which runs were theirs go last, so that the same call goes on after a kill.

    Raises:
        ResultsError: as `planned`.
        LeaseHeld: a driver works on one of them.
        StorageError: it cannot be read or written; the same call goes on.
    """
    with held(results, _with_searches(results, studies)), ExitStack() as marks:
        found = planned(results, studies)
        for name in dict.fromkeys(studies):
            marks.enter_context(marked(results, Begun(DELETE, name)))
        delete_files(results, found.files)
        _delete_rows(results, found.runs - found.listed)
        for table in sorted(PARTITIONED, key=LAST.index):
            for name in found.studies:
                delete_folder(results, f"{table}/study={name}")
        for name in found.studies:
            for folder in FOLDERS:
                results.storage.delete_empty(f"{folder}/{name}")
    return found


def delete_files(results: Results, paths: Iterable[str]) -> None:
    with ThreadPoolExecutor(1 if results.storage.local else DELETES_AT_ONCE) as pool:
        for _ in pool.map(results.storage.delete, sorted(paths)):
            pass


def delete_folder(results: Results, folder: str) -> None:
    """With what a compaction may put there meanwhile."""
    while paths := results.storage.list(folder):
        delete_files(results, paths)
    results.storage.delete_empty(folder)


def of_study(path: str, study: str) -> bool:
    """Whether an object beside the tables lies under a study's name."""
    return any(path.startswith(f"{folder}/{study}/") for folder in FOLDERS) or plain(path) in {
        each.format(study) for each in FILES
    }


def _of_study(results: Results, study: str) -> dict[str, int]:
    places = {*(f"{folder}/{study}" for folder in FOLDERS), *(each.rpartition("/")[0] for each in FILES)}
    return {
        path: size
        for place in sorted(places)
        for path, size in sizes(results.storage, place).items()
        if of_study(path, study)
    }


def _with_searches(results: Results, studies: Sequence[str]) -> list[str]:
    return list(dict.fromkeys(own for name in studies for own in (name, *own_searches(results, name))))


def _stacks(results: Results, members: Mapping[str, Sequence[Member]], names: Collection[str]) -> set[str]:
    """Folders of the checkpoints of stacks that these studies alone know of."""
    facts = Facts.of(results, {row["run"] for rows in members.values() for row in rows})
    known = {name: StudyNeeds(results, name, rows, facts).stacks for name, rows in members.items()}
    mine = set[str]().union(*(known[name] for name in names if name in known))
    return mine.difference(*(stacks for name, stacks in known.items() if name not in names))


def _listed(results: Results, runs: Collection[str]) -> set[str]:
    """Runs with a reading of test that no look tells of: their rows are the ledger."""
    looks = results.table("looks", columns=["run_ids"])["run_ids"].to_pylist()
    known = {run for ids in looks for run in ids or ()}
    read = results.of_runs("evaluations", runs, ["run", "split"])
    return set(pc.unique(read.filter(pc.equal(read["split"], "test"))["run"]).to_pylist()) - known


def _delete_rows(results: Results, runs: Collection[str]) -> None:
    """What is on record of some runs; what makes a run count goes last."""
    gone = pa.array(sorted(runs), pa.string())

    def left(rows: pa.Table) -> pa.Table | None:
        theirs = pc.is_in(rows["run"].cast(pa.string()), gone)
        return rows.filter(pc.invert(theirs)) if pc.any(theirs).as_py() else None

    for table in ("history", "evaluations", "runs") if runs else ():
        for _ in range(REWRITES):
            if not rewrite_folder(results.storage, table, table, left):
                break
