"""The cells of a study: each one that its file lists, at each of its origins, the rows where training ends.

`origins: 3` makes of cell `etth1` the cells etth1-back2, etth1-back1 and etth1: training ends two test splits earlier,
one earlier, and where the data says. `origins: [2880, 8640]` makes etth1-row2880 and etth1-row8640.
"""

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from lab.errors import ConfigError
from lab.settings.files import dotted

ALONE = "main"  # the cell of a study that lists none
ORIGINS = "origins"  # in a cell's settings: its own
ROW, BACK = "data.origin", "data.origins_back"  # the settings that an origin is
MOST = 100  # origins of a cell
WANTED = f"a number of origins from 1 to {MOST}, or a list of different rows where training ends, is needed"

Origins = int | tuple[int, ...]


@dataclass(frozen=True)
class Place:
    """A cell."""

    name: str
    listed: str  # as the study's file names it, without its origin
    settings: Mapping[str, Any]  # as the file has them, and its origin
    back: int = 0  # origins of it in this study that are later


def places(cells: Mapping[str, Mapping[str, Any]], origins: Any) -> tuple[Place, ...]:
    """Every cell, earliest origin first.

    Raises ConfigError for origins that cannot be, or two cells of one name.
    """
    found: dict[str, Place] = {}
    for listed, own in (cells or {ALONE: {}}).items():
        settings = {key: value for key, value in own.items() if key != ORIGINS}
        where = f"{ORIGINS} of cell '{listed}'" if ORIGINS in own else ORIGINS
        at = origins_of(own.get(ORIGINS, origins), where)
        if several(at) and (twice := {ROW, BACK} & dotted(settings).keys()):
            raise ConfigError(f"cell '{listed}' sets {min(twice)}, which {where} gives; leave one of them out")
        rows = sorted(at) if isinstance(at, tuple) else [None] * at
        for number, row in enumerate(rows):
            back = len(rows) - 1 - number
            name, more = listed, {}
            if row is not None:
                name, more = f"{listed}-row{row}", {ROW: row}
            elif back:
                name, more = f"{listed}-back{back}", {BACK: back}
            if name in found:
                of = " and ".join(f"'{each}'" for each in (found[name].listed, listed) if each != name)
                raise ConfigError(f"two cells come to the name '{name}', as an origin of {of} does; rename one")
            found[name] = Place(name, listed, {**settings, **more}, back)
    return tuple(found.values())


def origins_of(value: Any, where: str = ORIGINS) -> Origins:
    """A number of rolling origins, or rows. Raises ConfigError for anything else."""
    if isinstance(value, list | tuple):
        rows = tuple(value)
        whole = all(isinstance(row, int) and not isinstance(row, bool) and row > 0 for row in rows)
        if not 1 <= len(rows) <= MOST or not whole or len(set(rows)) < len(rows):
            raise ConfigError(f"{where}: got {list(rows)}; {WANTED}")
        return rows
    if not isinstance(value, int) or isinstance(value, bool) or not 1 <= value <= MOST:
        raise ConfigError(f"{where}: got {value!r}; {WANTED}")
    return value


def several(origins: Any) -> bool:
    """Whether a cell of these origins is more than itself, where its own settings say."""
    return isinstance(origins, list | tuple) or (isinstance(origins, int) and origins > 1)


def asks_several(content: Any) -> bool:
    """Whether the content of a study's file has more than one origin of some series."""
    cells = content.get("cells")
    listed = cells.values() if isinstance(cells, Mapping) else ()
    asked = [content.get(ORIGINS), *(own.get(ORIGINS) for own in listed if isinstance(own, Mapping))]
    return any(len(each) > 1 if isinstance(each, list | tuple) else several(each) for each in asked)
