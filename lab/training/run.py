"""One model of a stack: where it stands, when it ends, and what is kept of its best epoch."""

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any, Literal

from torch import Tensor

from lab.registry import forecaster_of
from lab.series.windows import Evaluation
from lab.settings.config import Config

ROUNDING = 1e-6  # relative: nearer than this, two values of a diagnostic are one
Status = Literal["running", "complete", "diverged"]


@dataclass
class Run:
    config: Config
    run: str  # content id
    status: Status = "running"
    epochs: int = 0
    best_epoch: int | None = None
    best: dict[str, Any] = field(default_factory=dict)  # mse, mae, mse_channels, mae_channels of the best epoch
    best_criterion: float = math.inf  # what early stopping compares
    weights: dict[str, Tensor] | None = None  # of the best epoch, by name
    # Diagnostic -> smallest and largest value over validation windows, epochs and the start where it is known.
    bounds: dict[str, tuple[float, float]] = field(default_factory=dict)
    history: list[dict[str, float]] = field(default_factory=list)  # one row an epoch
    cpu_seconds: float = 0.0  # this model's share of the stack's
    gpu_seconds: float = 0.0
    wall_seconds: float = 0.0

    def record(
        self, epoch: int, row: Mapping[str, float], evaluation: Evaluation, place: int, learners: Sequence[str]
    ) -> bool:
        """Takes in one finished epoch; True if it is the best so far. The caller then sets `weights`.

        Args:
            row: metrics by name.
            learners: those of them that must be finite beside the validation error.
        """
        if not all(math.isfinite(row[name]) for name in (*learners, "val_mse")):
            self.diverge(epoch)
            return False
        self.epochs = epoch
        self._widen_bounds(evaluation, place)
        self.history.append({"epoch": epoch, **{k: v for k, v in row.items() if math.isfinite(v)}})
        stopping = self.config.stopping
        criterion = float((evaluation.batch_mean_mse if stopping.batch_mean else evaluation.mse)[place])
        better = criterion < self.best_criterion
        if better:
            self.best_criterion, self.best_epoch = criterion, epoch
            names = ("mse", "mae", "mse_channels", "mae_channels")
            self.best = {name: getattr(evaluation, name)[place].tolist() for name in names}
        if self.best:
            self.history[-1]["best_val_mse"] = self.best["mse"]
        if epoch - (self.best_epoch or 0) >= stopping.patience or epoch >= self.config.training.max_epochs:
            self.status = "complete"
        return better

    def state(self) -> dict[str, Any]:
        """Its part of a checkpoint, which later epochs do not change: no number or tensor is ever written to."""
        own = {name: dict(getattr(self, name)) for name in ("best", "bounds")}
        history = [dict(row) for row in self.history]
        weights = None if self.weights is None else dict(self.weights)
        return {**vars(self), **own, "config": self.config.to_json(), "history": history, "weights": weights}

    def _widen_bounds(self, evaluation: Evaluation, place: int) -> None:
        declared = forecaster_of(self.config).diagnostics
        for key, bounds in evaluation.bounds.items():
            low, high = bounds[:, place].tolist()
            held = declared[key].held(self.config)
            start = declared[key].start(self.config) if held is None else held
            before = self.bounds.get(key, (low, high) if start is None else (start, start))
            self.bounds[key] = min(before[0], low), max(before[1], high)

    def range_of(self, key: str) -> float | None:
        """How far a diagnostic ever was from itself; 0 for one that never moved. None before the first epoch.

        What float32 rounds is no movement: a sigmoid of its own logit is exact to some 1e-7 only.
        """
        if key not in self.bounds:
            return None
        low, high = self.bounds[key]
        return 0.0 if high - low <= ROUNDING * max(abs(low), abs(high)) else high - low

    def diverge(self, epoch: int) -> None:
        """Ends the run in an epoch in which a loss was not finite. Nothing else that it measured is kept of it."""
        self.epochs, self.status = epoch, "diverged"
        self.history.append({"epoch": epoch})
