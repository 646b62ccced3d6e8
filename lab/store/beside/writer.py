"""Records written beside a loop that decides: an object store takes its time over each."""

import signal
import threading
from collections import deque
from collections.abc import Iterable, Mapping
from concurrent.futures import ThreadPoolExecutor
from typing import Any

from lab.console.interrupts import ENDING
from lab.store.tables import Results

AT_ONCE = 16  # records on their way


class Writer:
    """Adds records to the results: on a local path before `add` returns, on an object store in threads.

    Those of one key go in the order in which they were given, one after the other; keys do not wait for each other. A
    kill loses the records of the last moments, so only what can be made again may be given to it.

    Raises:
        ResultsError: from `add`, of rows that don't fit the table.
        StorageError: from `add` and `wait`, once one could not be written. Nothing more is written then.
    """

    def __init__(self, results: Results):
        self.results = results
        self._pool: ThreadPoolExecutor | None = None
        if not results.storage.local:
            self._pool = ThreadPoolExecutor(AT_ONCE, "records", signal.pthread_sigmask, (signal.SIG_BLOCK, ENDING))
        self._changed = threading.Condition()
        self._waiting: dict[str, deque[dict[str, bytes]]] = {}  # files by key, with what is on its way first
        self._error: BaseException | None = None
        self._dropped = False

    def add(self, table: str, rows: Iterable[Mapping[str, Any]], key: str) -> None:
        """As `Results.add`; the rows' time is that of this call."""
        if self._pool is None:
            self.results.add(table, rows, key)
            return
        files = self.results.files(table, rows, key)
        with self._changed:
            if self._error is not None:
                raise self._error
            if self._dropped:
                return
            known = key in self._waiting
            self._waiting.setdefault(key, deque()).append(files)
        if not known:
            self._pool.submit(self._write, key)

    def wait(self) -> None:
        """Until everything is on record."""
        with self._changed:
            self._changed.wait_for(lambda: not self._waiting)
            if self._error is not None:
                raise self._error

    def drop(self) -> None:
        """Writes nothing any more, but for what is on its way."""
        with self._changed:
            self._dropped = True
            self._forget()

    def _forget(self) -> None:
        for files in self._waiting.values():
            while len(files) > 1:
                files.pop()

    def _write(self, key: str) -> None:
        error: BaseException | None = None
        while True:
            with self._changed:
                files = self._waiting[key][0]
            try:
                self.results.storage.put_all(files)
            except BaseException as problem:
                error = problem
            with self._changed:
                if error is not None:
                    self._error = self._error or error
                    self._forget()
                self._waiting[key].popleft()
                if not self._waiting[key]:
                    del self._waiting[key]
                    self._changed.notify_all()
                    return
