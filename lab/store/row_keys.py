"""Rows of Arrow tables as whole numbers: which are alike, which comes first, which belong together.

Millions of rows are compared by one int64 each; texts that repeat are compared once.
"""

from collections.abc import Sequence

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc

_LARGEST = 2**62


def codes(column: pa.ChunkedArray) -> tuple[np.ndarray, int]:
    """A column's values as numbers in the values' order: (rows,) int64 in [0, count), null as 0; and the count."""
    if pa.types.is_integer(column.type) and not column.null_count and len(column):
        low, high = pc.min_max(column).as_py().values()
        if high == low:
            return np.zeros(len(column), np.int64), 1
        if high - low < _LARGEST:
            return column.to_numpy() - np.int64(low), high - low + 1
    column = encoded(column)
    ranks = np.zeros(len(column.dictionary) + 1, np.int64)  # the last place is where null's index, -1, points to
    ranks[pc.sort_indices(column.dictionary).to_numpy()] = np.arange(1, len(ranks))
    indices = column.indices.fill_null(-1) if column.null_count else column.indices
    return ranks[indices.to_numpy()], len(ranks)


def row_keys(table: pa.Table, names: Sequence[str]) -> np.ndarray:
    """One number a row, (rows,) int64: equal where the columns are equal, and ordered as they are, null first."""
    keys, span = np.zeros(table.num_rows, np.int64), 1
    for name in names:
        values, count = codes(table[name])
        if span * count >= _LARGEST:  # closed up, there are at most as many keys as rows
            keys, span = _dense(keys)
        if span * count >= _LARGEST:
            values, count = _dense(values)
        if count > 1:
            keys *= count
            keys += values
            span *= count
    return keys


def firsts(keys: np.ndarray) -> np.ndarray:
    """Places of each key's first row, in the order of the keys."""
    if not len(keys):
        return np.zeros(0, np.int64)
    order = np.argsort(keys, kind="stable")
    keys = keys[order]
    return order[np.concatenate([[True], keys[1:] != keys[:-1]])]


def rows_among(table: pa.Table, name: str, values: pa.Array) -> pa.Table:
    """The rows whose text in this column is one of the values."""
    column = table[name]
    if not pa.types.is_dictionary(column.type):
        wanted = pc.is_in(column, values)
    else:
        column = encoded(column)
        wanted = pc.is_in(column.dictionary, values)
        if not pc.all(wanted).as_py():
            wanted = wanted.take(column.indices)
    return table if pc.all(wanted).as_py() else table.filter(wanted)


def take(table: pa.Table, order: np.ndarray) -> pa.Table:
    """The rows at these places. A table that would stay as it is is not copied."""
    if len(order) == table.num_rows and np.array_equal(order, np.arange(len(order))):
        return table
    return table.take(pa.array(order))


def without_repeats(table: pa.Table, starts: np.ndarray, shared: Sequence[str], identity: Sequence[str]) -> pa.Table:
    """The first of the rows that are alike in `identity`, in the order they stand in.

    Args:
        starts: where the pieces of the table begin (at least row 0); no piece repeats a row in itself.
        shared: columns of `identity` that mostly stay the same in a piece. Only rows that share these with
            rows of another piece are compared one by one: most often there are none.
    """
    new = np.zeros(table.num_rows, bool)
    new[starts] = True
    for name in shared:
        column = table[name]
        text = pa.types.is_dictionary(column.type) or pa.types.is_string(column.type)
        values = (encoded(column).indices if text else column).to_numpy(zero_copy_only=False)
        new[1:] |= values[1:] != values[:-1]
    begins = np.flatnonzero(new)
    keys = row_keys(table.take(pa.array(begins)), shared)
    _, inverse, counts = np.unique(keys, return_inverse=True, return_counts=True)
    suspect = np.repeat(counts[inverse] > 1, np.diff(begins, append=table.num_rows))
    if not suspect.any():
        return table
    places = np.flatnonzero(suspect)
    keep = ~suspect
    keep[places[firsts(row_keys(table.take(pa.array(places)), identity))]] = True
    return table.filter(pa.array(keep))


def encoded(column: pa.ChunkedArray) -> pa.DictionaryArray:
    """As one array of indices into distinct values."""
    if not pa.types.is_dictionary(column.type):
        column = column.dictionary_encode()
    whole = column.unify_dictionaries().combine_chunks()
    return whole.chunk(0) if isinstance(whole, pa.ChunkedArray) else whole


def _dense(keys: np.ndarray) -> tuple[np.ndarray, int]:
    distinct, keys = np.unique(keys, return_inverse=True)
    return keys.astype(np.int64), len(distinct)
