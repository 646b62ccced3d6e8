"""Training a stack: epochs, validation, early stopping per model, checkpoint and resume.

A stack is a list of configs of one shape. A model that stops or diverges leaves it; the others go on. No model reads
another's numbers: draws and initial weights are the same alone and in any stack to the bit, and training agrees up to
the rounding of matrix products, whose order of summation the BLAS library may choose by their number and place in
memory (`scripts/check_stack.py` measures it).
"""

import copy
import math
import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from functools import partial
from typing import Any, Literal

import torch
from torch import Tensor

from dynonet.config import Config
from dynonet.learning.epoch_plan import EpochPlan, schedule
from dynonet.learning.steps import STEPS, Batch, ModeGroup, Moments, TrainState, group_key, mode_groups
from dynonet.learning.unrolled import FREEZE_START, thaw
from dynonet.network.model import DynoNetStack
from dynonet.network.parameters import BLOCKS, Layout, Parameters
from dynonet.parts import SIGNALS
from lab.compute.cuda_graphs import Replayed
from lab.compute.device import prepare_process
from lab.compute.draws import seed_keys
from lab.errors import ConfigError, DataError
from lab.series import Series, load_series, window_starts
from lab.series.linear import fit_trend
from lab.series.windows import Evaluation, Windows, evaluate

PUBLISHED_PATIENCE = 5  # the published code's hidden second rule
CHECKPOINT_VERSION = 1
ROUNDING = 1e-6  # relative: nearer than this, two values of a signal are one
Status = Literal["running", "complete", "diverged"]


def stack_key(config: Config) -> tuple[Any, ...]:
    """What the models of one stack must share: data, shapes, batches. Configs of equal keys train as one stack."""
    shared = ["model.control_hidden", "model.worker_hidden", "model.num_layers", "model.worker_seq_len"]
    shared += ["model.moving_average", "model.worker_cell", "model.worker_scope"]
    shared += ["training.batch_size", "training.controller_order"]
    flat = config.flat()
    data = [key for key in flat if key.startswith("data.") and key != "data.joint_rows"]
    return (*((key, flat[key]) for key in (*data, *shared)), ("windows of the workers", worker_role(config)))


def worker_role(config: Config) -> str:
    """Which windows the workers learn from (see dynonet.data.window_starts)."""
    joint = config.training.mode == "joint" and config.data.joint_rows == "worker_and_meta"
    return "joint" if joint else "worker"


