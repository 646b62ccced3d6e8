"""Columns that no list names: the settings of whatever was trained, and how far what it reports has moved.

`params.SECTION.NAME` is a setting, typed as its writer gave it; `GROUP_range.NAME` is a number. What is read has those
that some row of it fills, however the rows lie in files. Where rows type a column differently, numbers become floats if
that loses nothing, and anything else text, as JSON would write it.
"""

import contextlib
import heapq
import itertools
import json
import re
from collections import defaultdict
from collections.abc import Callable, Collection, Iterable, Sequence
from typing import Any, Generic, TypeVar

import pyarrow as pa

from lab.store.row_keys import encoded, rows_among

PARAMS = "params."
_OPEN = re.compile(r"params(\.\w+)+|\w+_range(\.\w+)+")
Group = TypeVar("Group")

_BOOL, _INT, _REAL, _TEXT = pa.bool_(), pa.int64(), pa.float64(), pa.string()
KINDS = (_BOOL, _INT, _REAL, _TEXT)  # what an open column can be


def is_open(name: str) -> bool:
    """Whether a column may be called so though no list of columns names it."""
    return _OPEN.fullmatch(name) is not None


def is_range(name: str) -> bool:
    return is_open(name) and not name.startswith(PARAMS)


def is_among(name: str, columns: Collection[str] | None) -> bool:
    """Whether a column is one of those asked for: by its name, or all that begin alike, as `params.*`; None: all."""
    return columns is None or name in columns or any(c.endswith("*") and name.startswith(c[:-1]) for c in columns)


# Types -------------------------------------------------------------------------------------------------------------


def typed(name: str, values: Sequence[Any]) -> pa.Array:
    """An open column of these values, as they are typed; text where they are of several types, or of none of these.

    Raises ValueError for a range that is no number, and for what JSON cannot say.
    """
    kinds = {type(value) for value in values if value is not None}
    if is_range(name):
        if not kinds <= {int, float}:
            raise ValueError("expected a number")
        return pa.array(values, _REAL)
    for allowed, kind in (({bool}, _BOOL), ({int}, _INT), ({int, float}, _REAL), ({str}, _TEXT)):
        if kinds <= allowed:
            with contextlib.suppress(pa.ArrowInvalid):  # a whole number that no float is
                return pa.array(values, kind)
    return pa.array([_text(value, None) for value in values], _TEXT)


def with_own_type(column: pa.ChunkedArray) -> pa.ChunkedArray:
    """An open column of a file, in one of the four types that such columns have, or in none where it is empty."""
    kind = column.type
    if kind in KINDS or pa.types.is_null(kind):
        return column
    if pa.types.is_floating(kind) or pa.types.is_integer(kind):
        with contextlib.suppress(pa.ArrowInvalid):  # more than 64 bits
            return column.cast(_REAL if pa.types.is_floating(kind) else _INT)
    return as_text(column)


class Alike(Generic[Group]):
    """Groups of tables whose open columns are of the same types: these can be joined without a change to any value."""

    def __init__(self, new: Callable[[], Group]):
        self._new = new
        self._groups: list[tuple[dict[str, pa.DataType], Group]] = []
        self._last: tuple[pa.Schema, int] | None = None

    def of(self, schema: pa.Schema) -> Group:
        """The group of a table of this schema, which is in it from now on."""
        if self._last is None or not self._last[0].equals(schema):  # most often it is as the one before
            self._last = schema, self._place({field.name: field.type for field in schema if is_open(field.name)})
        return self._groups[self._last[1]][1]

    def _place(self, mine: dict[str, pa.DataType]) -> int:
        for place, (kinds, _) in enumerate(self._groups):
            if all(kinds.get(name, kind) == kind for name, kind in mine.items()):
                kinds |= mine
                return place
        self._groups.append((mine, self._new()))
        return len(self._groups) - 1

    @property
    def groups(self) -> list[Group]:
        return [group for _, group in self._groups]


def as_text(column: pa.ChunkedArray) -> pa.ChunkedArray:
    """Every value as JSON writes it; what is text stays."""
    if column.type == _TEXT or pa.types.is_null(column.type):
        return column.cast(_TEXT)
    if column.type not in (_BOOL, _INT, _REAL):
        return pa.chunked_array([pa.array([_text(value) for value in column.to_pylist()], _TEXT)])
    indices = encoded(column)
    texts = pa.array([_text(value) for value in indices.dictionary.to_pylist()], _TEXT)
    return pa.chunked_array([texts.take(indices.indices)])


