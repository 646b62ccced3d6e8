"""The series that runs saw, found in a file that has got newer rows since.

Splits by shares move with the end of a file, so the same file with rows added is another series. That its first n rows
are the one on record is told by its identity, a hash of all that is seen: it is looked for from the end back.
"""

from lab.errors import DataError
from lab.series import Series, load_series
from lab.series.origins import by_fractions, splits_of
from lab.series.own import Understood
from lab.series.reading.dates import Dates
from lab.series.sources import all_rows
from lab.settings.data import DataConfig

_MOST_BYTES = 2 << 30  # that are hashed in looking for it: some seconds


def series_seen(data: DataConfig, identity: str, whose: str) -> Series:
    """The series of that identity in what `data` names.

    Raises DataError: not there, or not among the ends that are tried; as load_series.
    """
    series = load_series(data)
    if series.identity == identity:
        return series
    tried = 0
    if data.dataset == "csv":
        every = all_rows(data)
        columns = [every.channels.index(name) for name in series.channels]
        values, stamps, rows = every.values[:, columns], every.dates.stamps, len(every.values)
        tried = min(rows - 1, max(1, _MOST_BYTES // (8 * (values.shape[1] + 1) * rows)))
        for end in range(rows - 1, rows - 1 - tried, -1):
            try:
                splits = splits_of(series.name, data, end, by_fractions(series.name, data.split))
                part = Understood(
                    series.channels, values[:end].copy(), Dates(stamps[:end].copy(), series.zone), series.step,
                    every.notes,
                )  # fmt: skip
                found = Series.checked(series.name, part, splits, None, series.source, series.file_sha256)
            except DataError:  # too few rows for such a split, or a channel that did not move yet
                continue
            if found.identity == identity:
                return found
    ends = f" at none of its last {tried:,} ends" if tried else ""
    raise DataError(
        f"{series.name}: the data is not what {whose} saw{ends} (now {series.identity[:12]}, then {identity[:12]}): "
        "were rows changed? Give the file as it was, and the newer rows as --data FILE"
    )
