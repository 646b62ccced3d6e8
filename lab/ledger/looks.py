"""A look at test, put on the ledger before it is taken: by every command and every Python call that reads test.

    with looking(series, "ablation parts", runs=16, ids=ids, study="parts", results=results):
        ...                       # what is evaluated in here on test rows of this series is this one look

What reads test outside of such a block (`look_at`) is a look of its own. A look goes to the user's own ledger
(lab.ledger.cache), which counts across stores, and to the table `looks` of a store where there is one.
"""

import getpass
import os
import shlex
import sys
import uuid
from collections.abc import Iterable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from contextvars import ContextVar
from dataclasses import asdict, dataclass
from datetime import UTC, datetime
from typing import Any, Protocol

from lab.ledger.cache import append
from lab.provenance import host_name

TEST = "test"
_OPEN: ContextVar[tuple[str, ...]] = ContextVar("open looks", default=())  # identities of the series


class Looked(Protocol):
    """What the ledger asks of a series."""

    @property
    def identity(self) -> str: ...
    @property
    def name(self) -> str: ...
    @property
    def train(self) -> tuple[int, int]: ...
    @property
    def test(self) -> tuple[int, int]: ...


class Storage(Protocol):
    @property
    def url(self) -> str: ...


class Store(Protocol):
    """What the ledger asks of the results."""

    @property
    def storage(self) -> Storage: ...
    def add(self, table: str, rows: Iterable[Mapping[str, Any]], key: str = "") -> None: ...


@dataclass(frozen=True)
class Look:
    """One row of the ledger. What was looked at is (series, split, origin)."""

    look: str  # id: the same on every ledger that tells of it
    series: str  # identity
    dataset: str  # the series' name
    split: str
    origin: int  # the row where training ends
    first: int  # rows [first, end) of the split
    end: int
    runs: int  # how many were read, or judged
    purpose: str
    read_for: str | None  # the study
    command: str
    user: str
    host: str
    time: datetime
    run_ids: tuple[str, ...] = ()  # those of them that are on record
    mark: str | None = None  # of verdicts: names the question, the rule and the seeds that were judged


@contextmanager
def looking(
    series: Looked,
    purpose: str,
    *,
    runs: int = 1,
    ids: Sequence[str] = (),
    study: str | None = None,
    results: Store | None = None,
    command: str | None = None,
    mark: str | None = None,
) -> Iterator[None]:
    """One look at the test rows of a series, on the ledger before its block begins.

    Args:
        runs: how many are read, closed forms among them; or the number of `ids`, where more are given.
        results: the store that counts it, too.
        command: what was typed; by default what this process was started with.
    Raises:
        StorageError: the store cannot take the row. The user's own ledger costs a warning at most.
    """
    record(
        series, purpose, runs=runs, ids=ids, study=study, results=results, command=command, mark=mark
    )  # fmt: skip
    token = _OPEN.set((*_OPEN.get(), series.identity))
    try:
        yield
    finally:
        _OPEN.reset(token)


def look_at(series: Looked, split: str, purpose: str) -> None:
    """To be called by whatever evaluates on a split: a look of its own, unless one is being taken or it isn't test."""
    if split == TEST and series.identity not in _OPEN.get():
        record(series, purpose)


def record(
    series: Looked,
    purpose: str,
    *,
    runs: int = 1,
    ids: Sequence[str] = (),
    study: str | None = None,
    results: Store | None = None,
    command: str | None = None,
    mark: str | None = None,
) -> Look:
    """Puts a look on the ledger (see `looking`)."""
    first, end = series.test
    look = Look(
        look=uuid.uuid4().hex, series=series.identity, dataset=series.name, split=TEST, origin=series.train[1],
        first=first, end=end, runs=max(runs, len(ids)), purpose=purpose, read_for=study,
        command=typed() if command is None else command, user=user_name(), host=host_name(), time=datetime.now(UTC),
        run_ids=tuple(ids), mark=mark,
    )  # fmt: skip
    if results is not None:
        results.add("looks", [{**asdict(look), "run_ids": list(look.run_ids)}])
    append({**asdict(look), "store": None if results is None else results.storage.url})
    return look


def typed() -> str:
    """What this process was started with."""
    spec = getattr(sys.modules.get("__main__"), "__spec__", None)
    if spec is None:
        return shlex.join(sys.argv)
    return shlex.join(["python", "-m", spec.name.removesuffix(".__main__"), *sys.argv[1:]])


def user_name() -> str:
    try:
        return getpass.getuser()
    except (KeyError, OSError, ImportError):  # a container's user with no name
        return str(os.getuid()) if hasattr(os, "getuid") else "unknown"
