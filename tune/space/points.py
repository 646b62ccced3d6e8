"""Points of a space: when two are the same, and all of a space that has few."""

import json
from collections.abc import Callable, Mapping
from typing import Any

from lab.errors import ConfigError
from lab.settings.config import Config
from tune.space.space import Space

COUNTED = 1000  # points of a space up to which they are counted, so that one that is used up is known to be


def point(params: Mapping[str, Any]) -> str:
    """A point of the space, to compare with others."""
    return json.dumps(params, sort_keys=True)


def allowed_points(space: Space, allowed: Callable[[Config], bool]) -> list[dict[str, Any]] | None:
    """All points of a space that may be trained; None where it has too many to count."""
    every = space.every_point(COUNTED)
    return None if every is None else [params for params in every if is_allowed(space, allowed, params)]


def is_allowed(space: Space, allowed: Callable[[Config], bool], params: Mapping[str, Any]) -> bool:
    """Whether a point gives a config, and one that may be trained."""
    try:
        return allowed(space.config(params))
    except ConfigError:  # values that are allowed each, but not together
        return False
