"""The Parquet files of a table: reading them side by side, and merging many small ones into segments.

A segment's footer lists its sources, `[[file id, rows], ...]`, in the order of its rows. It is the manifest
of what the segment replaces, published by the same single write as the rows. One rule makes every row count
once, whatever is killed or runs at the same time: **a source is read once**, from the greatest segment that
holds it, and a file may be deleted once greater segments hold all its sources.
"""

import json
import re
import uuid
import warnings
from collections.abc import Callable, Iterable
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass

import pyarrow as pa
import pyarrow.parquet as pq

from tune.schema import REQUIRED, SCHEMA_VERSION, VERSION_KEY, memory_schema, repeated_texts
from tune.storage import ObjectMissing, Storage, StorageError

SOURCES_KEY = b"dynonet_sources"
SEGMENT_BYTES = 32 << 20  # a segment this large is not rewritten
THREADED_BYTES = 1 << 20  # a file this large is decoded by several threads
_SEGMENT = re.compile(r"segment-(\d{6})-[0-9a-f]{16}\.parquet")
_PLAIN = re.compile(r"(?:.*-)?([0-9a-f]{16})\.parquet")


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
        match = _SEGMENT.fullmatch(file_name(self.path))
        return int(match[1]) if match else 0

    @property
    def order(self) -> tuple[int, str]:
        return self.generation, self.path


def file_name(path: str) -> str:
    return path.rsplit("/", 1)[-1]


def is_segment(path: str) -> bool:
    return _SEGMENT.fullmatch(file_name(path)) is not None


def new_name(key: str) -> str:
    """A file name that nobody else writes to."""
    unique = f"{uuid.uuid4().hex[:16]}.parquet"
    return f"{key}-{unique}" if key else unique


def encode(rows: pa.Table, sources: list[tuple[str, int]] | None = None) -> bytes:
    """Parquet bytes with the schema version in the footer; with `sources`, a segment."""
    footer = {VERSION_KEY: str(SCHEMA_VERSION).encode()}
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


