"""The Parquet files of a table: reading them side by side, and merging many small ones into segments.

A segment's footer lists its sources, `[[file id, rows], ...]`, in the order of its rows. It is the manifest
of what the segment replaces, published by the same single write as the rows. One rule makes every row count
once, whatever is killed or runs at the same time: **a source is read once**, from the greatest segment that
holds it, and a file may be deleted once greater segments hold all its sources.

Files are read, joined and merged some dozens at a time: a table of one row takes two hundred times its memory.
Only files whose open columns are of the same types are: a segment says of each value what its file said.
"""

import warnings
from collections.abc import Callable, Collection, Iterable, Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, field

import pyarrow as pa

from lab.console.printing import one_line
from lab.store.columns import Alike, concat
from lab.store.files import (
    Part,
    Unreadable,
    decode,
    encode,
    file_id,
    file_name,
    file_path,
    is_own,
    is_segment,
    order_of,
)
from lab.store.objects.storage import ObjectMissing, ObjectUnreadable, Storage, StorageError

# A segment that has reached one of these is not rewritten.
SEGMENT_BYTES, SEGMENT_ROWS, SEGMENT_SOURCES = 32 << 20, 2_000_000, 5_000
BLOCK = 64  # files that are held in memory one by one, before they are joined


def read_parts(
    storage: Storage,
    table: str,
    folder: str,
    wanted: Callable[[str], bool] = lambda path: True,
    cache: dict[str, Part] | None = None,
    columns: Collection[str] | None = None,
) -> tuple[list[Part], dict[str, str]]:
    """Every readable file below a folder of the table, and the others as {path: what is wrong}.

    Segments are always read; `wanted` chooses among the other files, which come joined, folder by folder. Files are
    immutable, so a cache of segments can be handed from call to call (one for each choice of `columns`).
    """
    cache = {} if cache is None else cache
    joined: list[Part] = []  # of single files, each of one folder
    loose: dict[str, Alike[list[Part]]] = {}  # folder -> files in it that are not joined yet
    skipped: dict[str, str] = {}
    read: set[str] = set()

    def listing() -> list[str]:
        found = (p for p in storage.list(folder) if not file_name(p).startswith((".", "_")))
        return [p for p in found if is_segment(p) or wanted(p)]

    names = listing()
    for _ in range(100):
        missing = [n for n in names if n not in read and n not in skipped and n not in cache]
        vanished = False
        for path, part in _read_each(storage, table, missing, columns):
            if part is None:
                vanished = True
            elif isinstance(part, Unreadable):
                skipped[path] = str(part)
            elif is_segment(path):
                cache[path] = part
            else:
                read.add(path)
                some = loose.setdefault(path.rpartition("/")[0], Alike(list)).of(part.rows.schema)
                some.append(part)
                if len(some) == BLOCK:
                    joined.append(_joined(some))
                    some.clear()
        again = listing()
        # A listing is no snapshot: one taken while a compaction worked can lack the new segment and the files
        # it replaced. No new segment since means that none was missed.
        if not vanished and set(filter(is_segment, again)) == set(filter(is_segment, names)):
            break
        names = again
    else:
        raise StorageError(f"{storage.full(folder)} changes faster than it can be read")
    for path in [p for p in cache if p.startswith(folder + "/") and p not in names]:
        del cache[path]
    joined += [_joined(some) for each in loose.values() for some in each.groups if some]
    return [*joined, *(cache[n] for n in names if n in cache)], skipped


def _read(storage: Storage, table: str, path: str, columns: Collection[str] | None = None) -> Part | Unreadable | None:
    """A file, what is wrong with it, or None where it is gone."""
    try:
        return decode(table, path, storage.get(path), columns)
    except ObjectMissing:
        return None
    except ObjectUnreadable as error:
        return Unreadable(storage.reason(path, error))
    except (Unreadable, MemoryError) as error:
        return error if isinstance(error, Unreadable) else Unreadable("too large for the memory here")


def _read_each(
    storage: Storage, table: str, paths: Sequence[str], columns: Collection[str] | None = None
) -> Iterator[tuple[str, Part | Unreadable | None]]:
    """Each path with what `_read` says of it, in their order; a block of files at a time is in memory."""
    with ThreadPoolExecutor(2 if storage.local else 16) as pool:
        for start in range(0, len(paths), BLOCK):
            block = paths[start : start + BLOCK]
            yield from zip(block, pool.map(lambda path: _read(storage, table, path, columns), block), strict=True)


