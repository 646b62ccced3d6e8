"""What one trial does: it trains a stack of runs into the results, going on from whatever is on record.

A run that is done is not trained again. Each epoch ends with a checkpoint (one immutable object), a finished run is
recorded at once, and a run that was stopped goes on from where it stood, whoever asks for it.
"""

import hashlib
import io
import logging
import time
from abc import ABC, abstractmethod
from collections import defaultdict
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import torch

from lab.compute.device import out_of_memory, peak_memory_bytes, release_memory
from lab.forecaster import range_column
from lab.provenance import code_provenance, host_name
from lab.registry import forecaster_of
from lab.series import Series, load_series
from lab.settings.config import Config
from lab.store.objects.checksums import named
from lab.store.schema import series_columns
from lab.store.tables import Results, run_params
from lab.training.checkpoint import State, current, divide_state, join_states, split_state
from lab.training.readings import lost
from lab.training.run import Run
from lab.training.trainer import StackTrainer

logger = logging.getLogger(__name__)

Part = tuple[list[Config], State | None]  # of a stack: what it trains, and where that stands

KEPT_CHECKPOINTS = 2  # the newest, and one more in case the newest is damaged
# Epochs of milliseconds would mostly wait for the disk: on a local path a checkpoint is forced onto it only so often,
# and the last such one is kept. A kill costs one epoch at most; a power cut this long or one epoch.
DURABLE_SECONDS = 1.0


@dataclass(frozen=True)
class Report:
    """Where a trial stands after an epoch."""

    epoch: int
    value: float | None  # mean over the runs of the best validation MSE so far; None if a run has none yet
    state: str  # running, complete, or diverged (a run of it did)
    reports: list[tuple[int, float]]  # every epoch's value, from the first
    parameters: int  # of one model
    ended: int  # runs that are done
    losses: Sequence[float | None] = ()  # the best so far of each run, by its place; () over several origins


class TrialRun(ABC):
    """What a trial trains, epoch by epoch."""

    def step(self) -> Report:
        """One epoch of a trial. A diverged run ends the trial (see StackRun's `outlive_divergence`): the others are
        recorded as stopped."""
        self.advance()
        report = self.report()
        if report.state == "diverged":
            self.close("stopped")
        elif report.state == "complete":
            self.finish()
        return report

    @abstractmethod
    def advance(self) -> None:
        """Trains one epoch of what still trains, writes checkpoints, records what has finished."""

    @abstractmethod
    def report(self) -> Report:
        """Where the trial stands."""

    @abstractmethod
    def close(self, status: str, error: str | None = None) -> None:
        """Ends every run before its time, and puts it on record."""

    @abstractmethod
    def finish(self) -> None:
        """Drops the checkpoints: every run is on record."""


def carried(known: Mapping[int, float], epochs: int) -> list[float | None]:
    """A value an epoch, from 1: what has ended stays as it was last; None before the first value."""
    column: list[float | None] = []
    for number in range(1, epochs + 1):
        column.append(known.get(number, column[-1] if column else None))
    return column