def decode(table: str, path: str, data: bytes) -> Part:
    """Reads one file into the current columns of its table: null where it lacks one; further ones stay, last.

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
        rows = file.read(use_threads=len(data) > THREADED_BYTES)
        footer = file.metadata.metadata or {}
    except (pa.ArrowException, OSError, ValueError) as error:
        raise Unreadable(f"damaged or not Parquet ({str(error).splitlines()[0]})") from None
    try:
        version = int(footer[VERSION_KEY])
    except (KeyError, ValueError):
        raise Unreadable(f"not written by this program (no {VERSION_KEY.decode()} in its footer)") from None
    if version > SCHEMA_VERSION:
        raise Unreadable(f"written by a newer version (schema {version}; this one reads {SCHEMA_VERSION})")
    lacking = [n for n in REQUIRED[table] if n != "study" and n not in rows.column_names]
    if lacking:
        raise Unreadable(f"no file of table '{table}' (it lacks {', '.join(lacking)})")
    sources = [(_file_id(path), rows.num_rows)]
    if SOURCES_KEY in footer:
        sources = [(str(name), int(count)) for name, count in json.loads(footer[SOURCES_KEY])]
    try:
        return Part(path, _conform(table, rows), sources, len(data))
    except pa.ArrowException as error:
        raise Unreadable(f"columns of another type ({error})") from None


def _file_id(path: str) -> str:
    # A file somebody put here under a name of their own could be replaced by another of that name, so it is
    # known by its path, and never compacted.
    match = _PLAIN.fullmatch(file_name(path))
    return match[1] if match else path


def _conform(table: str, rows: pa.Table) -> pa.Table:
    schema = pa.schema([field for field in memory_schema(table) if field.name != "study"])
    if rows.schema.equals(schema, check_metadata=False):
        return rows.replace_schema_metadata(None)
    columns, names = [], []
    for field in schema:
        if field.name not in rows.column_names:
            columns.append(pa.nulls(rows.num_rows, field.type))
        elif pa.types.is_dictionary(field.type) and rows[field.name].type != field.type:
            columns.append(rows[field.name].cast(pa.string()).dictionary_encode())
        else:
            columns.append(rows[field.name].cast(field.type))
        names.append(field.name)
    for name in rows.column_names:
        if name not in schema.names:  # kept, so that compaction by an older version loses nothing
            columns.append(rows[name])
            names.append(name)
    return pa.Table.from_arrays(columns, names=names)


def read_parts(
    storage: Storage,
    table: str,
    folder: str,
    wanted: Callable[[str], bool] = lambda path: True,
    cache: dict[str, Part] | None = None,
) -> tuple[list[Part], dict[str, str]]:
    """Every readable file below a folder of the table, and the others as {path: what is wrong}.

    Segments are always read; `wanted` chooses among the other files. Files are immutable, so a cache of
    segments can be handed from call to call.
    """
    cache = {} if cache is None else cache
    parts: dict[str, Part] = {}
    skipped: dict[str, str] = {}

    def read(path: str) -> Part | Unreadable | None:
        try:
            return decode(table, path, storage.get(path))
        except ObjectMissing:
            return None
        except Unreadable as error:
            return error

    def listing() -> list[str]:
        found = (p for p in storage.list(folder) if not file_name(p).startswith((".", "_")))
        return [p for p in found if is_segment(p) or wanted(p)]

    names = listing()
    for _ in range(100):
        missing = [n for n in names if n not in parts and n not in skipped and n not in cache]
        vanished = False
        with ThreadPoolExecutor(2 if storage.local else 16) as pool:
            for path, part in zip(missing, pool.map(read, missing), strict=True):
                if isinstance(part, Part):
                    (cache if is_segment(path) else parts)[path] = part
                elif part is None:
                    vanished = True
                else:
                    skipped[path] = str(part)
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
    return [(cache if is_segment(n) else parts)[n] for n in names if n not in skipped], skipped


def distinct(parts: Iterable[Part]) -> list[tuple[Part, pa.Table, list[tuple[str, int]]]]:
    """Each part with the rows and sources that no greater part holds: together, every row once."""
    seen: set[str] = set()
    kept = []
    for part in sorted(parts, key=lambda p: p.order, reverse=True):
        names = {name for name, _ in part.sources}
        if seen.isdisjoint(names):
            kept.append((part, part.rows, part.sources))
        else:
            pieces, sources, start = [], [], 0
            for name, count in part.sources:
                if name not in seen:
                    pieces.append((start, count))
                    sources.append((name, count))
                start += count
            rows = pa.concat_tables([part.rows.slice(*piece) for piece in pieces] or [part.rows.slice(0, 0)])
            kept.append((part, rows, sources))
        seen |= names
    return kept[::-1]  # oldest kind first: plain files by name, then segments


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
    """Merges the small files of one folder into a segment; returns how many files it replaced.

    Publishes first, deletes after, so a kill at any moment leaves every row readable once by this program
    (programs that read the folder as it is can see a row twice until the next compaction). Safe beside
    writers, readers and other compactions. Unreadable files are left where they are.
    """
    parts, skipped = read_parts(storage, table, folder, wanted=lambda path: path.endswith(".parquet"))
    report(skipped)
    parts = [p for p in parts if all(name != p.path for name, _ in p.sources)]
    kept = distinct(parts)
    small = [(p, rows, sources) for p, rows, sources in kept if sources and p.size < SEGMENT_BYTES]
    if len(small) > 1:
        rows = concat([rows for _, rows, _ in small])
        sources = [source for _, _, mine in small for source in mine]
        generation = max(p.generation for p in parts) + 1
        path = f"{folder}/{new_name(f'segment-{generation:06d}')}"
        storage.put(path, encode(rows, sources))
        segment = decode(table, path, storage.get(path))  # what is deleted below is surely here
        if segment.rows.num_rows != rows.num_rows:
            raise StorageError(f"{storage.full(path)} holds {segment.rows.num_rows} of {rows.num_rows} rows")
        parts.append(segment)
    covered: set[str] = set()
    replaced = []
    # Greatest first. Two compactions can hold the same rows; as both keep the greater, neither row is lost.
    for part in sorted(parts, key=lambda p: p.order, reverse=True):
        names = {name for name, _ in part.sources}
        if names <= covered:
            replaced.append(part.path)
        if is_segment(part.path):
            covered |= names
    for path in replaced:
        storage.delete(path)
    return len(replaced)


def report(skipped: dict[str, str]) -> None:
    """One warning that names the files passed over."""
    if skipped:
        named = [f"{path}: {reason}" for path, reason in sorted(skipped.items())]
        more = f"\n  and {len(named) - 10} more" if len(named) > 10 else ""
        warnings.warn(
            f"{len(named)} file(s) in the results passed over; the rest is read:\n  " + "\n  ".join(named[:10]) + more,
            stacklevel=3,
        )
