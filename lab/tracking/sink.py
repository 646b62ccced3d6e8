"""Runs on record on their way to W&B: to folders that `wandb sync` takes, or to a server.

Parquet is the truth and W&B is fed from it, so a run is sent when it is on record, with its whole history, and it is
marked as sent only after it was read back: from the folder, or from the server. What a kill, a full disk or a server
that does not answer keeps from arriving is sent later, by the next call or by `python -m tune.results wandb`.

No epoch goes twice into one W&B run. A server is asked how far the run is there, and gets what comes after that. A
folder is written aside and put into its place whole; one that was not synced yet is replaced. After one that was
synced comes one that holds the later epochs alone.

Rows are not sent while a run trains. A driver that is killed between an epoch and its row could not tell offline
whether the row had been written (up to a second of W&B's log is lost), and every training run would hold a W&B run
open. A run of a search is on record within minutes, and the live table shows where each stands until then.
"""

import logging
import os
import re
import shutil
import time
from collections.abc import Callable, Iterable, Sequence
from pathlib import Path
from typing import Any

from lab.store.tables import Results
from lab.tracking.client import WandbError, check_key, client, end_service, lean_settings, local_folder, one_line
from lab.tracking.log_file import read_back
from lab.tracking.options import Tracking
from lab.tracking.runs import (
    Member,
    TrackedRun,
    last_step_sent,
    members_of,
    put_mark,
    sent_marks,
    tells_how_it_went,
    tracked,
    unsent,
)

CONNECT_SECONDS = 10.0  # for a server to answer at all
BATCH = 20  # runs that are read, sent and looked up together
FAILURES = 2  # in a row after which the rest of a batch is not tried
FLUSH_SECONDS = 3.0  # that W&B's service may take to write the end of a run that it calls finished
LOOKS = (0.0, 1.0, 2.0, 4.0)  # seconds to wait before each look at whether a server has what it was sent


