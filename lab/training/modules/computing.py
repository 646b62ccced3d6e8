"""What N modules make of windows: in turn, or as one by `vmap`."""

import contextlib
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor
from torch.func import functional_call, vmap

from lab.forecaster import Inputs
from lab.series import Series
from lab.settings.config import Config
from lab.training.modules.members import Members

Output = tuple[Tensor, Mapping[str, Tensor]]


@dataclass(frozen=True)
class Wants:
    """What a module's forward reads besides the window."""

    calendar: bool = False  # `calendar`: (B, S + H, F) of window and horizon
    rows: bool = False  # `rows`: (B,) int64, where in the series each window begins

    def of(self, windows: "Windows", place: int | None = None) -> dict[str, Tensor]:
        """The keyword arguments; of one model, or of all."""

        def mine(tensor: Tensor) -> Tensor:
            return tensor if place is None else tensor[place if len(tensor) > 1 else 0]

        found = {}
        if self.calendar:
            assert windows.calendar is not None
            found["calendar"] = mine(windows.calendar)
        if self.rows:
            found["rows"] = mine(windows.rows)
        return found


PLAIN = Wants()


@dataclass(frozen=True)
class Windows:
    """Windows of N models, or of 1 that is all models' own."""

    window: Tensor  # (N or 1, B, S, C)
    rows: Tensor  # (N or 1, B)
    calendar: Tensor | None  # (N or 1, B, S + H, F)

    @classmethod
    def of(cls, inputs: Inputs, dtype: torch.dtype) -> "Windows":
        calendar = inputs.calendar
        if calendar is not None:
            calendar = calendar.permute(0, 3, 1, 2).to(dtype).contiguous()
        return cls(inputs.window.permute(0, 3, 1, 2).to(dtype).contiguous(), inputs.rows, calendar)

    def at(self, place: int) -> Tensor:
        return self.window[place if len(self.window) > 1 else 0]


class Cutter:
    """Windows, cut from one tensor that holds the whole series on the device."""

    def __init__(self, series: Series, config: Config, wants: Wants, device: torch.device, dtype: torch.dtype):
        self.seq_len, length = config.data.seq_len, config.data.seq_len + config.data.pred_len
        self._values = torch.as_tensor(series.scaled.copy(), dtype=dtype, device=device)
        self._calendar = None
        if wants.calendar:
            self._calendar = torch.as_tensor(series.calendar.copy(), dtype=dtype, device=device)
        self._steps, self._stretch = torch.arange(length, device=device), series.stretch

    def __call__(self, starts: Tensor) -> tuple[Windows, Tensor]:
        """The windows that begin at rows (N, B), and their targets (N, B, H, C)."""
        index = (starts[..., None] + self._steps).view(-1)
        shape = (*starts.shape, len(self._steps), -1)
        block = self._values.index_select(0, index).view(shape)
        calendar = None if self._calendar is None else self._calendar.index_select(0, index).view(shape)
        window, target = block[:, :, : self.seq_len].contiguous(), block[:, :, self.seq_len :]
        return Windows(window, starts, calendar), target if self._stretch == 1.0 else self._stretch * target


def parts_of(output: Any) -> Output:
    """A module's forecast (B, H, C), and what it gives besides."""
    return (output[0], output[1]) if isinstance(output, tuple) else (output, {})


def in_turn(members: Members, windows: Windows, wants: Wants) -> Output:
    """Forecasts (N, B, H, C) and what the modules give besides, of one module after the other."""
    outputs = [
        parts_of(module(windows.at(place), **wants.of(windows, place))) for place, module in enumerate(members.modules)
    ]
    besides = {key: torch.stack([other[key] for _, other in outputs]) for key in outputs[0][1]}
    return torch.stack([forecast for forecast, _ in outputs]), besides


def as_one(
    members: Members, leaves: Mapping[str, Tensor], windows: Windows, wants: Wants,
    words: Tensor | None, shares: Tensor,
) -> Output:  # fmt: skip
    """The same in one call over the stacked weights.

    Args:
        leaves: parameters by name, (N, ...).
        words: (N, 1 + sites, 2), a step's keys; None without dropout.
        shares: (N, layers) float64, the models' dropout rates.
    """
    module, masks = members.modules[0], members.masks[0]
    asked = wants.of(windows)

    def one(
        leaves: Mapping[str, Tensor], buffers: Mapping[str, Tensor], window: Tensor, asked: Mapping[str, Tensor],
        words: Tensor | None, shares: Tensor,
    ) -> Output:  # fmt: skip
        masks.enter(words, shares)
        tensors = members.at_all_places({**leaves, **buffers})
        return parts_of(functional_call(module, tensors, (window,), dict(asked), tie_weights=False))

    def axis(tensor: Tensor) -> int | None:
        return 0 if len(tensor) == len(members) else None  # what all share has an axis of 1, which `one` must not see

    window = windows.window if axis(windows.window) == 0 else windows.window[0]
    given = {name: each if axis(each) == 0 else each[0] for name, each in asked.items()}
    dims = (
        0,
        0,
        axis(windows.window),
        {name: axis(each) for name, each in asked.items()},
        None if words is None else 0,
        0,
    )
    try:
        forecast, besides = vmap(one, in_dims=dims, randomness="error")(
            leaves, members.buffers, window, given, words, shares
        )
    finally:
        masks.enter(None)
    return forecast, besides


def own_generator(device: torch.device, seed: int | None) -> contextlib.AbstractContextManager[None]:
    """Torch's own generator begun at a seed, and as it was, after; None leaves it alone."""
    return contextlib.nullcontext() if seed is None else _begun(device, seed)


@contextlib.contextmanager
def _begun(device: torch.device, seed: int) -> Iterator[None]:
    with torch.random.fork_rng(devices=[device] if device.type == "cuda" else []):
        torch.default_generator.manual_seed(seed)
        if device.type == "cuda":
            with torch.cuda.device(device):
                torch.cuda.manual_seed(seed)
        yield


def generator_states(device: torch.device) -> list[Tensor]:
    """Where torch's own generators stand."""
    states = [torch.default_generator.get_state()]
    return [*states, torch.cuda.get_rng_state(device)] if device.type == "cuda" else states