@dataclass
class Run:
    """One model of a stack: where it stands, and what is kept of its best epoch."""

    config: Config
    run: str  # content id
    status: Status = "running"
    epochs: int = 0
    best_epoch: int | None = None
    best: dict[str, Any] = field(default_factory=dict)  # mse, mae, mse_channels, mae_channels of the best epoch
    best_criterion: float = math.inf  # what early stopping compares
    weights: dict[str, Tensor] | None = None  # of the best epoch, by name
    # Signal -> smallest and largest value over channels, validation windows, epochs and the start where it is known.
    signal_bounds: dict[str, tuple[float, float]] = field(default_factory=dict)
    history: list[dict[str, float]] = field(default_factory=list)  # one row an epoch
    cpu_seconds: float = 0.0  # this model's share of the stack's
    gpu_seconds: float = 0.0
    wall_seconds: float = 0.0

    def record(self, epoch: int, row: dict[str, float], evaluation: Evaluation, place: int) -> bool:
        """Takes in one finished epoch; True if it is the best so far. The caller then sets `weights`."""
        if not all(math.isfinite(row[name]) for name in ("train_loss", "controller_loss", "val_mse")):
            self.diverge(epoch)
            return False
        self.epochs = epoch
        self._widen_bounds(evaluation, place)
        self.history.append({"epoch": epoch, **{k: v for k, v in row.items() if math.isfinite(v)}})
        published = self.config.training.stopping == "published"
        criterion = float((evaluation.batch_mean_mse if published else evaluation.mse)[place])
        better = criterion < self.best_criterion
        if better:
            self.best_criterion, self.best_epoch = criterion, epoch
            names = ("mse", "mae", "mse_channels", "mae_channels")
            self.best = {name: getattr(evaluation, name)[place].tolist() for name in names}
        if self.best:
            self.history[-1]["best_val_mse"] = self.best["mse"]
        patience = self.config.training.patience
        if published:
            patience = min(patience, PUBLISHED_PATIENCE)
        if epoch - (self.best_epoch or 0) >= patience or epoch >= self.config.training.max_epochs:
            self.status = "complete"
        return better

    def _widen_bounds(self, evaluation: Evaluation, place: int) -> None:
        for name, bounds in evaluation.signal_bounds.items():
            low, high = bounds[:, place].tolist()
            held = getattr(self.config.signals, name)
            start = SIGNALS[name].neutral if held == "adaptive" else float(held)
            if name == "freeze_prob" and held == "adaptive" and self.config.training.mode == "unrolled":
                start = FREEZE_START
            known = SIGNALS[name].starts_neutral or held != "adaptive"
            before = self.signal_bounds.get(name, (start, start) if known else (low, high))
            self.signal_bounds[name] = min(before[0], low), max(before[1], high)

    def signal_range(self, name: str) -> float | None:
        """How far a signal ever was from itself; 0 for one that never moved. None before the first epoch.

        What float32 rounds is no movement: a sigmoid of its own logit is neutral to some 1e-7 only.
        """
        if name not in self.signal_bounds:
            return None
        low, high = self.signal_bounds[name]
        return 0.0 if high - low <= ROUNDING * max(abs(low), abs(high)) else high - low

    def diverge(self, epoch: int) -> None:
        """Ends the run in an epoch in which a loss was not finite. Nothing else that it measured is kept of it."""
        self.epochs, self.status = epoch, "diverged"
        self.history.append({"epoch": epoch})


