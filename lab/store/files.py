"""The Parquet files of a table: reading them side by side, and merging many small ones into segments.

A segment's footer lists its sources, `[[file id, rows], ...]`, in the order of its rows. It is the manifest
of what the segment replaces, published by the same single write as the rows. One rule makes every row count
once, whatever is killed or runs at the same time: **a source is read once**, from the greatest segment that
holds it, and a file may be deleted once greater segments hold all its sources.

Files are read, joined and merged some dozens at a time: a table of one row takes two hundred times its memory.
"""

import dataclasses
import json
import re
import uuid
import warnings
from collections.abc import Callable, Collection, Iterable, Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass

import pyarrow as pa
import pyarrow.compute as pc
import pyarrow.parquet as pq

from lab.console.printing import one_line
from lab.store.objects.checksums import claimed, named
from lab.store.objects.storage import ObjectMissing, ObjectUnreadable, Storage, StorageError
from lab.store.schema import REQUIRED, SCHEMA_VERSION, VERSION_KEY, memory_schema, repeated_texts

SOURCES_KEY = b"dynonet_sources"
NONCE_KEY = b"dynonet_nonce"
# A segment that has reached one of these is not rewritten.
SEGMENT_BYTES, SEGMENT_ROWS, SEGMENT_SOURCES = 32 << 20, 2_000_000, 5_000
THREADED_BYTES = 1 << 20  # a file this large is decoded by several threads
BLOCK = 64  # files that are held in memory one by one, before they are joined
MOST_ROWS = 200_000_000  # of a file: a few bytes can claim as many as they like
_ID = r"([0-9a-f]{16})(?:[0-9a-f]{16})?"  # the checksum's first half; all of it in files of before
_SEGMENT = re.compile(rf"segment-(\d{{6}})-{_ID}\.parquet")
_PLAIN = re.compile(rf"(?:.*-)?{_ID}\.parquet")
_FIRST_TIME, _LAST_TIME = -62_135_500_000_000_000, 253_402_200_000_000_000  # us since 1970


class Unreadable(Exception):
    """A file that is not one of ours, or is damaged; says why."""


@dataclass(frozen=True)
class Part:
    """One file, read: rows in the current columns of its table."""

    path: str
    rows: pa.Table
    sources: list[tuple[str, int]]  # (file id, rows), in the order of `rows`
    size: int  # bytes

    @property
    def generation(self) -> int:
        return self.order[0]

    @property
    def order(self) -> tuple[int, str]:
        return _order(self.path)


def file_name(path: str) -> str:
    return path.rsplit("/", 1)[-1]


def _order(path: str) -> tuple[int, str]:
    """Of a segment its generation; 0 for other files."""
    match = _SEGMENT.fullmatch(file_name(path))
    return (int(match[1]) if match else 0), path


def is_segment(path: str) -> bool:
    return _SEGMENT.fullmatch(file_name(path)) is not None


def file_path(folder: str, key: str, data: bytes) -> str:
    """Where a new file of a table goes: under a name that nobody else writes to, and that states its checksum."""
    return named(f"{folder}/{key}.parquet", data)


def encode(rows: pa.Table, sources: list[tuple[str, int]] | None = None) -> bytes:
    """Parquet bytes with the schema version in the footer; with `sources`, a segment."""
    # Rows recorded twice are two files: without the nonce they would be one of one name.
    footer = {VERSION_KEY: str(SCHEMA_VERSION).encode(), NONCE_KEY: uuid.uuid4().hex[:16].encode()}
    if sources is not None:
        footer[SOURCES_KEY] = json.dumps(sources, separators=(",", ":")).encode()
    # Texts go in as such: a dictionary of the whole table would be written again for each of its row groups.
    plain = [f.with_type(pa.string()) if pa.types.is_dictionary(f.type) else f for f in rows.schema]
    rows = rows.cast(pa.schema(plain))
    # A file of a few rows is mostly dictionaries and statistics, unless they are left out.
    large = rows.num_rows > 1000 or sources is not None
    buffer = pa.BufferOutputStream()
    with pq.ParquetWriter(
        buffer,
        rows.schema.remove_metadata(),
        store_schema=False,  # Parquet's own types say it all; 7 kB less in a file of one row
        compression="zstd" if large else "snappy",
        use_dictionary=large,
        write_statistics=large,
        write_page_checksum=True,
    ) as writer:
        writer.write_table(rows)
        writer.add_key_value_metadata(footer)
    return buffer.getvalue().to_pybytes()