def _text(value: Any, otherwise: Callable[[Any], Any] | None = str) -> str | None:
    """`otherwise`: what becomes of that which JSON cannot say."""
    if value is None or isinstance(value, str):
        return value
    return json.dumps(value, sort_keys=True, default=otherwise)


def _met(columns: Sequence[pa.ChunkedArray]) -> list[pa.ChunkedArray]:
    """One column's pieces of several types, of one type each."""
    kinds = {column.type for column in columns} - {pa.null()}
    if kinds <= {_INT, _REAL}:
        with contextlib.suppress(pa.ArrowInvalid):  # a whole number that no float is
            return [column.cast(_REAL) for column in columns]
    return [as_text(column) for column in columns]


# Tables together ---------------------------------------------------------------------------------------------------


def concat(tables: Sequence[pa.Table]) -> pa.Table:
    """One table of all columns of tables of one kind."""
    first = tables[0].schema
    unlike = [table.schema for table in tables if not table.schema.equals(first)]
    if not unlike:
        return pa.concat_tables(tables)
    orders = {tuple(schema.names): None for schema in (first, *unlike)}
    kinds: dict[str, set[pa.DataType]] = defaultdict(set)
    for schema in (first, *unlike):
        for field in schema:
            kinds[field.name].add(field.type)
    mixed = {name for name, types in kinds.items() if len(types - {pa.null()}) > 1}
    tables = _with_types_met(tables, {name for name in mixed if is_open(name)})
    names = dict.fromkeys(name for order in orders for name in order)
    order = [*(name for name in names if not is_open(name)), *in_order(orders)]
    try:
        return pa.concat_tables(tables, promote_options="permissive").select(order)
    except pa.ArrowException:  # columns that no table of today has
        tables = [table.cast(pa.schema([_as_text_if(f, mixed) for f in table.schema])) for table in tables]
        return pa.concat_tables(tables, promote_options="permissive").select(order)


def _as_text_if(field: pa.Field, mixed: Collection[str]) -> pa.Field:
    return field.with_type(_TEXT) if field.name in mixed and not is_open(field.name) else field


def _with_types_met(tables: Sequence[pa.Table], mixed: Collection[str]) -> list[pa.Table]:
    tables = list(tables)
    for name in mixed:
        holders = [place for place, table in enumerate(tables) if name in table.column_names]
        met = _met([tables[place][name] for place in holders])
        for place, column in zip(holders, met, strict=True):
            at = tables[place].schema.get_field_index(name)
            tables[place] = tables[place].set_column(at, name, column)
    return tables


def in_order(orders: Iterable[Sequence[str]]) -> list[str]:
    """The open columns of tables that have them in these orders: ranges, then settings.

    A column comes after those that it comes after in any table, and else by the alphabet; by that alone where tables
    contradict each other.
    """
    return [*_merged(orders, is_range), *_merged(orders, lambda name: is_open(name) and not is_range(name))]


def _merged(orders: Iterable[Sequence[str]], wanted: Callable[[str], bool]) -> list[str]:
    after: dict[str, set[str]] = {}
    for order in orders:
        chosen = [name for name in order if wanted(name)]
        for name in chosen:
            after.setdefault(name, set())
        for name, successor in itertools.pairwise(chosen):
            after[name].add(successor)
    waits = dict.fromkeys(after, 0)
    for successors in after.values():
        for name in successors:
            waits[name] += 1
    ready = [name for name, count in waits.items() if not count]
    heapq.heapify(ready)
    found = []
    while ready:
        found.append(name := heapq.heappop(ready))
        for successor in after[name]:
            waits[successor] -= 1
            if not waits[successor]:
                heapq.heappush(ready, successor)
    return found if len(found) == len(after) else sorted(after)


def with_asked(table: pa.Table, columns: Collection[str] | None) -> pa.Table:
    """A table with every open column that was asked for by its name; one that nothing fills is empty text."""
    for name in sorted(set(columns or ()) - set(table.column_names)):
        if is_open(name):
            table = table.append_column(name, pa.nulls(table.num_rows, _TEXT))
    return table


def without_empty(table: pa.Table) -> pa.Table:
    """A table without the open columns in which no row has a value."""
    names = table.column_names
    empty = [name for name in names if is_open(name) and table[name].null_count == table.num_rows]
    return table.drop_columns(empty) if empty else table


def narrowed(tables: Sequence[pa.Table], ids: pa.Array | None) -> list[pa.Table]:
    """Of each table the rows of these runs, with the open columns that they fill; a table without a row is left out."""
    chosen = [table if ids is None else rows_among(table, "run", ids) for table in tables]
    return [without_empty(table) for table in [t for t in chosen if t.num_rows] or chosen[:1]]
