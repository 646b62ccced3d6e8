"""What forecasts: trained networks of one shape, a seed each, or the map of a bar."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from functools import cached_property
from typing import Any, Protocol

import numpy as np
import torch
from torch import Tensor

from lab.errors import ConfigError
from lab.forecaster import Inputs, Network
from lab.registry import forecaster, forecaster_of
from lab.series.bars import BARS
from lab.settings.config import Config

Weights = Mapping[str, Tensor]


class Members(Protocol):
    """N models that read S rows and forecast H, all z-scored."""

    @property
    def title(self) -> str: ...
    @property
    def count(self) -> int: ...
    @property
    def wants_calendar(self) -> bool: ...
    @property
    def wants_rows(self) -> bool: ...

    def forecast(self, windows: np.ndarray, rows: np.ndarray, calendar: np.ndarray | None) -> np.ndarray:
        """(B, S, C) that begin at rows (B,), with the calendar (B, S + H, F) where it is wanted -> (N, B, H, C)."""
        ...

    def mean(self, windows: Tensor) -> Tensor:
        """The mean of the models that read the window alone, in torch's operations: (B, S, C) -> (B, H, C) float64."""
        ...

    def state(self) -> dict[str, Any]:
        """Tensors and plain values that `of_state` takes."""
        ...


@dataclass(frozen=True, eq=False)
class Networks:
    """Trained models, in the order of their seeds."""

    configs: tuple[Config, ...]
    weights: tuple[Weights, ...]
    channels: int
    device: torch.device

    @property
    def title(self) -> str:
        return forecaster_of(self.configs[0]).title

    @property
    def count(self) -> int:
        return len(self.configs)

    @property
    def wants_calendar(self) -> bool:
        return forecaster_of(self.configs[0]).wants_calendar

    @property
    def wants_rows(self) -> bool:
        return forecaster_of(self.configs[0]).wants_rows

    @cached_property
    def _network(self) -> Network:
        return forecaster_of(self.configs[0]).network(self.configs, self.weights, self.channels, self.device)

    @cached_property
    def _dtype(self) -> torch.dtype:
        numbers = (t.real.dtype for t in self.weights[0].values() if t.is_floating_point() or t.is_complex())
        return next(numbers, torch.float32)

    @torch.no_grad()
    def forecast(self, windows: np.ndarray, rows: np.ndarray, calendar: np.ndarray | None) -> np.ndarray:
        inputs = Inputs(
            self._tensor(windows), torch.as_tensor(np.array(rows, np.int64), device=self.device)[None],
            None if calendar is None or not self.wants_calendar else self._tensor(calendar),
        )  # fmt: skip
        found, _ = self._network.forecast(inputs)  # (N, C, H, B)
        return found.permute(0, 3, 2, 1).double().cpu().numpy()

    def mean(self, windows: Tensor) -> Tensor:
        window = windows.to(self._dtype).permute(1, 2, 0)[None]
        # No rows: a model that reads them fails here, whatever it says of itself, and does not read others'.
        found, _ = self._network.forecast(Inputs(window, None))  # type: ignore[arg-type]
        return found.double().mean(0).permute(2, 1, 0)

    def _tensor(self, cut: np.ndarray) -> Tensor:
        """(B, steps, F) -> (1, steps, F, B)."""
        tensor = torch.as_tensor(np.array(cut), dtype=self._dtype, device=self.device)
        return tensor.permute(1, 2, 0)[None].contiguous()

    def state(self) -> dict[str, Any]:
        return {
            "kind": "networks", "model": self.configs[0].forecaster, "channels": self.channels,
            "configs": [config.to_json() for config in self.configs],
            "code": [config.run_id("") for config in self.configs],
            "weights": [{name: tensor.cpu() for name, tensor in each.items()} for each in self.weights],
        }  # fmt: skip


@dataclass(frozen=True, eq=False)
class BarMap:
    """A bar: one map for all channels."""

    name: str
    weight: np.ndarray  # (S, H) float64

    count = 1
    wants_calendar = wants_rows = False

    @property
    def title(self) -> str:
        return BARS[self.name].title

    def forecast(self, windows: np.ndarray, rows: np.ndarray, calendar: np.ndarray | None) -> np.ndarray:
        mean = windows.mean(axis=1, keepdims=True)
        found: np.ndarray = np.einsum("bsc,sh->bhc", windows - mean, self.weight, optimize=True) + mean
        return found[None]

    def mean(self, windows: Tensor) -> Tensor:
        windows, weight = windows.double(), torch.tensor(self.weight)
        mean = windows.mean(dim=1, keepdim=True)
        return torch.einsum("bsc,sh->bhc", windows - mean, weight) + mean

    def state(self) -> dict[str, Any]:
        return {"kind": "bar", "model": self.name, "weight": torch.as_tensor(np.array(self.weight))}


def of_state(state: Mapping[str, Any], device: torch.device) -> Members:
    """From what `state` gave. Raises ConfigError where the code of the model is not to be had, or is another."""
    if state["kind"] == "bar":
        return BarMap(state["model"], state["weight"].numpy())
    settings = forecaster(state["model"]).config
    configs = tuple(settings.from_json(text) for text in state["configs"])
    if [config.run_id("") for config in configs] != state["code"]:
        raise ConfigError(
            f"model '{state['model']}' is not what it was when this was saved: its code or this project's computes "
            "something else; make the model anew from its results, or use the version that saved it"
        )
    return Networks(configs, tuple(state["weights"]), state["channels"], device)


def networks(configs: Sequence[Config], weights: Sequence[Weights], channels: int, device: torch.device) -> Networks:
    """Models of one stack, in the order that its forecaster asks for."""
    order = sorted(range(len(configs)), key=lambda at: forecaster_of(configs[at]).order(configs[at]))
    return Networks(tuple(configs[at] for at in order), tuple(weights[at] for at in order), channels, device)
