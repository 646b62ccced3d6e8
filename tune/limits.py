"""Which points of a space may be trained at all: models that can be held, and are within the search's own limit."""

from lab.errors import ConfigError
from lab.registry import forecaster_of
from lab.settings.config import Config
from lab.settings.sizes import too_large
from tune.settings import SearchSettings
from tune.space.points import allowed_points


class Limits:
    """Of one search, on data of so many channels."""

    def __init__(self, settings: SearchSettings, channels: int):
        self.settings, self.channels = settings, channels

    def _count(self, config: Config) -> int:
        return forecaster_of(config).size(config, self.channels).parameters

    def check_size(self) -> None:
        """Raises ConfigError where no model of the space is within the limit, or can be held at all."""
        space, channels = self.settings.space, self.channels
        most = self.settings.budget.max_parameters
        try:
            smallest = space.smallest(self._count)
            held = not space.smallest(lambda config: int(bool(too_large(config, channels))))
        except ConfigError:  # of values that are not allowed together, of which `points` tells
            return
        if not held:
            corners = space.corners([item.path for item in space.ranges])
            reason = next(filter(None, (too_large(config, channels) for config in (space.base, *corners))), "")
            raise ConfigError(f"no model of this space can be trained: {reason}")
        if most is not None and smallest > most:
            raise ConfigError(f"max-parameters: got {most:,}, but the smallest model of this space has {smallest:,}")

    def check_device(self, gpus: float) -> None:
        """Raises ConfigError for settings that cannot be trained where a trial has so many GPUs."""
        base = self.settings.base
        if reason := forecaster_of(base).refuses(base, "cuda" if gpus else "cpu"):
            raise ConfigError(reason)

    def allowed(self, config: Config) -> bool:
        most = self.settings.budget.max_parameters
        return not too_large(config, self.channels) and (most is None or self._count(config) <= most)

    def points(self) -> int | None:
        """How many points of the space may be trained; None where they are too many to count.

        Raises ConfigError where there is none.
        """
        points = allowed_points(self.settings.space, self.allowed)
        if points == []:
            most = self.settings.budget.max_parameters
            limit = "" if most is None else f", and have at most {most:,} parameters"
            raise ConfigError(f"space: of its values none are allowed together{limit}; take other ranges")
        return None if points is None else len(points)
