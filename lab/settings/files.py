"""Settings as nested or dotted mappings, and the files of data that they name."""

import os
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from lab.console.printing import one_line
from lab.errors import ConfigError


def dotted(settings: Mapping[str, Any], prefix: str = "") -> dict[str, Any]:
    """Nested sections as one mapping with dotted keys. Raises ConfigError where both ways name one setting."""
    flat: dict[str, Any] = {}
    for key, value in settings.items():
        path = f"{prefix}{key}"
        for name, each in (dotted(value, f"{path}.") if isinstance(value, Mapping) else {path: value}).items():
            if name in flat:
                raise ConfigError(f"'{one_line(name)}' is given twice, as a dotted key and within a section")
            flat[name] = each
    return flat


def with_own_file(flat: dict[str, Any]) -> dict[str, Any]:
    """Dotted settings in which a path alone says that the data is a file of one's own."""
    return {"data.dataset": "csv", **flat} if flat.get("data.path") is not None else flat


def anchored(settings: Any, folder: Path) -> Any:
    """The settings with every relative `data.path` taken from a folder."""
    if isinstance(settings, list):
        return [anchored(item, folder) for item in settings]
    if not isinstance(settings, dict):
        return settings
    content = {key: anchored(value, folder) for key, value in settings.items()}
    for section, key in _paths_of(content):
        section[key] = os.path.join(folder, os.path.expanduser(section[key]))
    return content


def data_paths(settings: Any) -> list[str]:
    """Every `data.path` in nested settings, as it is written there."""
    if isinstance(settings, list):
        return [path for item in settings for path in data_paths(item)]
    if not isinstance(settings, dict):
        return []
    own = [section[key] for section, key in _paths_of(settings)]
    return own + [path for value in settings.values() for path in data_paths(value)]


def _paths_of(settings: dict[str, Any]) -> list[tuple[dict[str, Any], str]]:
    """Where a mapping itself names a file of data: dotted, or in its section."""
    found = [(settings, "data.path"), (settings.get("data"), "path")]
    return [(section, key) for section, key in found if isinstance(section, dict) and isinstance(section.get(key), str)]
