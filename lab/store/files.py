"""One Parquet file of a table: its name, its bytes, and its rows in the table's columns."""

import json
import re
import uuid
from collections.abc import Collection
from dataclasses import dataclass
from functools import lru_cache

import pyarrow as pa
import pyarrow.compute as pc
import pyarrow.parquet as pq

from lab.store.columns import KINDS, is_among, is_open, with_own_type
from lab.store.objects.checksums import claimed, named
from lab.store.schema import OPEN, REQUIRED, SCHEMA_VERSION, VERSION_KEY, memory_schema, repeated_texts

SOURCES_KEY = b"dynonet_sources"
NONCE_KEY = b"dynonet_nonce"
THREADED_BYTES = 1 << 20  # a file this large is decoded by several threads
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
        return order_of(self.path)


def file_name(path: str) -> str:
    return path.rsplit("/", 1)[-1]


def order_of(path: str) -> tuple[int, str]:
    """Of a segment its generation; 0 for other files."""
    match = _SEGMENT.fullmatch(file_name(path))
    return (int(match[1]) if match else 0), path


def is_segment(path: str) -> bool:
    return _SEGMENT.fullmatch(file_name(path)) is not None


def is_own(path: str) -> bool:
    """Whether a single file is called as we call ours."""
    return _PLAIN.fullmatch(file_name(path)) is not None


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
    """Reads one file into the current columns of its table: null where it lacks one; open and further ones stay, last.

    `columns`: only these (see columns.is_among).

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
        there = file.schema_arrow.names
        sources = _sources(table, path, file, there)
        if len(set(there)) < len(there):
            raise Unreadable("no file of ours (a column is there twice)")
        rows = file.read(
            None if columns is None else [name for name in there if is_among(name, columns)],
            use_threads=len(data) > THREADED_BYTES,
        )
        if rows.num_rows != file.metadata.num_rows:
            raise Unreadable(f"damaged ({rows.num_rows} rows of {file.metadata.num_rows})")
        rows.validate(full=claimed(path) is None)  # texts that are none, offsets that lead elsewhere
        chosen = None if columns is None else frozenset(columns)
        return Part(path, _conform(table, rows, chosen), sources, len(data))
    except (pa.ArrowException, OSError, ValueError, MemoryError, OverflowError) as error:
        kind = "columns of another type" if isinstance(error, _TypeError) else "damaged or not Parquet"
        raise Unreadable(f"{kind} ({(str(error) or type(error).__name__).splitlines()[0]})") from None


class _TypeError(ValueError):
    """A column that cannot be read as its table's."""


def _sources(table: str, path: str, file: pq.ParquetFile, there: Collection[str]) -> list[tuple[str, int]]:
    """What the file's footer says of it. Raises Unreadable unless it is one of this table's."""
    footer = file.metadata.metadata or {}
    try:
        version = int(footer[VERSION_KEY])
    except (KeyError, ValueError):
        raise Unreadable(f"not written by this program (no {VERSION_KEY.decode()} in its footer)") from None
    if version > SCHEMA_VERSION:
        raise Unreadable(f"written by a newer version (schema {version}; this one reads {SCHEMA_VERSION})")
    lacking = [n for n in REQUIRED[table] if n != "study" and n not in there]
    if lacking:
        raise Unreadable(f"no file of table '{table}' (it lacks {', '.join(lacking)})")
    rows = file.metadata.num_rows
    if not 0 <= rows <= MOST_ROWS:
        raise Unreadable(f"damaged (it claims {rows:,} rows)")
    if SOURCES_KEY not in footer:
        return [(file_id(path), rows)]
    try:
        sources = [(str(name), int(count)) for name, count in json.loads(footer[SOURCES_KEY])]
    except (ValueError, TypeError, RecursionError):
        sources = []
    counts = [count for _, count in sources]
    if sum(counts) != rows or min(counts, default=0) < 0:
        raise Unreadable("damaged (the list of its sources does not say where its rows are from)")
    return sources


def file_id(path: str) -> str:
    """By which segments know a file's rows."""
    # A file somebody put here under a name of their own could be replaced by another of that name, so it is
    # known by its path, and never compacted.
    match = _PLAIN.fullmatch(file_name(path))
    return match[1] if match else path


def _listed(table: str, chosen: Collection[str] | None) -> list[pa.Field]:
    """The columns that every file of the table is read with."""
    return [f for f in memory_schema(table) if f.name != "study" and is_among(f.name, chosen)]


@lru_cache(maxsize=64)
def _as_they_are(table: str, schema: pa.Schema, chosen: frozenset[str] | None) -> list[str] | None:
    """The order in which a file's columns are its table's; None where it lacks one, or types one otherwise."""
    listed = _listed(table, chosen)
    if any(f.name not in schema.names or schema.field(f.name).type != f.type for f in listed):
        return None
    more = [f for f in schema if f.name not in {f.name for f in listed}]
    if any(table in OPEN and is_open(f.name) and f.type not in KINDS for f in more):
        return None
    return [f.name for f in (*listed, *more)]


def _conform(table: str, rows: pa.Table, chosen: frozenset[str] | None) -> pa.Table:
    rows = rows.replace_schema_metadata(None)
    order = _as_they_are(table, rows.schema, chosen)
    if order is not None:
        return rows.select(order)
    columns, names = [], []
    for field in _listed(table, chosen):
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
    listed = set(names)
    for name in rows.column_names:
        if name not in listed:  # kept, so that compaction by an older version loses nothing
            columns.append(with_own_type(rows[name]) if table in OPEN and is_open(name) else rows[name])
            names.append(name)
    return pa.Table.from_arrays(columns, names=names)


def _check_times(column: pa.ChunkedArray) -> None:
    """Raises _TypeError for times that no calendar of Python's has."""
    ends = pc.min_max(column.cast(pa.timestamp("us", tz="UTC")).cast(pa.int64())).as_py()
    if any(value is not None and not _FIRST_TIME < value < _LAST_TIME for value in ends.values()):
        raise _TypeError("times before the year 1 or after 9999")