def _joined(parts: Sequence[Part]) -> Part:
    """Files of one folder as one that holds all their sources."""
    sources = [source for part in parts for source in part.sources]
    return Part(parts[0].path, _close([part.rows for part in parts]), sources, sum(part.size for part in parts))


def _close(tables: Sequence[pa.Table]) -> pa.Table:
    """One table, in one piece."""
    return concat(list(tables)).unify_dictionaries().combine_chunks()


def distinct(parts: Iterable[Part]) -> list[tuple[Part, pa.Table, list[tuple[str, int]]]]:
    """Each part with the rows and sources that no greater part holds: together, every row once."""
    seen: set[str] = set()
    kept = [(part, *_without(part, seen)) for part in sorted(parts, key=lambda p: p.order, reverse=True)]
    return kept[::-1]  # oldest kind first: plain files by name, then segments


def _without(part: Part, seen: set[str]) -> tuple[pa.Table, list[tuple[str, int]]]:
    """The rows and sources of a part that were not seen before; from now on they were."""
    names = {name for name, _ in part.sources}
    if len(names) == len(part.sources) and seen.isdisjoint(names):  # most often, and without a look at each
        seen |= names
        return part.rows, part.sources
    pieces, sources, start = [], [], 0
    for name, count in part.sources:
        if name not in seen:
            seen.add(name)
            pieces.append((start, count))
            sources.append((name, count))
        start += count
    return pa.concat_tables([part.rows.slice(*piece) for piece in pieces] or [part.rows.slice(0, 0)]), sources


def compact_folder(storage: Storage, table: str, folder: str) -> int:
    """Merges the small files of one folder into segments; returns how many files it replaced.

    Publishes first, deletes after, so a kill at any moment leaves every row readable once by this program
    (programs that read the folder as it is can see a row twice until the next compaction). Safe beside
    writers, readers and other compactions. Unreadable files are left where they are.
    """
    names = [n for n in storage.list(folder) if n.endswith(".parquet") and not file_name(n).startswith((".", "_"))]
    skipped: dict[str, str] = {}
    covered: set[str] = set()
    replaced, generation = [], 0
    small: list[tuple[str, set[str]]] = []  # segments to merge, with the sources that no greater one holds
    # Greatest first. Two compactions can hold the same rows; as both keep the greater, neither row is lost.
    for path in sorted(filter(is_segment, names), key=order_of, reverse=True):
        segment = _read(storage, table, path)  # its rows, too: what it covers is deleted
        if not isinstance(segment, Part):
            skipped |= {path: str(segment)} if segment else {}
            continue
        generation = max(generation, segment.generation)
        own = {name for name, _ in segment.sources} - covered
        covered |= own
        if not own:
            replaced.append(path)
        elif not _full(segment.size, segment.rows.num_rows, len(segment.sources)):
            small.insert(0, (path, own))
    single = [n for n in names if not is_segment(n) and is_own(n)]
    replaced += [path for path in single if file_id(path) in covered]
    _delete(storage, replaced)
    files = [path for path in single if file_id(path) not in covered]
    for batch in _batches(storage, table, small, files, covered, skipped):
        _publish(storage, table, folder, generation + 1, batch)
        _delete(storage, batch.paths)
        replaced += batch.paths
    report(skipped)
    return len(replaced)


def _full(size: int, rows: int, sources: int) -> bool:
    return size >= SEGMENT_BYTES or rows >= SEGMENT_ROWS or sources >= SEGMENT_SOURCES


@dataclass
class _Batch:
    """What goes into one segment."""

    paths: list[str] = field(default_factory=list)
    tables: list[pa.Table] = field(default_factory=list)
    sources: list[tuple[str, int]] = field(default_factory=list)
    size: int = 0
    rows: int = 0
    loose: list[pa.Table] = field(default_factory=list)

    def take(self, part: Part, rows: pa.Table, sources: list[tuple[str, int]]) -> None:
        self.paths.append(part.path)
        self.loose.append(rows)
        self.sources += sources
        self.size, self.rows = self.size + part.size, self.rows + rows.num_rows
        if len(self.loose) == BLOCK:
            self.tables.append(_close(self.loose))
            self.loose.clear()

    def clear(self) -> None:
        for each in (self.paths, self.tables, self.sources, self.loose):
            each.clear()
        self.size = self.rows = 0


