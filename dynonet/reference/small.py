"""Small series, configs and stacks for the tests of the core."""

from typing import Any

import numpy as np
import torch
from torch import Tensor

from dynonet.config import Config
from dynonet.learning.stack import TrainingStack
from dynonet.learning.steps import Batch, ModeGroup, TrainState
from dynonet.network.parameters import Parameters
from dynonet.parts import OFF, SIGNALS
from lab.compute.draws import Draws, seed_keys
from lab.series import Series
from lab.training.trainer import StackTrainer

CPU = torch.device("cpu")

SMALL: dict[str, Any] = {
    "data.seq_len": 16,
    "data.pred_len": 4,
    "model.control_hidden": 5,
    "model.worker_hidden": 3,
    "model.worker_seq_len": 10,
    "model.moving_average": 5,
    "training.batch_size": 16,
    "training.max_epochs": 4,
}


def small_config(settings: dict[str, Any] | None = None, **training: Any) -> Config:
    """A small config; keywords are settings of `training`."""
    return Config.create({**SMALL, **{f"training.{k}": v for k, v in training.items()}, **(settings or {})})


def make_series(channels: int = 2, rows: int = 200, seed: int = 0) -> Series:
    """A random walk with a daily swing; 60% of the rows train, 20% validation, 20% test."""
    generator = np.random.default_rng(seed)
    hours = np.arange(rows)[:, None]
    values = np.cumsum(generator.standard_normal((rows, channels)), axis=0) * 0.3
    values += np.sin(2 * np.pi * hours / 24 + np.arange(channels)) + 0.3 * generator.standard_normal((rows, channels))
    first, second = int(rows * 0.6), int(rows * 0.8)
    names = tuple(f"c{i}" for i in range(channels))
    return Series(
        "made", values, names, (0, first), (first, second), (second, rows), f"{channels}-{rows}-{seed}", "made"
    )


def dynonets(trainer: StackTrainer) -> TrainingStack:
    """The stack that a trainer of DynoNets drives."""
    assert isinstance(trainer.stack, TrainingStack)
    return trainer.stack


def draws_of(seeds: list[int], epoch: int = 1, step: int = 0) -> Draws:
    return Draws(seed_keys(torch.tensor(seeds)), epoch, step)


def make_batch(config: Config, channels: int, models: int = 1, batch: int = 6, seed: int = 0) -> Batch:
    """Random windows (N, S, C, B) and targets (N, C, H, B) in float64, with a level and a scale to normalise."""
    generator = torch.Generator().manual_seed(seed)
    x = torch.randn(models, config.data.seq_len, channels, batch, generator=generator, dtype=torch.float64)
    y = torch.randn(models, channels, config.data.pred_len, batch, generator=generator, dtype=torch.float64)
    return 1.5 * x + 0.5, 1.5 * y + 0.5


def make_group(configs: list[Config], channels: int, scale: float = 0.3) -> tuple[ModeGroup, TrainState]:
    """A group in float64 whose parameters are all moved off their start (a bias of minus infinity to about -1)."""
    group = ModeGroup(configs, channels, CPU, torch.float64)
    params = Parameters.initial(group.layout, [c.training.seed for c in configs], torch.float64)
    for number, (_, flat) in enumerate(params.blocks()):
        flat[torch.isinf(flat)] = -1.0
        for model, config in enumerate(configs):
            generator = torch.Generator().manual_seed(1000 * config.training.seed + number)
            flat[model] += scale * torch.randn(flat[model].shape, generator=generator, dtype=torch.float64)
    return group, TrainState.initial(params)


def copied(state: TrainState) -> TrainState:
    return state.models(torch.arange(len(state.params.shared)))


def all_tensors(state: TrainState, model: int = 0) -> dict[str, Tensor]:
    """Everything that training changes of one model, by name."""
    named = {name: flat[model].clone() for name, flat in state.params.blocks()}
    for block, moments in state.moments.items():
        named |= {f"{block}.{k}": getattr(moments, k)[model].clone() for k in ("mean", "square", "steps")}
    return named


def off_setting(name: str) -> dict[str, Any]:
    """The override that switches a part or signal off."""
    return {f"signals.{name}": "off"} if name in SIGNALS else {f"model.{name}": False}


ROWS = (*OFF, *SIGNALS)  # every row of the table of switches
