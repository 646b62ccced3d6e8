"""What a step and an epoch of a model cost here, in time and memory, measured on a few steps; for a plan."""

import time
from collections.abc import Callable
from dataclasses import dataclass

import torch

from lab.compute.device import peak_memory_bytes
from lab.series import Series
from lab.settings.config import Config
from lab.training.trainer import StackTrainer


@dataclass(frozen=True)
class Cost:
    """Device seconds of one model: CPU time on a CPU, wall time on a GPU."""

    step: float
    epoch: float  # all training steps and the validation
    validation: float = 0.0  # its share of an epoch


def measure_step(
    config: Config, series: Series, models: int = 4, steps: int = 3, device: str | torch.device = "cpu"
) -> Cost:
    """Times a stack of `models` like this one, after a first step that compiles and allocates.

    Raises ConfigError or DataError as StackTrainer does.
    """
    configs = [config.override({"training.seed": seed}) for seed in range(models)]
    trainer = StackTrainer(configs, series, device)
    trainer.begin_epoch()
    trainer.step(0)
    timed, last = max(1, min(steps, trainer.steps - 1)), trainer.steps - 1
    windows, some = len(trainer.validation), min(config.training.batch_size, len(trainer.validation))

    def validate() -> None:
        trainer.validate(some)

    def train() -> None:
        for number in range(1, 1 + timed):
            trainer.step(min(number, last))  # an epoch of a single step is timed on that step

    validate()
    step = _seconds(train, trainer.device) / timed
    validation = _seconds(validate, trainer.device) * windows / some
    return Cost(step / models, (step * trainer.steps + validation) / models, validation / models)


@dataclass(frozen=True)
class Memory:
    """What training takes of a device's memory (of the process, on a CPU), in bytes."""

    base: int  # without any model
    model: int  # each further model of a stack


def measure(config: Config, series: Series, device: str | torch.device = "cpu") -> tuple[Cost, Memory]:
    """Time and memory of models like this one, from a stack of one and then one of four.

    In a process of its own: a peak of memory never falls again, and what another shape took would be counted. Of a
    CPU's memory, what fits into what the compiler has left free is not seen: some tens of MiB a model.
    Raises ConfigError or DataError as StackTrainer does.
    """
    device = torch.device(device)
    measure_step(config, series, models=1, steps=1, device=device)
    one = peak_memory_bytes(device)
    cost = measure_step(config, series, models=4, device=device)
    model = max(0, peak_memory_bytes(device) - one) // 3
    return cost, Memory(max(0, one - model), model)


def _seconds(work: Callable[[], None], device: torch.device) -> float:
    clock = time.process_time if device.type == "cpu" else time.perf_counter
    if device.type == "cuda":
        torch.cuda.synchronize(device)
    began = clock()
    work()
    if device.type == "cuda":
        torch.cuda.synchronize(device)
    return clock() - began
