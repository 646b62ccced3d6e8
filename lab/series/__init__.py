"""Series with their dates, splits and scaling, where they come from, and which windows a part of the training reads.

From the ground up: `files` (csv, Parquet and frames as columns), `dates`, `own` (which column is what), `calendar`,
`origins` (where splits lie), `series` (what a series is), `sources` (load_series), `roles` (rows and windows of a
split), `sealed` (rows set aside), `check` (`python -m lab.series`).
"""

from lab.series.origins import Rows, rolling
from lab.series.roles import role_rows, window_starts
from lab.series.series import Series
from lab.series.sources import load_series
from lab.settings.sources import ETT_CHANNELS, SOURCES

__all__ = ["ETT_CHANNELS", "SOURCES", "Rows", "Series", "load_series", "role_rows", "rolling", "window_starts"]
