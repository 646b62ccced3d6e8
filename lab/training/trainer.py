"""Training a stack: epochs, validation, early stopping per model, checkpoint and resume.

A stack is a list of configs of one shape. A model that stops or diverges leaves it; the others go on. No model reads
another's numbers: draws and initial weights are the same alone and in any stack to the bit, and training agrees up to
the rounding of matrix products, whose order of summation the BLAS library may choose by their number and place in
memory (`scripts/check_stack.py` measures it).
"""

import copy
import time
from collections.abc import Callable, Hashable, Mapping, Sequence
from typing import Any

import torch
from torch import Tensor

from lab.compute.cuda_graphs import Replayed
from lab.compute.device import pick_device, prepare_process
from lab.errors import ConfigError, DataError, check_kind
from lab.forecaster import Stack
from lab.ledger.looks import look_at
from lab.registry import forecaster_of
from lab.series import Series, load_series, window_starts
from lab.series.windows import Evaluation, Windows, evaluate
from lab.settings.config import Config
from lab.settings.sizes import check_device
from lab.training.checkpoint import VERSION, current
from lab.training.run import Run


def stack_key(config: Config) -> Hashable:
    """What the models of one stack must share. Configs of equal keys train as one stack."""
    return config.forecaster, forecaster_of(config).stack_key(config)


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
        check_kind("configs", configs, (list, tuple), "a list of them, such as StackTrainer([config]),")
        if not configs:
            raise ConfigError("a stack needs at least one config")
        for config in configs:
            check_kind("configs", config, Config, "a Config, as Config.create({...}) makes it,")
        if series is not None:
            check_kind("series", series, Series, "a Series, of load_series(config.data) or Series.from_frame(frame),")
        check_kind("dtype", dtype, torch.dtype, "one of torch, such as torch.float32,")
        _check_shared(configs)
        first = configs[0]
        self.forecaster = forecaster_of(first)
        self.series = load_series(first.data) if series is None else series
        self.device, self.dtype = pick_device(device), dtype
        self.runs = [Run(config, config.run_id(self.series.identity)) for config in configs]
        self.size = self.forecaster.size(first, self.series.num_channels)  # of one model
        prepare_process()
        roles = [role for config in configs for role in self.forecaster.learners(config).values()]
        for role in dict.fromkeys((*roles, "validation")):  # before anything is built
            window_starts(self.series, first.data, role)
        self.active, self.stack = self._fresh()  # which run stands at each place of the stack
        self.steps, self.epoch = self.stack.steps, 0
        self.windows = Windows.of(self.series, first.data, self.device, dtype, self.forecaster.wants_calendar)
        starts = window_starts(self.series, first.data, "validation")
        self.validation = torch.as_tensor(starts.copy(), device=self.device)
        self._batch = first.training.batch_size
        self._replayed: tuple[int, Replayed] | None = None  # validation, of the stack's memory as it was numbered then
        self._charged = time.process_time(), time.perf_counter()

    def _order(self, run: int) -> tuple[Any, ...]:
        return self.forecaster.order(self.runs[run].config)

    def _fresh(self) -> tuple[list[int], Stack]:
        """All models before their first step, those that step together side by side."""
        active = sorted(range(len(self.runs)), key=self._order)
        configs = [self.runs[i].config for i in active]
        return active, self.forecaster.stack(configs, self.series, self.device, self.dtype)

    @property
    def kernel(self) -> str:
        """What computes it, for the records: what the stack itself says, where it does."""
        return getattr(self.stack, "kernel", "") or self.forecaster.kernel(self.device.type)

    @property
    def finished(self) -> bool:
        return not self.active

    @property
    def running(self) -> list[Run]:
        """In the order of the stack's places."""
        return [self.runs[i] for i in self.active]

    def run_epoch(self) -> None:
        """Trains every model of the stack for one epoch, validates, and lets the finished ones leave."""
        if self.finished:
            return
        self._charged = time.process_time(), time.perf_counter()
        self.train_epoch()
        if self.finished:
            return
        evaluation = self.validate()
        # The only place of an epoch where the host waits for the device.
        losses, evaluation = (self.stack.losses / self.steps).cpu(), evaluation.cpu()
        running, learners = self.running, self.stack.learners
        rows = enumerate(self._rows(losses, evaluation))
        better = [p for p, row in rows if running[p].record(self.epoch, row, evaluation, p, learners)]
        for place, weights in zip(better, self.stack.weights(better) if better else [], strict=True):
            running[place].weights = weights
        self._charge()
        self._keep([place for place, run in enumerate(running) if run.status == "running"])

    def train_epoch(self) -> None:
        """All steps of the next epoch, without validation. Models that diverge on the way leave.

        A CPU sees a loss that is not finite at once, and drops its model; a GPU would have to be waited for, so there
        it takes the rest of the epoch.
        """
        self.begin_epoch()
        for number in range(self.steps):
            self.stack.step(number)
            if self.device.type == "cpu" and not self.stack.losses.isfinite().all():
                self._drop_diverged()
                if self.finished:
                    return

    def begin_epoch(self) -> None:
        """The next epoch, whose steps (`step`) can then be taken one by one: for probes and measurements.

        Raises ConfigError for settings that this device cannot train, if in float32: probes are float64, on any.
        """
        if self.dtype == torch.float32:
            check_device((run.config for run in self.running), self.device.type)
        self.epoch += 1
        self.stack.begin_epoch(self.epoch)

    def step(self, number: int) -> None:
        """One step of training of the epoch that has begun, from 0. Nothing is recorded of it."""
        self.stack.step(number)

    def validate(self, windows: int | None = None) -> Evaluation:
        """The models as they are, on all validation windows, or on so many of them, the first."""
        memory = getattr(self.stack, "memory", None)
        if windows is not None or memory is None or self.device.type != "cuda":
            return evaluate(self.stack, self.windows, self.validation[:windows], self._batch)
        if self._replayed is None or self._replayed[0] != memory:
            self._replayed = memory, Replayed(self._evaluate, self.device)
        self._replayed[1]()
        return self._found.clone()  # the next replay writes to the same memory

    def _evaluate(self) -> None:
        self._found = evaluate(self.stack, self.windows, self.validation, self._batch)

    @torch.no_grad()
    def forecast(self, starts: Tensor) -> Tensor:
        """What the models as they are make of windows that begin at rows (B,): (N, C, H, B), z-scored."""
        inputs, _ = self.windows.inputs(starts[None])
        return self.stack.forecast(inputs)[0]

    def _drop_diverged(self) -> None:
        """In the middle of an epoch: models whose loss is not finite leave, the others go on."""
        finite = self.stack.losses.isfinite().all(0).tolist()
        self._charge()
        for run, good in zip(self.running, finite, strict=True):
            if not good:
                run.diverge(self.epoch)
        self._keep([place for place, good in enumerate(finite) if good])

    def _keep(self, places: Sequence[int]) -> None:
        """Only the models at these places stay in the stack, in this order."""
        if list(places) != list(range(len(self.active))):
            self.active = [self.active[place] for place in places]
            if places:
                self.stack.keep(places)

    def _rows(self, losses: Tensor, evaluation: Evaluation) -> list[dict[str, float]]:
        """One row of metrics per model."""
        named = dict(zip(self.stack.learners, losses, strict=True))
        named |= {"val_loss": evaluation.batch_mean_mse, "val_mse": evaluation.mse, "val_mae": evaluation.mae}
        named |= evaluation.means
        table = torch.stack([t.double() for t in named.values()]).T.tolist()
        return [
            {**dict(zip(named, values, strict=True)), "lr": rate}
            for values, rate in zip(table, self.stack.rates(), strict=True)
        ]

    def _charge(self) -> None:
        """Shares what was spent since the last call among the models in the stack."""
        cpu, wall = time.process_time(), time.perf_counter()
        spent_cpu, spent_wall = cpu - self._charged[0], wall - self._charged[1]
        self._charged = cpu, wall
        for run in self.running:
            run.cpu_seconds += spent_cpu / len(self.active)
            run.wall_seconds += spent_wall
            if self.device.type == "cuda":
                run.gpu_seconds += spent_wall / len(self.active)

    def state_dict(self) -> dict[str, Any]:
        """Everything a resume needs (see lab.training.checkpoint). A copy: training on does not change it."""
        stack = {} if self.finished else self.stack.state()
        return {
            "version": VERSION,
            "data_sha256": self.series.identity,
            "epoch": self.epoch,
            "active": list(self.active),
            "runs": [run.state() for run in self.runs],
            "stack": {name: tensor.detach().to("cpu", copy=True) for name, tensor in stack.items()},
        }

    def load_state_dict(self, state: dict[str, Any]) -> None:
        """Goes on where a checkpoint of the same stack stood.

        Raises:
            DataError: a checkpoint of another version, other data or other configs.
        """
        state = copy.deepcopy(current(state))  # training on must not change the checkpoint
        read = type(self.runs[0].config).from_json
        saved = [Run(**{**run, "config": read(run["config"])}) for run in state["runs"]]
        if [run.run for run in saved] != [run.run for run in self.runs]:
            raise DataError(
                f"the checkpoint is of other runs: got {[r.run for r in saved]}, expected {[r.run for r in self.runs]}"
            )
        # Whatever order it was joined in: those that step together must stand together.
        places = sorted(range(len(state["active"])), key=lambda p: self._order(state["active"][p]))
        active = [state["active"][place] for place in places]
        if not set(active) <= set(self.active):  # they have left in the meantime
            self.active, self.stack = self._fresh()
        if active:
            self._check_stack(state["stack"], len(active))
        self._keep([self.active.index(i) for i in active])
        self.runs, self.epoch = saved, state["epoch"]
        if active:
            self.stack.restore({name: tensor[places] for name, tensor in state["stack"].items()})

    def _check_stack(self, saved: Mapping[str, Tensor], models: int) -> None:
        """Raises DataError where such tensors are not those of this stack."""
        own = self.stack.state()
        if saved.keys() != own.keys():
            raise DataError(f"the checkpoint holds {sorted(saved)}; this stack goes on from {sorted(own)}")
        for name, tensor in own.items():
            if (dtype := saved[name].dtype) != tensor.dtype:
                raise DataError(f"the checkpoint holds {dtype} numbers; this stack trains in {tensor.dtype}")
            if saved[name].shape != (models, *tensor.shape[1:]):
                raise DataError(
                    f"the checkpoint's {name} is {tuple(saved[name].shape)}, expected {(models, *tensor.shape[1:])}"
                )

    def train(self, on_epoch: Callable[["StackTrainer"], None] | None = None) -> list[Run]:
        """Trains to the end of every run; `on_epoch` is called after each epoch."""
        while not self.finished:
            self.run_epoch()
            if on_epoch is not None:
                on_epoch(self)
        return self.runs


