"""Results kept in few files while a study goes: a driver that merges them now and then, beside its trials."""

import logging
import threading
from typing import Any

from ray import tune as ray_tune

from lab.machines.queue import DriverOnly
from lab.store.tables import Results, StorageError

EVERY = 10  # trials that end between two looks at how many files there are

logger = logging.getLogger(__name__)


class Upkeep(DriverOnly, ray_tune.Callback):
    """Compacts where some hundred files have gathered, in a thread: trials go on meanwhile.

    A driver that ends or is killed in its middle loses nothing (see lab/store/segments.py), so nobody waits for it.
    """

    def __init__(self, results: Results):
        self.results = Results(results.storage)  # with a cache of its own: this is another thread
        self._ended = 0
        self._thread: threading.Thread | None = None

    def on_trial_complete(self, iteration: int, trials: list[Any], trial: Any, **info: Any) -> None:
        self._look()

    def on_trial_error(self, iteration: int, trials: list[Any], trial: Any, **info: Any) -> None:
        self._look()

    def _look(self) -> None:
        self._ended += 1
        if self._ended % EVERY == 0 and (self._thread is None or not self._thread.is_alive()):
            self._thread = threading.Thread(target=self._compact, name="compaction", daemon=True)
            self._thread.start()

    def _compact(self) -> None:
        try:
            self.results.compact_many()
        except (StorageError, RuntimeError) as error:  # out of reach, or this process is ending: the rows are all there
            logger.warning("the results were not compacted: %s", error)
