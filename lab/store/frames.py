"""What is on record of a study, put together: its runs with their places in it and their readings, and their histories.

frame = load("mystudy", out="results")  # what was trained
references = bars("mystudy", out="results")  # the closed-form ones beside it
"""

import os
from collections.abc import Collection
from typing import Literal

import numpy as np
import pandas as pd
import pyarrow as pa
import pyarrow.compute as pc

from lab.errors import check_kind
from lab.store.row_keys import firsts, row_keys, take
from lab.store.schema import BARS, SCHEMAS, ResultsError
from lab.store.tables import Results


def open_results(out: str | os.PathLike[str]) -> Results:
    """A store that is there already. Raises ResultsError if there is no such local folder."""
    results = Results(out, create=False)
    if results.storage.local and not os.path.isdir(results.storage.root):
        raise ResultsError(f"no results at {results.storage.root}")
    return results


def load(study: str, out: str | os.PathLike[str] = "results") -> pd.DataFrame:
    """One row per trained run of the study: its latest attempt, membership and evaluations, in Arrow types.

    Beside the columns of table `runs`: `trial`, `arm`, `cell`, `role` (if a run has several, joined by commas), and
    a column per evaluation: `test_mse`, `test_mae`, and `test_mse.OT` for channel OT; the latest reading
    counts, and a reading that no run has makes no column. The closed-form references are in `bars`.

    Raises:
        ResultsError: no such study; names the nearest and lists them.
    """
    return to_frame(joined(open_results(out), study, "trained"))


def bars(study: str, out: str | os.PathLike[str] = "results") -> pd.DataFrame:
    """As `load`, of the closed-form references of the study (`model` in `schema.BARS`), which nothing trained."""
    return to_frame(joined(open_results(out), study, "bars"))


def to_frame(table: pa.Table) -> pd.DataFrame:
    return table.to_pandas(types_mapper=pd.ArrowDtype)


def joined(
    results: Results,
    study: str,
    part: Literal["all", "trained", "bars"] = "all",
    columns: Collection[str] | None = None,
) -> pa.Table:
    """What `load` (trained) and `bars` return, or both in one, as an Arrow table. `columns`: as of `Results.table`."""
    check_kind("results", results, Results, "a store that is open, open_results('results'),")
    results.check_known(study)
    members = results.table("members", study)
    ids = pc.unique(members["run"])
    runs = results.latest(ids.to_pylist(), None if columns is None else {*columns, "model"})
    if part != "all":
        closed_form = pc.is_in(runs["model"], pa.array(BARS))
        runs = runs.filter(closed_form if part == "bars" else pc.invert(closed_form))
    places = pc.drop_null(pc.index_in(ids, runs["run"].combine_chunks()))
    runs = take(runs, places.to_numpy())
    found = {"run": runs["run"]}
    found |= {name: _memberships(members, name, runs["run"]) for name in ("trial", "arm", "cell", "role")}
    found |= {name: runs[name] for name in runs.column_names if name != "run"}
    found |= _readings(results.of_runs("evaluations", runs["run"].to_pylist()), runs)
    return pa.table(found)


def _memberships(members: pa.Table, name: str, runs: pa.ChunkedArray) -> pa.ChunkedArray:
    """Each run's distinct values of a column of `members`, joined by commas in order of time; null if none."""
    mine = members.select(["run", name]).filter(pc.is_valid(members[name]))
    mine = take(mine, np.sort(firsts(row_keys(mine, ["run", name]))))
    lists = mine.group_by("run", use_threads=False).aggregate([(name, "list")])
    places = pc.index_in(runs, lists["run"].combine_chunks())
    return pc.binary_join(lists[f"{name}_list"].combine_chunks(), ",").take(places)


def _readings(readings: pa.Table, runs: pa.Table) -> dict[str, pa.Array]:
    """A column per split, metric and channel: each run's latest reading of the attempt that `runs` shows."""
    places = pc.index_in(readings["run"], runs["run"].combine_chunks())
    attempts = runs["attempt"].take(places)
    mine = pc.or_(pc.is_null(readings["attempt"]), pc.fill_null(pc.equal(readings["attempt"], attempts), False))
    readings, rows = readings.filter(mine), places.filter(mine).to_numpy()
    values = readings["value"].to_numpy()
    keys = row_keys(readings, ["split", "metric", "channel"])
    columns = {}
    for place in firsts(keys):
        reading = readings.slice(place, 1).to_pylist()[0]
        column = f"{reading['split']}_{reading['metric']}"
        if reading["channel"] is not None:
            column += f".{reading['channel']}"
        elif column in SCHEMAS["runs"].names:
            column += "_evaluated"  # val_mse is what the training saw
        these = keys == keys[place]
        found = np.full(runs.num_rows, np.nan)
        found[rows[these]] = values[these]  # in order of time: the last stands
        columns[column] = pa.array(found, from_pandas=True)
    return {name: columns[name] for name in sorted(columns, key=lambda c: ("." in c, c))}


def history(study: str, out: str | os.PathLike[str] = "results") -> pd.DataFrame:
    """Every recorded number of the study's runs: run, attempt, step (epoch), metric, value.

    The runs stand in any order, the numbers of one attempt in the order of its steps. `run` and `metric` are
    categories, the numbers in Arrow types.

    Raises:
        ResultsError: no such study; names the nearest and lists them.
    """
    return history_of(open_results(out), study)


def history_of(results: Results, study: str) -> pd.DataFrame:
    """`history` of results that are open."""
    results.check_known(study)

    def numbers(kind: pa.DataType) -> pd.ArrowDtype | None:
        return None if pa.types.is_dictionary(kind) else pd.ArrowDtype(kind)

    return results.table("history", study).to_pandas(types_mapper=numbers)
