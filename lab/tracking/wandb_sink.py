"""Runs on their way to W&B: to folders that `wandb sync` takes, or to a server.

To a server: it is asked how far a run is there, and gets what comes after that. A run that trains stays open in W&B's
own process, whose file stream sends epochs in order: what a kill cuts off is the end, and what comes after is asked for
again. A run is marked as sent when it was read back as ended.

Offline: a folder is written aside when a run is on record, read back, and put into its place whole; one that was not
synced yet is replaced. After one that was synced comes one that holds the later epochs alone. Epochs are not written
there while a run trains: a driver that is killed between an epoch and its row could not tell whether the row had been
written (up to a second of W&B's log is lost), and nobody sees a folder before it is synced.
"""

import logging
import os
import shutil
import time
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from lab.store.tables import Results
from lab.tracking.client import (
    WandbError,
    check_key,
    client,
    end_service,
    lean_settings,
    live_settings,
    local_folder,
    quieten,
)
from lab.tracking.log_file import read_back
from lab.tracking.options import Tracking, reason
from lab.tracking.runs import Member, TrackedRun, last_step_sent, tells_how_it_went
from lab.tracking.sink import Sink

CONNECT_SECONDS = 10.0  # for a server to answer at all
FLUSH_SECONDS = 3.0  # that W&B's service may take to write the end of a run that it calls finished
LOOKS = (0.0, 1.0, 2.0, 4.0)  # seconds to wait before each look at whether a server has what it was sent
CUT_OFF = 255  # exit code by which W&B knows a run that was ended from outside; it goes on when it is opened again


@dataclass
class _Open:
    """A run in W&B's process."""

    run: Any
    last: int  # epoch that it was given
    config: Mapping[str, Any]  # as it was begun
    _defined: set[str] = field(default_factory=set)

    def define(self, rows: Iterable[tuple[int, Mapping[str, float]]]) -> None:
        """Metrics with a dot in their names, which no glob finds: over epochs, and not in the summary."""
        dotted = {name for _, values in rows for name in values if "." in name}
        for name in sorted(dotted - self._defined):
            self.run.define_metric(name.replace(".", r"\."), step_metric="epoch", summary="none")
        self._defined |= dotted


