"""Records written beside a loop that decides: an object store takes its time over each."""

import threading
from collections import deque
from collections.abc import Iterable, Mapping
from typing import Any

from lab.console.interrupts import Background
from lab.store.tables import Results

AT_ONCE = 16  # records on their way


class Writer:
    """Adds records to the results: on a local path before `add` returns, on an object store in threads.

    Those of one key go in the order in which they were given, one after the other; keys do not wait for each other. A
    kill loses the records of the last moments, so only what can be made again may be given to it, and what is to follow
    from a record waits until it is `written`. No end of the process waits for it.

    Raises:
        ResultsError: from `add`, of rows that don't fit the table.
        StorageError: from all others, too, once one could not be written. Nothing more is written then.
    """

    def __init__(self, results: Results):
        self.results, self._beside = results, not results.storage.local
        self._changed = threading.Condition()
        self._waiting: dict[str, deque[dict[str, bytes]]] = {}  # files by key, with what is on its way first
        self._next: deque[str] = deque()  # keys that no thread is at
        self._threads = 0
        self._error: BaseException | None = None
        self._dropped = False

    def add(self, table: str, rows: Iterable[Mapping[str, Any]], key: str) -> None:
        """As `Results.add`; the rows' time is that of this call."""
        if not self._beside:
            self.results.add(table, rows, key)
            return
        files = self.results.files(table, rows, key)
        with self._changed:
            self._check()
            if self._dropped:
                return
            if key not in self._waiting:
                self._waiting[key] = deque()
                self._next.append(key)
            self._waiting[key].append(files)
            if not self._next or self._threads == AT_ONCE:
                return
            self._threads += 1
        Background(self._work, "records").start()

    def written(self, key: str, seconds: float = 0.0) -> bool:
        """Whether all that was given under this key is on record, within so many seconds."""
        with self._changed:
            self._changed.wait_for(lambda: self._error is not None or key not in self._waiting, seconds)
            self._check()
            return key not in self._waiting

    def wait(self, seconds: float | None = None) -> bool:
        """Until everything is on record, or so long. Returns whether it is."""
        with self._changed:
            self._changed.wait_for(lambda: self._error is not None or not self._waiting, seconds)
            self._check()
            return not self._waiting

    def drop(self) -> None:
        """Writes nothing any more, but for what is on its way."""
        with self._changed:
            self._dropped = True
            self._forget()

    def _check(self) -> None:
        if self._error is not None:
            raise self._error

    def _forget(self) -> None:
        for key in self._next:
            del self._waiting[key]
        self._next.clear()
        for files in self._waiting.values():
            while len(files) > 1:
                files.pop()
        self._changed.notify_all()

    def _work(self) -> None:
        """Of a thread, which ends when there is no more for it."""
        while True:
            with self._changed:
                if not self._next:
                    self._threads -= 1
                    return
                key = self._next.popleft()
            self._write(key)

    def _write(self, key: str) -> None:
        while True:
            with self._changed:
                files = self._waiting[key][0]
            error: BaseException | None = None
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
