"""Where results lie, as a command is told: one option, one variable, one default for all commands."""

import argparse
import os
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

from lab.console.options import add_option
from lab.console.printing import one_line
from lab.errors import ConfigError
from lab.store.objects.storage import open_storage
from lab.store.tables import Results

OPTION, VARIABLE, DEFAULT = "--results", "DYNONET_RESULTS", "results"


@dataclass(frozen=True)
class Place:
    """A store of results."""

    url: str  # a folder, or an object store's address
    given: bool = True  # on the command line, not by the variable or the default

    @classmethod
    def of(cls, given: str | None) -> "Place":
        """What `--results` says, else the variable, else the default."""
        if given is not None:
            return cls(given)
        return cls(os.environ.get(VARIABLE) or DEFAULT, given=False)

    @property
    def remote(self) -> bool:
        return "://" in self.url

    def folder(self, *names: str) -> Path:
        """Where files that are no records go by default (`--out`): beside the records where these are local, else
        here."""
        return Path("." if self.remote else self.url, *names)

    def check(self) -> None:
        """Raises ConfigError where there can be no results, a file or within one, before anything is begun."""
        if not self.url.strip():
            raise ConfigError(f"{OPTION}: got nothing; a folder or an object store's address is needed")
        storage = open_storage(self.url, create=False)
        if storage.local:
            above = (storage.root, *map(str, Path(storage.root).parents))
            there = next(place for place in above if os.path.lexists(place))
            if not os.path.isdir(there):
                what = f"{OPTION}: got '{one_line(self.url)}'" if self.given else f"{VARIABLE}={one_line(self.url)}"
                raise ConfigError(f"{what}, but {one_line(there)} is no folder; name another")

    @contextmanager
    def as_it_is(self) -> Iterator[Results]:
        """The results for one who only looks: where there are none yet, none are made."""
        if self.remote or Path(self.url).exists():
            yield Results(self.url, create=False)
            return
        with tempfile.TemporaryDirectory() as scratch:
            yield Results(scratch)


def add_results_argument(parser: argparse.ArgumentParser, *, old: str | None = "--out") -> None:
    """`--results`; `old`: how a command spelled it before."""
    about = f"folder or object store URL of the results (default: {VARIABLE}, else {DEFAULT})"
    add_option(parser, OPTION, old=old, metavar="PLACE", help=about)