def decode(table: str, path: str, data: bytes, columns: Collection[str] | None = None) -> Part:
    """Reads one file into the current columns of its table: null where it lacks one; further ones stay, last.

    `columns`: only these.

    Raises:
        Unreadable: not Parquet, damaged, not written by this program, or by a newer version of it.
    """
    try:
        file = pq.ParquetFile(
            pa.BufferReader(data),
            read_dictionary=list(repeated_texts(table)),
            page_checksum_verification=True,
            pre_buffer=False,
        )
        sources = _sources(table, path, file)
        there = set(file.schema_arrow.names)
        if len(there) < len(file.schema_arrow.names):
            raise Unreadable("no file of ours (a column is there twice)")
        rows = file.read(
            None if columns is None else [name for name in columns if name in there],
            use_threads=len(data) > THREADED_BYTES,
        )
        if rows.num_rows != file.metadata.num_rows:
            raise Unreadable(f"damaged ({rows.num_rows} rows of {file.metadata.num_rows})")
        rows.validate(full=claimed(path) is None)  # texts that are none, offsets that lead elsewhere
        return Part(path, _conform(table, rows, columns), sources, len(data))
    except (pa.ArrowException, OSError, ValueError, MemoryError, OverflowError) as error:
        kind = "columns of another type" if isinstance(error, _TypeError) else "damaged or not Parquet"
        raise Unreadable(f"{kind} ({(str(error) or type(error).__name__).splitlines()[0]})") from None


class _TypeError(ValueError):
    """A column that cannot be read as its table's."""


def _sources(table: str, path: str, file: pq.ParquetFile) -> list[tuple[str, int]]:
    """What the file's footer says of it. Raises Unreadable unless it is one of this table's."""
    footer = file.metadata.metadata or {}
    try:
        version = int(footer[VERSION_KEY])
    except (KeyError, ValueError):
        raise Unreadable(f"not written by this program (no {VERSION_KEY.decode()} in its footer)") from None
    if version > SCHEMA_VERSION:
        raise Unreadable(f"written by a newer version (schema {version}; this one reads {SCHEMA_VERSION})")
    lacking = [n for n in REQUIRED[table] if n != "study" and n not in file.schema_arrow.names]
    if lacking:
        raise Unreadable(f"no file of table '{table}' (it lacks {', '.join(lacking)})")
    rows = file.metadata.num_rows
    if not 0 <= rows <= MOST_ROWS:
        raise Unreadable(f"damaged (it claims {rows:,} rows)")
    if SOURCES_KEY not in footer:
        return [(_file_id(path), rows)]
    try:
        sources = [(str(name), int(count)) for name, count in json.loads(footer[SOURCES_KEY])]
    except (ValueError, TypeError, RecursionError):
        sources = []
    counts = [count for _, count in sources]
    if sum(counts) != rows or min(counts, default=0) < 0:
        raise Unreadable("damaged (the list of its sources does not say where its rows are from)")
    return sources


def _file_id(path: str) -> str:
    # A file somebody put here under a name of their own could be replaced by another of that name, so it is
    # known by its path, and never compacted.
    match = _PLAIN.fullmatch(file_name(path))
    return match[1] if match else path