class StackTrainer:
    """Trains configs of one shape side by side.

    Raises:
        ConfigError: no configs, or configs that cannot share a stack (says where they differ).
        DataError: the data cannot be had, or a split holds no window.
    """

    def __init__(
        self,
        configs: Sequence[Config],
        series: Series | None = None,
        device: str | torch.device = "cpu",
        dtype: torch.dtype = torch.float32,
    ):
        if not configs:
            raise ConfigError("a stack needs at least one config")
        first = stack_key(configs[0])
        for number, config in enumerate(configs[1:], 2):
            differs = [
                f"{a[0]}: {a[1]!r} and {b[1]!r}" for a, b in zip(first, stack_key(config), strict=True) if a != b
            ]
            if differs:
                raise ConfigError(f"configs 1 and {number} cannot share a stack; they differ in {', '.join(differs)}")
        self.series = load_series(configs[0].data) if series is None else series
        self.device, self.dtype = torch.device(device), dtype
        self.runs = [Run(c, c.run_id(self.series.identity)) for c in configs]
        self.layout = Layout.of(configs[0], self.series.num_channels)
        prepare_process()
        self._windows = Windows(self.series.scaled, self.layout.seq_len, self.layout.pred_len, self.device, dtype)
        data = configs[0].data
        roles = (worker_role(configs[0]), "controller", "validation")
        self._worker, self._held_out, self._validation = (
            torch.as_tensor(window_starts(self.series, data, role).copy(), device=self.device) for role in roles
        )
        self.steps = len(self._worker) // min(self._batch_size(), len(self._worker))
        self.epoch = 0
        # Models that step together stand together; `_active` maps places in the stack to runs.
        active = sorted(range(len(configs)), key=lambda i: group_key(configs[i]))
        params = Parameters.initial(self.layout, [configs[i].training.seed for i in active], dtype)
        params = self._start_trends(params, [configs[i] for i in active])
        params = thaw(params, [configs[i] for i in active])
        self._enter(active, TrainState.initial(params.to(device=self.device)))

    def _start_trends(self, params: Parameters, configs: Sequence[Config]) -> Parameters:
        """Initial weights with those of `model.trend_start: closed_form` in place."""
        shared = self.layout.unpack("shared", params.shared)
        workers = self.layout.unpack("workers", params.workers)
        for place, config in enumerate(configs):
            model = config.model
            if model.trend_start == "uniform" or not model.trend:
                continue
            role = config.data.role(worker_role(config)).name
            kernel = model.moving_average if model.decomposition else 1
            weight = fit_trend(self.series, config.data, role, kernel, model.revin)
            shared["trend.weight"][place] = torch.tensor(weight, dtype=params.shared.dtype)
            for entry in (shared["trend.bias"], workers["output.2.weight"], workers["output.2.bias"]):
                entry[place] = 0.0
        return params

    def start_from(self, params: Parameters) -> None:
        """Replaces the initial weights before the first epoch: by one model's for all, or by one per `running` model.

        Raises ConfigError where they are of another shape, or an epoch has been trained.
        """
        if self.epoch:
            raise ConfigError("weights can only be replaced before the first epoch")
        count = len(self._active)
        # Switches and dropout are settings, not shapes: weights of a published checkpoint carry none of them.
        shape, expected = ((layout.channels, layout.entries) for layout in (params.layout, self.layout))
        if shape != expected or len(params.shared) not in (1, count):
            raise ConfigError(f"the weights are of another shape: got {params.layout}, expected {self.layout}")
        index = torch.arange(count) if len(params.shared) == count else torch.zeros(count, dtype=torch.long)
        copies = params.models(index).to(device=self.device, dtype=self.dtype)
        detached = Parameters(self.layout, *(flat.detach() for _, flat in copies.blocks()))
        self._enter(self._active, TrainState.initial(thaw(detached, [run.config for run in self.running])))

    def _enter(self, active: list[int], state: TrainState) -> None:
        """Takes `active` as the stack's members: everything that depends on them is built anew."""
        self._active, self._state = active, state
        configs = [self.runs[i].config for i in active]
        seeds = torch.tensor([c.training.seed for c in configs], dtype=torch.int64)
        low, high = seed_keys(seeds)
        self._keys = low.to(self.device), high.to(self.device)
        self._plan: EpochPlan | None = None
        self._groups = mode_groups(configs, self.layout, self.device, self.dtype) if configs else []
        if configs:
            self._net = DynoNetStack(configs, self.layout.channels, self.device, self.dtype)

    @property
    def finished(self) -> bool:
        return not self._active

    @property
    def running(self) -> list[Run]:
        return [self.runs[i] for i in self._active]

    def parameters(self) -> Parameters:
        """The current parameters of the models still in the stack, in the order of `running`."""
        return self._state.params

    def run_epoch(self) -> None:
        """Trains every model of the stack for one epoch, validates, and lets the finished ones leave."""
        if self.finished:
            return
        self._charged = time.process_time(), time.perf_counter()
        self.epoch += 1
        self._train_epoch()
        if self.finished:
            return
        evaluation = evaluate(self._net, self._state.params, self._windows, self._validation, self._batch_size())
        # The only place of an epoch where the host waits for the device.
        losses, evaluation, params = (self._losses / self.steps).cpu(), evaluation.cpu(), self._state.params.cpu()
        for place, row in enumerate(self._rows(losses, evaluation)):
            run = self._run_at(place)
            if run.record(self.epoch, row, evaluation, place):
                run.weights = params.named(place)
        self._charge()
        keep = [place for place in range(len(self._active)) if self._run_at(place).status == "running"]
        if len(keep) < len(self._active):
            self._leave(torch.tensor(keep, dtype=torch.long, device=self.device))

    def _batch_size(self) -> int:
        return self.runs[0].config.training.batch_size

    def _train_epoch(self) -> None:
        """All steps of one epoch. `_losses` then holds each phase's sum; models that diverged on the way have left.

        A CPU sees a loss that is not finite at once, and drops its model; a GPU would have to be waited for, so there
        it takes the rest of the epoch.
        """
        self._begin_epoch()
        assert self._plan is not None
        run = self._replayed or self._step
        for step in range(self.steps):
            run(*self._arguments(step))
            if self.device.type == "cpu" and not self._losses.isfinite().all():
                self._drop_diverged()
                if self.finished:
                    return

    def _begin_epoch(self) -> None:
        """The epoch's plan; from the second on in the memory of the first, where a captured step looks for it."""
        training = [self.runs[i].config.training for i in self._active]
        layers = self.layout.model.num_layers
        plan = EpochPlan.of(training, self._keys, self.epoch, self._worker, self._held_out, layers, self.dtype)
        if self._plan is None:
            self._plan = plan.clone()
            self._losses = torch.zeros(2, len(self._active), dtype=torch.float64, device=self.device)
            self._at = torch.zeros(1, dtype=torch.int64, device=self.device)
            self._replayed = Replayed(self._step, self.device) if self.device.type == "cuda" else None
        self._plan.copy_(plan)
        self._losses.zero_()
        self._at.zero_()

    def _arguments(self, step: int) -> tuple[int, tuple[int, ...]]:
        """What the host knows of a step of this epoch (from 0): windows of the controller, and who looks ahead."""
        assert self._plan is not None
        taken = (self.epoch - 1) * self.steps + step + 1  # with this one
        every = {group.unroll_every for _, group in self._groups if group.mode == "unrolled"}
        return self._plan.held_out_sizes[step], tuple(sorted(k for k in every if taken % k == 0))

    def _step(self, held_out: int, ahead: tuple[int, ...]) -> None:
        """The next step of every model. No part of it waits for the device.

        Args:
            held_out: windows of the controller's batch.
            ahead: the `unroll_every` whose turn it is: models of mode unrolled with another do not look ahead.
        """
        plan, at = self._plan, self._at
        assert plan is not None
        batches, starts, factors = (t.index_select(0, at)[0] for t in (plan.batches, plan.held_out, plan.factors))
        draws = plan.draws.at(at)
        for place, group in self._groups:
            losses = _step_of(group, ahead)(
                group,
                self._state.models(place),
                self._windows.gather(batches[place]),
                partial(self._windows.gather, starts[place, :held_out]),
                draws.models(place),
                factors[place],
            )
            self._losses[:, place] += torch.stack(losses)
        at += 1

    def _drop_diverged(self) -> None:
        """In the middle of an epoch: models whose loss is not finite leave, the others go on."""
        assert self._plan is not None
        finite = self._losses.isfinite().all(0)
        self._charge()
        for place in (~finite).nonzero().flatten().tolist():
            self._run_at(place).diverge(self.epoch)
        keep = finite.nonzero().flatten()
        plan, losses, at = self._plan.models(keep), self._losses[:, keep], self._at
        self._leave(keep)
        self._plan, self._losses, self._at, self._replayed = plan, losses, at, None

    def _leave(self, keep: Tensor) -> None:
        """Only the models at these places stay in the stack."""
        self._enter([self._active[place] for place in keep.tolist()], self._state.models(keep))

    def _run_at(self, place: int) -> Run:
        return self.runs[self._active[place]]

    def _learning_rate(self, place: int) -> float:
        """The workers' at the end of this epoch."""
        training = self._run_at(place).config.training
        return training.lr * schedule([training], self.epoch, self.steps)[-1].item()

    def _rows(self, losses: Tensor, evaluation: Evaluation) -> list[dict[str, float]]:
        """One row of metrics per model."""
        named = {"train_loss": losses[0], "controller_loss": losses[1], "val_loss": evaluation.batch_mean_mse}
        named |= {"val_mse": evaluation.mse, "val_mae": evaluation.mae}
        named |= {f"signal.{name}": mean for name, mean in evaluation.signals.items()}
        table = torch.stack([t.double() for t in named.values()]).T.tolist()
        return [
            {**dict(zip(named, values, strict=True)), "lr": self._learning_rate(place)}
            for place, values in enumerate(table)
        ]

    def _charge(self) -> None:
        """Shares what was spent since the last call among the models in the stack."""
        cpu, wall = time.process_time(), time.perf_counter()
        spent_cpu, spent_wall = cpu - self._charged[0], wall - self._charged[1]
        self._charged = cpu, wall
        for i in self._active:
            self.runs[i].cpu_seconds += spent_cpu / len(self._active)
            self.runs[i].wall_seconds += spent_wall
            if self.device.type == "cuda":
                self.runs[i].gpu_seconds += spent_wall / len(self._active)

    def state_dict(self) -> dict[str, Any]:
        """Everything a resume needs, as tensors and plain values (so it loads with `weights_only=True`).

        A copy: training on does not change it.
        """
        state = self._state
        return copy.deepcopy(
            {
                "version": CHECKPOINT_VERSION,
                "data_sha256": self.series.identity,
                "epoch": self.epoch,
                "active": list(self._active),
                "params": {b: flat.cpu() for b, flat in state.params.blocks()},
                "moments": {
                    b: {"mean": m.mean.cpu(), "square": m.square.cpu(), "steps": m.steps.cpu()}
                    for b, m in state.moments.items()
                },
                "runs": [
                    {**{k: v for k, v in vars(run).items() if k != "config"}, "config": run.config.to_json()}
                    for run in self.runs
                ],
            }
        )

    def load_state_dict(self, state: dict[str, Any]) -> None:
        """Goes on where a checkpoint of the same stack stood.

        Raises:
            DataError: a checkpoint of another version, other data or other configs.
        """
        if state.get("version") != CHECKPOINT_VERSION:
            raise DataError(f"checkpoint version {state.get('version')}; this code reads {CHECKPOINT_VERSION}")
        state = copy.deepcopy(state)  # training on must not change the checkpoint
        saved = [Run(**{**run, "config": Config.from_json(run["config"])}) for run in state["runs"]]
        if [run.run for run in saved] != [run.run for run in self.runs]:
            raise DataError(
                f"the checkpoint is of other runs: got {[r.run for r in saved]}, expected {[r.run for r in self.runs]}"
            )
        if (dtype := state["params"]["shared"].dtype) != self.dtype:
            raise DataError(f"the checkpoint holds {dtype} numbers; this stack trains in {self.dtype}")
        self.runs, self.epoch = saved, state["epoch"]
        params = Parameters(self.layout, **{b: state["params"][b] for b in BLOCKS}).to(device=self.device)
        moments = {b: Moments(**{k: t.to(self.device) for k, t in state["moments"][b].items()}) for b in BLOCKS}
        self._enter(state["active"], TrainState(params, moments))

    def train(self, on_epoch: Callable[["StackTrainer"], None] | None = None) -> list[Run]:
        """Trains to the end of every run; `on_epoch` is called after each epoch."""
        while not self.finished:
            self.run_epoch()
            if on_epoch is not None:
                on_epoch(self)
        return self.runs


def _step_of(group: ModeGroup, ahead: tuple[int, ...]) -> Callable[..., tuple[Tensor, Tensor]]:
    waits = group.mode == "unrolled" and group.unroll_every not in ahead
    return STEPS["alternating" if waits else group.mode]


def evaluate_weights(
    config: Config,
    weights: dict[str, Tensor],
    series: Series,
    split: str,
    device: str | torch.device = "cpu",
) -> Evaluation:
    """A trained model (N=1) on every window of `split` ("validation" or "test")."""
    layout = Layout.of(config, series.num_channels)
    device = torch.device(device)
    params = Parameters.from_named(layout, [weights]).to(device=device)
    dtype = params.shared.dtype
    windows = Windows(series.scaled, layout.seq_len, layout.pred_len, device, dtype)
    starts = torch.as_tensor(window_starts(series, config.data, split).copy(), device=device)
    net = DynoNetStack([config], layout.channels, device, dtype)
    return evaluate(net, params, windows, starts, config.training.batch_size)


__all__ = ["Batch", "Run", "StackTrainer", "evaluate_weights", "stack_key", "worker_role"]
