"""Whether every proposal of a space finds windows to train on and to be judged by, asked before the first trial."""

from lab.errors import DataError
from lab.registry import forecaster_of
from lab.series import Series, window_starts
from tune.space import Space
from tune.space.categories import shown


def check_windows(space: Space, series: Series) -> None:
    """Looks at the base config and at the ends of all ranges that decide which windows there are.

    All proposals are judged on the same windows: targets lie in the split whatever the lookback, for which there is
    room before it, since windows of training lie before it with as long a lookback.

    Raises:
        DataError: a split without a window; says with which settings.
    """
    settings = type(space.base)
    decide = (*settings.searchable_data, *settings.decides_windows)
    searched = [item.path for item in space.ranges if item.path in decide]
    for config in (space.base, *space.corners(searched)):
        learners = forecaster_of(config).learners(config)
        for role in dict.fromkeys((*learners.values(), "validation", "test")):
            try:
                window_starts(series, config.data, role)
            except DataError as error:
                if not searched:
                    raise
                flat = config.flat()
                here = ", ".join(f"{path}={shown(path, flat[path], settings)}" for path in searched)
                raise DataError(f"space: with {here}: {error}") from None


def lookbacks(space: Space) -> list[int]:
    """The rows that windows of proposals reach back: all of a choice, the ends of a range, else those of the base."""
    found = {item.path: item.ends() for item in space.ranges}.get("data.seq_len", [space.base.data.seq_len])
    return sorted(int(steps) for steps in found)
