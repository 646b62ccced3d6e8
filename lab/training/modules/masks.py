"""Dropout whose masks are a function of (seed, layer, call, epoch, step, element), so that alone and stacked agree.

`nn.Dropout` draws from one generator of the whole process: its masks depend on what was drawn before, by whom ever.
"""

from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import Any

import torch
from torch import Tensor, nn

from lab.compute.draws import Key, Purpose, stream, substream, uniform


@dataclass
class Masks:
    """Where in training one model stands, for all of its dropout layers; of N models at once within a `vmap`.

    A layer may be called several times in a forward, so each call has keys of its own. Those of the calls that were
    seen (`planned`) are worked out for a whole epoch at once (`key_table`), of any others when they come.
    """

    rates: list[float]  # of this model, by layer
    planned: list[int] = field(default_factory=list)  # calls of each layer in a forward, as seen
    words: Tensor | None = None  # (1 + sites, 2) int32, a row of `key_table`; None: calls are counted, nothing is drawn
    shares: Tensor | None = None  # (layers,) float64 rates within a vmap, where they may differ between models
    calls: list[int] = field(default_factory=list)

    def enter(self, words: Tensor | None, shares: Tensor | None = None) -> None:
        """A forward in training begins."""
        self.words, self.shares = words, shares
        self.calls = [0] * len(self.rates)

    def plan(self) -> list[int]:
        """The calls of each layer since `enter`."""
        return list(self.calls)

    def dropped(self, x: Tensor, layer: int) -> Tensor:
        call = self.calls[layer]
        self.calls[layer] += 1
        if self.words is None or (self.shares is None and self.rates[layer] == 0):
            return x
        key = self._key(layer, call)
        if self.shares is None:
            rate = self.rates[layer]
            drawn = _drawn(key, tuple(x.shape))
            return x * (drawn >= rate).to(x.dtype).mul_(1 / (1 - rate) if rate < 1 else 0.0)
        share, drawn = self.shares[layer], _Uniform.apply(key, tuple(x.shape))
        scale = torch.where(share < 1, 1 / (1 - share), 0.0).to(x.dtype)
        return x * ((drawn >= share.float()).to(x.dtype) * scale)

    def _key(self, layer: int, call: int) -> Tensor:
        """(2,) int32."""
        assert self.words is not None
        if call < self.planned[layer]:
            return self.words[1 + sum(self.planned[:layer]) + call]
        return torch.stack(substream((self.words[0, 0], self.words[0, 1]), layer, call))


def key_table(keys: Key, epoch: int, steps: int, planned: Sequence[int]) -> Tensor:
    """(N, steps, 1 + sites, 2) int32: the keys of each step, and of each call of a layer below it."""
    device = keys[0].device
    at = torch.arange(steps, dtype=torch.int32, device=device)[:, None]
    step = stream(keys, Purpose.DROPOUT, epoch, at)  # (steps, N) each
    sites = [(layer, call) for layer, calls in enumerate(planned) for call in range(calls)]
    numbers = torch.tensor(sites, dtype=torch.int32, device=device).view(-1, 2, 1, 1)
    below = substream(step, numbers[:, 0], numbers[:, 1])  # (sites, steps, N) each
    rows = [torch.cat([above[None], each]) for above, each in zip(step, below, strict=True)]
    return torch.stack(rows, dim=-1).permute(2, 1, 0, 3).contiguous()


class Dropout(nn.Module):
    """What stands in the place of an `nn.Dropout`."""

    def __init__(self, masks: Masks, layer: int):
        super().__init__()
        self.masks, self.layer = masks, layer

    def forward(self, x: Tensor) -> Tensor:
        return self.masks.dropped(x, self.layer) if self.training else x

    def extra_repr(self) -> str:
        return f"p={self.masks.rates[self.layer]}"


def take_over(module: nn.Module) -> Masks:
    """Puts a `Dropout` in the place of every `nn.Dropout` of a module, numbered as they are found.

    Subclasses stay, for theirs may be another forward; so does what draws by itself, as `functional.dropout` does.
    """
    masks, taken = Masks([]), {}
    for parent in list(module.modules()):
        for name, child in list(parent._modules.items()):
            if child is None or type(child) is not nn.Dropout:
                continue
            if id(child) not in taken:
                taken[id(child)] = Dropout(masks, len(masks.rates))
                masks.rates.append(float(child.p))
            setattr(parent, name, taken[id(child)])
    masks.planned = [0] * len(masks.rates)
    masks.enter(None)
    return masks


def _drawn(words: Tensor, shape: tuple[int, ...]) -> Tensor:
    """(*shape) float32 from the key `words` (2,)."""
    return uniform((words[:1], words[1:]), shape)[0]


class _Uniform(torch.autograd.Function):
    """One model's draws; within a `vmap`, all models' in one call of the generator."""

    @staticmethod
    def forward(words: Tensor, shape: tuple[int, ...]) -> Tensor:  # type: ignore[override]
        return _drawn(words, shape)

    @staticmethod
    def setup_context(ctx: Any, inputs: Any, output: Tensor) -> None:
        ctx.mark_non_differentiable(output)

    @staticmethod
    def backward(ctx: Any, *gradients: Any) -> tuple[None, None]:
        return None, None

    @staticmethod
    def vmap(info: Any, in_dims: tuple[int | None, ...], words: Tensor, shape: tuple[int, ...]) -> tuple[Tensor, int]:  # type: ignore[override]
        dim = in_dims[0]
        every = words.expand(info.batch_size, 2) if dim is None else words.movedim(dim, 0)
        return uniform((every[:, 0].contiguous(), every[:, 1].contiguous()), shape), 0
