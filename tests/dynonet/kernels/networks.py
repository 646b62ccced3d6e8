"""Random networks with their batches, and what a phase of training hands to its optimisers."""

import random
import warnings
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass, replace
from typing import Any

import numpy as np
import pytest
import torch
from torch import Tensor

import dynonet.network.model
import dynonet.network.workers
from dynonet.config import Config
from dynonet.learning.steps import Batch, ModeGroup, TrainState, controller_step, joint_step, worker_step
from dynonet.network.layers import dropout as plain_dropout
from dynonet.network.parameters import Parameters
from dynonet.parts import OFF, SIGNALS
from dynonet.reference.small import draws_of, make_batch, make_group
from lab.compute.draws import AnyDraws

PHASES = ("worker", "controller", "joint")
CLOSE_CALL = 3e-6  # a draw this near its rate may keep in one type what it drops in the other


@contextmanager
def kernel(choice: str) -> Iterator[None]:
    with pytest.MonkeyPatch.context() as patch, warnings.catch_warnings():
        warnings.simplefilter("ignore")  # torch is asked for, and says so
        patch.setenv("DYNONET_KERNEL", choice)
        yield


def double(tensor: Tensor) -> Tensor:
    """Numbers that both types hold exactly, in float64."""
    return tensor.float().double()


@dataclass
class Case:
    configs: list[Config]
    channels: int
    params: Parameters  # float64, as the batches; each number fits into float32
    batches: list[Batch]

    def draws(self, step: int, device: str = "cpu") -> AnyDraws:
        draws = draws_of([c.training.seed for c in self.configs], 1, step)
        return replace(draws, keys=(draws.keys[0].to(device), draws.keys[1].to(device)))


def make_case(seed: int, shape: dict[str, Any] | None = None, batches: int = 1) -> Case:
    """Models of one random shape, each with switches and held signals of its own, moved off their start."""
    r = random.Random(seed)
    channels, models, batch = r.randint(1, 7), r.randint(1, 4), r.choice([1, 3, 17, 32, 33, 64, 70])
    shared: dict[str, Any] = {
        "data.seq_len": r.randint(2, 50), "data.pred_len": r.randint(1, 20),
        "model.control_hidden": r.choice([1, 2, 7, 16, 33, 64]), "model.worker_hidden": r.choice([1, 3, 5, 8, 24, 27]),
        "model.num_layers": r.randint(1, 3), "model.worker_seq_len": r.randint(1, 60),
        "model.moving_average": r.choice([1, 5, 25]), **(shape or {}),
    }  # fmt: skip
    configs = []
    for _ in range(models):
        own: dict[str, Any] = {f"model.{name}": r.random() < 0.85 for name in OFF}
        own["model.trend"] |= not own["model.workers"]
        own |= {"model.dropout": r.choice([0, 0.1, 0.6]), "training.train_revin": r.random() < 0.7}
        for name, signal in SIGNALS.items():
            own[f"signals.{name}"] = r.choice(["adaptive", "adaptive", "adaptive", r.uniform(signal.low, signal.high)])
        configs.append(Config.create({**shared, **own, "training.seed": r.randrange(2**40)}))
    return case_of(configs, channels, batch, seed, batches)


def case_of(configs: list[Config], channels: int, batch: int, seed: int, batches: int = 1) -> Case:
    # A tenth off its start: far enough to make everything matter, near enough that no GRU is chaotic.
    _, state = make_group(configs, channels, scale=0.1)
    params = Parameters(state.params.layout, *(double(flat) for _, flat in state.params.blocks()))
    made = [make_batch(configs[0], channels, len(configs), batch, 100 * seed + i) for i in range(batches)]
    return Case(configs, channels, params, [(double(x), double(y)) for x, y in made])


class Watched(ModeGroup):
    """Keeps the gradients that a step hands to its optimisers, and updates nothing."""

    def __init__(self, *args: Any):
        super().__init__(*args)
        self.given: dict[str, Tensor] = {}

    def update_workers(self, state: Any, grads: Any, signals: Any, draws: Any, factor: Any) -> None:
        self.given |= {b: g for b, g in zip(("shared", "workers"), grads, strict=True) if g is not None}

    def update_controller(self, state: Any, grad: Any, *, ahead: bool = False) -> None:
        self.given |= {} if grad is None else {"controller": grad}


def phase_gradients(
    case: Case, phase: str, step: int, dtype: torch.dtype = torch.float64, device: str = "cpu"
) -> dict[str, Tensor]:
    """The loss of a phase (N,) and what its optimisers are given, by entry: (N, ...) or (N, C, ...)."""
    group = Watched(case.configs, case.channels, torch.device(device), dtype)
    state = TrainState.initial(case.params.to(dtype=dtype, device=device))
    batch = (case.batches[0][0].to(device, dtype), case.batches[0][1].to(device, dtype))
    draws, ones = case.draws(step, device), torch.ones(len(case.configs), dtype=dtype, device=device)
    if phase == "worker":
        loss = worker_step(group, state, batch, draws, ones)
    elif phase == "controller":
        loss = controller_step(group, state, batch, draws)
    else:
        loss, _ = joint_step(group, state, batch, lambda: batch, draws, ones)
    found = {"loss": loss.cpu()}
    for block, flat in group.given.items():
        found |= {f"{block}.{name}": value.cpu() for name, value in group.layout.unpack(block, flat).items()}
    return found


def forecast_of(
    case: Case, step: int | None, dtype: torch.dtype = torch.float64, device: str = "cpu"
) -> dict[str, Tensor]:
    """In training at a step, or with None in evaluation."""
    group = ModeGroup(case.configs, case.channels, torch.device(device), dtype)
    draws = None if step is None else case.draws(step, device)
    with torch.no_grad():
        params = case.params.to(dtype=dtype, device=device)
        return {"forecast": group.net.forward(params, case.batches[0][0].to(device, dtype), draws)[0].cpu()}


def worst(ours: Tensor, truth: Tensor) -> float:
    """The largest error of one model's array, relative to its scale; 0 is met by 0 alone."""
    error, scale = (ours.double() - truth).abs().max().item(), truth.abs().max().item()
    return 0.0 if error == 0 else error / scale if scale > 0 else float("inf")


def errors(ours: dict[str, Tensor], truth: dict[str, Tensor]) -> dict[str, float]:
    """By entry, the worst over the models."""
    assert set(ours) == set(truth)
    return {n: float(np.max([worst(a, b) for a, b in zip(ours[n], truth[n], strict=True)])) for n in truth}


def without_close_calls(at: Callable[[int], dict[str, Tensor]]) -> tuple[int, dict[str, Tensor]]:
    """The first step of training whose draws are all clear of their rates, and `at` of it in plain float64.

    Draws are the same in every type, a rate is not to its last digit.
    """
    for step in range(50):
        margins = [1.0]

        def watching(x: Tensor, rate: Tensor, uniform: Tensor, eps: float, margins: list[float] = margins) -> Tensor:
            margins.append((uniform - rate).abs().min().item())
            return plain_dropout(x, rate, uniform, eps)

        with kernel("torch"), pytest.MonkeyPatch.context() as patch:
            patch.setattr(dynonet.network.workers, "dropout", watching)
            value = at(step)
        if min(margins) > CLOSE_CALL:
            return step, value
    raise AssertionError("every step has a close call")
