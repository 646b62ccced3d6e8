"""Series with their dates, splits and scaling, where they come from, and which windows a part of the training reads.

From the ground up: `files` (csv, Parquet and frames as columns), `dates`, `own` (which column is what), `calendar`,
`series` (what a series is), `sources` (load_series), `roles` (rows and windows of a split), `check` (`python -m
lab.series`).
"""

from lab.series.roles import role_rows, window_starts
from lab.series.series import Rows, Series
from lab.series.sources import ETT_CHANNELS, ETT_SHA256, ETT_URL, load_series

__all__ = [
    "ETT_CHANNELS", "ETT_SHA256", "ETT_URL", "Rows", "Series", "load_series", "role_rows",
    "window_starts",
]  # fmt: skip
