"""A stack of any torch module: N of them trained side by side, in turn or as one.

In turn, each module computes its step as it would alone. As one (`fused`), `torch.func.functional_call` runs under
`vmap` over the stacked weights: on a GPU, where small models wait for their launches, N of them then cost little more
than one; on a CPU, which has no launches to save, nothing is won. Both give the same numbers, up to rounding.
"""

from collections.abc import Mapping, Sequence

import torch
from torch import Tensor
from torch.nn import functional

from lab.compute.draws import Purpose, seed_keys, stream
from lab.compute.kernels import say_once
from lab.forecaster import Inputs
from lab.series import Series
from lab.series.windows import epoch_batches
from lab.settings.config import Config
from lab.training.modules.computing import (
    PLAIN,
    Cutter,
    Output,
    Wants,
    Windows,
    as_one,
    in_turn,
    own_generator,
    parts_of,
)
from lab.training.modules.masks import key_table
from lab.training.modules.members import Build, Members, checked
from lab.training.modules.optimiser import adamw_, adamw_row_, coefficients
from lab.training.modules.probe import probe
from lab.training.schedule import schedule


class ModuleStack:
    """Lab's `Stack` of N modules, which `build` makes of as many configs of one stack_key.

    A step takes for each model a batch of windows of its own, shuffled by its seed, and one step of AdamW down the mean
    squared error over (B, H, C) on the z-scored series. The last partial batch of an epoch is dropped.

    Args:
        starts: (windows,) int64, the rows at which training windows begin.
        fused: compute all as one; None: on a GPU. Where the module does not allow it, they are computed in turn, which
            `kernel` says.
        diagnostics: keys that the module may give besides its forecast.
    Raises:
        ConfigError: modules that cannot be trained, or not side by side. DataError: a series without the dates that a
            module asks for.
    """

    learners: tuple[str, ...] = ("train_loss",)

    def __init__(
        self,
        build: Build,
        configs: Sequence[Config],
        series: Series,
        starts: Tensor,
        device: torch.device,
        dtype: torch.dtype = torch.float32,
        wants: Wants = PLAIN,
        fused: bool | None = None,
        diagnostics: Sequence[str] = (),
    ):
        self.device, self.dtype, self.wants = torch.device(device), dtype, wants
        self._training = [config.training for config in configs]
        self._members = Members(build, configs, series.num_channels, self.device, dtype)
        self._cut = Cutter(series, configs[0], wants, self.device, dtype)
        self._starts = starts.to(self.device)
        self._batch = min(configs[0].training.batch_size, len(starts))
        self.steps = len(starts) // self._batch
        self._mean, self._square = torch.zeros_like(self._members.flat), torch.zeros_like(self._members.flat)
        self._taken = self._before = [0] * len(configs)  # steps of each model; before this epoch
        asked = fused if fused is not None else self.device.type == "cuda"
        self.fused, self._epoch = False, 0
        self._batches: Tensor | None = None  # (N, steps, B), of this epoch
        self._enter()
        # Two windows of its own for each model: what depends on what a window holds shows where they are unlike.
        few = torch.arange(2 * len(configs), device=self.device).view(-1, 2) % len(starts)
        self._probe = probe(self._members, self._cut(self._starts[few]), wants, diagnostics, self._keys, asked)
        if asked and self._probe.refused:
            kind = type(self._members.modules[0]).__name__
            say_once(f"{kind}: models are trained in turn, not as one: {self._probe.refused}")
        elif asked:
            self.fused = True
            self._point()

    @property
    def kernel(self) -> str:
        """What computes it, for the records."""
        if self.fused:
            return "torch, stacked"
        return f"torch, in turn: {self._probe.refused}" if self._probe.refused else "torch"

    def _enter(self) -> None:
        """What depends on who is in the stack, between epochs."""
        low, high = seed_keys(torch.tensor([each.seed for each in self._training], dtype=torch.int64))
        self._keys = low.to(self.device), high.to(self.device)
        self._losses = torch.zeros(1, len(self._training), dtype=torch.float64, device=self.device)
        self._point()

    def _point(self) -> None:
        """What points into the flat weights."""
        flat, entries = self._members.flat, self._members.entries.values()
        self._shares = torch.tensor(
            [masks.rates for masks in self._members.masks], dtype=torch.float64, device=self.device
        ).view(len(self._training), -1)
        self._gradient = torch.zeros_like(flat if self.fused else flat[:1])  # in turn, one after the other's
        self._gradients = [entry.of(self._gradient) for entry in entries]
        self._leaves = {}
        if self.fused:
            for name, entry in self._members.entries.items():
                self._leaves[name] = entry.of(flat).detach().requires_grad_()
        else:
            self._gradients = [each[0] for each in self._gradients]

    # An epoch --------------------------------------------------------------------------------------------------------

    @property
    def losses(self) -> Tensor:
        return self._losses

    def begin_epoch(self, epoch: int) -> None:
        self._batches = epoch_batches(self._starts, stream(self._keys, Purpose.BATCHES, epoch), self._batch)
        self._before = self._taken
        numbers = coefficients(self._training, self._taken, epoch, self.steps)
        self._coefficients = numbers.to(self.device, self.dtype)[..., None] if self.fused else numbers
        planned = self._probe.planned
        self._words = key_table(self._keys, epoch, self.steps, planned) if planned else None
        self._seeds = None
        if self._probe.draws_itself:
            at = torch.arange(self.steps, dtype=torch.int32, device=self.device)[:, None]
            low, high = (word.long() & 0xFFFFFFFF for word in stream(self._keys, Purpose.TORCH, epoch, at))
            self._seeds = ((high >> 1 << 32) | low).tolist()  # (steps, N), below 2^63
        self._epoch = epoch
        self._losses.zero_()

    def step(self, number: int) -> None:
        self._members.train(True)
        if self.fused:
            self._step_as_one(number)
        else:
            for place in range(len(self._training)):
                self._step_of(place, number)
        self._taken = [before + number + 1 for before in self._before]

    def _step_of(self, place: int, number: int) -> None:
        module, masks = self._members.modules[place], self._members.masks[place]
        assert self._batches is not None
        windows, target = self._cut(self._batches[place : place + 1, number])
        masks.enter(None if self._words is None else self._words[place, number])
        with own_generator(self.device, None if self._seeds is None else self._seeds[number][place]):
            forecast, _ = parts_of(module(windows.window[0], **self.wants.of(windows, 0)))
        loss = functional.mse_loss(forecast, target[0])
        gradients = torch.autograd.grad(loss, self._members.leaves[place], allow_unused=True, materialize_grads=True)
        with torch.no_grad():
            torch._foreach_copy_(self._gradients, list(gradients))
            self._losses[0, place] += loss
            rows = (self._members.flat[place], self._gradient[0], self._mean[place], self._square[place])
            adamw_row_(*rows, self._coefficients[number, place].tolist())

    def _step_as_one(self, number: int) -> None:
        assert self._batches is not None
        windows, target = self._cut(self._batches[:, number])
        words = None if self._words is None else self._words[:, number]
        forecast, _ = as_one(self._members, self._leaves, windows, self.wants, words, self._shares)
        losses = (forecast - target).square().mean(dim=(1, 2, 3))
        leaves = list(self._leaves.values())
        gradients = torch.autograd.grad(losses.sum(), leaves, allow_unused=True, materialize_grads=True)
        with torch.no_grad():
            torch._foreach_copy_(self._gradients, list(gradients))
            self._losses[0] += losses
            adamw_(self._members.flat, self._gradient, self._mean, self._square, *self._coefficients[number].unbind(1))

    def keep(self, places: Sequence[int]) -> None:
        index = torch.tensor(list(places), dtype=torch.int64, device=self.device)
        self._training = [self._training[i] for i in places]
        self._taken, self._before = [self._taken[i] for i in places], [self._before[i] for i in places]
        self._members.keep(places)
        self._mean, self._square = self._mean[index], self._square[index]
        losses = self._losses[:, index]
        self._enter()
        self._losses = losses
        if self._batches is not None:  # in the middle of an epoch
            self._batches = self._batches[index]
            self._coefficients = self._coefficients[:, index.to(self._coefficients.device)]
            self._words = None if self._words is None else self._words[index]
            self._seeds = None if self._seeds is None else [[row[i] for i in places] for row in self._seeds]

    def rates(self) -> list[float]:
        shares = schedule(self._training, self._epoch, self.steps)[-1].tolist()
        return [each.lr * share for each, share in zip(self._training, shares, strict=True)]

    # What it knows ---------------------------------------------------------------------------------------------------

    @torch.no_grad()
    def forecast(self, inputs: Inputs) -> Output:
        windows = Windows.of(inputs, self.dtype)
        self._members.train(False)
        if not self.fused:
            return _channels_first(in_turn(self._members, windows, self.wants))
        leaves = {name: leaf.detach() for name, leaf in self._leaves.items()}
        return _channels_first(as_one(self._members, leaves, windows, self.wants, None, self._shares))

    def weights(self, places: Sequence[int]) -> list[dict[str, Tensor]]:
        return [self._members.named(place) for place in places]

    def state(self) -> dict[str, Tensor]:
        return {
            **self._members.state(), "mean": self._mean.cpu().clone(), "square": self._square.cpu().clone(),
            "steps": torch.tensor(self._taken, dtype=torch.int64),
            "fused": torch.full((len(self._taken),), self.fused),
        }  # fmt: skip

    def restore(self, state: Mapping[str, Tensor]) -> None:
        mean, square = checked("mean", state, self._mean), checked("square", state, self._square)
        steps = checked("steps", state, torch.tensor(self._taken, dtype=torch.int64))
        self._members.restore(state)
        self._mean.copy_(mean)
        self._square.copy_(square)
        self._taken = steps.tolist()
        # As they were computed, they go on: whether a module allows more may depend on who else was there.
        self.fused = self.fused and bool(state["fused"].all())
        self._point()


class ModuleNetwork:
    """Trained modules, for evaluation.

    Raises DataError: weights of another module.
    """

    def __init__(
        self,
        build: Build,
        configs: Sequence[Config],
        weights: Sequence[Mapping[str, Tensor]],
        channels: int,
        device: torch.device,
        wants: Wants = PLAIN,
    ):
        kinds = [each.real.dtype for each in weights[0].values() if each.is_floating_point() or each.is_complex()]
        self._dtype, self._wants = kinds[0] if kinds else torch.float32, wants
        self._members = Members(build, configs, channels, torch.device(device), self._dtype)
        for place, mine in enumerate(weights):
            self._members.load(place, mine)
        self._members.train(False)

    @torch.no_grad()
    def forecast(self, inputs: Inputs) -> Output:
        return _channels_first(in_turn(self._members, Windows.of(inputs, self._dtype), self._wants))


def _channels_first(output: Output) -> Output:
    """(N, B, H, C) as the lab has it, (N, C, H, B)."""
    forecast, besides = output
    return forecast.permute(0, 3, 2, 1), dict(besides)
