"""The GPU generator against the torch path, bit for bit: on a GPU, else in Triton's interpreter on the CPU."""

import importlib
import importlib.util
import os
from types import ModuleType

import pytest
import torch
from torch import Tensor

from lab.compute.draws import Key, Purpose, random_bits, seed_keys, stream

ON_GPU = torch.cuda.is_available()
DEVICE = torch.device("cuda" if ON_GPU else "cpu")


def load() -> ModuleType:
    """The kernel's module; without a GPU under the interpreter, which must be asked for before triton is imported."""
    if importlib.util.find_spec("triton") is None:
        pytest.skip("triton is not installed (torch's CUDA builds bring it)", allow_module_level=True)
    if not ON_GPU:
        os.environ["TRITON_INTERPRET"] = "1"  # for good: triton imports more of itself at the first launch
    module = importlib.import_module("lab.compute.draws_triton")
    interpreted = (type(f).__name__ == "InterpretedFunction" for f in (module._uniform, module.tl.sum))
    if not ON_GPU and not all(interpreted):
        raise RuntimeError("triton was imported before this file asked for its interpreter; set TRITON_INTERPRET=1")
    return module


kernel = load()
SEEDS = [0, 3, 2**31, 2**32 - 1, 2**63 - 1, -1]


def keys() -> Key:
    low, high = stream(seed_keys(torch.tensor(SEEDS)), Purpose.DROPOUT, 3, 2)
    return low.to(DEVICE), high.to(DEVICE)


def plain(key: Key, count: int) -> Tensor:
    """`draws.uniform` as torch operations give it, on the CPU whatever kernels are asked for."""
    bits = random_bits((key[0].cpu(), key[1].cpu()), (count,))
    return (((bits >> 8) & 0xFFFFFF).to(torch.float32) * 2.0**-24).to(DEVICE)


@pytest.mark.parametrize("count", [1, 2, 3, 101, 2047, 2048, 2049, 4095, 4096, 4097, 10_001])
def test_the_same_bits(count: int) -> None:
    got = kernel.uniform(*keys(), count)
    assert got.dtype == torch.float32
    assert got.shape == (len(SEEDS), count)
    assert torch.equal(got, plain(keys(), count))


def test_known_answer_of_random123() -> None:
    """Key and counter zero: the first of Threefry-2x32-20's published vectors (6b200159 99ba4efe)."""
    zero = torch.zeros(1, dtype=torch.int32, device=DEVICE)
    expected = [(word >> 8) * 2.0**-24 for word in (0x6B200159, 0x99BA4EFE)]
    assert kernel.uniform(zero, zero, 2)[0].tolist() == expected


def test_a_model_does_not_see_its_neighbours() -> None:
    low, high = keys()
    together = kernel.uniform(low, high, 777)
    assert torch.equal(kernel.uniform(low[1:5:2], high[1:5:2], 777), together[1:5:2])  # words that do not lie together
    assert torch.equal(kernel.uniform(low[3:4], high[3:4], 777), together[3:4])


def test_nothing_to_draw() -> None:
    low, high = keys()
    assert kernel.uniform(low[:0], high[:0], 5).shape == (0, 5)
    assert kernel.uniform(low, high, 0).shape == (6, 0)


def test_what_is_no_key_is_refused() -> None:
    low, high = keys()
    with pytest.raises(ValueError, match=r"got keys torch.int64 \(6,\) and torch.int32 \(6,\), expected int32"):
        kernel.uniform(low.long(), high, 5)
    with pytest.raises(ValueError, match=r"and torch.int32 \(5,\)"):
        kernel.uniform(low, high[1:], 5)
    with pytest.raises(ValueError, match="got count -1"):
        kernel.uniform(low, high, -1)


@pytest.mark.skipif(not ON_GPU, reason="needs a GPU")
def test_another_size_compiles_nothing() -> None:
    def compiled() -> int:
        return sum(len(cache[0]) for cache in kernel._uniform.device_caches.values())

    kernel.uniform(*keys(), 100)
    before = compiled()
    for count in (1, 16, 4096, 100_003):
        for first in (0, 1):
            low, high = keys()
            kernel.uniform(low[first:], high[first:], count)
    assert compiled() == before
