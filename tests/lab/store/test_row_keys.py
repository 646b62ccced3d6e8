"""Rows as whole numbers: equal where the rows are, in their order, null first."""

from itertools import product

import numpy as np
import pyarrow as pa
import pytest

import lab.store.row_keys as module
from lab.store.row_keys import codes, firsts, row_keys, rows_among, take, without_repeats

TEXTS = ["b", None, "a", "b", "c", None, "a", "a"]
NUMBERS = [3, 1, -2, 3, None, 1, 7, -2]


def table(texts: pa.DataType) -> pa.Table:
    """In two chunks whose dictionaries differ."""
    halves = [
        pa.table({"text": pa.array(TEXTS[half]).cast(pa.string()), "number": pa.array(NUMBERS[half], pa.int64())})
        for half in (slice(0, 3), slice(3, 8))
    ]
    if pa.types.is_dictionary(texts):
        halves = [half.set_column(0, "text", half["text"].dictionary_encode()) for half in halves]
    return pa.concat_tables(halves)


@pytest.fixture(params=[pa.string(), pa.dictionary(pa.int32(), pa.string())], ids=["text", "dictionary"])
def rows(request: pytest.FixtureRequest) -> pa.Table:
    return table(request.param)


def order(values: tuple) -> tuple:
    return tuple((value is not None, value) for value in values)


def test_codes_keep_the_order(rows: pa.Table) -> None:
    for name, values in (("text", TEXTS), ("number", NUMBERS)):
        found, count = codes(rows[name])
        assert found.min() >= 0 and found.max() < count
        for (i, a), (j, b) in product(enumerate(values), repeat=2):
            assert (found[i] < found[j]) == (order((a,)) < order((b,))) and (found[i] == found[j]) == (a == b)
    assert codes(pa.chunked_array([[5, 5]]))[1] == 1 and len(codes(pa.chunked_array([[]], pa.int64()))[0]) == 0


@pytest.mark.parametrize("largest", [2**62, 40], ids=["as they are", "closed up"])
def test_row_keys_compare_as_rows(rows: pa.Table, monkeypatch: pytest.MonkeyPatch, largest: int) -> None:
    monkeypatch.setattr(module, "_LARGEST", largest)
    keys, values = row_keys(rows, ["text", "number"]), list(zip(TEXTS, NUMBERS, strict=True))
    for (i, a), (j, b) in product(enumerate(values), repeat=2):
        assert (keys[i] < keys[j]) == (order(a) < order(b)) and (keys[i] == keys[j]) == (a == b)
    assert [values[place] for place in firsts(keys)] == sorted(set(values), key=order)
    assert firsts(row_keys(rows, ["text"])).tolist() == [1, 2, 0, 4]


def test_numbers_far_apart_do_not_overflow() -> None:
    far = pa.table({"a": [2**62, -(2**62), 0], "b": [-(2**62), 0, 2**62]})
    assert np.argsort(row_keys(far, ["a", "b"])).tolist() == [1, 2, 0]


def test_rows_among_and_take(rows: pa.Table) -> None:
    found = rows_among(rows, "text", pa.array(["a", "x"]))
    assert found["number"].to_pylist() == [-2, 7, -2] and rows_among(rows, "text", pa.array(["x"])).num_rows == 0
    whole = rows.filter(rows["text"].is_valid())
    assert rows_among(whole, "text", pa.array(["a", "b", "c"])) is whole and take(rows, np.arange(8)) is rows
    assert take(rows, np.array([7, 0]))["text"].to_pylist() == ["a", "b"]


def test_without_repeats_compares_only_pieces_that_share() -> None:
    lines = [("r", 1), ("r", 2), ("r", 2), ("r", 3), ("s", 1), ("r", 1), ("q", 1)]
    runs, steps = zip(*lines, strict=True)
    found = pa.table({"run": pa.array(runs), "step": steps, "row": range(len(lines))})

    def kept(*starts: int) -> list[int]:
        return without_repeats(found, np.array(starts), ["run"], ["run", "step"])["row"].to_pylist()

    assert kept(0, 2, 4, 5, 6) == [0, 1, 3, 4, 6], "the first stands"
    assert kept(0) == [0, 1, 3, 4, 6], "a piece may hold several, and one may come back"
    first = found.slice(0, 5)
    assert without_repeats(first, np.array([0, 4]), ["run"], ["run", "step"]) is first, "a piece is taken as it is"
