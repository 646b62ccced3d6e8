"""All randomness of a run: a counter-based generator (Threefry-2x32, 20 rounds) with the model axis.

A draw is a pure function of (seed, purpose, counters, element): nothing is stored, nothing depends on the other
models of a stack or on what was drawn before, and CPU and GPU give the same bits (32-bit integers alone).
Source: Salmon et al., "Parallel random numbers: as easy as 1, 2, 3" (SC11); checked against its test vectors.
"""

import math

import torch
from torch import Tensor

from dynonet.kernels import compiled

# What a draw is for. The numbers are part of every result: never reuse or renumber one.
PURPOSES = {
    "initial": 1,
    "worker_batches": 2,
    "controller_batches": 3,
    "freeze": 4,
    "worker_dropout": 5,
    "mixer_dropout": 6,
    "worker_dropout_controller": 7,  # the controller's phase draws masks of its own
    "mixer_dropout_controller": 8,
}

_ROTATIONS = ((13, 15, 26, 6), (17, 29, 16, 24))
_PARITY = 0x1BD11BDA
COMPILED_FROM = 4096  # draws: fewer are quicker in torch than a kernel is called
Key = tuple[Tensor, Tensor]  # two int32 words, each (N,)


def _rotate_left(x: Tensor, by: int) -> Tensor:
    # int32's right shift copies the sign; the mask makes it a logical one.
    return (x << by) | ((x >> (32 - by)) & ((1 << by) - 1))


def threefry(key: Key, counter0: Tensor, counter1: Tensor) -> tuple[Tensor, Tensor]:
    """Threefry-2x32-20 of two int32 counter words under a key; all broadcast together."""
    k0, k1 = key
    schedule = (k0, k1, k0 ^ k1 ^ _PARITY)
    x0, x1 = counter0 + k0, counter1 + k1
    for group in range(5):
        for by in _ROTATIONS[group % 2]:
            x0 = x0 + x1
            x1 = _rotate_left(x1, by) ^ x0
        x0 = x0 + schedule[(group + 1) % 3]
        x1 = x1 + schedule[(group + 2) % 3] + (group + 1)
    return x0, x1


def seed_keys(seeds: Tensor) -> Key:
    """Keys of N models from their int64 seeds (N,)."""
    low = seeds & 0xFFFFFFFF
    return _to_int32(low), _to_int32(seeds >> 32)


def _to_int32(word: Tensor) -> Tensor:
    return torch.where(word >= 2**31, word - 2**32, word).to(torch.int32)


def stream(keys: Key, purpose: str, *counters: int) -> Key:
    """The keys of one purpose at one place, such as `stream(keys, "freeze", epoch, step)`."""
    return substream(keys, PURPOSES[purpose], *counters)


def substream(keys: Key, *numbers: int) -> Key:
    """The keys of one place below the place that `keys` stand for."""
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
    large = keys[0].device.type == "cpu" and math.prod(shape) >= COMPILED_FROM
    if large and (kernel := compiled("dynonet.draws_kernel")) is not None:
        out = torch.empty(len(keys[0]), math.prod(shape))
        kernel.uniform(*(word.contiguous().numpy().view("uint32") for word in keys), out.numpy())
        return out.view(-1, *shape)
    return ((random_bits(keys, shape) >> 8) & 0xFFFFFF).to(torch.float32) * 2.0**-24


def permutations(keys: Key, count: int) -> Tensor:
    """(N, count) int64: a random order of `count` things for each model."""
    return torch.argsort(random_bits(keys, (count,)), dim=1, stable=True)