def _check_shared(configs: Sequence[Config]) -> None:
    """Raises ConfigError where configs cannot share a stack."""
    first = stack_key(configs[0])
    for number, config in enumerate(configs[1:], 2):
        if (other := stack_key(config)) != first:
            raise ConfigError(f"configs 1 and {number} cannot share a stack; they differ in {_where(first, other)}")


def _where(first: Any, other: Any) -> str:
    """Where two keys of stacks differ: by setting, where they are made of names and values."""
    if first[0] != other[0]:
        return f"model: {first[0]!r} and {other[0]!r}"
    try:
        ours, theirs = dict(first[1]), dict(other[1])
    except (TypeError, ValueError):
        return f"what they must share: {first[1]!r} and {other[1]!r}"
    differ = [key for key in {**ours, **theirs} if ours.get(key) != theirs.get(key)]
    return ", ".join(f"{key}: {ours.get(key)!r} and {theirs.get(key)!r}" for key in differ)


def evaluate_weights(
    config: Config,
    weights: Mapping[str, Tensor],
    series: Series,
    split: str,
    device: str | torch.device = "cpu",
) -> Evaluation:
    """A trained model (N=1) on every window of `split` ("validation" or "test", which is on the ledger as a look)."""
    look_at(series, split, "evaluate_weights")
    forecaster, device = forecaster_of(config), torch.device(device)
    network = forecaster.network([config], [weights], series.num_channels, device)
    numbers = (t.real.dtype for t in weights.values() if t.is_floating_point() or t.is_complex())
    dtype = next(numbers, torch.float32)
    windows = Windows.of(series, config.data, device, dtype, forecaster.wants_calendar)
    starts = torch.as_tensor(window_starts(series, config.data, split).copy(), device=device)
    return evaluate(network, windows, starts, config.training.batch_size)


__all__ = ["Run", "StackTrainer", "evaluate_weights", "stack_key"]
