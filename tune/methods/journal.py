"""Optuna's journal of a study, of which the records are the truth."""

import json
from collections.abc import Iterable
from pathlib import Path
from typing import Any

from optuna.storages.journal import BaseJournalBackend


class JournalCopy(BaseJournalBackend):
    """Optuna's journal in memory, and a copy in a file for Optuna's own tools.

    The lease makes this driver the only writer and the records make the file anew, so neither a lock nor an fsync per
    line is needed: Optuna's own backend spends most of a proposal on them.
    """

    def __init__(self, path: Path):
        path.parent.mkdir(parents=True, exist_ok=True)
        for old in (path, Path(f"{path}.lock")):
            old.unlink(missing_ok=True)
        self._file = path.open("ab", buffering=0)  # a line is in the file as soon as it is written
        self._logs: list[dict[str, Any]] = []

    def read_logs(self, log_number_from: int) -> Iterable[dict[str, Any]]:
        return self._logs[log_number_from:]

    def append_logs(self, logs: list[dict[str, Any]]) -> None:
        lines = [json.dumps(log, separators=(",", ":")) for log in logs]
        self._file.write("".join(f"{line}\n" for line in lines).encode())
        self._logs += [json.loads(line) for line in lines]  # as it would be read back