def _conform(table: str, rows: pa.Table, chosen: Collection[str] | None) -> pa.Table:
    wanted = [f for f in memory_schema(table) if f.name != "study" and (chosen is None or f.name in chosen)]
    schema = pa.schema(wanted)
    if rows.schema.equals(schema, check_metadata=False):
        return rows.replace_schema_metadata(None)
    columns, names = [], []
    for field in schema:
        try:
            if pa.types.is_timestamp(field.type) and field.name in rows.column_names:
                _check_times(rows[field.name])
            if field.name not in rows.column_names:
                columns.append(pa.nulls(rows.num_rows, field.type))
            elif pa.types.is_dictionary(field.type) and rows[field.name].type != field.type:
                columns.append(rows[field.name].cast(pa.string()).dictionary_encode())
            else:
                columns.append(rows[field.name].cast(field.type))
        except pa.ArrowException as error:
            raise _TypeError(f"'{field.name}': {error}") from None
        names.append(field.name)
    for name in rows.column_names:
        if name not in schema.names:  # kept, so that compaction by an older version loses nothing
            columns.append(rows[name])
            names.append(name)
    return pa.Table.from_arrays(columns, names=names)


def _check_times(column: pa.ChunkedArray) -> None:
    """Raises _TypeError for times that no calendar of Python's has."""
    ends = pc.min_max(column.cast(pa.timestamp("us", tz="UTC")).cast(pa.int64())).as_py()
    if any(value is not None and not _FIRST_TIME < value < _LAST_TIME for value in ends.values()):
        raise _TypeError("times before the year 1 or after 9999")


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
    loose: dict[str, list[Part]] = {}  # folder -> files in it that are not joined yet
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
                some = loose.setdefault(path.rpartition("/")[0], [])
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
    joined += [_joined(some) for some in loose.values() if some]
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


def concat(tables: list[pa.Table]) -> pa.Table:
    """One table of all columns; a column that files hold in types that don't meet becomes text."""
    try:
        return pa.concat_tables(tables, promote_options="permissive")
    except pa.ArrowException:
        kinds: dict[str, set[pa.DataType]] = {}
        for table in tables:
            for field in table.schema:
                kinds.setdefault(field.name, set()).add(field.type)
        mixed = {name for name, types in kinds.items() if len(types - {pa.null()}) > 1}

        def as_text(table: pa.Table) -> pa.Table:
            fields = [pa.field(f.name, pa.string()) if f.name in mixed else f for f in table.schema]
            return table.cast(pa.schema(fields))

        return pa.concat_tables([as_text(table) for table in tables], promote_options="permissive")


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
    for path in sorted(filter(is_segment, names), key=_order, reverse=True):
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
    single = [n for n in names if not is_segment(n) and _PLAIN.fullmatch(file_name(n))]
    replaced += [path for path in single if _file_id(path) in covered]
    _delete(storage, replaced)
    files = [path for path in single if _file_id(path) not in covered]
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

    paths: list[str]
    tables: list[pa.Table]
    sources: list[tuple[str, int]]
    size: int = 0
    rows: int = 0
    loose: list[pa.Table] = dataclasses.field(default_factory=list)

    def take(self, part: Part, rows: pa.Table, sources: list[tuple[str, int]]) -> None:
        self.paths.append(part.path)
        self.loose.append(rows)
        self.sources += sources
        self.size, self.rows = self.size + part.size, self.rows + rows.num_rows
        if len(self.loose) == BLOCK:
            self.tables.append(_close(self.loose))
            self.loose.clear()


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
    batch = _Batch([], [], [])
    for path, part in _read_each(storage, table, paths if len(paths) > 1 else []):
        if isinstance(part, Part):
            known = {name for name, _ in part.sources} - own[path] if path in own else covered
            batch.take(part, *_without(part, known))
            if _full(batch.size, batch.rows, len(batch.sources)):
                yield batch
                batch = _Batch([], [], [])
        elif part is not None:
            skipped[path] = str(part)
    if len(batch.paths) > 1:
        yield batch


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