def _batches(
    storage: Storage,
    table: str,
    small: list[tuple[str, set[str]]],
    files: list[str],
    covered: set[str],
    skipped: dict[str, str],
) -> Iterator[_Batch]:
    """What is to be merged: segments with their own sources, then single files, whose sources are `covered` then."""
    own = dict(small)
    paths = [*own, *files]
    batches = Alike(_Batch)
    for path, part in _read_each(storage, table, paths if len(paths) > 1 else []):
        if isinstance(part, Part):
            known = {name for name, _ in part.sources} - own[path] if path in own else covered
            batch = batches.of(part.rows.schema)
            batch.take(part, *_without(part, known))
            if _full(batch.size, batch.rows, len(batch.sources)):
                yield batch
                batch.clear()
        elif part is not None:
            skipped[path] = str(part)
    yield from (batch for batch in batches.groups if len(batch.paths) > 1)


def _publish(storage: Storage, table: str, folder: str, generation: int, batch: _Batch) -> None:
    """Writes the segment, and reads it again: what is deleted next is surely there."""
    data = encode(concat([*batch.tables, *batch.loose]), batch.sources)
    path = file_path(folder, f"segment-{generation:06d}", data)
    storage.put(path, data)
    try:
        segment = decode(table, path, storage.get(path))
    except ObjectMissing:  # another compaction has merged it by now: a greater segment holds all its sources
        return
    if segment.rows.num_rows != batch.rows:
        raise StorageError(f"{storage.full(path)} holds {segment.rows.num_rows} of {batch.rows} rows")


def rewrite_folder(
    storage: Storage, table: str, folder: str, changed: Callable[[pa.Table], pa.Table | None]
) -> int:  # fmt: skip
    """Puts other rows in the place of some of a folder's rows; returns how many files were replaced.

    As in a compaction a segment with the sources of what it stands for is published first, with fewer rows of them or
    others, and what it stands for is deleted then: a kill at any moment leaves each row once, as it was or as it is to
    be. Files that cannot be read, and those called as we call none, are left where they are.

    Args:
        changed: of some rows, in their order, those that are to stand for them; None where they stay.
    """
    names = [n for n in storage.list(folder) if n.endswith(".parquet") and not file_name(n).startswith((".", "_"))]
    ours = sorted((n for n in names if is_segment(n) or is_own(n)), key=order_of, reverse=True)
    generation = max((order_of(path)[0] for path in ours), default=0) + 1
    seen: set[str] = set()
    replaced: dict[str, list[str]] = {}  # folder -> paths
    for path, part in _read_each(storage, table, ours):
        if not isinstance(part, Part):
            continue
        rows, sources = _without(part, seen)
        if changed(rows) is None:
            continue
        pieces, kept, start = [], [], 0
        for name, count in sources:
            piece = rows.slice(start, count)
            other = changed(piece) if count else None
            pieces.append(piece if other is None else other)
            kept.append((name, pieces[-1].num_rows))
            start += count
        where = path.rpartition("/")[0]
        if is_segment(path) or any(count for _, count in kept):  # else nobody else holds its rows
            data = encode(_close(pieces), kept)
            storage.put(file_path(where, f"segment-{generation:06d}", data), data)
        replaced.setdefault(where, []).append(path)
    for paths in replaced.values():
        _delete(storage, paths)
    return sum(map(len, replaced.values()))


def _delete(storage: Storage, paths: Sequence[str]) -> None:
    with ThreadPoolExecutor(1 if storage.local else 16) as pool:
        for done in [pool.submit(storage.delete, path) for path in paths]:
            done.result()


def report(skipped: dict[str, str]) -> None:
    """One warning that names the files passed over."""
    if skipped:
        lines = [f"{one_line(path, 300)}: {reason}" for path, reason in sorted(skipped.items())]
        more = f"\n  and {len(lines) - 10} more" if len(lines) > 10 else ""
        warnings.warn(
            f"{len(lines)} object(s) in the results passed over; the rest is read:\n  "
            + "\n  ".join(lines[:10])
            + more,
            stacklevel=3,
        )
