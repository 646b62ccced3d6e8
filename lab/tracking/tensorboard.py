"""Runs as TensorBoard shows them: `tensorboard --logdir results/tensorboard`, a folder of event files each.

An epoch is one record of a file, so it is there whole or not at all. A folder that has a run to some epoch, from
whatever call, gets a further file with those after it: TensorBoard reads all in the order of their names. With its end
come its settings and how it went, for the page HPARAMS. What it shows are numbers of 32 bits.
"""

import os
import re
import shutil
import time
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any

from lab.settings.files import dotted
from lab.store.tables import Results
from lab.tracking.options import TrackerError, Tracking
from lab.tracking.runs import TrackedRun
from lab.tracking.sink import Sink

HEAD, TAIL = 12, 4  # bytes of a record before its content (length, its checksum) and after it (checksum)


def records(path: Path) -> Iterator[bytes]:
    """Those of an event file, up to where it was torn off."""
    data, place = path.read_bytes(), 0
    while place + HEAD <= len(data):
        end = place + HEAD + int.from_bytes(data[place : place + 8], "little")
        if end + TAIL > len(data):
            return
        yield data[place + HEAD : end]
        place = end + TAIL


def steps_in(folder: Path) -> list[int]:
    """Of every epoch in the event files of a run, in order of writing."""
    from tensorboardX.proto.event_pb2 import Event

    events = [Event.FromString(each) for path in sorted(folder.glob("events.*")) for each in records(path)]
    return [event.step for event in events if event.step]


class TensorBoardSink(Sink):
    """All runs that this process writes for TensorBoard."""

    def __init__(self, *arguments: Any, **more: Any):
        super().__init__(*arguments, **more)
        storage = self.results.storage
        self.folder = (Path(storage.root) if storage.local else Path.cwd()) / "tensorboard"
        self._open: dict[str, _Events] = {}

    @classmethod
    def check(cls, options: Tracking, results: Results) -> None:
        try:
            import tensorboardX  # noqa: F401
        except ImportError as error:
            raise TrackerError(f"tensorboardX, which writes its files, cannot be imported: {error}") from error

    @property
    def place(self) -> list[str | None]:
        return ["tensorboard"]

    def said(self, *studies: str) -> str:
        return f"{self.sent} runs written; to see them: tensorboard --logdir {self.folder}"

    def show(self, run: TrackedRun, again: bool = False) -> None:
        folder = self.folder / run.member.study / f"{re.sub('[^A-Za-z0-9._-]+', '-', run.name)}-{run.id[:8]}"
        if again:
            self._open.pop(run.id, None)
            shutil.rmtree(folder, ignore_errors=True)
        events = self._open.pop(run.id, None) or _Events(folder)
        for step, values in run.history:
            events.add(step, values)
        if run.ended:
            events.end(run)
        else:
            self._open[run.id] = events
            events.flush()

    def close(self) -> None:
        for events in self._open.values():
            events.close()
        self._open = {}


class _Events:
    """One more file of a run's folder."""

    def __init__(self, folder: Path):
        from tensorboardX.event_file_writer import EventsWriter

        folder.mkdir(parents=True, exist_ok=True)
        self.last = max(steps_in(folder), default=0)
        number = len(list(folder.glob("events.*")))
        self._writer = EventsWriter(str(folder / "events"), f".{number:04d}.{os.getpid()}")
        self.flush, self.close = self._writer.flush, self._writer.close

    def add(self, step: int, values: Mapping[str, float]) -> None:
        if step > self.last:
            self._write(_numbers(values), step)
            self.last = step

    def end(self, run: TrackedRun) -> None:
        """Its settings, and the numbers of how it went."""
        from tensorboardX.summary import hparams

        told = {name: _shown(value) for name, value in dotted(run.config).items() if value is not None}
        numbers = {f"end/{name}": value for name, value in run.summary.items() if isinstance(value, int | float)}
        for summary in hparams(told, numbers):
            self._write(summary)
        self._write(_numbers(numbers))
        self.close()

    def _write(self, summary: Any, step: int = 0) -> None:
        from tensorboardX.proto.event_pb2 import Event

        self._writer.write_event(Event(wall_time=time.time(), step=step, summary=summary))


def _numbers(values: Mapping[str, float]) -> Any:
    from tensorboardX.proto.summary_pb2 import Summary

    return Summary(value=[Summary.Value(tag=name, simple_value=value) for name, value in values.items()])


def _shown(value: Any) -> bool | float | str:
    return value if isinstance(value, bool | int | float | str) else str(value)
