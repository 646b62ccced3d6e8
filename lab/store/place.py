"""Where results lie, as a command is told."""

import os
from pathlib import Path

from lab.console.printing import one_line
from lab.errors import ConfigError
from lab.store.objects.storage import open_storage


def check_place(out: str) -> None:
    """Raises ConfigError where there can be no results, a file or within one, before anything is begun."""
    if not out.strip():
        raise ConfigError("--out: got nothing; a folder or an object store's address is needed")
    storage = open_storage(out, create=False)
    if storage.local:
        there = next(place for place in (storage.root, *map(str, Path(storage.root).parents)) if os.path.lexists(place))
        if not os.path.isdir(there):
            raise ConfigError(f"--out: got '{one_line(out)}', but {one_line(there)} is no folder; name another")
