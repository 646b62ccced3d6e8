"""N DynoNets of one shape in training: what the lab's trainer drives (see lab.forecaster.Stack)."""

import itertools
from collections.abc import Mapping, Sequence
from dataclasses import fields
from functools import partial
from typing import Any

import numpy as np
import torch
from torch import Tensor

from dynonet.config import Config
from dynonet.learning.closed_form import trend_weight
from dynonet.learning.epoch_plan import EpochPlan
from dynonet.learning.steps import Moments, TrainState, mode_groups, step_of
from dynonet.learning.unrolled import thaw
from dynonet.network.model import DynoNetStack
from dynonet.network.parameters import BLOCKS, Layout, Parameters
from dynonet.network.products import rounded
from dynonet.parts import SIGNALS
from dynonet.traits import stacking
from lab.compute.cuda_graphs import Replayed
from lab.compute.draws import seed_keys
from lab.errors import ConfigError, DataError
from lab.forecaster import Inputs
from lab.series import Series, window_starts
from lab.series.windows import Windows
from lab.training.schedule import schedule

_MEMORIES = itertools.count()


class Trained:
    """N networks and their parameters: what can forecast."""

    def __init__(self, net: DynoNetStack, params: Parameters):
        self.net, self.params = net, params

    def forecast(self, inputs: Inputs) -> tuple[Tensor, dict[str, Tensor]]:
        """Forecasts (N, C, H, B) and the value of each signal, (N, C, B) or (N, C, D, B)."""
        forecast, signals = self.net.forward(self.params, inputs.window)
        named = {f.name: getattr(signals, f.name) for f in fields(signals)}
        return forecast, {f"signal.{name}": value for name, value in named.items() if name in SIGNALS}


def network(
    configs: Sequence[Config], weights: Sequence[Mapping[str, Tensor]], channels: int, device: torch.device
) -> Trained:
    """Networks of one shape with weights by name (see Parameters.named), in the weights' own type."""
    params = Parameters.from_named(Layout.of(configs[0], channels), [dict(w) for w in weights]).to(device=device)
    return Trained(DynoNetStack(configs, channels, device, params.shared.dtype), params)


# Training -------------------------------------------------------------------------------------------------------------


class _Members:
    """What hangs on who is in a stack: made anew when somebody leaves."""

    def __init__(self, configs: Sequence[Config], layout: Layout, device: torch.device, dtype: torch.dtype):
        self.configs, self.training = list(configs), [config.training for config in configs]
        low, high = seed_keys(torch.tensor([training.seed for training in self.training], dtype=torch.int64))
        self.keys = low.to(device), high.to(device)
        self.net = DynoNetStack(configs, layout.channels, device, dtype)
        self.groups = mode_groups(configs, layout, device, dtype)
        self.every = {group.unroll_every for _, group in self.groups if group.mode == "unrolled"}


def _held_out(configs: Sequence[Config], series: Series, workers: np.ndarray) -> np.ndarray:
    """Where the windows of the controllers' batches begin. Nobody reads them where all train jointly: there may be
    none, and the workers' stand for them.

    Raises DataError: they hold no window, and somebody needs one.
    """
    try:
        return window_starts(series, configs[0].data, "controller")
    except DataError:
        if all(config.training.mode == "joint" for config in configs):
            return workers
        raise