class WandbSink:
    """All W&B runs of this process. Not for several threads at once.

    Args:
        patience: seconds that any one call to a server may take in all.
        stopped: tells whether to send no more; asked between two runs.
    """

    def __init__(
        self,
        options: Tracking,
        results: Results,
        patience: float = 20.0,
        stopped: Callable[[], bool] = lambda: False,
    ):
        self.options, self.results, self.patience, self.stopped = options, results, patience, stopped
        self.folder = local_folder(results.storage)
        self.entity = options.entity
        self.sent = 0  # W&B runs, in all
        self._marks: dict[str, set[str]] = {}  # by study
        self._api: Any = None
        self._wandb = client(self.folder)

    @property
    def offline(self) -> bool:
        return self.options.mode == "offline"

    @property
    def destination(self) -> str:
        """Names a place that runs are sent to, in the paths of marks."""
        where = [self.options.mode, self.entity, self.options.project]
        if not self.offline:
            where.append(self._wandb.setup().settings.base_url)
        return re.sub(r"[^A-Za-z0-9._]+", "-", "-".join(part for part in where if part))

    def send(self, study: str, members: Iterable[Member] | None = None, again: bool = False) -> int:
        """Sends what is on record of a study and was not sent yet; returns the number of W&B runs.

        Args:
            members: only these.
            again: also what was sent before.
        Raises:
            WandbError: not all has arrived. What has is marked.
        """
        self._connect()
        if study not in self._marks:
            self._marks[study] = sent_marks(self.results, study, self.destination)
            shutil.rmtree(self._aside(study), ignore_errors=True)  # what a kill left behind
        marks = self._marks[study]
        members = members_of(self.results, study) if members is None else members
        left = unsent(self.results, members, set() if again else marks)
        count, problem = 0, ""
        loud, logging.raiseExceptions = logging.raiseExceptions, False  # the client's own log, on a full disk
        try:
            while left and not self.stopped():
                size = BATCH if self.sent else FAILURES  # not much before one is seen to arrive
                arrived, failed = self._send_batch(tracked(self.results, left[:size]), marks, again)
                count, left, problem = count + arrived, left[size:], problem or failed
                if failed and not arrived:
                    break
        finally:
            logging.raiseExceptions = loud
            shutil.rmtree(self._aside(study), ignore_errors=True)
        if problem:
            raise WandbError(problem)
        return count

    def said(self, *studies: str) -> str:
        """What was sent where, in a line."""
        if self.offline:
            return f"{self.sent} runs written; to send them: wandb sync {self.folder}/offline-run-*"
        return f"{self.sent} runs sent to {self.entity}/{self.options.project}, group {', '.join(studies)}"

    def close(self) -> None:
        """Ends W&B's service process."""
        end_service()

    def __enter__(self) -> "WandbSink":
        return self

    def __exit__(self, *_: object) -> None:
        self.close()

    def _connect(self) -> None:
        """Asks a server whether it takes the key, and whose it is. Raises WandbError."""
        if self.offline or self._api is not None:
            return
        check_key()
        try:
            self._wandb.setup(lean_settings(min(self.patience, 2 * CONNECT_SECONDS)))
            api = self._wandb.Api(timeout=max(1, int(min(self.patience / 2, CONNECT_SECONDS))))
            self.entity = self.options.entity or api.default_entity
        except Exception as error:
            url = self._wandb.setup().settings.base_url
            raise WandbError(f"{url} does not answer, or not with this key: {one_line(error)}") from error
        self._api = api

    def _aside(self, study: str) -> Path:
        """Where runs of a study are written before they are put into their place."""
        return self.folder / f".unfinished-{study}"

    def _send_batch(self, runs: Sequence[TrackedRun], marks: set[str], again: bool) -> tuple[int, str]:
        """Returns how many have arrived, and what was wrong with others."""
        written: list[TrackedRun] = []
        problem: Exception | None = None
        failures = 0
        for run in runs:
            if self.stopped() or failures >= FAILURES:
                break
            try:
                if self.offline:
                    self._write(run, marks, again)
                else:
                    self._upload(run)
                written.append(run)
                failures = 0
            except Exception as error:  # whatever W&B's client raises: a study must not end for it
                problem = error
                failures += 1
        try:
            arrived = written if self.offline else self._arrived(written)
        except Exception as error:
            arrived, problem = [], problem or error
        for run in arrived:
            put_mark(self.results, self.destination, run, self.options.mode)
            marks.add(run.mark)
        self.sent += len(arrived)
        why = "" if problem is None else one_line(problem)
        if not why and (missing := len(written) - len(arrived)):
            why = f"{missing} runs were sent, and the server does not have them as finished"
        return len(arrived), why

    def _init(self, run: TrackedRun, **settings: Any) -> Any:
        folder = self._aside(run.member.study)
        folder.mkdir(parents=True, exist_ok=True)
        opened = self._wandb.init(
            id=run.id, project=self.options.project, entity=self.entity, group=run.member.study, name=run.name,
            job_type=run.member.role, tags=run.tags, config=run.config, mode=self.options.mode, dir=str(folder),
            resume="allow", reinit="create_new", settings=lean_settings(self.patience, **settings),
        )  # fmt: skip
        opened.define_metric("epoch", hidden=True, summary="none")
        dotted = sorted({name for _, values in run.history for name in values if "." in name})  # no glob finds these
        for name in ("*", *dotted):  # the summary is what is on record
            opened.define_metric(name.replace(".", r"\."), step_metric="epoch", summary="none")
        return opened

    def _log(self, opened: Any, run: TrackedRun, after: int) -> list[int]:
        """Sends the epochs after this one, the summary, and the end. Returns these epochs."""
        steps = []
        for step, values in run.history:
            if step > after:
                opened.log({"epoch": step, **values}, step=step)
                steps.append(step)
        there = [name for name in opened.summary.keys() if tells_how_it_went(name)]  # noqa: SIM118
        stale = [name for name in there if name not in run.summary]
        opened.summary.update({**dict.fromkeys(stale), **run.summary})
        opened.finish(exit_code=run.exit_code)
        return steps

    def _upload(self, run: TrackedRun) -> None:
        opened = self._init(run, x_skip_transaction_log=True)
        self._log(opened, run, opened.starting_step - 1)

    def _arrived(self, runs: Sequence[TrackedRun]) -> list[TrackedRun]:
        """Those that the server has to their end. An end is the last that is sent, so all before it has arrived."""
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

    def _write(self, run: TrackedRun, marks: Iterable[str], again: bool) -> None:
        """Puts the run's folder into its place, instead of one that was not synced; `again`: of any."""
        before = list(self.folder.glob(f"offline-run-*-{run.id}"))
        synced = [] if again else [folder for folder in before if list(folder.glob("*.synced"))]
        after = max((step for folder in synced for step in read_back(folder).steps), default=0)
        if not before and not again:  # was there one, and was it removed once it was synced?
            after = last_step_sent(self.results, self.destination, run.member, marks)
        opened = self._init(run, x_transaction_log_flush_interval=1.0)
        folder = Path(opened.settings.sync_dir)
        steps = self._log(opened, run, after)
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
