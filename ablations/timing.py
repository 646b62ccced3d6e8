"""What a step and an epoch of a model cost here, measured on a few steps; for the expected time of a plan."""

import time
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

import torch

from dynonet.config import Config
from dynonet.data import Series
from dynonet.trainer import StackTrainer, stack_key
from dynonet.windows import evaluate


@dataclass(frozen=True)
class Cost:
    """Device seconds of one model: CPU time on a CPU, wall time on a GPU."""

    step: float
    epoch: float  # all training steps and the validation


def measure_step(
    config: Config, series: Series, models: int = 4, steps: int = 3, device: str | torch.device = "cpu"
) -> Cost:
    """Times a stack of `models` like this one, after a first step that compiles and allocates.

    Raises ConfigError or DataError as StackTrainer does.
    """
    configs = [config.override({"training.seed": seed}) for seed in range(models)]
    trainer = StackTrainer(configs, series, device)
    trainer.epoch = 1
    trainer._begin_epoch()
    assert trainer._plan is not None
    steps = max(1, min(steps, trainer.steps - 1))
    sizes = trainer._plan.held_out_sizes[: 1 + steps]
    trainer._step(sizes[0])
    windows, batch = trainer._validation, trainer._batch_size()
    some = windows[:batch]

    def validate() -> None:
        evaluate(trainer._net, trainer.parameters(), trainer._windows, some, batch)

    def train() -> None:
        for size in sizes[1:] or sizes:
            trainer._at.clamp_(max=trainer.steps - 1)  # an epoch of a single step is timed on that step
            trainer._step(size)

    validate()
    step = _seconds(train, trainer.device) / max(len(sizes) - 1, 1)
    validation = _seconds(validate, trainer.device) * len(windows) / len(some)
    return Cost(step / models, (step * trainer.steps + validation) / models)


def epoch_costs(series_of: Callable[[Config], Series], device: str | torch.device = "cpu") -> Callable[[Config], float]:
    """Seconds of a model-epoch by config, each shape measured when it is first asked for."""
    known: dict[Any, float] = {}

    def seconds(config: Config) -> float:
        key = (stack_key(config), config.training.mode)
        if key not in known:
            known[key] = measure_step(config, series_of(config), device=device).epoch
        return known[key]

    return seconds


def _seconds(work: Callable[[], None], device: torch.device) -> float:
    clock = time.process_time if device.type == "cpu" else time.perf_counter
    if device.type == "cuda":
        torch.cuda.synchronize(device)
    began = clock()
    work()
    if device.type == "cuda":
        torch.cuda.synchronize(device)
    return clock() - began
