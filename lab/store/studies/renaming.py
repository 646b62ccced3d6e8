"""`python -m lab.results rename STUDY NEW`: a study under another name, with all that names it.

Its rows and what lies under its name are copied, then what elsewhere says its name is rewritten, then the old is
deleted; the same command finishes what was killed at any moment.
"""

import json
import re
from collections.abc import Callable, Collection
from typing import Any

import pyarrow as pa
import pyarrow.compute as pc

from lab.ledger.cache import append_renaming
from lab.store.objects.checksums import plain
from lab.store.schema import PARTITIONED, ResultsError, check_study
from lab.store.segments import rewrite_folder
from lab.store.studies.begun import RENAME, Begun, begun, check_whole, held, marked, own_searches
from lab.store.studies.deleting import FILES, FOLDERS, LAST, REWRITES, delete_files, delete_folder, of_study
from lab.store.tables import Results

_LEFT = ("optuna/", "tracking/")  # rebuilt from the records; what W&B has goes by the old name


def rename(results: Results, study: str, to: str) -> list[str]:
    """Returns the new names, the study's and those of its own searches.

    Raises:
        ResultsError: no such study, a name that cannot be, or that is taken.
        LeaseHeld: a driver works on it.
        StorageError: it cannot be read or written; the same call goes on.
    """
    this = Begun(RENAME, study, check_study(to))
    for name in (study, to):
        check_whole(results, name, this)
    names = {study: to} | {old: f"{to}{old.removeprefix(study)}" for old in own_searches(results, study)}
    if this not in begun(results):
        results.check_known(study)
        if study == to or to in results.studies():
            raise ResultsError(f"'{to}' is taken: there is a study of that name in {results.storage.url}")
    else:  # of what is through, only the new names are left
        names |= {f"{study}{new.removeprefix(to)}": new for new in own_searches(results, to)}
    for new in names.values():
        check_study(new)
    with held(results, [*names, *names.values()]), marked(results, this):
        for old, new in names.items():
            _copy(results, old, new)
        runs = {row["run"] for new in names.values() for row in results.table("members", new, ["run"]).to_pylist()}
        _rewrite_names(results, names, runs)
        append_renaming(names, results.storage.url)
        for old in names:
            for table in sorted(PARTITIONED, key=LAST.index):
                delete_folder(results, f"{table}/study={old}")
            _delete_others(results, old)
    return list(names.values())


def _copy(results: Results, old: str, new: str) -> None:
    """What is a study's own, the rows by which it is found last. What is there already is the same."""
    storage = results.storage
    for path in _others(results, old):
        if not path.startswith(_LEFT):
            folder, _, rest = path.partition("/")
            blob = plain(path) in {each.format(old) for each in FILES}
            storage.put(path.replace(f"studies/{old}", f"studies/{new}") if blob else
                        f"{folder}/{new}/{rest.removeprefix(f'{old}/')}", storage.get(path))  # fmt: skip
    for table in sorted(PARTITIONED, key=("events", "trials", "studies", "members").index):
        for path in storage.list(f"{table}/study={old}"):
            storage.put(path.replace(f"/study={old}/", f"/study={new}/"), storage.get(path))


def _others(results: Results, study: str) -> list[str]:
    places = {*(f"{folder}/{study}" for folder in FOLDERS), *(each.rpartition("/")[0] for each in FILES)}
    return [path for place in sorted(places) for path in results.storage.list(place) if of_study(path, study)]


def _delete_others(results: Results, study: str) -> None:
    delete_files(results, _others(results, study))
    for folder in FOLDERS:
        results.storage.delete_empty(f"{folder}/{study}")


def _rewrite_names(results: Results, names: dict[str, str], runs: Collection[str]) -> None:
    """In rows that are not the study's own: who trained a run, for whom test was read, what others say of it."""
    every = "|".join(map(re.escape, sorted(names, key=len, reverse=True)))
    named = re.compile(rf"(?<=\bablation )({every})(?= at |$)")  # as `ablations.findings.before` writes it

    def renamed(text: str) -> str:
        return named.sub(lambda match: names[match[1]], text)

    def same(value: str) -> str:
        return names.get(value, value)

    def theirs(rows: pa.Table) -> pa.Array:
        return pc.is_in(rows["run"].cast(pa.string()), pa.array(sorted(runs), pa.string()))

    def looked(rows: pa.Table) -> pa.Array:
        return pc.is_in(rows["read_for"], pa.array([*names]))

    _change(results, "evaluations", theirs, {"purpose": renamed})
    _change(results, "runs", theirs, {"trained_for": same})
    _change(results, "looks", looked, {"purpose": renamed, "read_for": same})
    for study in results.studies():
        if study not in names:
            _change(results, "studies", lambda rows: None, {"settings": lambda text: _told(text, names)}, study)


def _told(settings: str, names: dict[str, str]) -> str:
    """What a study's event says of others that had seen its runs in these results (`before`)."""
    content = json.loads(settings)
    before: list[dict[str, Any]] = content.get("before") or [] if isinstance(content, dict) else []
    hit = [each for each in before if each.get("study") in names and not each.get("store")]
    for each in hit:
        each["study"] = names[each["study"]]
    return json.dumps(content) if hit else settings


def _change(
    results: Results,
    table: str,
    which: Callable[[pa.Table], pa.Array | None],
    texts: dict[str, Callable[[str], str]],
    study: str = "",
) -> None:
    """Rewrites columns of text, of the rows that `which` says (None: all)."""

    def changed(rows: pa.Table) -> pa.Table | None:
        mask, found = which(rows), rows
        for column, change in texts.items():
            if column not in rows.column_names:
                continue
            before = rows[column].to_pylist()
            hits = [True] * len(before) if mask is None else mask.to_pylist()
            after = [change(text) if hit and text else text for text, hit in zip(before, hits, strict=True)]
            if after != before:
                at = found.column_names.index(column)
                found = found.set_column(at, column, pa.array(after, rows.schema.field(column).type))
        return None if found is rows else found

    for _ in range(REWRITES):
        if not rewrite_folder(results.storage, table, f"{table}/study={study}" if study else table, changed):
            return
