"""Settings by name, and searches by name, in one namespace.

`--preset` takes any of them anywhere: a command that trains one run takes a search's settings, and a search of settings
alone has the default space and budget.
"""

from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any

from lab.errors import unknown
from lab.settings.yaml import read_mapping

SEARCHED = "the best of"


class Presets(Mapping[str, Mapping[str, Any]]):
    """Name -> settings by dotted key. A search's file is read when it is asked for.

    Args:
        settings: those of single runs.
        searches: a folder of searches, a YAML file each of `settings`, `search` and, where it has its own, `space`.
        sources: of settings by name, where they come from, for a table; of the defaults under None. Those that a search
            found begin with `SEARCHED`.
        renamed: what settings were called before -> what they are called. The older name is taken and not listed.
    """

    def __init__(
        self,
        settings: Mapping[str, Mapping[str, Any]] | None = None,
        searches: Path | None = None,
        sources: Mapping[str | None, str] | None = None,
        renamed: Mapping[str, str] | None = None,
    ):
        self._settings, self.searches = dict(settings or {}), searches
        self._sources, self._renamed = dict(sources or {}), dict(renamed or {})

    def source(self, name: str | None) -> str:
        """Where settings by this name come from; None: the defaults. "" where nobody said so."""
        return self._sources.get(None if name is None else self._now(name), "")

    def _now(self, name: str) -> str:
        return self._renamed.get(name, name)

    def search_names(self) -> list[str]:
        return [] if self.searches is None else sorted(path.stem for path in self.searches.glob("*.yaml"))

    def search(self, name: str) -> dict[str, Any]:
        """A search's `settings`, `search` and, where it has one of its own, `space`. Raises ConfigError."""
        if (now := self._now(name)) in self._settings:
            return {"settings": self._settings[now], "search": {}}
        if name not in self.search_names():
            raise unknown("preset", name, self)
        return read_mapping(self.path(name))

    def path(self, name: str) -> Path:
        """The file of a search."""
        return (self.searches or Path()) / f"{name}.yaml"

    def note(self, name: str | None) -> str:
        """What is to be said where one run is trained with a search's preset, else ""."""
        if name is None or self._now(name) in self._settings or name not in self.search_names():
            return ""
        return (
            f"preset '{name}' is a search's: its settings are taken, and what it varies stays at its default; "
            f"python -m tune.search --preset {name} searches"
        )

    def __getitem__(self, name: str) -> Mapping[str, Any]:
        if name not in self:
            raise KeyError(name)
        found: Mapping[str, Any] = self.search(name)["settings"]
        return found

    def __iter__(self) -> Iterator[str]:
        return iter([*self._settings, *self.search_names()])

    def __len__(self) -> int:
        return len(self._settings) + len(self.search_names())

    def __contains__(self, name: object) -> bool:
        return (isinstance(name, str) and self._now(name) in self._settings) or name in self.search_names()
