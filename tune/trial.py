"""What one trial does: it trains a stack of runs into the results, going on from whatever is on record.

A run that is done is not trained again. Each epoch ends with a checkpoint (one immutable object), a finished run is
recorded at once, and a run that was stopped goes on from where it stood, whoever asks for it.
"""

import hashlib
import io
import logging
import time
from collections import defaultdict
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import torch
from ray import tune as ray_tune

from dynonet.checkpoint import join_states, split_state
from dynonet.config import Config
from dynonet.data import load_series
from dynonet.device import peak_memory_bytes, pick_device, use_threads
from dynonet.trainer import Run, StackTrainer
from dynonet.training import STEPS
from tune.provenance import code_provenance, host_name
from tune.results import Results, StorageError, run_params

logger = logging.getLogger(__name__)

KEPT_CHECKPOINTS = 2  # the newest, and one more in case a kill tore the newest


@dataclass(frozen=True)
class Report:
    """Where a trial stands after an epoch."""

    epoch: int
    value: float | None  # mean over the runs of the best validation MSE so far; None if a run has none yet
    state: str  # running, complete, or pruned (a run diverged)
    reports: list[tuple[int, float]]  # every epoch's value, from the first
    parameters: int  # of one model


class StackRun:
    """The runs of one stack on their way into the results.

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
    ):
        self.results, self.device = results, torch.device(device)
        self.series = load_series(configs[0].data)
        self.ids = [config.run_id(self.series.sha256) for config in configs]
        self.folder = self.folder_of(self.ids)
        self._rows = results.runs(self.ids)  # what is on record, by run
        self._sealed = {run for run, row in self._rows.items() if row["status"] in ("complete", "diverged")}
        wanted = [c for run, c in zip(self.ids, configs, strict=True) if run not in self._sealed]
        here = {**(provenance or code_provenance()), "host": host_name(), "device": self._device_name()}
        self._here = here  # who trains from now on
        self._meta = {**here, "started": time.time(), "stack_size": len(wanted)}
        self.trainers = self._resume() or self._begin(wanted)
        self._seal_finished()

    @staticmethod
    def folder_of(ids: Sequence[str]) -> str:
        """Where the checkpoints of these runs, as one stack, lie."""
        return "checkpoints/" + hashlib.sha256("".join(ids).encode()).hexdigest()[:20]

    def _device_name(self) -> str:
        return torch.cuda.get_device_name(self.device) if self.device.type == "cuda" else "cpu"

    def _resume(self) -> list[StackTrainer]:
        """The stack as its newest readable checkpoint has it; [] if there is none."""
        for path in sorted(self.results.storage.list(self.folder), reverse=True):
            saved = self._load(path)
            if saved is None:
                continue
            trainers = []
            for state in saved["trainers"]:
                configs = [Config.from_json(run["config"]) for run in state["runs"]]
                trainer = StackTrainer(configs, self.series, self.device)
                trainer.load_state_dict(state)
                trainers.append(trainer)
            self._meta = saved["meta"]  # as long as nothing more is trained, it says who trained it
            return trainers
        return []

    def _begin(self, configs: Sequence[Config]) -> list[StackTrainer]:
        """New stacks, one for the runs at each epoch: those that were stopped once go on from there."""
        at_epoch: dict[int, list[tuple[Config, dict[str, Any]]]] = defaultdict(list)
        fresh = []
        for config in configs:
            saved = self._load(_run_checkpoint(config.run_id(self.series.sha256)))
            if saved is None:
                fresh.append(config)
            else:
                at_epoch[saved["epoch"]].append((config, saved))
        trainers = [StackTrainer(fresh, self.series, self.device)] if fresh else []
        for members in at_epoch.values():
            members.sort(key=lambda member: list(STEPS).index(member[0].training.mode))  # the stack's own order
            trainer = StackTrainer([config for config, _ in members], self.series, self.device)
            trainer.load_state_dict(join_states([state for _, state in members]))
            trainers.append(trainer)
        return trainers

    def _load(self, path: str) -> Any:
        """A blob that torch saved, or None where there is none that can be read."""
        try:
            return torch.load(io.BytesIO(self.results.get_blob(path)), map_location="cpu", weights_only=True)
        except StorageError as error:
            if isinstance(error, FileNotFoundError):
                return None
            raise
        except Exception as error:  # a foreign or damaged object: the one before it is read instead
            logger.warning("%s cannot be read and is passed over: %s", path, str(error).split("\n")[0])
            return None

    @property
    def runs(self) -> list[Run]:
        return [run for trainer in self.trainers for run in trainer.runs]

    def advance(self) -> None:
        """Trains the least advanced stack for one epoch, writes the checkpoint, records what has finished."""
        going = [trainer for trainer in self.trainers if not trainer.finished]
        if going:
            self._meta |= self._here
            min(going, key=lambda trainer: trainer.epoch).run_epoch()
            self._checkpoint()
            self._seal_finished()

    def step(self) -> Report:
        """One epoch of a trial. A diverged run ends the trial: the others are recorded as stopped."""
        self.advance()
        report = self.report()
        if report.state == "pruned":
            self.close("stopped")
        elif report.state == "complete":
            self.finish()
        return report

    def finish(self) -> None:
        """Drops the checkpoints of a stack that has come to its end: every run is on record."""
        for path in self.results.storage.list(self.folder):
            self.results.storage.delete(path)

    def report(self) -> Report:
        going = [trainer for trainer in self.trainers if not trainer.finished]
        trained_here = {run.run for run in self.runs}
        done_before = [row for run, row in self._rows.items() if run in self._sealed - trained_here]
        statuses = [run.status for run in self.runs] + [row["status"] for row in done_before]
        state = "pruned" if "diverged" in statuses else "running" if going else "complete"
        ends = [run.epochs for run in self.runs] + [row["epochs"] or 0 for row in done_before]
        epoch = min((trainer.epoch for trainer in going), default=max(ends, default=0))
        reports = []
        for number in range(1, epoch + 1):
            value = self._value_at(number, done_before)
            if value is not None:
                reports.append((number, value))
        parameters = sum(self.trainers[0].layout.count().values()) if self.trainers else done_before[0]["parameters"]
        return Report(epoch, reports[-1][1] if reports else None, state, reports, parameters)

    def _value_at(self, epoch: int, done_before: Sequence[Mapping[str, Any]]) -> float | None:
        values = [row["val_mse"] for row in done_before]
        for run in self.runs:
            rows = [row["best_val_mse"] for row in run.history if row["epoch"] <= epoch and "best_val_mse" in row]
            values.append(rows[-1] if rows else None)
        return None if any(value is None for value in values) else sum(values) / len(values)

    def _checkpoint(self) -> None:
        epoch = sum(trainer.epoch for trainer in self.trainers)
        self._meta["peak_memory_bytes"] = peak_memory_bytes(self.device)
        content = {"trainers": [trainer.state_dict() for trainer in self.trainers], "meta": self._meta}
        self.results.put_blob(f"{self.folder}/{epoch:08d}.pt", _saved(content))
        for path in sorted(self.results.storage.list(self.folder))[:-KEPT_CHECKPOINTS]:
            self.results.storage.delete(path)

    def _seal_finished(self) -> None:
        for run in self.runs:
            if run.status != "running" and run.run not in self._sealed:
                self._seal(run, run.status)
                self._sealed.add(run.run)
                self.results.storage.delete(_run_checkpoint(run.run))

    def close(self, status: str, error: str | None = None) -> None:
        """Ends the stack before its time: the runs still training are recorded as `stopped` or `failed`.

        Each keeps a checkpoint of its own, from which it goes on if it is asked for again.
        """
        for trainer in self.trainers:
            if trainer.finished:
                continue
            if trainer.epoch:
                for run, state in split_state(trainer.state_dict()).items():
                    self.results.put_blob(_run_checkpoint(run), _saved(state))
            for member in trainer.running:
                self._seal(member, status, error)
        self.finish()

    def _seal(self, run: Run, status: str, error: str | None = None) -> None:
        """Writes one run on record: weights and history first, the row that makes it count last."""
        before = self._rows.get(run.run)
        attempt = before["attempt"] + 1 if before else 1
        layout = self.trainers[0].layout
        weights = None
        if run.weights is not None:
            content = {
                "run": run.run, "config": run.config.to_json(), "data_sha256": self.series.sha256,
                "channels": list(self.series.channels), "weights": run.weights,
            }  # fmt: skip
            weights = self.results.put_blob(f"weights/{run.run}.pt", _saved(content))
        key = {"run": run.run, "attempt": attempt}
        history = [
            {**key, "step": int(row["epoch"]), "metric": metric, "value": value}
            for row in run.history
            for metric, value in row.items()
            if metric != "epoch"
        ]
        self.results.add("history", history)
        row = {
            **run_params(run.config), **self._meta, **key, "model": "dynonet", "status": status, "error": error,
            "val_mse": run.best.get("mse"), "val_mae": run.best.get("mae"),
            "val_mse_channels": run.best.get("mse_channels"), "val_mae_channels": run.best.get("mae_channels"),
            "channels": list(self.series.channels), "best_epoch": run.best_epoch, "epochs": run.epochs,
            "parameters": sum(layout.count().values()), "cpu_seconds": run.cpu_seconds,
            "gpu_seconds": run.gpu_seconds if run.gpu_seconds else None, "wall_seconds": run.wall_seconds,
            "data_sha256": self.series.sha256, "ended": time.time(), "weights": weights,
        }  # fmt: skip
        self.results.add("runs", [row])
        self._rows[run.run] = row


def _run_checkpoint(run: str) -> str:
    return f"checkpoints/runs/{run}.pt"


def _saved(content: Any) -> bytes:
    buffer = io.BytesIO()
    torch.save(content, buffer)
    return buffer.getvalue()


class StackTrainable(ray_tune.Trainable):
    """A StackRun as a Ray Tune trial; one `step` is one epoch.

    Its own checkpoints are in the results, under a name that follows from the runs, so that a retried or resumed
    trial finds them whatever id Tune gives it, and Tune's checkpoints are not used.
    """

    def setup(self, config: dict[str, Any]) -> None:
        use_threads(max(1, int(config["threads"])))
        configs = [Config.from_json(text) for text in config["configs"]]
        device = pick_device("cuda" if config["gpu"] else "cpu")
        self._stack = StackRun(Results(config["results"]), configs, device, config["provenance"])

    def reset_config(self, new_config: dict[str, Any]) -> bool:
        self.setup(new_config)
        return True

    def step(self) -> dict[str, Any]:
        report = self._stack.step()
        result = {
            "epoch": report.epoch, "state": report.state, "done": report.state != "running",
            "reports": report.reports, "parameters": report.parameters,
        }  # fmt: skip
        if report.value is not None:
            result["value"] = report.value
        return result

    def save_checkpoint(self, checkpoint_dir: str) -> dict[str, Any]:
        return {}  # Tune asks for one when it pauses a trial; ours are in the results

    def load_checkpoint(self, checkpoint: Any) -> None:
        """Nothing: `setup` went on from the checkpoint in the results."""

    def cleanup(self) -> None:
        self._stack = None  # type: ignore[assignment]
