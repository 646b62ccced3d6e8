"""Rows set aside: no split reaches into them, and no training, selection or test reads them.

They are read once, when all else of a study is settled (`python -m tune.results unseal STUDY`), and every reading
stands on the ledger. A series' `values` end before them; only `unsealed` gives a series that holds them.
"""

from dataclasses import replace
from pathlib import Path

import numpy as np

from lab.errors import DataError
from lab.series.series import Series, read_only
from lab.series.sources import all_rows, load_series
from lab.settings.data import DataConfig


def unsealed(data: DataConfig, folder: str | Path | None = None) -> Series:
    """The series that `data` names with all rows to the end of its sealed ones: same identity, splits and scaling.

    On it alone `window_starts(series, data, "sealed")` gives windows. Whoever evaluates them puts a look on the ledger
    first (lab.ledger.looks).
    Raises:
        DataError: as load_series; a series without sealed rows; a DataFrame, of which only the given rows are known.
    """
    series = load_series(data, folder)
    if series.sealed is None:
        raise DataError(f"{series.name}: no rows are sealed; data.sealed sets the last ones aside")
    every = all_rows(data, folder)
    columns, end = [every.channels.index(name) for name in series.channels], series.sealed[1]
    values, dates = every.values[:end, columns], every.dates.stamps[:end]
    rows = len(series.values)
    if not np.array_equal(values[:rows], series.values):
        raise DataError(f"{series.name}: the data was changed while it was read; try again")
    return replace(series, values=read_only(values), timestamps=read_only(dates))
