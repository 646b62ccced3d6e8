"""The origins of a search: the rows where training ends, at each of which every proposal is trained and validated."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

from lab.errors import DataError
from lab.pages.formats import counted
from lab.series import Series, load_series
from lab.series.origins import rolling
from lab.settings.config import Config
from lab.settings.data import DataConfig
from tune.space import Space
from tune.space.windows import check_windows


@dataclass(frozen=True)
class Origin:
    """One of them.

    Attributes:
        name: `row2880`, the cell of its runs among the members of the study; None for a search of one origin.
        identity: of the series as it is split there.
        changes: of a config, by dotted key.
    """

    name: str | None
    identity: str
    changes: Mapping[str, Any] = field(default_factory=dict)

    def configs(self, configs: Sequence[Config]) -> list[Config]:
        """What is trained there, of configs of the data's own origin."""
        return [config.override(self.changes) if self.changes else config for config in configs]


@dataclass(frozen=True)
class Placed:
    """An origin with its series.

    Attributes:
        cell: of the bars there among the members of the study; None at the data's own origin.
    """

    origin: Origin
    series: Series
    cell: str | None = None

    def config(self, config: Config) -> Config:
        """What is trained there, of a config of the data's own origin."""
        return self.origin.configs([config])[0]

    @property
    def period(self) -> str:
        """Of the rows that proposals are validated on there."""
        return self.series.period(self.series.validation)

    @property
    def rows(self) -> int:
        return self.series.train[1]


def placed(data: DataConfig, count: int) -> tuple[Placed, ...]:
    """`count` origins, the earliest first, the last the data's own.

    Raises:
        ConfigError, DataError: as `rolling` and `load_series`.
    """
    if count == 1:
        series = load_series(data)
        return (Placed(Origin(None, series.identity), series),)
    found = []
    for there in rolling(data, count):
        try:
            series = load_series(there)
        except DataError as error:
            at = f"data.origins_back={there.origins_back}"
            raise DataError(f"origins: got {count}, and at {at}: {error}; or ask for fewer origins") from None
        changes = {
            f"data.{name}": value for name, value in there.source().items() if value != getattr(data, name)
        }  # fmt: skip
        name = f"row{series.train[1]}"
        found.append(Placed(Origin(name, series.identity, changes), series, name if changes else None))
    return tuple(found)


def check_places(space: Space, places: Sequence[Placed]) -> None:
    """Raises DataError where a proposal would find a split without a window at one of the origins."""
    for place in places:
        try:
            check_windows(space, place.series)
        except DataError as error:
            if place.origin.name is None:
                raise
            raise DataError(f"origins: at {place.origin.name}: {error}; or ask for fewer origins") from None


def described(places: Sequence[Placed]) -> dict[str, Any]:
    """What a study's settings say of several origins, by name, for reports, which read no data; {} of a single one."""
    return {
        place.origin.name: {
            "data_sha256": place.origin.identity, "trains_on": place.rows, "validates": place.period,
        }
        for place in places
        if place.origin.name is not None
    }  # fmt: skip


def origin_lines(places: Sequence[Placed]) -> list[str]:
    """For a plan: a line for each of several origins, and what all of them cost."""
    if len(places) == 1:
        return []
    lines = [
        f"origin {place.origin.name}: trains on {counted(place.rows, 'row')}, validates {place.period}"
        for place in places
    ]
    share = sum(place.rows for place in places) / places[-1].rows
    return [*lines, f"an epoch at all of them takes about {share:.1f} times as long as at the last alone"]