class WandbSink(Sink):
    """All W&B runs of this process."""

    def __init__(
        self,
        options: Tracking,
        results: Results,
        patience: float = 20.0,
        stopped: Callable[[], bool] = lambda: False,
    ):
        super().__init__(options, results, patience, stopped)
        self.folder = local_folder(results.storage)
        self.entity = options.entity
        self._api: Any = None
        self._wandb = client(self.folder)
        self._open: dict[str, _Open] = {}  # runs that train
        self._stuck = False  # what went wrong may have left a run in W&B's process, where no other of its id gets in

    @classmethod
    def check(cls, options: Tracking, results: Results) -> None:
        wandb = client(local_folder(results.storage))
        if options.mode == "online":
            check_key()
            _ = wandb.Api  # its modules, whose imports take longer than all that comes of them

    @property
    def offline(self) -> bool:
        return self.options.mode == "offline"

    @classmethod
    def shows_training(cls, options: Tracking) -> bool:
        return options.mode == "online"

    @property
    def place(self) -> list[str | None]:
        url = None if self.offline else self._wandb.setup().settings.base_url
        return [self.options.mode, self.entity, self.options.project, url]

    def said(self, *studies: str) -> str:
        if self.offline:
            return f"{self.sent} runs written; to send them: wandb sync {self.folder}/offline-run-*"
        return f"{self.sent} runs sent to {self.entity}/{self.options.project}, group {', '.join(studies)}"

    def close(self) -> None:
        """Ends W&B's service process, and the runs in it that still train as cut off."""
        end_service(exit_code=CUT_OFF if self._open else 0)
        self._open, self._api, self._stuck = {}, None, False

    def connect(self) -> None:
        """Asks a server whether it takes the key, and whose it is. Raises WandbError."""
        if self.offline or self._api is not None:
            return
        check_key()
        try:
            self._wandb.setup(live_settings(min(self.patience, 2 * CONNECT_SECONDS)))
            api = self._wandb.Api(timeout=max(1, int(min(self.patience / 2, CONNECT_SECONDS))))
            self.entity = self.options.entity or api.default_entity
        except Exception as error:
            url = self._wandb.setup().settings.base_url
            raise WandbError(f"{url} does not answer, or not with this key: {reason(error)}") from error
        self._api = api

    def send(self, study: str, members: Iterable[Member] | None = None, again: bool = False) -> int:
        if study not in self._marks:
            shutil.rmtree(self._aside(study), ignore_errors=True)  # what a kill left behind
        loud, logging.raiseExceptions = logging.raiseExceptions, False  # the client's own log, on a full disk
        try:
            return super().send(study, members, again)
        finally:
            logging.raiseExceptions = loud
            if not self._open:
                shutil.rmtree(self._aside(study), ignore_errors=True)

    def show(self, run: TrackedRun, again: bool = False) -> None:
        if self.offline:
            self._write(run, again)
            return
        if self._stuck:
            self.close()
            self.connect()
        opened = self._open.pop(run.id, None)
        try:
            if opened is None:
                settings = lean_settings if run.ended else live_settings
                opened = self._init(run, settings(self.patience, x_skip_transaction_log=True))
            elif run.ended:
                later = {key: value for key, value in run.config.items() if opened.config.get(key) != value}
                opened.run.config.update(later, allow_val_change=True)
            self._log(opened, run)
        except BaseException:
            self._stuck = True
            raise
        if not run.ended:
            self._open[run.id] = opened

    def arrived(self, runs: Sequence[TrackedRun]) -> list[TrackedRun]:
        """Those that the server has to their end. An end is the last that is sent, so all before it has arrived."""
        if self.offline:
            return list(runs)
        waiting = {run.id: run for run in runs}
        found = []
        for wait in LOOKS if runs else ():
            time.sleep(wait)
            self._api.flush()
            listed = self._api.runs(
                f"{self.entity}/{self.options.project}", filters={"name": {"$in": sorted(waiting)}},
                per_page=len(waiting), include_sweeps=False, lazy=True,
            )  # fmt: skip
            ended = [each.id for each in listed if each.state in ("finished", "failed")]
            found += [waiting.pop(each) for each in ended if each in waiting]
            if not waiting:
                break
        return found

    def _aside(self, study: str) -> Path:
        """Where runs of a study are written before they are put into their place."""
        return self.folder / f".unfinished-{study}"

    def _init(self, run: TrackedRun, settings: Any) -> _Open:
        folder = self._aside(run.member.study)
        folder.mkdir(parents=True, exist_ok=True)
        opened = self._wandb.init(
            id=run.id, project=self.options.project, entity=self.entity, group=run.member.study, name=run.name,
            job_type=run.member.role, tags=run.tags, config=run.config, mode=self.options.mode, dir=str(folder),
            resume="allow", reinit="create_new", settings=settings,
        )  # fmt: skip
        opened.define_metric("epoch", hidden=True, summary="none")
        opened.define_metric("*", step_metric="epoch", summary="none")  # the summary is what is on record
        quieten(opened)
        made = _Open(opened, opened.starting_step - 1, run.config)
        made.define(run.history)
        return made

    def _log(self, opened: _Open, run: TrackedRun) -> list[int]:
        """Sends the epochs that it was not given, the summary, and the end. Returns these epochs."""
        rows = [(step, values) for step, values in run.history if step > opened.last]
        opened.define(rows)
        for step, values in rows:
            opened.run.log({"epoch": step, **values}, step=step, commit=True)
            opened.last = step
        summary, stale = opened.run.summary, list[str]()
        if run.ended:
            there = summary.keys()
            stale = [name for name in there if tells_how_it_went(name) and name not in run.summary]
        summary.update({**dict.fromkeys(stale), **run.summary})
        if run.ended:
            opened.run.finish(exit_code=run.exit_code)
        return [step for step, _ in rows]

    def _write(self, run: TrackedRun, again: bool) -> None:
        """Puts the run's folder into its place, instead of one that was not synced; `again`: of any."""
        before = list(self.folder.glob(f"offline-run-*-{run.id}"))
        synced = [] if again else [folder for folder in before if list(folder.glob("*.synced"))]
        after = max((step for folder in synced for step in read_back(folder).steps), default=0)
        if not before and not again:  # was there one, and was it removed once it was synced?
            after = last_step_sent(self.results, self.destination, run.member, self._marks[run.member.study])
        opened = self._init(run, lean_settings(self.patience, x_transaction_log_flush_interval=1.0))
        opened.last, folder = after, Path(opened.run.settings.sync_dir)
        steps = self._log(opened, run)
        deadline = time.monotonic() + FLUSH_SECONDS
        while (there := read_back(folder)).steps != steps or not there.ended:
            if time.monotonic() < deadline:
                time.sleep(0.01)
                continue
            raise WandbError(f"{folder.name} could not be written whole (is the disk full?)")
        place = self.folder / folder.name
        while place in synced:  # in this very second
            time.sleep(0.2)
            place = self.folder / time.strftime(f"offline-run-%Y%m%d_%H%M%S-{run.id}")
        if place.exists():
            os.replace(place, self._aside(run.member.study) / f"{folder.name}-before")
        os.replace(folder, place)
        for old in before:
            if old not in synced and old != place:
                shutil.rmtree(old, ignore_errors=True)
