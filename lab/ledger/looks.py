"""A look at test or at sealed rows, put on the ledger before it is taken: by every command and call that reads them.

    with looking(series, "ablation parts", runs=16, ids=ids, study="parts", results=results):
        ...                       # what is evaluated in here on test rows of this series is this one look

What reads test outside of such a block (`look_at`) is a look of its own. A look goes to the user's own ledger
(lab.ledger.cache), which counts across stores, and to the table `looks` of a store where there is one. It tells what
the rows hold (lab.ledger.content), so that whoever reads sealed rows knows who did before (lab.ledger.sealed).
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

import numpy as np

from lab.ledger.cache import append
from lab.ledger.content import EVERY, SELDOM, marks_of
from lab.provenance import host_name

TEST, SEALED = "test", "sealed"
INPUTS = "sealed inputs"  # sealed rows that a forecast reads and none is judged by
_OPEN: ContextVar[tuple[tuple[str, str], ...]] = ContextVar("open looks", default=())  # identity of a series, and split


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
    @property
    def sealed(self) -> tuple[int, int] | None: ...
    @property
    def values(self) -> np.ndarray: ...


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
    content: tuple[str, ...] = ()  # what the rows hold (lab.ledger.content)
    again: str | None = None  # of sealed rows that were read before: why once more, and by whom they were


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
    with open_look(series, TEST):
        yield


@contextmanager
def open_look(series: Looked, split: str) -> Iterator[None]:
    """What is evaluated in here on a split of this series belongs to a look that is on the ledger already."""
    token = _OPEN.set((*_OPEN.get(), (series.identity, split)))
    try:
        yield
    finally:
        _OPEN.reset(token)


def look_at(series: Looked, split: str, purpose: str) -> None:
    """To be called by whatever evaluates on a split: a look of its own, unless one is being taken or none is needed."""
    if split in (TEST, SEALED) and (series.identity, split) not in _OPEN.get():
        record(series, purpose, split=split)


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
    split: str = TEST,
    rows: tuple[int, int] | None = None,
    again: str | None = None,
) -> Look:
    """Puts a look on the ledger (see `looking`).

    Args:
        split: test, sealed, or `INPUTS`; of the last two the series is one that `lab.series.sealed.unsealed` gave.
        rows: [first, end) that are read; those of the split by default.
    """
    first, end = rows or (series.test if split == TEST else series.sealed) or (0, 0)
    look = Look(
        look=uuid.uuid4().hex, series=series.identity, dataset=series.name, split=split, origin=series.train[1],
        first=first, end=end, runs=max(runs, len(ids)), purpose=purpose, read_for=study,
        command=typed() if command is None else command, user=user_name(), host=host_name(), time=datetime.now(UTC),
        run_ids=tuple(ids), mark=mark, content=marks_of(series.values[first:end], SELDOM if split == TEST else EVERY),
        again=again,
    )  # fmt: skip
    if results is not None:
        results.add("looks", [{**asdict(look), "run_ids": list(look.run_ids), "content": list(look.content)}])
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