class StackRun(TrialRun):
    """The runs of one stack on their way into the results.

    Args:
        series: the data of the configs, where the caller has it; it is read otherwise.
        outlive_divergence: a diverged run ends a search's trial, whose value is a mean over its runs; with this the
            others are trained to their own end.
        most: models trained side by side at most. A stack that does not fit into memory is halved, and halved again:
            its parts are trained in turn, from the last checkpoint on, and `halvings` says so.
    Raises:
        ConfigError, DataError: as StackTrainer does.
        StorageError: the results cannot be read or written.
    """

    def __init__(
        self,
        results: Results,
        configs: Sequence[Config],
        device: str | torch.device = "cpu",
        provenance: Mapping[str, Any] | None = None,
        series: Series | None = None,
        outlive_divergence: bool = False,
        most: int | None = None,
    ):
        self.results, self.device = results, torch.device(device)
        self.most = len(configs) if most is None else max(1, most)
        self.halvings: list[str] = []
        self._outlive_divergence = outlive_divergence
        self._forecaster, self._settings = forecaster_of(configs[0]), type(configs[0])
        self.series = load_series(configs[0].data) if series is None else series
        self.ids = [config.run_id(self.series.identity) for config in configs]
        self.folder = self.folder_of(self.ids)
        self._rows = results.runs(self.ids)  # what is on record, by run
        self._sealed = {run for run, row in self._rows.items() if row["status"] in ("complete", "diverged")}
        if outlive_divergence and self._sealed:  # test is read of all: not without weights, which may have been pruned
            self._sealed -= set(lost(results, sorted(self._sealed)))
        wanted = [c for run, c in zip(self.ids, configs, strict=True) if run not in self._sealed]
        here = {**(provenance or code_provenance()), "host": host_name(), "device": self._device_name()}
        here["kernel"] = self._forecaster.kernel(self.device.type)
        self._here = here  # who trains from now on
        self._meta = {**here, "started": time.time(), "stack_size": len(wanted)}
        self._checkpoints: list[str] = []  # those in the folder, the newest last
        self._forced: str | None = None  # the newest that a power cut leaves whole
        self._forced_at = time.monotonic()
        self._wanted = wanted
        self.trainers = self._built()
        self._seal_finished()

    @staticmethod
    def folder_of(ids: Sequence[str]) -> str:
        """Where the checkpoints of these runs, as one stack, lie."""
        return "checkpoints/" + hashlib.sha256("".join(ids).encode()).hexdigest()[:20]

    def _device_name(self) -> str:
        return torch.cuda.get_device_name(self.device) if self.device.type == "cuda" else "cpu"

    def _built(self) -> list[StackTrainer]:
        """The stacks as the records have them, halved until they fit into memory."""
        while True:
            try:
                return [self._trainer(*part) for part in self._resume() or self._begin(self._wanted)]
            except Exception as error:
                self._halve(len(self._wanted), error)
            release_memory(self.device)

    def _halve(self, size: int, error: BaseException) -> None:
        """Raises the error again unless it is one that smaller stacks than one of this size may be spared."""
        size = min(size, self.most)
        if size < 2 or not out_of_memory(error):
            raise error
        self.most = (size + 1) // 2
        self.halvings.append(f"a stack of {size} did not fit into memory; it goes on in stacks of {self.most} at most")
        logger.warning(self.halvings[-1])

    def _divided(self, state: State) -> list[Part]:
        parts = divide_state(state, self.most)
        return [([self._settings.from_json(run["config"]) for run in part["runs"]], part) for part in parts]

    def _trainer(self, configs: Sequence[Config], state: State | None) -> StackTrainer:
        trainer = StackTrainer(configs, self.series, self.device)
        if state is not None:
            trainer.load_state_dict(state)
        return trainer

    def _resume(self) -> list[Part]:
        """The stacks as their newest readable checkpoint has them; [] if there is none."""
        self._checkpoints = self.results.storage.list(self.folder)
        for path in reversed(self._checkpoints):
            found = self.results.read_blob(path, self._saved_stack)
            if found is not None:
                self._forced = path  # it has outlived what there was
                parts, self._meta = found  # as long as nothing more is trained, it says who trained it
                return parts
        return []

    def _saved_stack(self, data: bytes) -> tuple[list[Part], dict[str, Any]]:
        saved = _loaded(data)
        return [part for state in saved["trainers"] for part in self._divided(current(state))], dict(saved["meta"])

    def _begin(self, configs: Sequence[Config]) -> list[Part]:
        """New stacks, one for the runs at each epoch: those that were stopped once go on from there."""
        at_epoch: dict[int, list[tuple[Config, State]]] = defaultdict(list)
        fresh = []
        for config in configs:
            run = config.run_id(self.series.identity)
            saved = self._saved_run(_run_checkpoint(run)) or self._saved_run(_old_run_checkpoint(run))
            if saved is None:
                fresh.append(config)
            else:
                at_epoch[saved["epoch"]].append((config, saved))
        parts: list[Part] = [(fresh[at : at + self.most], None) for at in range(0, len(fresh), self.most)]
        for members in at_epoch.values():
            members.sort(key=lambda member: self._forecaster.order(member[0]))  # the stack's own
            parts += self._divided(join_states([state for _, state in members]))
        return parts

    def _saved_run(self, path: str) -> State | None:
        """A run's checkpoint, or None where there is none that can be read."""

        def parse(data: bytes) -> State:
            state = current(_loaded(data))
            int(state["epoch"]), state["runs"], state["stack"]
            return state

        return self.results.read_blob(path, parse)

    @property
    def runs(self) -> list[Run]:
        return [run for trainer in self.trainers for run in trainer.runs]

    @property
    def going(self) -> list[StackTrainer]:
        """Those that still train."""
        return [trainer for trainer in self.trainers if not trainer.finished]

    @property
    def epoch(self) -> int:
        """That all of what still trains have come to; the last one where nothing does."""
        return min((trainer.epoch for trainer in self.going), default=max(self._ends(), default=0))

    def advance(self) -> None:
        """Trains the least advanced stack for one epoch, writes the checkpoint, records what has finished."""
        going = self.going
        if not going:
            return
        trainer = min(going, key=lambda trainer: trainer.epoch)
        self._meta |= {**self._here, "kernel": trainer.kernel}
        fits = True
        try:
            trainer.run_epoch()
        except Exception as error:
            self._halve(len(trainer.running), error)
            fits = False
        if not fits:  # the error, and with it the step's tensors, is gone by now
            del trainer, going
            self.trainers = []
            release_memory(self.device)
            self.trainers = self._built()
            return
        self._checkpoint()
        self._seal_finished()

    def finish(self) -> None:
        """Drops the checkpoints of a stack that has come to its end: every run is on record."""
        for path in self.results.storage.list(self.folder):
            self.results.storage.delete(path)
        self.results.storage.delete_empty(self.folder)

    def _done_before(self) -> list[Mapping[str, Any]]:
        """Rows of the runs that were on record, and are not trained here."""
        trained_here = {run.run for run in self.runs}
        return [row for run, row in self._rows.items() if run in self._sealed - trained_here]

    def _ends(self) -> list[int]:
        return [run.epochs for run in self.runs] + [row["epochs"] or 0 for row in self._done_before()]

    def report(self) -> Report:
        done_before = self._done_before()
        statuses = [run.status for run in self.runs] + [row["status"] for row in done_before]
        diverged = "diverged" in statuses and not self._outlive_divergence
        state = "diverged" if diverged else "running" if self.going else "complete"
        epoch = self.epoch
        reports = self._reports(epoch, [row["val_mse"] for row in done_before])
        parameters = self.trainers[0].size.parameters if self.trainers else done_before[0]["parameters"]
        ended = len(statuses) - statuses.count("running")
        found = {row["run"]: row["val_mse"] for row in done_before} | {r.run: r.best.get("mse") for r in self.runs}
        losses = [found[run] for run in self.ids]
        return Report(epoch, reports[-1][1] if reports else None, state, reports, parameters, ended, losses)

    def _reports(self, epochs: int, done_before: Sequence[float | None]) -> list[tuple[int, float]]:
        """Every epoch's mean over the runs, from the first epoch at which all have a value."""
        columns: list[list[float | None]] = [[value] * epochs for value in done_before]
        for run in self.runs:
            found = {int(row["epoch"]): row["best_val_mse"] for row in run.history if "best_val_mse" in row}
            columns.append(carried(found, epochs))
        reports = []
        for number, values in enumerate(zip(*columns, strict=True), 1):
            present = [value for value in values if value is not None]
            if len(present) == len(values):
                reports.append((number, sum(present) / len(present)))
        return reports

    def _checkpoint(self) -> None:
        epoch = sum(trainer.epoch for trainer in self.trainers)
        self._meta["peak_memory_bytes"] = peak_memory_bytes(self.device)
        content = {"trainers": [trainer.state_dict() for trainer in self.trainers], "meta": self._meta}
        force = not self.results.storage.local or time.monotonic() - self._forced_at >= DURABLE_SECONDS
        path = self.results.put_blob(f"{self.folder}/{epoch:08d}.pt", _saved(content), durable=force)
        if force:
            self._forced, self._forced_at = path, time.monotonic()
        self._checkpoints = sorted({*self._checkpoints, path})
        kept = {*self._checkpoints[-KEPT_CHECKPOINTS:], self._forced}
        for old in [old for old in self._checkpoints if old not in kept]:
            self.results.storage.delete(old)
            self._checkpoints.remove(old)

    def _seal_finished(self) -> None:
        finished = [run for run in self.runs if run.status != "running" and run.run not in self._sealed]
        if finished:
            self._seal(finished)
        for run in finished:
            self._sealed.add(run.run)
            self._drop_checkpoint(run.run)

    def _drop_checkpoint(self, run: str) -> None:
        self.results.delete_blob(_run_checkpoint(run))
        self.results.storage.delete(_old_run_checkpoint(run))

    def close(self, status: str, error: str | None = None) -> None:
        """Ends the stack before its time: the runs still training are recorded as `stopped` or `failed`.

        Each keeps a checkpoint of its own, from which it goes on if it is asked for again.
        """
        for trainer in self.trainers:
            if trainer.finished:
                continue
            if trainer.epoch:
                for run, state in split_state(trainer.state_dict()).items():
                    self.results.replace_blob(_run_checkpoint(run), _saved(state))
            if left := [run for run in trainer.running if not self._told(run, status)]:
                self._seal(left, status, error)
        self.finish()

    def _told(self, run: Run, status: str) -> bool:
        """Whether this attempt is on record so already: who put it there was killed before the checkpoints went."""
        row = self._rows.get(run.run, {"status": None})
        if row["status"] != status or row["epochs"] != run.epochs or row["started"] is None:
            return False
        return bool(abs(row["started"].timestamp() - self._meta["started"]) < 1e-3)

    def _seal(self, runs: Sequence[Run], status: str | None = None, error: str | None = None) -> None:
        """Writes runs on record: weights and histories first, the rows that make them count last.

        `status`: of all of them; by default each its own.
        """
        size = self.trainers[0].size.parameters
        blobs, history, rows = {}, [], []
        for run in runs:
            before = self._rows.get(run.run)
            key = {"run": run.run, "attempt": before["attempt"] + 1 if before else 1}
            weights = None
            if run.weights is not None:
                saved = _saved({
                    "run": run.run, "config": run.config.to_json(), "data_sha256": self.series.identity,
                    "channels": list(self.series.channels), "weights": run.weights,
                })  # fmt: skip
                weights = named(f"weights/{run.run}.pt", saved)
                blobs[weights] = saved
            history += [
                {**key, "step": int(row["epoch"]), "metric": metric, "value": value}
                for row in run.history
                for metric, value in row.items()
                if metric != "epoch"
            ]
            rows.append({
                **run_params(run.config), **self._meta, **key, "model": run.config.forecaster,
                "status": status or run.status, "error": error,
                "val_mse": run.best.get("mse"), "val_mae": run.best.get("mae"),
                "val_mse_channels": run.best.get("mse_channels"), "val_mae_channels": run.best.get("mae_channels"),
                **series_columns(self.series), "best_epoch": run.best_epoch, "epochs": run.epochs,
                "parameters": size, "cpu_seconds": run.cpu_seconds, "wall_seconds": run.wall_seconds,
                "gpu_seconds": run.gpu_seconds if run.gpu_seconds else None,
                "ended": time.time(), "weights": weights,
                **{range_column(key): run.range_of(key) for key in self._forecaster.diagnostics},
            })  # fmt: skip
        self.results.storage.put_all({**blobs, **self.results.files("history", history)})
        self.results.add("runs", rows)
        self._rows |= {row["run"]: row for row in rows}


def _run_checkpoint(run: str) -> str:
    return f"checkpoints/runs/{run}/state.pt"  # in a folder of its own: found without a list of everybody's


def _old_run_checkpoint(run: str) -> str:
    return f"checkpoints/runs/{run}.pt"  # where it lay before names stated checksums


def _loaded(data: bytes) -> Any:
    return torch.load(io.BytesIO(data), map_location="cpu", weights_only=True)


def _saved(content: Any) -> bytes:
    buffer = io.BytesIO()
    torch.save(content, buffer)
    return buffer.getvalue()
