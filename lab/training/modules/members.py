"""N modules of one shape whose parameters lie in one tensor, the model axis first.

Each is a module of its own, and its parameters are views of its row: it computes as it would alone, and an optimiser,
a checkpoint and a `vmap` see all of them at once.
"""

import math
import random
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Protocol

import numpy as np
import torch
from torch import Tensor, nn
from torch.nn.parameter import UninitializedParameter

from lab.errors import ConfigError, DataError
from lab.settings.config import Config
from lab.training.modules.masks import take_over

ALIGNED = 16  # numbers: a parameter begins where it would in memory of its own, whatever stands before it


class Build(Protocol):
    """A class of modules, or a function that makes one."""

    __module__: str
    __qualname__: str

    def __call__(self, config: Any, channels: int, /) -> nn.Module: ...


def seeded(build: Build, config: Config, channels: int) -> nn.Module:
    """The module of a config; whatever it draws as it is built comes from the run's seed, and of a CPU."""
    seed = config.training.seed
    others = random.getstate(), np.random.get_state()  # a module may draw from either
    try:
        with torch.random.fork_rng(devices=[]):
            torch.default_generator.manual_seed(seed)
            random.seed(seed)
            np.random.seed(seed % 2**32)
            module = build(config, channels)
    finally:
        random.setstate(others[0])
        np.random.set_state(others[1])
    if not isinstance(module, nn.Module):
        raise ConfigError(f"a module is needed that maps (B, S, C) to (B, H, C); got {type(module).__name__}")
    if any(isinstance(each, UninitializedParameter) for each in module.parameters()):
        raise ConfigError(f"{type(module).__name__} has lazy layers; say their sizes, which the config and C give")
    return module


@dataclass(frozen=True)
class Entry:
    """Where a parameter lies in a row."""

    shape: torch.Size
    imaginary: bool  # complex numbers, each two of the row
    start: int
    size: int

    def of(self, flat: Tensor) -> Tensor:
        """(..., *shape) of rows (..., P), a view."""
        cut = flat[..., self.start : self.start + self.size]
        shape = (*flat.shape[:-1], *self.shape)
        return torch.view_as_complex(cut.view((*shape, 2))) if self.imaginary else cut.view(shape)


