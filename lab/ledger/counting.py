"""What is on the ledger, counted: in one store, and over all stores that the user's own ledger tells of."""

from collections import Counter, defaultdict
from collections.abc import Collection, Iterable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import pyarrow as pa
import pyarrow.compute as pc

from lab.ledger.cache import Lines, ledger_file
from lab.ledger.cache import read as read_own
from lab.ledger.looks import SEALED, TEST
from lab.store.tables import Results

Row = Mapping[str, Any]
Key = tuple[str, str, int]  # identity of the series, split, origin
_SHOWN = 20  # looks that are told one by one


@dataclass(frozen=True)
class Counted:
    """The looks at one split of one series from one origin."""

    key: Key
    dataset: str
    here: tuple[Row, ...]  # on the store's ledger, in order of time
    own: tuple[Row, ...]  # on the user's own
    before: int = 0  # runs of the store that were read without a look: by versions that kept no ledger

    @property
    def elsewhere(self) -> list[Row]:
        """On the user's own ledger and not on the store's."""
        known = {row["look"] for row in self.here}
        return [row for row in self.own if row["look"] not in known]

    @property
    def of_others(self) -> list[Row]:
        """On the store's ledger and not on the user's own."""
        known = {row["look"] for row in self.own}
        return [row for row in self.here if row["look"] not in known]

    @property
    def across(self) -> int:
        return len(self.here) + len(self.elsewhere)


def counted(results: Results, study: str | None = None, own: Lines | None = None) -> list[Counted]:
    """By series, split and origin; only what a study looked at, if one is given. Who else looked there counts, too.

    Raises ResultsError: no such study.
    """
    if study is not None:
        results.check_known(study)
    lines = read_own() if own is None else own
    here, there = _by_key(results.table("looks").to_pylist()), _by_key(lines.looks)
    unlisted = _unlisted(results, {run for rows in here.values() for row in rows for run in row["run_ids"] or ()})
    keys = list(dict.fromkeys((*here, *there)))
    for series in unlisted:
        if not any(key[0] == series for key in keys):
            keys.append((series, TEST, -1))
    if study is not None:
        seen = set(_column(results.latest(_members(results, study), ["data_sha256"]), "data_sha256"))
        seen |= {key[0] for key, rows in here.items() if any(row["read_for"] == study for row in rows)}
        keys = [key for key in keys if key[0] in seen]
    found = []
    for key in keys:
        rows = (*here.get(key, ()), *there.get(key, ()))
        names = [row["dataset"] for row in rows if row["dataset"]]
        before = unlisted.pop(key[0], (0, "")) if key[1] == TEST else (0, "")
        name = names[-1] if names else before[1]
        found.append(Counted(key, name, tuple(here.get(key, ())), tuple(there.get(key, ())), before[0]))
    return sorted(found, key=lambda each: (each.dataset, each.key))


def store_lines(results: Results, series: Collection[str]) -> list[str]:
    """A sentence on each of these series: how often the store's ledger says that its test rows, or its sealed
    ones, were looked at."""
    found = _by_key(row for row in results.table("looks").to_pylist() if row["series"] in set(series))
    return [
        f"On the ledger of the data, the {split} rows of {rows[-1]['dataset'] or identity[:12]} (training ends at row "
        f"{origin}) were looked at {_many(len(rows), 'time')} in these results{_by(rows)}."
        for (identity, split, origin), rows in found.items()
        if split in (TEST, SEALED)
    ]


def ledger_lines(results: Results, study: str | None = None) -> list[str]:
    """What `python -m lab.results ledger [STUDY]` prints."""
    own = read_own()
    found = counted(results, study, own)
    where = f"on the ledger of {results.storage.url}, and on your own, {ledger_file()}"
    lines = [f"looks at test and at sealed rows: {where}"]
    if not found:
        lines += ["", "none"]
    for each in found:
        lines += ["", *_lines(each, study)]
    if own.unread:
        lines += ["", f"your own ledger: {own.unread} lines that cannot be read count nowhere"]
    if own.problem:
        lines += ["", f"your own ledger cannot be read, so that only this store counts: {own.problem}"]
    return lines


