"""Where the splits of a series lie: at the data's own origin, the row where training ends, or at another.

Training reads rows [0, origin), validation those that follow, test those after them. No split reaches into sealed rows.
"""

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from math import floor

import numpy as np

from lab.errors import ConfigError, DataError, check_number
from lab.settings.data import MOVES, DataConfig

Rows = tuple[int, int]  # [first, end)
Sizes = tuple[int, int, int]  # rows of training, validation and test


@dataclass(frozen=True)
class Splits:
    """One behind the other, from row 0 on.

    Attributes:
        own: whether they are those that the data has by itself, nothing set aside.
    """

    train: Rows
    validation: Rows
    test: Rows
    sealed: Rows | None = None
    own: bool = True


def rolling(data: DataConfig, count: int) -> tuple[DataConfig, ...]:
    """The data at `count` origins, the earliest first and the one it has last: each tests on rows before the next's.

    Raises:
        ConfigError: no such count, or data whose origin is a row, before which no others are known.
    """
    if isinstance(count, bool) or not isinstance(count, int):
        raise ConfigError(f"origins: got {count!r}; a whole number is needed")
    check_number("origins", count, 1)
    if data.origin is not None and count > 1:
        raise ConfigError(
            f"origins: got {count} with data.origin={data.origin}; rolling ones end at the data's own origin, or at "
            "data.origins_back before it: leave data.origin out, or list the rows"
        )
    back = data.origins_back
    return tuple(data.model_copy(update={"origins_back": back + more}) for more in reversed(range(count)))


def splits_of(
    place: str, data: DataConfig, rows: int, own: Callable[[int], Sizes], sealed: Rows | None = None
) -> Splits:
    """The splits that settings make of a series of so many rows.

    Args:
        place: how errors call the series.
        own: the sizes that it has by itself, of so many rows; raises DataError for too few.
        sealed: the rows that its table sets aside; else `data.sealed` does, from the end.
    Raises:
        DataError: an origin at which a split would have no rows, or would reach into what is sealed.
    """
    end = rows
    if data.sealed is not None:
        if data.sealed >= rows:
            raise DataError(f"{place}: data.sealed: got {data.sealed} of {rows} rows; at most {rows - 1} can be sealed")
        sealed = (rows - data.sealed, rows)
    elif sealed is not None:
        sealed = (sealed[0], min(sealed[1], rows)) if sealed[0] < rows else None
    if sealed is not None:
        end = sealed[0]
    published = own(end)
    train, validation, test = published[0], data.validation_rows or published[1], data.test_rows or published[2]
    train = data.origin if data.origin is not None else train - data.origins_back * test
    if not 2 <= train <= end - validation - test:
        said = ", ".join(f"data.{name}={value}" for name in MOVES if (value := getattr(data, name)))
        last = f"rows from {end} on are sealed" if sealed else f"there are {rows} rows"
        most = end - validation - test
        lengths = f"with {validation} rows to validate and {test} to test"
        if most < 2:
            reason = f"{lengths} no row is left to end at ({last}); take fewer data.validation_rows or data.test_rows"
        else:
            reason = f"{lengths} it may end at rows 2 to {most} ({last})"
        if most >= 2 and data.origins_back:
            reason += f", which is data.origins_back of at most {max(published[0] - 2, 0) // test}"
        raise DataError(f"{place}: training would end at row {train} ({said}); {reason}")
    sizes = (train, validation, test)
    one, two, three = contiguous(sizes)
    return Splits(one, two, three, sealed, sizes == published and data.sealed is None)


def by_fractions(place: str, split: tuple[float, float, float]) -> Callable[[int], Sizes]:
    """Sizes as fractions of the rows. They raise DataError where one would be empty."""

    def sizes(rows: int) -> Sizes:
        train, validation, test = (share(fraction, rows) for fraction in split)
        if min(train, validation, test) == 0 or train < 2:
            made = (train, validation, test)
            raise DataError(f"{place}: {rows} rows are too few to split {split}; got {made} rows a split")
        return train, validation, test

    return sizes


def contiguous(sizes: Sequence[int]) -> list[Rows]:
    """Splits of these sizes, one behind the other."""
    ends = np.cumsum(sizes).tolist()
    return [(end - size, end) for size, end in zip(sizes, ends, strict=True)]


def share(fraction: float, rows: int) -> int:
    """A share of rows, whole: 0.29 of 100 is 29, though the product is 28.999..."""
    return floor(fraction * rows + 1e-9)
