"""Who read sealed rows before: on a store's ledger or on the user's own, under whatever name, in whatever store.

Rows are known by what they hold (lab.ledger.content), and a look at them as test of another series is one, too. What a
forecast was given as inputs is no reading: nothing was judged by it.
"""

from collections.abc import Collection, Mapping
from typing import Any

import numpy as np

from lab.ledger.cache import append, read
from lab.ledger.content import EVERY, marks_of
from lab.ledger.looks import INPUTS, SEALED, TEST, Look, Looked, Store, record
from lab.store.tables import Results

Row = Mapping[str, Any]
_SHOWN = 4  # readings that a sentence names


def read_before(results: Results, rows: np.ndarray, but: Collection[str] = ()) -> list[Row]:
    """Looks on either ledger at some of these rows (rows, C), earliest first, each once; `but`: ids of looks."""
    marks = set(marks_of(rows, EVERY))
    here = [{**row, "store": results.storage.url} for row in results.table("looks").to_pylist()]
    found = {row["look"]: row for row in (*read().looks, *here) if row["split"] in (SEALED, TEST)}
    there = [row for look, row in found.items() if look not in but and not marks.isdisjoint(row["content"] or ())]
    return sorted(there, key=lambda row: row["time"])


def told(looks: Collection[Row], here: str) -> str:
    """Who read them, and when; `here`: the address of the store that is asked."""
    shown = [_told(row, here) for row in [*looks][:_SHOWN]]
    return "; ".join([*shown, *([f"and {len(looks) - _SHOWN} more"] if len(looks) > _SHOWN else [])])


def _told(row: Row, here: str) -> str:
    whose = f"for study {row['read_for']}" if row["read_for"] else row["purpose"] or "for no study"
    place = "" if row["store"] == here else f" in {row['store']}" if row["store"] else " in no store"
    split = "" if row["split"] == SEALED else f", as {row['split']} of {row['dataset'] or 'another series'}"
    return f"{row['time']:%Y-%m-%d %H:%M:%S} by {row['user']}@{row['host']} {whose}{place}{split}"


def on_own(look: Row, store: str) -> None:
    """Puts a look of a store's ledger on the user's own, where a kill came between the two."""
    if look["look"] not in {row["look"] for row in read().looks}:
        append({**look, "store": store})


def inputs_read(
    series: Looked, rows: tuple[int, int], purpose: str, results: Store | None = None, study: str | None = None
) -> Look | None:
    """To be called by whatever forecasts from sealed rows: a line on the ledger, which is no reading of their errors.

    Args:
        series: with its sealed rows (`lab.series.sealed.unsealed`).
        rows: [first, end) that the forecast reads.
    Returns the look; None where none of the rows is sealed, and nothing is to be said.
    """
    if series.sealed is None:
        return None
    first, end = max(rows[0], series.sealed[0]), min(rows[1], series.sealed[1])
    if first >= end:
        return None
    return record(series, purpose, split=INPUTS, rows=(first, end), results=results, study=study)
