"""The results: append-only Parquet tables of runs, histories, studies and evaluations, on disk or in buckets.

    store = Results("results")
    store.add("runs", [run_params(config) | {"run": run, "attempt": 1, "status": "complete"}])

Studies are put together in lab.store.frames. `python -m lab.results list | show STUDY | export STUDY --csv FILE |
copy STUDY... --to OTHER | wandb STUDY | track STUDY | compact [STUDY] | prune STUDY...` is the command.
"""

import contextlib
import json
import logging
import os
import re
from collections import defaultdict
from collections.abc import Callable, Collection, Iterable, Mapping
from typing import Any, TypeVar

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc

from lab.console.printing import one_line
from lab.errors import nearest
from lab.store.columns import concat, is_among, is_open, narrowed, with_asked
from lab.store.files import Part, encode, file_name, file_path, is_segment
from lab.store.objects.checksums import claimed, named, plain
from lab.store.objects.storage import ObjectMissing, ObjectUnreadable, Storage, StorageError, open_storage
from lab.store.row_keys import codes, firsts, row_keys, rows_among, take, without_repeats
from lab.store.schema import (
    DONE,
    IDENTITY,
    NAMED_BY,
    OPEN,
    PARTITIONED,
    REQUIRED,
    TABLES,
    ResultsError,
    check_study,
    check_table,
    is_study,
    memory_schema,
    run_params,
    to_table,
)
from lab.store.segments import compact_folder, distinct, read_parts, report

__all__ = ["Results", "ResultsError", "StorageError", "run_params"]

logger = logging.getLogger(__name__)

COMPACT_ABOVE = 400  # single files of runs: reading more of them takes seconds, and some hundred kB each
# Files of tables without a study are named by run, so that a few runs are found without opening the others.
_RUN_FILE = re.compile(r"(.+)-a\d*-(?:[0-9a-f]{16}){1,2}\.parquet")
_STRAY = "not in a folder {}/study=NAME"
_WORD = re.compile(r"[A-Za-z0-9._-]+")

Parsed = TypeVar("Parsed")


