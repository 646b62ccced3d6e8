"""A storage that is waited for while it is full or gone: an hour's training is not lost to a minute's outage."""

import errno
import logging
import os
import threading
import time
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any, TypeVar

from lab.store.objects.storage import Info, ObjectMissing, Storage, StorageError

logger = logging.getLogger(__name__)

Found = TypeVar("Found")
# Ends by itself, or when somebody makes room. (What an object store says of itself comes without a number, as EIO.)
PASSING = frozenset({
    errno.ENOSPC, errno.EDQUOT, errno.EIO, errno.ESTALE, errno.EBUSY, errno.EAGAIN, errno.ETIMEDOUT, errno.ENOTCONN,
    errno.ECONNREFUSED, errno.ECONNRESET, errno.EHOSTDOWN, errno.EHOSTUNREACH, errno.ENETDOWN, errno.ENETUNREACH,
})  # fmt: skip
FIRST_PAUSE, LONGEST_PAUSE = 0.5, 10.0  # s between two tries


@dataclass(frozen=True)
class Outage:
    """A time during which nothing could be read or written."""

    seconds: float
    cause: str


class PatientStorage(Storage):
    """A storage each of whose calls is tried again, for `patience` seconds, while it is full or gone.

    Args:
        mark: a folder that is there as long as the storage is. A local path without it is one where nothing is mounted
            at the moment: what is written there would be lost, and what is missing there is not missing.
    Raises:
        StorageError: from every call, at once for what does not pass, else after `patience` seconds.

    Attributes:
        ours: whether its user may still write, asked after an outage: another may have come meanwhile.
    """

    def __init__(self, url: str, patience: float = 0.0, mark: str | None = None):
        super().__init__(url)
        self.patience, self.mark = patience, mark
        self.ours: Callable[[], bool] = lambda: True
        self._lock = threading.Lock()
        self._outages: list[Outage] = []
        self._since: float | None = None  # when the outage began that calls wait out, of all threads

    def __getstate__(self) -> dict[str, Any]:
        return {"url": self.url, "patience": self.patience, "mark": self.mark}

    def __setstate__(self, state: dict[str, Any]) -> None:
        self.__init__(state["url"], state["patience"], state["mark"])  # type: ignore[misc]

    def take_outages(self) -> list[Outage]:
        """Those that have ended since the last call."""
        with self._lock:
            found, self._outages = self._outages, []
        return found

    def put(self, path: str, data: bytes, durable: bool = True) -> None:
        self._through(lambda: super(PatientStorage, self).put(path, data, durable))

    def get(self, path: str) -> bytes:
        return self._through(lambda: super(PatientStorage, self).get(path))

    def exists(self, path: str) -> bool:
        return self._through(lambda: super(PatientStorage, self).exists(path))

    def info(self, path: str) -> Info:
        return self._through(lambda: super(PatientStorage, self).info(path))

    def list(self, prefix: str = "") -> list[str]:
        return self._through(lambda: super(PatientStorage, self).list(prefix))

    def delete(self, path: str) -> None:
        self._through(lambda: super(PatientStorage, self).delete(path))

    def _through(self, action: Callable[[], Found]) -> Found:
        began, cause, pause = time.monotonic(), "", FIRST_PAUSE
        while True:
            try:
                self._check_mark()
                if cause and not self.ours():
                    raise StorageError(errno.EPERM, f"{self.url} is another driver's: it came while this one waited")
                found = action()
                break
            except ObjectMissing:
                raise
            except StorageError as error:
                waited = time.monotonic() - began
                if error.errno not in PASSING or waited >= self.patience:
                    with self._lock:
                        self._since = None
                    raise
                if not cause:
                    cause = str(error.strerror or error)
                    self._out(began, cause)
                time.sleep(min(pause, max(0.0, self.patience - waited)))
                pause = min(2 * pause, LONGEST_PAUSE)
        if cause:
            self._back(cause)
        return found

    def _out(self, began: float, cause: str) -> None:
        with self._lock:
            first, self._since = self._since is None, self._since or began
        if first:
            logger.warning("%s; trying again for up to %.0f s", cause, self.patience)

    def _back(self, cause: str) -> None:
        """The first call that gets through tells of the outage; the others waited out the same one."""
        with self._lock:
            if self._since is None:
                return
            seconds, self._since = time.monotonic() - self._since, None
            self._outages.append(Outage(seconds, cause))
        logger.warning("the storage is back after %.0f s", seconds)

    def _check_mark(self) -> None:
        if self.local and self.mark is not None and not os.path.isdir(self.full(self.mark)):
            raise StorageError(errno.ESTALE, f"{self.full(self.mark)} is gone: is {self.root} still mounted?")
