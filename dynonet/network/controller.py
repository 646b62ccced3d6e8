"""The controller: one GRU reads the normalised window, linear heads on its last state give every signal."""

from collections.abc import Mapping
from dataclasses import dataclass, fields, make_dataclass, replace
from typing import Any

import torch
from torch import Tensor

from dynonet.network.gru import gru
from dynonet.network.layers import stacked_linear
from dynonet.network.parameters import Layout
from dynonet.parts import SIGNALS


@dataclass(frozen=True)
class Switch:
    """One part or signal of N models: on or off for each."""

    mask: Tensor  # (N,) bool
    any: bool
    all: bool

    @classmethod
    def of(cls, states: list[bool], device: torch.device) -> "Switch":
        return cls(torch.tensor(states, device=device), any(states), all(states))

    def pick(self, on: Tensor, off: Tensor | float) -> Tensor:
        """`on` where the part is on, `off` elsewhere: selected, never multiplied by zero."""
        if self.all:
            return on
        return torch.where(self.mask.view(-1, *[1] * (on.dim() - 1)), on, off)


_FIELDS = (*SIGNALS, "context", "film_gamma", "film_beta")
_Fields: Any = make_dataclass("_Fields", [(name, Tensor) for name in _FIELDS], frozen=True)


@dataclass(frozen=True)
class Signals(_Fields):  # type: ignore[misc]
    """What the controller says for every window: a tensor for each signal of `parts`, switched-off and held ones filled
    in, (N, C, B) or, per unit, (N, C, D, B); `context` (N, D, B); `film_gamma` and `film_beta` (L, N, C, D, B).
    """

    def weights_detached(self) -> "Signals":
        """The same, with the signals that only weigh the loss or the update as constants.

        Without this a jointly trained lr_scale would shrink the loss by shrinking itself.
        """
        weighing = [name for name, signal in SIGNALS.items() if signal.acts_on != "forward"]
        return replace(self, **{name: getattr(self, name).detach() for name in weighing})

    def constants(self) -> "Signals":
        """The same without their graph."""
        return replace(self, **{f.name: getattr(self, f.name).detach() for f in fields(self)})

    def means(self) -> dict[str, Tensor]:
        """The mean over windows and channels of each signal, (N,) each, for the record."""
        return {f.name: getattr(self, f.name).flatten(1).mean(1) for f in fields(self) if f.name in SIGNALS}

    def bounds(self) -> dict[str, Tensor]:
        """The smallest and the largest value over windows and channels of each signal, (2, N) each."""
        return {
            f.name: torch.stack(torch.aminmax(getattr(self, f.name).flatten(1), dim=1))
            for f in fields(self)
            if f.name in SIGNALS
        }


def controller(
    layout: Layout, flat: Tensor, window: Tensor, parts: Mapping[str, Switch], held: Mapping[str, Tensor]
) -> Signals:
    """All signals for normalised windows.

    Args:
        flat: the controller's block, (N, P).
        window: (N, S, C, B), normalised.
        parts: switches by name; a signal's switch says whether it is adaptive.
        held: the number (N,) that each signal takes where it is not adaptive.
    """
    channels, hidden, layers = layout.channels, layout.model.worker_hidden, layout.model.num_layers
    models, batch = window.shape[0], window.shape[-1]
    rows: dict[str, Tensor] = {}
    if any(parts[name].any for name in ("film", "context", *SIGNALS)):
        weights = layout.unpack("controller", flat)
        names = ("weight_ih", "weight_hh", "bias_ih", "bias_hh")
        state = gru(window, *(weights[f"gru.{name}"] for name in names), last_only=True)  # (N, K, B)
        raw = stacked_linear(state, *layout.heads(flat))
        rows = dict(zip(layout.head_rows, raw.split(list(layout.head_rows.values()), dim=1), strict=True))

    def filled(name: str, shape: tuple[int, ...]) -> Tensor:
        number = held[name].view(models, *[1] * len(shape)).expand(models, *shape)
        if not parts[name].any:
            return number
        signal = SIGNALS[name]
        if signal.odd:
            value = signal.high * torch.tanh(rows[name])
        else:
            value = torch.sigmoid(rows[name])
            if (signal.low, signal.high) != (0.0, 1.0):
                value = signal.low + (signal.high - signal.low) * value
        return parts[name].pick(value.view(models, *shape), number)

    zeros = window.new_zeros(())
    if parts["film"].any:
        raw_film = rows["film"].view(models, layers, channels, 2 * hidden, batch).tanh().transpose(0, 1)
        # The model axis comes second here, so the switch's mask is laid along it by hand.
        on = parts["film"].mask.view(1, -1, 1, 1, 1)
        gamma = torch.where(on, 1 + 0.1 * raw_film[..., :hidden, :], zeros + 1)
        beta = torch.where(on, 0.1 * raw_film[..., hidden:, :], zeros)
    else:
        gamma = (zeros + 1).expand(layers, models, channels, hidden, batch)
        beta = zeros.expand(layers, models, channels, hidden, batch)
    context = zeros.expand(models, hidden, batch)
    if parts["context"].any:
        context = parts["context"].pick(rows["context"], context)
    shapes = {True: (channels, hidden, batch), False: (channels, batch)}
    every = {name: filled(name, shapes[signal.per_unit]) for name, signal in SIGNALS.items()}
    return Signals(**every, context=context, film_gamma=gamma, film_beta=beta)
