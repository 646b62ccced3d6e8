"""The user's own ledger: a line of JSON a look, whatever store it went to.

It lies in the folder that DYNONET_LEDGER_DIR names, else in the cache (DYNONET_CACHE_DIR, else the platform's). Lines
are only ever added, each by one write, so that any number of processes may; what cannot be written is said and costs
nothing else.
"""

import json
import logging
import os
from collections.abc import Mapping
from dataclasses import dataclass
from datetime import datetime
from pathlib import Path
from typing import Any

import pooch

logger = logging.getLogger(__name__)

_told: set[str] = set()  # where this process could not write


@dataclass(frozen=True)
class Lines:
    """What the user's own ledger holds."""

    looks: tuple[dict[str, Any], ...]  # in the order of writing; `time` is a datetime
    unread: int = 0  # lines that are none of ours, or torn
    problem: str = ""  # why it cannot be read


def ledger_file() -> Path:
    if named := os.environ.get("DYNONET_LEDGER_DIR"):
        return Path(named).expanduser().absolute() / "looks.jsonl"
    folder = os.environ.get("DYNONET_CACHE_DIR") or pooch.os_cache("dynonet")
    return Path(folder).expanduser().absolute() / "ledger" / "looks.jsonl"


def append(look: Mapping[str, Any]) -> bool:
    """Adds a line; False, and one warning a process, where it cannot be written."""
    path = ledger_file()
    line = json.dumps(look, default=lambda value: value.isoformat())
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
        descriptor = os.open(path, os.O_WRONLY | os.O_APPEND | os.O_CREAT, 0o644)
        try:
            # The first newline ends a line that a full disk has torn.
            data = f"\n{line}\n".encode()
            if os.write(descriptor, data) != len(data):
                raise OSError("the disk is full")
        finally:
            os.close(descriptor)
    except (OSError, ValueError) as error:
        if str(path) not in _told:
            _told.add(str(path))
            reason = getattr(error, "strerror", None) or error
            logger.warning(
                "this look is not on your own ledger, %s: %s. Set DYNONET_LEDGER_DIR to a folder that can be "
                "written, or looks count within one store alone",
                path,
                reason,
            )
        return False
    return True


def append_renaming(names: Mapping[str, str], store: str) -> bool:
    """That studies of a store are called otherwise from now on; returns as `append`."""
    return append({"renamed": dict(names), "store": store})


def read() -> Lines:
    """Every look on it, each once, with the name that its study has now."""
    path = ledger_file()
    try:
        text = path.read_text(encoding="utf-8", errors="replace")
    except FileNotFoundError:
        return Lines(())
    except (OSError, ValueError) as error:
        return Lines((), problem=f"{path}: {getattr(error, 'strerror', None) or error}")
    looks: dict[str, dict[str, Any]] = {}
    unread = 0
    for line in filter(str.strip, text.split("\n")):
        try:
            row = json.loads(line)
            if "renamed" in row:
                for look in looks.values():
                    if look["store"] == row["store"] and look["read_for"] in row["renamed"]:
                        look["read_for"] = row["renamed"][look["read_for"]]
                continue
            row["time"] = datetime.fromisoformat(row["time"])
            row["runs"], row["origin"] = int(row["runs"]), int(row["origin"])
            looks.setdefault(str(row["look"]), {**dict.fromkeys(_OPTIONAL), **row, "series": str(row["series"])})
        except (ValueError, TypeError, KeyError, RecursionError):
            unread += 1
    return Lines(tuple(looks.values()), unread)


_OPTIONAL = (
    "dataset", "split", "purpose", "read_for", "command", "user", "host", "run_ids", "mark", "store", "first", "end",
    "content", "again",
)  # fmt: skip
