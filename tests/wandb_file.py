"""Reads .wandb files back, for the tests: W&B's own log of a run, record by record, each checked by its crc.

Written from the format alone: a header of seven bytes, then LevelDB's log of 32 KiB blocks that hold protobuf records.
"""

import json
import zlib
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from wandb.proto.wandb_internal_pb2 import Record

BLOCK = 32 * 1024


@dataclass
class OfflineRun:
    """What one file tells of its run."""

    id: str = ""
    fields: dict[str, Any] = field(default_factory=dict)  # project, entity, group, job_type, name, tags
    config: dict[str, Any] = field(default_factory=dict)
    summary: dict[str, Any] = field(default_factory=dict)
    history: list[tuple[int, dict[str, Any]]] = field(default_factory=list)  # (step, its values)
    metrics: dict[str, tuple[str, bool]] = field(default_factory=dict)  # name or glob -> (its step's metric, hidden)
    exit_code: int | None = None


def chunks(data: bytes) -> list[bytes]:
    """Whole records; one that was torn off ends them."""
    assert data[:4] == b":W&B", data[:8]
    found, pending, place = [], None, 7  # pending: the pieces so far; the first may be empty, at the end of a block
    while len(data) - place >= 7:
        left = BLOCK - place % BLOCK
        if left < 7:
            assert data[place : place + left] == bytes(left)
            place += left
            continue
        crc, size, kind = int.from_bytes(data[place : place + 4], "little"), *_size_and_kind(data, place)
        content = data[place + 7 : place + 7 + size]
        if len(content) < size:
            break
        assert zlib.crc32(data[place + 6 : place + 7 + size]) == crc, f"record at {place}"
        assert kind in (1, 2, 3, 4) and size <= left - 7 and (pending is not None) == (kind in (3, 4))
        pending = (pending or b"") + content
        if kind in (1, 4):
            found.append(pending)
            pending = None
        place += 7 + size
    return found


def _size_and_kind(data: bytes, place: int) -> tuple[int, int]:
    return int.from_bytes(data[place + 4 : place + 6], "little"), data[place + 6]


def _values(items: Any) -> dict[str, Any]:
    return {item.key or "/".join(item.nested_key): json.loads(item.value_json) for item in items}


def read(path: Path) -> OfflineRun:
    run = OfflineRun()
    for chunk in chunks(path.read_bytes()):
        record = Record()
        record.ParseFromString(chunk)
        kind = record.WhichOneof("record_type")
        if kind == "run":
            found = record.run
            assert not run.id or run.id == found.run_id
            run.id = found.run_id
            run.fields = {
                "project": found.project, "entity": found.entity, "group": found.run_group, "job_type": found.job_type,
                "name": found.display_name, "tags": list(found.tags),
            }  # fmt: skip
            run.config |= _values(found.config.update)
        elif kind == "config":
            run.config |= _values(record.config.update)
        elif kind == "summary":
            run.summary |= _values(record.summary.update)
        elif kind == "history":
            values = _values(record.history.item)
            assert values.pop("_step", record.history.step.num) == record.history.step.num
            run.history.append((record.history.step.num, values))
        elif kind == "metric":
            name = record.metric.name or record.metric.glob_name
            run.metrics[name] = (record.metric.step_metric, record.metric.options.hidden)
        elif kind == "exit":
            run.exit_code = record.exit.exit_code
    run.config.pop("_wandb", None)
    return run


def read_all(folder: Path) -> list[OfflineRun]:
    """Every run written offline below a folder, in order of time."""
    paths = [path for path in folder.rglob("run-*.wandb") if not path.parent.is_symlink()]
    return [read(path) for path in sorted(paths)]