class TrainingStack:
    """DynoNets side by side, in the order of `stacking.group_key`.

    Raises DataError: a role's rows hold no window.
    """

    learners: tuple[str, ...] = ("train_loss", "controller_loss")

    def __init__(self, configs: Sequence[Config], series: Series, device: torch.device, dtype: torch.dtype):
        first = configs[0]
        self.layout, self.device, self.dtype = Layout.of(first, series.num_channels), device, dtype
        self._windows = Windows.of(series, first.data, device, dtype)
        starts = window_starts(series, first.data, stacking.worker_role(first))
        self._worker, self._held_out = (
            torch.as_tensor(rows.copy(), device=device) for rows in (starts, _held_out(configs, series, starts))
        )
        self.steps = len(self._worker) // min(first.training.batch_size, len(self._worker))
        self._members = _Members(configs, self.layout, device, dtype)
        self._state = TrainState.initial(self._initial(series).to(device=device))
        self._begun = False  # whether anything was trained
        self._epoch = 1
        # An epoch's tables lie in the memory of the first's, where a captured step looks for them.
        self._plan = self._planned(self._epoch).clone()
        self.losses = torch.zeros(2, len(configs), dtype=torch.float64, device=device)
        self._at = torch.zeros(1, dtype=torch.int64, device=device)
        self._moved()

    def _initial(self, series: Series) -> Parameters:
        """Weights as drawn, with those of a closed form in place (`model.trend_start`)."""
        configs = self._members.configs
        params = Parameters.initial(self.layout, [config.training.seed for config in configs], self.dtype)
        shared = self.layout.unpack("shared", params.shared)
        workers = self.layout.unpack("workers", params.workers)
        for place, config in enumerate(configs):
            model = config.model
            if model.trend_start == "uniform" or not model.trend:
                continue
            role = config.data.role(stacking.worker_role(config)).name
            weight = trend_weight(series, config.data, role, model)
            shared["trend.weight"][place] = torch.tensor(weight, dtype=params.shared.dtype)
            for entry in (shared["trend.bias"], workers["output.2.weight"], workers["output.2.bias"]):
                entry[place] = 0.0
        return thaw(params, configs)

    def parameters(self) -> Parameters:
        """The current parameters of the models still in the stack."""
        return self._state.params

    @property
    def net(self) -> DynoNetStack:
        """The networks of the models still in the stack."""
        return self._members.net

    def start_from(self, params: Parameters) -> None:
        """Replaces the initial weights before the first epoch: by one model's for all, or by one for each.

        Raises ConfigError where they are of another shape, or an epoch has been trained.
        """
        if self._begun:
            raise ConfigError("weights can only be replaced before the first epoch")
        count = len(self._members.configs)
        # Switches and dropout are settings, not shapes: weights of a published checkpoint carry none of them.
        shape, expected = ((layout.channels, layout.entries) for layout in (params.layout, self.layout))
        if shape != expected or len(params.shared) not in (1, count):
            raise ConfigError(f"the weights are of another shape: got {params.layout}, expected {self.layout}")
        index = torch.arange(count) if len(params.shared) == count else torch.zeros(count, dtype=torch.long)
        copies = params.models(index).to(device=self.device, dtype=self.dtype)
        detached = Parameters(self.layout, *(flat.detach() for _, flat in copies.blocks()))
        self._state = TrainState.initial(thaw(detached, self._members.configs))
        self._moved()

    def begin_epoch(self, epoch: int) -> None:
        self._begun = True
        if epoch != self._epoch:
            self._plan.copy_(self._planned(epoch))
            self._epoch = epoch
        self.losses.zero_()

    def _planned(self, epoch: int) -> EpochPlan:
        members, layers = self._members, self.layout.model.num_layers
        return EpochPlan.of(members.training, members.keys, epoch, self._worker, self._held_out, layers, self.dtype)

    def step(self, number: int) -> None:
        taken = (self._epoch - 1) * self.steps + number + 1  # with this one
        ahead = tuple(sorted(every for every in self._members.every if taken % every == 0))
        self._at.fill_(number)
        self._run(self._plan.held_out_sizes[number], ahead)

    def _step(self, held_out: int, ahead: tuple[int, ...]) -> None:
        """The step whose number stands in `_at`, of every model. No part of it waits for the device.

        Args:
            held_out: windows of the controller's batch.
            ahead: the `unroll_every` whose turn it is: models of mode unrolled with another do not look ahead.
        """
        plan, at = self._plan, self._at
        batches, starts, factors = (t.index_select(0, at)[0] for t in (plan.batches, plan.held_out, plan.factors))
        draws = plan.draws.at(at)
        for place, group in self._members.groups:
            with rounded(group.precision):
                losses = step_of(group, ahead)(
                    group,
                    self._state.models(place),
                    self._windows.gather(batches[place]),
                    partial(self._windows.gather, starts[place, :held_out]),
                    draws.models(place),
                    factors[place],
                )
            self.losses[:, place] += torch.stack(losses)

    def _moved(self) -> None:
        """What was captured looks at the memory of before."""
        self.memory = next(_MEMORIES)
        self._run: Any = Replayed(self._step, self.device) if self.device.type == "cuda" else self._step

    def keep(self, places: Sequence[int]) -> None:
        index = torch.tensor(places, dtype=torch.long, device=self.device)
        configs = [self._members.configs[place] for place in places]
        self._members = _Members(configs, self.layout, self.device, self.dtype)
        self._state, self._plan = self._state.models(index), self._plan.models(index)
        self.losses = self.losses[:, index]
        self._moved()

    def forecast(self, inputs: Inputs) -> tuple[Tensor, dict[str, Tensor]]:
        return Trained(self._members.net, self._state.params).forecast(inputs)

    def rates(self) -> list[float]:
        """The workers'."""
        return [t.lr * schedule([t], self._epoch, self.steps)[-1].item() for t in self._members.training]

    def weights(self, places: Sequence[int]) -> list[dict[str, Tensor]]:
        index = torch.tensor(places, dtype=torch.long, device=self.device)
        params = self._state.params.models(index).cpu()
        return [params.named(place) for place in range(len(places))]

    def state(self) -> dict[str, Tensor]:
        named = {f"params.{block}": flat for block, flat in self._state.params.blocks()}
        for block, moments in self._state.moments.items():
            named |= {f"moments.{block}.{f.name}": getattr(moments, f.name) for f in fields(moments)}
        return named

    def restore(self, state: Mapping[str, Tensor]) -> None:
        self._begun = True
        params = Parameters(self.layout, *(state[f"params.{block}"].to(self.device) for block in BLOCKS))
        names = [f.name for f in fields(Moments)]
        moments = {b: Moments(*(state[f"moments.{b}.{name}"].to(self.device) for name in names)) for b in BLOCKS}
        self._state = TrainState(params, moments)
        self._moved()
