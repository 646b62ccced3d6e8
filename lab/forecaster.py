"""The seam: all that a search, a study, a report or a trainer ever asks of a family of models.

A family is a `Forecaster`: its settings, its search space, its parts and arms, and stacks of its models to train. The
lab trains whatever keeps to this and never asks who it is. `lab.registry` finds a forecaster by name; `lab.contract`
checks one; `lab.training.module_stack` makes one of any torch module.

Shapes: N models, B windows, S steps read, H steps forecast, C channels; the model axis first everywhere.
"""

from abc import ABC, abstractmethod
from collections.abc import Callable, Hashable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any, Protocol

from lab.arms import Arm
from lab.settings.config import Config

if TYPE_CHECKING:  # reading records does without torch
    import torch
    from torch import Tensor

    from lab.series import Series


@dataclass(frozen=True)
class Inputs:
    """What a forecast may read of its windows."""

    window: "Tensor"  # (N or 1, S, C, B), z-scored
    rows: "Tensor"  # (N or 1, B) int64, the row of the series at which each window begins
    calendar: "Tensor | None" = None  # (N or 1, S + H, F, B), of window and horizon, where the forecaster wants it


class Network(Protocol):
    """N models that can forecast."""

    def forecast(self, inputs: Inputs) -> "tuple[Tensor, Mapping[str, Tensor]]":
        """Forecasts (N, C, H, B), z-scored, and diagnostics by key, (N, ...) each (see `Forecaster.diagnostics`)."""
        ...


class Stack(Network, Protocol):
    """N models of one shape in training. It knows no epoch's end, no file and no Ray.

    No model reads another's numbers, so that alone and side by side agree.

    One whose `forecast` never waits for the device may have a number `memory`, another whenever it reads other memory
    than before: a GPU's trainer then takes validation as one CUDA graph (`lab.compute.cuda_graphs`).
    """

    learners: tuple[str, ...]  # who learns: the name in the history of each one's loss, `train_loss` first
    steps: int  # of an epoch

    @property
    def losses(self) -> "Tensor":
        """(learners, N) float64 on the device: each model's losses, summed over this epoch's steps so far."""
        ...

    def begin_epoch(self, epoch: int) -> None:
        """`epoch` counts from 1. The same epoch from the same state gives the same numbers."""
        ...

    def step(self, number: int) -> None:
        """Trains every model for the step of this number, from 0. Waits for no device. One may be taken again."""
        ...

    def keep(self, places: Sequence[int]) -> None:
        """Only the models at these places (one at least) stay, in this order; also in the middle of an epoch."""
        ...

    def rates(self) -> list[float]:
        """Each model's learning rate at this epoch's end, for the history."""
        ...

    def weights(self, places: Sequence[int]) -> "list[dict[str, Tensor]]":
        """What these models have learned, by name, copied to the CPU."""
        ...

    def state(self) -> "dict[str, Tensor]":
        """All that training goes on from, each with a leading axis N: the lab cuts and joins checkpoints itself."""
        ...

    def restore(self, state: "Mapping[str, Tensor]") -> None:
        """Goes on from a `state` of as many models."""
        ...


@dataclass(frozen=True)
class Size:
    """Trainable numbers of one model."""

    parameters: int  # that it holds
    effective: int  # that a gradient reaches and the forecast reads


@dataclass(frozen=True)
class Part:
    """Something of the model that a setting switches off."""

    name: str
    noun: str  # as a sentence calls it: "the attention"
    off: str  # what the model does where it is off


@dataclass(frozen=True)
class Diagnostic:
    """A quantity that a forecast gives besides, recorded each epoch as its mean over a model's validation windows.

    Its key is `group.name`. The history holds the mean under the key; a run's column `{group}_range.{name}` holds how
    far it ever was from itself, 0 for one that never moved.
    """

    noun: str  # as a sentence calls it
    start: Callable[[Config], float | None] = lambda config: None  # its value before training, where that is known
    held: Callable[[Config], float | None] = lambda config: None  # the number it is held at, None where it is free
    still: Callable[[Config], str] = lambda config: ""  # a sentence: why it cannot move, where that is known


def range_column(key: str) -> str:
    """The column of a run that holds how far a diagnostic ever was from itself."""
    group, _, name = key.partition(".")
    return f"{group}_range.{name}"


