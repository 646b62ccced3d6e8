"""Whether every proposal of a space finds windows to train on and to be judged by, asked before the first trial."""

from dynonet.config import Config
from dynonet.data import Series, window_starts
from dynonet.errors import ConfigError, DataError
from dynonet.trainer import worker_role
from tune.categories import shown
from tune.space import OF_DATA, Space

_DECIDES = (*OF_DATA, "training.mode")  # which windows there are
_JUDGES = ("validation", "test")


def check_windows(space: Space, series: Series) -> None:
    """Looks at the base config and at the ends of all ranges that decide which windows there are.

    Raises:
        DataError: a split without a window.
        ConfigError: trials would be judged on other windows than their neighbours.
    """
    searched = [item.path for item in space.ranges if item.path in _DECIDES]
    wanted = {role: len(window_starts(series, space.base.data, role)) for role in _JUDGES}
    for config in (space.base, *space.corners(searched)):
        flat = config.flat()
        here = ", ".join(f"{path}={shown(path, flat[path])}" for path in searched)
        for role in dict.fromkeys((worker_role(config), "controller", *_JUDGES)):
            try:
                windows = len(window_starts(series, config.data, role))
            except DataError as error:
                raise DataError(f"space: with {here}: {error}" if here else str(error)) from None
            if role in _JUDGES and windows != wanted[role]:
                raise ConfigError(_unlike(series, config, space.base, role, (windows, wanted[role])))


def _unlike(series: Series, config: Config, base: Config, role: str, windows: tuple[int, int]) -> str:
    first = min(series.validation[0], series.test[0])
    return (
        f"space: data.seq_len: {config.data.seq_len} leaves {windows[0]} {role} windows and {base.data.seq_len} "
        f"{windows[1]}, and errors on other windows do not compare; at most {first}, the rows before validation, are "
        "allowed"
    )
