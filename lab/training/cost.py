"""What a step and an epoch of a model cost here, in time and memory, measured on a few steps; for a plan."""

import time
from collections.abc import Callable
from dataclasses import dataclass, replace

import torch

from lab.compute.cuda_graphs import WARM_UP
from lab.compute.device import peak_memory_bytes
from lab.series import Series
from lab.settings.config import Config
from lab.training.trainer import StackTrainer

STACK = 4  # models of the stack that is measured beside one alone


@dataclass(frozen=True)
class Cost:
    """Device seconds of one model: CPU time on a CPU, wall time on a GPU."""

    step: float  # in a stack of `STACK`
    epoch: float  # all training steps and the validation
    validation: float = 0.0  # its share of an epoch
    fixed: float = 0.0  # of a step: what a stack takes once, however many models it has

    def fill(self, models: int) -> float:
        """Of the step of a stack of so many, the share that grows with its models: there a GPU has all it can do."""
        growing = models * max(0.0, self.step - self.fixed / STACK)
        return growing / (self.fixed + growing) if growing else 0.0 if self.fixed else 1.0


def measure_step(
    config: Config, series: Series, models: int = STACK, steps: int = 3, device: str | torch.device = "cpu"
) -> Cost:
    """Times a stack of `models` like this one, after a first step that compiles and allocates (on a GPU as many as it
    takes to capture one).

    Raises ConfigError or DataError as StackTrainer does.
    """
    configs = [config.override({"training.seed": seed}) for seed in range(models)]
    trainer = StackTrainer(configs, series, device)
    trainer.begin_epoch()
    trainer.step(0)
    if trainer.device.type == "cuda":
        for _ in range(WARM_UP):
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
    driver: int = 0  # of a GPU's, what a process has there beside all that
    host: int = 0  # of the machine's, with a GPU: the process


def measure(config: Config, series: Series, device: str | torch.device = "cpu") -> tuple[Cost, Memory]:
    """Time and memory of models like this one, from a stack of one and then one of four.

    In a process of its own: a peak of memory never falls again, and what another shape took would be counted. Of a
    CPU's memory, what fits into what the compiler has left free is not seen: some tens of MiB a model.
    Raises ConfigError or DataError as StackTrainer does.
    """
    device = torch.device(device)
    alone = measure_step(config, series, models=1, steps=1 if device.type == "cpu" else 3, device=device)
    one = peak_memory_bytes(device)
    cost = measure_step(config, series, models=STACK, device=device)
    model = max(0, peak_memory_bytes(device) - one) // (STACK - 1)
    cost = replace(cost, fixed=max(0.0, STACK * (alone.step - cost.step) / (STACK - 1)))
    return cost, Memory(max(0, one - model), model, *_outside(device))


def _outside(device: torch.device) -> tuple[int, int]:
    """What a GPU holds beside torch's own memory, as long as nobody else is on it, and what this process takes."""
    if device.type != "cuda":
        return 0, 0
    free, total = torch.cuda.mem_get_info(device)
    return total - free - torch.cuda.memory_reserved(device), peak_memory_bytes(torch.device("cpu"))


def _seconds(work: Callable[[], None], device: torch.device) -> float:
    clock = time.process_time if device.type == "cpu" else time.perf_counter
    if device.type == "cuda":
        torch.cuda.synchronize(device)
    began = clock()
    work()
    if device.type == "cuda":
        torch.cuda.synchronize(device)
    return clock() - began