class Forecaster(ABC):
    """A family of models. What has a default here may be left out."""

    name: str  # column `model` of its runs, and what `--model` takes
    title: str  # as pages call it
    config: type[Config]  # `data` and the common part of `training` are the lab's; the rest is its own
    version: int = 1  # raised when a change to its code changes what a run computes; part of the runs' ids

    studies: Path | None = None  # a folder of ablation studies by name (YAML)
    space: Mapping[str, Mapping[str, Any]] = {}  # default ranges by dotted setting (see tune.space)
    parts: Mapping[str, Part] = {}
    arms: Mapping[str, Arm] = {}
    diagnostics: Mapping[str, Diagnostic] = {}
    diagnostics_title: str = "What forecasts give besides"
    width: str | None = None  # the setting that makes it wider, for arms of matched capacity
    width_words: tuple[str, str] = ("the width", "another width")  # as sentences call it
    wants_calendar: bool = False
    wants_rows: bool = False  # whether a forecast reads `Inputs.rows`; whoever has windows alone is then refused
    small: Mapping[str, Any] = {}  # dotted settings that make it small: what a contract tries it at

    @abstractmethod
    def stack(self, configs: Sequence[Config], series: "Series", device: "torch.device", dtype: "torch.dtype") -> Stack:
        """Models of one `stack_key`, in the order of `order`, before their first step.

        Raises ConfigError or DataError: settings or a series that cannot be trained on.
        """

    @abstractmethod
    def network(
        self, configs: Sequence[Config], weights: "Sequence[Mapping[str, Tensor]]", channels: int,
        device: "torch.device",
    ) -> Network:  # fmt: skip
        """Trained models, from what `Stack.weights` gave of each. They compute in the weights' own type."""

    def save(
        self, config: Config, weights: "Mapping[str, Tensor]", channels: int, path: Path, about: Mapping[str, Any]
    ) -> None:
        """Writes what `Stack.weights` gave of one model, and `about` it, as the family's users expect it."""
        import torch

        torch.save({**about, "model": config.forecaster, "weights": dict(weights)}, path)

    @abstractmethod
    def size(self, config: Config, channels: int) -> Size:
        """Of one model of these settings."""

    def stack_key(self, config: Config) -> Hashable:
        """Models of equal keys can train side by side."""
        flat = config.flat()
        free = {f"training.{name}" for name in ("seed", "lr", "weight_decay", "max_epochs", "patience", "schedule")}
        return tuple((key, value) for key, value in flat.items() if key not in free)

    def order(self, config: Config) -> tuple[Any, ...]:
        """Models of a stack stand sorted by this, which keeps together those that step together."""
        return ()

    def learners(self, config: Config) -> Mapping[str, str]:
        """Who learns ("training", where there is one only) -> the role of the rows that it learns from, which
        `lab.series.window_starts` takes."""
        return {"training": "train"}

    def starts_closed(self, config: Config) -> bool:
        """Whether its forecast before the first step follows from the training rows in closed form: then that forecast
        stands beside every result, and training is judged by what it adds. What validation chooses of it is chosen on
        `series.chosen_on`, where a stack is given a series that has one: whoever fits all rows has no others left."""
        return False

    def too_large(self, config: Config, channels: int, memory: int) -> str:
        """Why a model of these settings cannot be trained in so many bytes, beyond its parameters; "" if it may."""
        return ""

    def refuses(self, config: Config, device: str) -> str:
        """Why a model of these settings cannot be trained on a kind of device (`cpu` or `cuda`); "" if it may."""
        return ""

    def why_inert(self, arm: Arm, base: Config, config: Config) -> str | None:
        """Why an arm can change nothing, where that is known without a step; None where it is not."""
        return None

    def rarest(self, config: Config) -> int:
        """Every how many steps it does what it does least often: a probe of a few steps takes so many more."""
        return 1

    def dearness(self, config: Config) -> tuple[Any, ...]:
        """Sorts settings by what a step costs, for a plan that measures the dearest."""
        return ()

    def describe(self, config: Config) -> str:
        """Sizes that tell shapes apart in a plan, such as `D=8 L=1`."""
        return ""

    def warm(self, configs: Sequence[Config], series: "Series", device: "torch.device") -> None:  # noqa: B027
        """Has the kernels that models of these settings need on this device compiled, in the machine's cache: trials
        that come later read them. Several processes of a machine are asked at once. Raises as `stack`."""

    def kernel(self, device: str) -> str:
        """What computes it on a kind of device (`cpu` or `cuda`), for the records."""
        return "torch"
