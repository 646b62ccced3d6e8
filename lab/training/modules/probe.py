"""What modules are found to do on a few windows, before any compute is spent: what they give, whether they draw by
themselves, and whether N of them can be computed as one."""

from collections.abc import Collection, Mapping
from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor

from lab.compute.device import out_of_memory
from lab.compute.draws import Key
from lab.console.printing import one_line
from lab.errors import ConfigError, unknown
from lab.training.modules.computing import Wants, Windows, as_one, generator_states, parts_of
from lab.training.modules.masks import key_table
from lab.training.modules.members import Members

NEAR = 1e-3  # relative: as one and in turn differ by rounding, 1e-6 or so


@dataclass(frozen=True)
class Probe:
    planned: list[int]  # calls of each dropout layer in a forward
    draws_itself: bool  # from torch's own generator
    refused: str  # why they cannot be computed as one; "" where they can, or were not asked to


def probe(
    members: Members, sample: tuple[Windows, Tensor], wants: Wants, diagnostics: Collection[str], keys: Key,
    fused: bool,
) -> Probe:  # fmt: skip
    """Tries modules on a sample, a few windows for each. Changes nothing but the calls that their masks plan.

    Raises ConfigError: a forward that fails, or gives something else than a forecast (B, H, C).
    """
    windows, target = sample
    members.train(True)
    before = members.statistics()
    try:
        states = generator_states(members.device)
        calls = []
        for place, masks in enumerate(members.masks):
            masks.enter(None)
            _check(members, place, _tried(members, place, windows, wants), target[place], diagnostics)
            calls.append(masks.plan())
        planned = [max(each) for each in zip(*calls, strict=True)]
        after = generator_states(members.device)
        draws_itself = any(not one.equal(other) for one, other in zip(states, after, strict=True))
        for masks in members.masks:
            masks.planned = planned
        refused = ""
        if fused and draws_itself:
            refused = "it draws from torch's own generator (functional dropout does)"
        elif fused:
            members.put_back(before)
            refused = _why_not_as_one(members, before, windows, target, wants, keys)
    finally:
        members.put_back(before)
    return Probe(planned, draws_itself, refused)


def _tried(members: Members, place: int, windows: Windows, wants: Wants) -> Any:
    module = members.modules[place]
    try:
        return module(windows.at(place), **wants.of(windows, place))
    except Exception as error:
        if out_of_memory(error):
            raise
        shape = tuple(windows.at(place).shape)
        text = f"{type(error).__name__}: {one_line(str(error), 300)}"
        raise ConfigError(
            f"{type(module).__name__}: its forward failed on windows of shape {shape} ({text})"
        ) from error


def _check(members: Members, place: int, output: Any, target: Tensor, diagnostics: Collection[str]) -> None:
    name = type(members.modules[place]).__name__
    pair = isinstance(output, tuple) and len(output) == 2 and isinstance(output[1], Mapping)
    forecast, besides = output if pair else (output, {})
    if not isinstance(forecast, Tensor) or forecast.shape != target.shape:
        got = f"shape {tuple(forecast.shape)}" if isinstance(forecast, Tensor) else type(forecast).__name__
        needed = f"a forecast (B, H, C), here {tuple(target.shape)}, is needed"
        raise ConfigError(f"{name}: its forward gave {got}; {needed}")
    if not forecast.requires_grad:
        raise ConfigError(f"{name}: no parameter has a part in its forecast, so nothing can be trained")
    for key, value in besides.items():
        if key not in diagnostics:
            raise unknown(f"diagnostic of {name}", str(key), diagnostics)
        if not isinstance(value, Tensor):
            raise ConfigError(f"{name}: diagnostic '{one_line(key)}' is {type(value).__name__}; a tensor is needed")


def _why_not_as_one(
    members: Members, before: Mapping[str, Tensor], windows: Windows, target: Tensor, wants: Wants, keys: Key
) -> str:
    """Does a step's worth of either and compares; "" where they agree."""
    words = key_table(keys, 0, 1, members.masks[0].planned)[:, 0]
    shares = torch.tensor([masks.rates for masks in members.masks], dtype=torch.float64, device=members.device)
    leaves = {name: entry.of(members.flat).detach().requires_grad_() for name, entry in members.entries.items()}
    try:
        forecast, _ = as_one(members, leaves, windows, wants, words, shares.view(len(members), -1))
        ours = _gradients((forecast - target).square().mean(dim=(1, 2, 3)).sum(), list(leaves.values()))
    except Exception as error:
        if out_of_memory(error):
            raise
        return one_line(f"{type(error).__name__}: {error}", 200)
    buffers = members.statistics()
    members.put_back(before)
    for place, masks in enumerate(members.masks):
        masks.enter(words[place])
        alone, _ = parts_of(members.modules[place](windows.at(place), **wants.of(windows, place)))
        masks.enter(None)
        theirs = _gradients((alone - target[place]).square().mean(), members.leaves[place])
        if not _near(alone, forecast[place]):
            return "as one, its forecasts are others"
        if not all(_near(one, other[place]) for one, other in zip(theirs, ours, strict=True)):
            return "as one, its gradients are others"
    members.collect()
    if not all(_near(members.buffers[name], each) for name, each in buffers.items()):
        return "as one, its buffers become others (running statistics)"
    return ""


def _gradients(loss: Tensor, leaves: list[Any]) -> tuple[Tensor, ...]:
    return torch.autograd.grad(loss, leaves, allow_unused=True, materialize_grads=True)


def _near(one: Tensor, other: Tensor) -> bool:
    if not (one.is_floating_point() or one.is_complex()):
        return one.equal(other)
    scale = one.detach().abs().max() if one.numel() else 0.0
    return bool(((one - other).detach().abs() <= NEAR * scale + 1e-7).all())