class Results:
    """The store at a local path or URL; every process may have its own. Pickles as its URL.

    Attributes:
        storage: where it lies.
        skipped: {path: what is wrong} of everything passed over so far.
    """

    def __init__(self, url: str | os.PathLike[str] | Storage, create: bool = True) -> None:
        self.storage = url if isinstance(url, Storage) else open_storage(url, create)
        self.skipped: dict[str, str] = {}
        self._segments: dict[str, Part] = {}  # of `runs`, which is looked up often
        files = [table for table in TABLES if self.storage.local and os.path.isfile(self.storage.full(table))]
        self.skip(dict.fromkeys(files, "a file where the table's folder would be"))

    def __getstate__(self) -> dict[str, Any]:
        return {"storage": self.storage, "skipped": {}, "_segments": {}}

    def add(self, table: str, rows: Iterable[Mapping[str, Any]], key: str = "") -> None:
        """Records rows; on return they are durable, and visible to every reader.

        A column left out is null (`time`: now). One file is written per run and attempt, or per study, and
        each is there whole or not at all. `key` goes into the file name of a study's rows, for people.

        Raises:
            ResultsError: rows that don't fit the table; nothing is written.
            StorageError: a full disk and the like; some of the files may be there.
        """
        self.storage.put_all(self.files(table, rows, key))

    def files(self, table: str, rows: Iterable[Mapping[str, Any]], key: str = "") -> dict[str, bytes]:
        """The files that `add` writes, by path, for a writer with more to write beside them."""
        if key and not _WORD.fullmatch(key):
            raise ResultsError(f"key '{key}': only letters, digits, '.', '_' and '-' are allowed")
        rows = list(rows)
        checked = to_table(table, rows)
        if table == "history":  # a file holds each number once: readers rely on it
            kept = np.sort(firsts(row_keys(checked, IDENTITY[table])))
            rows, checked = [rows[place] for place in kept], take(checked, kept)
        groups: dict[str, list[int]] = defaultdict(list)
        for index, row in enumerate(rows):
            if table in PARTITIONED:
                name = f"{table}/study={row['study']}/{key}"
            else:
                kind = NAMED_BY.get(table, "run")
                if not _WORD.fullmatch(row[kind]):
                    raise ResultsError(f"{kind} '{row[kind]}': a {kind}'s id is a plain word")
                name = f"{table}/{row[kind]}-a{'' if row.get('attempt') is None else int(row['attempt'])}"
            groups[name].append(index)
        if table in PARTITIONED:
            checked = checked.drop_columns("study")
        found = {}
        for name, indices in groups.items():
            folder, _, stem = name.rpartition("/")
            data = encode(checked.take(indices))
            found[file_path(folder, stem, data)] = data
        return found

    def table(self, name: str, study: str | None = None, columns: Collection[str] | None = None) -> pa.Table:
        """Every record of a table, once, in its current columns (`schema.memory_schema`) and the open ones that some of
        these records fill; of one study if asked.

        `columns`: only these (`params.*`: all that begin so), and those by which rows are told apart, in the memory and
        time of these.

        Runs, histories and evaluations belong to the studies that `members` says. Files that cannot be read
        are named in a warning and in `skipped`.
        """
        check_table(name)
        if study is not None and name not in PARTITIONED:
            runs = pc.unique(self.table("members", study)["run"]).to_pylist()
            return self.of_runs(name, runs, columns)
        folder = name if study is None else f"{name}/study={check_study(study)}"
        return self._read(name, folder, columns=columns)

    def latest(self, ids: Iterable[str] | None = None, columns: Collection[str] | None = None) -> pa.Table:
        """Each run's latest attempt (a done attempt comes before others); unknown ids are absent.

        `columns`: as of `table`.
        """
        table = self.table("runs", columns=columns) if ids is None else self.of_runs("runs", ids, columns)
        keys, _ = codes(table["run"])
        backwards = np.lexsort((table["attempt"].to_numpy(), _done(table), keys))[::-1]
        return take(table, np.sort(backwards[firsts(keys[backwards])]))

    def runs(self, ids: Iterable[str] | None = None) -> dict[str, dict[str, Any]]:
        """`latest` as rows by run."""
        return {row["run"]: row for row in self.latest(ids).to_pylist()}

    def done(self, ids: Iterable[str]) -> dict[str, dict[str, Any]]:
        """Those of the runs that need no more training, with their rows."""
        return {run: row for run, row in self.runs(ids).items() if row["status"] in DONE}

    def studies(self) -> list[str]:
        """Names of all studies that have a record."""
        found, strays = set(), {}
        for table in PARTITIONED:
            for path in self.storage.list(table):
                study = _study_of(path)
                if study is not None:
                    found.add(study)
                elif path.endswith(".parquet"):
                    strays[path] = _STRAY.format(table)
        self.skip(strays)
        return sorted(found)

    def check_known(self, study: str) -> None:
        """Raises ResultsError, with the nearest name and the list, unless the study has a record."""
        names = self.studies()
        if study not in names:
            listed = ", ".join(names[:20]) + (f" and {len(names) - 20} more" if len(names) > 20 else "")
            there = f"studies in {self.storage.url}: {listed or 'none'}"
            raise ResultsError(f"unknown study '{study}'{nearest(study, names)}; {there}")

    # Blobs -----------------------------------------------------------------------------------------------------------

    def put_blob(self, path: str, data: bytes, durable: bool = True) -> str:
        """Stores bytes as `weights/<run>.pt`, under a name that states their checksum: returns it, for the run's row.

        What was stored as the same before stays; `get_blob` finds the newest. `durable`: as of `Storage.put`.
        """
        if path.split("/")[0] in TABLES:
            raise ResultsError(f"'{path}' lies in the folder of a table")
        path = named(path, data)
        self.storage.put(path, data, durable)
        return path

    def replace_blob(self, path: str, data: bytes) -> str:
        """As `put_blob`, and what was stored as the same before is deleted."""
        before = self._named_blobs(path)
        new = self.put_blob(path, data)
        for old in {*before, path} - {new}:
            self.storage.delete(old)
        return new

    def get_blob(self, path: str) -> bytes:
        """A blob by the name that `put_blob` returned, or by the one that it was given.

        Raises:
            ObjectMissing: there is none.
            ObjectUnreadable: it is damaged.
        """
        if claimed(path) is not None:
            return self.storage.get(path)
        damaged = None
        for found in reversed(self._named_blobs(path)):
            try:
                return self.storage.get(found)
            except ObjectMissing:
                continue
            except ObjectUnreadable as error:
                damaged = error
        try:
            return self.storage.get(path)  # as it was written before names stated checksums
        except ObjectMissing:
            if damaged is not None:
                raise damaged from None
            raise

    def read_blob(self, path: str, parse: Callable[[bytes], Parsed]) -> Parsed | None:
        """What a blob says; None where there is none, or where it cannot be read: that is named, as a file is."""
        try:
            return parse(self.get_blob(path))
        except ObjectMissing:
            return None
        except Exception as error:  # what parsers raise of bytes that are not theirs has no common name
            if isinstance(error, StorageError) and not isinstance(error, ObjectUnreadable):
                raise
            text = str(error)
            if isinstance(error, ObjectUnreadable):
                path = error.path or path
                text = self.storage.reason(path, error)
            reason = (text or type(error).__name__).splitlines()[0]
            if path not in self.skipped:
                logger.warning("%s cannot be read and is passed over: %s", path, reason)
            self.skipped[path] = reason
            return None

    def delete_blob(self, path: str) -> None:
        """Removes all that was stored as `path`, and the folder if nothing else is in it."""
        for found in [*self._named_blobs(path), path]:
            self.storage.delete(found)
        self.storage.delete_empty(path.rpartition("/")[0])

    def _named_blobs(self, path: str) -> list[str]:
        """What was stored as `path`, the newest last."""
        found = [p for p in self.storage.list(path.rpartition("/")[0]) if p != path and plain(p) == path]
        if len(found) < 2:
            return found
        times = {}
        for p in found:
            with contextlib.suppress(ObjectMissing):
                times[p] = self.storage.info(p).mtime
        return sorted(times, key=lambda p: (times[p], p))

    def skip(self, found: Mapping[str, str]) -> None:
        """Names, once, what is passed over: {path: what is wrong}."""
        report({path: reason for path, reason in found.items() if path not in self.skipped})
        self.skipped.update(found)

    def skipped_lines(self) -> list[str]:
        """What was passed over so far, a line each, for a page."""
        return [f"{one_line(path, 300)}: {reason}" for path, reason in sorted(self.skipped.items())]

    # Upkeep ----------------------------------------------------------------------------------------------------------

    def compact(self, study: str | None = None) -> int:
        """Merges small files into segments; returns how many files were replaced. Safe at any time.

        Of one study: its own tables; runs, histories and evaluations are always compacted as a whole.
        """
        if study is not None:
            self.check_known(study)
        count = 0
        for table in TABLES:
            folders = [table]
            if table in PARTITIONED:
                names = self.studies() if study is None else [study]
                folders = [f"{table}/study={name}" for name in names]
            count += sum(compact_folder(self.storage, table, folder) for folder in folders)
        return count

    def compact_many(self) -> int:
        """Compacts where reading would take seconds; returns how many files were replaced."""
        single = sum(not is_segment(path) for path in self.storage.list("runs"))
        return self.compact() if single > COMPACT_ABOVE else 0

    # Reading ---------------------------------------------------------------------------------------------------------

    def of_runs(self, name: str, ids: Iterable[str], columns: Collection[str] | None = None) -> pa.Table:
        """The records of some runs in `runs`, `history` or `evaluations`; opens only the files that may hold one."""
        wanted = set(ids)

        def of_these(path: str) -> bool:
            match = _RUN_FILE.fullmatch(file_name(path))
            return match is None or match[1] in wanted

        return self._read(name, name, of_these, wanted, columns)

    def _read(
        self,
        name: str,
        folder: str,
        wanted: Callable[[str], bool] = lambda path: True,
        ids: set[str] | None = None,
        columns: Collection[str] | None = None,
    ) -> pa.Table:
        strays: dict[str, str] = {}

        def in_place(path: str) -> bool:
            if name in PARTITIONED and _study_of(path) is None:
                strays[path] = _STRAY.format(name)
                return False
            return wanted(path)

        schema = memory_schema(name)
        cache = self._segments if name == "runs" and columns is None else None
        if columns is not None:
            columns = {*columns, *REQUIRED[name], *IDENTITY.get(name, ()), "ended" if name == "runs" else "time"}
            schema = pa.schema([field for field in schema if is_among(field.name, columns)])
        parts, skipped = read_parts(self.storage, name, folder, in_place, cache, columns)
        tables, counts = [], [0]
        for part, rows, sources in distinct(parts):
            if name in PARTITIONED:
                study = _study_of(part.path)
                if study is None:
                    in_place(part.path)
                    continue
                if "study" not in rows.column_names:
                    rows = rows.append_column("study", pa.repeat(study, rows.num_rows))
            tables.append(rows)
            counts += [count for _, count in sources if count]
        self.skip(skipped | strays)
        if not tables:
            return with_asked(schema.empty_table(), columns)
        wanted_ids = None if ids is None else pa.array(sorted(ids), pa.string())
        if name in OPEN:
            tables = narrowed(tables, wanted_ids)
        whole = with_asked(concat(tables), columns)
        schema = pa.schema([*schema, *(field for field in whole.schema if name in OPEN and is_open(field.name))])
        whole = whole.select(schema.names)
        if name == "history":
            # A file holds each number once; what two files hold of one attempt may be there twice.
            starts = np.cumsum(counts[:-1])
            whole = without_repeats(whole, starts, ("run", "attempt"), IDENTITY[name])
        if wanted_ids is not None:
            whole = rows_among(whole, "run", wanted_ids)
        whole = self._with_sense(name, folder, whole)
        return (whole if name == "history" else _records(name, whole)).cast(schema)

    def _with_sense(self, name: str, folder: str, rows: pa.Table) -> pa.Table:
        """Rows that have what each row of the table must have; others, which no writer of ours left, are named."""
        for column in REQUIRED[name]:
            if rows[column].null_count:
                self.skip({f"{folder}, rows without {column}": f"{rows[column].null_count} passed over"})
                rows = rows.filter(pc.is_valid(rows[column]))
        if name == "studies":
            kept = [is_object(text) for text in rows["settings"].to_pylist()]
            if not all(kept):
                self.skip({f"{folder}, rows whose settings are no JSON object": f"{kept.count(False)} passed over"})
                rows = rows.filter(pa.array(kept, pa.bool_()))
        return rows


def is_object(text: str) -> bool:
    """Whether a text is a JSON object."""
    try:
        return isinstance(json.loads(text), dict)
    except (ValueError, RecursionError):
        return False


def _done(runs: pa.Table) -> np.ndarray:
    return pc.is_in(runs["status"], pa.array(DONE)).to_numpy()


def _study_of(path: str) -> str | None:
    parts = path.split("/")
    if len(parts) != 3 or not parts[1].startswith("study="):
        return None
    name = parts[1].removeprefix("study=")
    return name if is_study(name) else None


def _records(name: str, table: pa.Table) -> pa.Table:
    """Each record once, in order of time.

    Of rows with one identity the first to end is kept. A done run wins over one that is not, whichever ended
    first: its result stands.
    """
    order = pc.sort_indices(table["ended" if name == "runs" else "time"]).to_numpy()
    if name in IDENTITY:
        found = order
        if name == "runs":
            done = _done(table)[order]
            found = np.concatenate([order[done], order[~done]])
        wanted = np.zeros(table.num_rows, bool)
        wanted[found[firsts(row_keys(table, IDENTITY[name])[found])]] = True
        order = order[wanted[order]]
    return take(table, order)