class Members:
    """N modules of one shape on a device.

    Raises ConfigError where they differ in shape: a setting that shapes a module is no setting of each model.
    """

    def __init__(
        self, build: Build, configs: Sequence[Config], channels: int, device: torch.device, dtype: torch.dtype
    ):
        self.modules = [seeded(build, config, channels) for config in configs]
        self.masks = [take_over(module) for module in self.modules]
        self.device, self.dtype = device, dtype
        first = self.modules[0]
        self.entries: dict[str, Entry] = {}
        end = 0
        for name, parameter in first.named_parameters():
            if parameter.requires_grad:
                imaginary = parameter.is_complex()
                size = parameter.numel() * (2 if imaginary else 1)
                self.entries[name] = Entry(parameter.shape, imaginary, end, size)
                end += _aligned(size)
        if not self.entries:
            raise ConfigError(f"{type(first).__name__} has no parameter to train")
        # Buffers, and parameters that are not trained: state that no optimiser touches.
        kept = first.state_dict(keep_vars=True)
        self.flat = torch.zeros(len(configs), end, dtype=dtype, device=device)
        rows = [_tensors(module) for module in self.modules]
        self.persistent = {name for name in kept if name in rows[0] and name not in self.entries}
        for number, row in enumerate(rows[1:], 2):
            if differs := _differences(rows[0], row):
                raise ConfigError(
                    f"models 1 and {number} of a stack differ in shape ({differs}): a setting that shapes the module "
                    "cannot be one of each model's own"
                )
        if len({len(masks.rates) for masks in self.masks}) > 1:
            raise ConfigError("models of a stack differ in how many nn.Dropout they have: have one of rate 0 instead")
        self.buffers: dict[str, Tensor] = {}
        for name in rows[0]:
            every = torch.stack([row[name].detach() for row in rows])
            if name in self.entries:
                self.entries[name].of(self.flat).copy_(every)
            else:
                self.buffers[name] = every.to(device=device, dtype=self._dtype_of(every))
        self._bind()

    def __len__(self) -> int:
        return len(self.modules)

    def _dtype_of(self, tensor: Tensor) -> torch.dtype:
        if tensor.is_complex():
            return self.dtype.to_complex()
        return self.dtype if tensor.is_floating_point() else tensor.dtype

    def _bind(self) -> None:
        """Every module's parameters and buffers become views of the rows."""
        views = {name: entry.of(self.flat) for name, entry in self.entries.items()}
        self.leaves: list[list[nn.Parameter]] = []
        for place, module in enumerate(self.modules):
            mine = {name: nn.Parameter(view[place]) for name, view in views.items()}
            self.leaves.append(list(mine.values()))
            kept = {name: buffer[place] for name, buffer in self.buffers.items()}  # one object wherever it is
            for owner, table, key, _, name in list(_sites(module)):
                tensor = mine[name] if name in mine else kept[name]
                if table is owner._parameters and name not in mine:
                    tensor = nn.Parameter(tensor, requires_grad=False)
                setattr(owner, key, tensor)  # not into the table: recurrent layers keep a list of their own besides

    def at_all_places(self, tensors: Mapping[str, Tensor]) -> dict[str, Tensor]:
        """Tensors by first name, as `functional_call` without `tie_weights` puts them wherever they belong. With it, a
        module that is used twice is left with the tensors of the call."""
        return {place: tensors[name] for *_, place, name in _sites(self.modules[0])}

    def collect(self) -> None:
        """Buffers that a forward put in the place of the old ones, instead of writing into them, join the others."""
        for place, module in enumerate(self.modules):
            for owner, table, key, _, name in _sites(module):
                if table is not owner._buffers:
                    continue
                mine, bound = table[key], self.buffers[name][place]
                if mine is not None and mine.data_ptr() != bound.data_ptr():
                    bound.copy_(mine)
                    setattr(owner, key, bound)

    def statistics(self) -> dict[str, Tensor]:
        """A copy of what a forward may change."""
        self.collect()
        return {name: buffer.clone() for name, buffer in self.buffers.items()}

    def put_back(self, statistics: Mapping[str, Tensor]) -> None:
        self.collect()
        for name, buffer in self.buffers.items():
            buffer.copy_(statistics[name])

    def train(self, on: bool) -> None:
        for module in self.modules:
            if module.training != on:
                module.train(on)

    def keep(self, places: Sequence[int]) -> None:
        """Only the models at these places stay, in this order."""
        self.collect()
        index = torch.tensor(list(places), dtype=torch.int64, device=self.device)
        self.modules, self.masks = [self.modules[i] for i in places], [self.masks[i] for i in places]
        self.flat = self.flat[index]
        self.buffers = {name: buffer[index] for name, buffer in self.buffers.items()}
        self._bind()

    def named(self, place: int) -> dict[str, Tensor]:
        """What a model's `state_dict` holds, copied to the CPU."""
        self.collect()
        found = {name: entry.of(self.flat[place]) for name, entry in self.entries.items()}
        found |= {name: self.buffers[name][place] for name in sorted(self.persistent)}
        return {name: tensor.detach().cpu().clone() for name, tensor in found.items()}

    def load(self, place: int, weights: Mapping[str, Tensor]) -> None:
        """Takes over what `named` gave. Raises DataError: weights of another module."""
        wanted = {name: entry.of(self.flat[place]) for name, entry in self.entries.items()}
        wanted |= {name: self.buffers[name][place] for name in self.persistent}
        names = type(self.modules[place]).__name__
        if wanted.keys() != weights.keys():
            raise DataError(f"the weights are of another module than {names}: {_unlike(wanted, weights)}")
        for name, mine in wanted.items():
            if mine.shape != weights[name].shape:
                raise DataError(
                    f"the weights are of another module than {names}: {name} is {tuple(weights[name].shape)}, "
                    f"{tuple(mine.shape)} is needed"
                )
            mine.copy_(weights[name])

    def state(self) -> dict[str, Tensor]:
        """All of it that training changes, by name with the model axis first, copied to the CPU."""
        self.collect()
        found = {"weights": self.flat, **{f"buffer.{name}": self.buffers[name] for name in sorted(self.persistent)}}
        return {name: tensor.detach().cpu().clone() for name, tensor in found.items()}

    def restore(self, state: Mapping[str, Tensor]) -> None:
        self.flat.copy_(checked("weights", state, self.flat))
        for name in self.persistent:
            self.buffers[name].copy_(checked(f"buffer.{name}", state, self.buffers[name]))


def checked(name: str, state: Mapping[str, Tensor], mine: Tensor) -> Tensor:
    """A tensor of a checkpoint. Raises DataError where it is not there, or of another shape or type."""
    if name not in state or state[name].shape != mine.shape or state[name].dtype != mine.dtype:
        saved = state.get(name)
        got = "nothing" if saved is None else f"{tuple(saved.shape)} {saved.dtype}"
        raise DataError(
            f"the checkpoint is of another module: {name} is {got}, {tuple(mine.shape)} {mine.dtype} needed"
        )
    return state[name]


def _aligned(size: int) -> int:
    return math.ceil(size / ALIGNED) * ALIGNED


def _tensors(module: nn.Module) -> dict[str, Tensor]:
    return {**dict(module.named_parameters()), **dict(module.named_buffers())}


def _sites(module: nn.Module) -> Iterator[tuple[nn.Module, dict[str, Any], str, str, str]]:
    """Every place of a tensor in a module: its owner, the owner's table, the key there, the name of this place, and the
    tensor's first name. What a module used twice owns has one place."""
    names: dict[int, str] = {}
    for path, owner in module.named_modules():
        for table in (owner._parameters, owner._buffers):
            for key, tensor in table.items():
                if tensor is not None:
                    place = f"{path}.{key}" if path else key
                    yield owner, table, key, place, names.setdefault(id(tensor), place)


def _differences(one: Mapping[str, Tensor], other: Mapping[str, Tensor]) -> str:
    if one.keys() != other.keys():
        return _unlike(one, other)
    unlike = [
        f"{name} {tuple(tensor.shape)} and {tuple(other[name].shape)}"
        for name, tensor in one.items()
        if tensor.shape != other[name].shape or tensor.dtype != other[name].dtype
    ]
    return ", ".join(unlike[:3])


def _unlike(one: Mapping[str, Any], other: Mapping[str, Any]) -> str:
    alone = sorted(one.keys() ^ other.keys())
    return f"{', '.join(alone[:3])}{' and more' if len(alone) > 3 else ''} in one of them alone"
