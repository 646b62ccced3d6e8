"""All randomness of a run: a counter-based generator (Threefry-2x32, 20 rounds) with the model axis.

A draw is a pure function of (seed, purpose, counters, element): nothing is stored, nothing depends on the other
models of a stack or on what was drawn before, and CPU and GPU give the same bits (32-bit integers alone).
Source: Salmon et al., "Parallel random numbers: as easy as 1, 2, 3" (SC11); checked against its test vectors.
"""

import math
from collections.abc import Callable
from dataclasses import dataclass
from enum import IntEnum
from functools import cached_property
from typing import TypeVar

import numpy as np
import torch
from torch import Tensor

from lab.compute.kernels import asked, compiled


class Purpose(IntEnum):
    """What a draw of the lab is for. The numbers are part of every result: never reuse or renumber one.

    Those from 2 to 8 are a family's own.
    """

    INITIAL = 1
    BATCHES = 9
    DROPOUT = 10
    TORCH = 11  # seeds of torch's own generator, for a module that draws from that


_ROTATIONS = ((13, 15, 26, 6), (17, 29, 16, 24))
_PARITY = 0x1BD11BDA
Key = tuple[Tensor, Tensor]  # two int32 words, each (N,)
Places = tuple[tuple[int, ...], ...]
Words = TypeVar("Words", Tensor, np.ndarray)


def threefry(key: Key, counter0: Tensor, counter1: Tensor) -> tuple[Tensor, Tensor]:
    """Threefry-2x32-20 of two int32 counter words under a key; all of one dimension at least, broadcast together."""
    words = (*key, counter0, counter1)
    if asked() == "torch" or any(word.device.type != "cpu" for word in words):
        return _threefry(*words, _rotate_int32)
    # On few numbers most of the time goes to calls, and NumPy's are several times as fast as torch's.
    k0, k1, x0, x1 = (word.numpy().view(np.uint32) for word in words)
    x0, x1 = _threefry(k0, k1, x0, x1, _rotate_uint32)
    return torch.from_numpy(x0.view(np.int32)), torch.from_numpy(x1.view(np.int32))


def _rotate_int32(x: Tensor, by: int) -> Tensor:
    # The right shift copies the sign; the mask makes it a logical one.
    return (x << by) | ((x >> (32 - by)) & ((1 << by) - 1))


def _rotate_uint32(x: np.ndarray, by: int) -> np.ndarray:
    return (x << by) | (x >> (32 - by))


def _threefry(k0: Words, k1: Words, x0: Words, x1: Words, rotate: Callable[[Words, int], Words]) -> tuple[Words, Words]:
    schedule = (k0, k1, k0 ^ k1 ^ _PARITY)
    x0, x1 = x0 + k0, x1 + k1
    for group in range(5):
        for by in _ROTATIONS[group % 2]:
            x0 = x0 + x1
            x1 = rotate(x1, by) ^ x0
        x0 = x0 + schedule[(group + 1) % 3]
        x1 = x1 + schedule[(group + 2) % 3] + (group + 1)
    return x0, x1


def seed_keys(seeds: Tensor) -> Key:
    """Keys of N models from their int64 seeds (N,)."""
    low = seeds & 0xFFFFFFFF
    return _to_int32(low), _to_int32(seeds >> 32)


def _to_int32(word: Tensor) -> Tensor:
    return torch.where(word >= 2**31, word - 2**32, word).to(torch.int32)


def stream(keys: Key, purpose: int, *counters: int | Tensor) -> Key:
    """The keys of one purpose at one place, such as `stream(keys, Purpose.DROPOUT, epoch, step)`."""
    return substream(keys, int(purpose), *counters)


def substream(keys: Key, *numbers: int | Tensor) -> Key:
    """The keys of one place below the place that `keys` stand for; of many places, for int32 tensors of numbers."""
    if len(numbers) % 2:
        numbers += (0,)
    for first, second in zip(numbers[::2], numbers[1::2], strict=True):
        word = torch.zeros_like(keys[0])
        keys = threefry(keys, word + first, word + second)
    return keys