def _lines(each: Counted, study: str | None) -> list[str]:
    series, split, origin = each.key
    where = f"training ends at row {origin}" if origin >= 0 else "origin not on record"
    lines = [
        f"{each.dataset or 'a series'} ({series[:12]}), {split}, {where}:",
        f"  in this store: {_looks(each.here)}",
        f"  across stores: {_many(each.across, 'look')}{_differs(each)}",
    ]
    if study is not None:
        mine = [row for row in each.here if row["read_for"] == study]
        lines.insert(1, f"  for {study}: {_many(len(mine), 'look')}")
    if each.before:
        lines.append(f"  before there was a ledger, {_many(each.before, 'run')} of this store were read on test")
    rows = sorted((*each.here, *each.elsewhere), key=lambda row: row["time"])
    purposes = Counter((row["purpose"] or "", "" if row in each.here else _place(row)) for row in rows)
    lines += [f"    {count:>5d}  {purpose}{place}" for (purpose, place), count in purposes.most_common(_SHOWN)]
    lines.append(f"  the last {min(len(rows), _SHOWN)}:" if len(rows) > _SHOWN else "  each:")
    lines += [
        f"    {row['time']:%Y-%m-%d %H:%M:%S}  {row['user']}@{row['host']}  {_many(row['runs'], 'run')}, "
        f"{row['purpose']}{_once_more(row)}{'' if row in each.here else _place(row)}: {row['command'] or 'not known'}"
        for row in rows[-_SHOWN:]
    ]
    return lines if rows else lines[:-1]


def _differs(each: Counted) -> str:
    """Where the two ledgers are not one."""
    said = []
    if more := len(each.elsewhere):
        said.append(f"{more} of them on your own ledger alone")
    if others := len(each.of_others):
        said.append(f"{others} on the store's alone: taken by others, on other machines, or before you had a ledger")
    return f" ({'; '.join(said)})" if said else ", the same"


def _place(row: Row) -> str:
    return f" (in {row['store']})" if row.get("store") else " (in no store)"


def _once_more(row: Row) -> str:
    return f" (read again: {row['again']})" if row.get("again") else ""


def _looks(rows: Sequence[Row]) -> str:
    return f"{_many(len(rows), 'look')}{_by(rows)}"


def _by(rows: Sequence[Row]) -> str:
    studies = sorted({row["read_for"] for row in rows if row["read_for"]})
    return f", by {', '.join(studies[:8])}{' and others' if len(studies) > 8 else ''}" if studies else ""


def _many(count: int, noun: str) -> str:
    return f"{count} {noun}" if count == 1 else f"{count} {noun}s"


def _by_key(rows: Iterable[Row]) -> dict[Key, list[Row]]:
    found: dict[Key, list[Row]] = defaultdict(list)
    for row in rows:
        found[row["series"], row["split"] or TEST, row["origin"]].append(row)
    return found


def _members(results: Results, study: str) -> list[str]:
    return _column(results.table("members", study, ["run"]), "run")


def _unlisted(results: Results, listed: Collection[str]) -> dict[str, tuple[int, str]]:
    """Runs with a reading of test that no look tells of: series -> how many, and the series' name."""
    readings = results.table("evaluations", columns=["run", "split"])
    read = set(_column(readings.filter(pc.equal(readings["split"], TEST)), "run")) - set(listed)
    rows = results.latest(sorted(read), ["data_sha256", "dataset"]).to_pylist() if read else []
    found: dict[str, tuple[int, str]] = {}
    for row in rows:
        if row["data_sha256"]:
            found[row["data_sha256"]] = (found.get(row["data_sha256"], (0, ""))[0] + 1, row["dataset"] or "")
    return found


def _column(rows: pa.Table, name: str) -> list[Any]:
    return pc.unique(rows[name].drop_null()).to_pylist()