def random_bits(keys: Key, shape: tuple[int, ...]) -> Tensor:
    """(N, *shape) int32, every bit fair."""
    count = math.prod(shape)
    half = (count + 1) // 2
    places = torch.arange(half, dtype=torch.int32, device=keys[0].device)
    words = threefry((keys[0][:, None], keys[1][:, None]), places, torch.zeros_like(places))
    return torch.cat(words, dim=1)[:, :count].reshape(-1, *shape)


def uniform(keys: Key, shape: tuple[int, ...]) -> Tensor:
    """(N, *shape) float32 in [0, 1): multiples of 2^-24, so exact in every float type."""
    if keys[0].device.type == "cpu" and (kernel := compiled("lab.compute.draws_numba")) is not None:
        out = torch.empty(len(keys[0]), math.prod(shape))
        kernel.uniform(*(word.contiguous().numpy().view("uint32") for word in keys), out.numpy())
        return out.view(-1, *shape)
    if keys[0].device.type == "cuda" and (kernel := compiled("lab.compute.draws_triton")) is not None:
        return kernel.uniform(*keys, math.prod(shape)).view(-1, *shape)
    return ((random_bits(keys, shape) >> 8) & 0xFFFFFF).to(torch.float32) * 2.0**-24


def permutations(keys: Key, count: int) -> Tensor:
    """(N, count) int64: a random order of `count` things for each model."""
    return torch.argsort(random_bits(keys, (count,)), dim=1, stable=True)


@dataclass(frozen=True)
class Draws:
    """Where in training a step stands: its masks are a function of this alone."""

    keys: Key  # one per model
    epoch: int
    step: int

    def stream(self, purpose: int, *below: int) -> Key:
        """The keys of one purpose in this step, and below it of one layer."""
        keys = stream(self.keys, purpose, self.epoch, self.step)
        return substream(keys, *below) if below else keys


@dataclass(frozen=True)
class EpochDraws:
    """What `Draws` gives in every step of an epoch, worked out at once.

    A step that asks Threefry for its keys spends some 100 operations on a few numbers each time.
    """

    words: Tensor  # (2, places, steps, N) int32: the two words of each key
    places: Places

    @classmethod
    def of(cls, keys: Key, epoch: int, steps: int, places: Places) -> "EpochDraws":
        """Every key that a step of N models may ask for: at each place a purpose, or a purpose and a layer; the plain
        ones first."""

        def column(numbers: list[int]) -> Tensor:
            return torch.tensor(numbers, dtype=torch.int32, device=keys[0].device)[:, None, None]

        at = torch.arange(steps, dtype=torch.int32, device=keys[0].device)[:, None]
        above = torch.stack(substream(keys, column([int(purpose) for purpose, *_ in places]), epoch, at))
        plain = sum(len(place) == 1 for place in places)
        layer = column([place[1] for place in places[plain:]])
        below = torch.stack(substream((above[0, plain:], above[1, plain:]), layer))
        return cls(torch.cat([above[:, :plain], below], dim=1), places)

    def at(self, step: Tensor) -> "StepDraws":
        """Those of the step whose number `step` (1,) int64 holds (a tensor: on a GPU the host does not know it)."""
        return StepDraws(self.words.index_select(2, step)[:, :, 0], self.places)


@dataclass(frozen=True)
class StepDraws:
    """One step's part of `EpochDraws`; in use like `Draws`."""

    words: Tensor  # (2, places, N) int32
    places: Places

    @cached_property
    def _rows(self) -> dict[tuple, int]:
        return {place: row for row, place in enumerate(self.places)}

    def stream(self, purpose: int, *below: int) -> Key:
        """As `Draws.stream`. Raises KeyError for what a step does not draw."""
        row = self._rows[purpose, *below]
        return self.words[0, row], self.words[1, row]

    def models(self, place: slice) -> "StepDraws":
        return StepDraws(self.words[:, :, place], self.places)


AnyDraws = Draws | StepDraws
