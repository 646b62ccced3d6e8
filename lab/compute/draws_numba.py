"""The generator of `draws.py` on a CPU, compiled by Numba: the same bits, without a pass over memory per operation."""

# mypy: ignore-errors
# (Numba types its own code.)
import sys

import numpy as np
from numba import njit, types

from lab.compute.numba_cache import compiled_once

_MASK = np.uint32(0xFFFFFF)
_EIGHT = np.uint32(8)
_STEP = np.float32(2.0**-24)


@njit(inline="always")
def _mix(x0, x1, by):
    x0 = np.uint32(x0 + x1)
    x1 = np.uint32(np.uint32(x1 << np.uint32(by)) | np.uint32(x1 >> np.uint32(32 - by))) ^ x0
    return x0, x1


@njit(inline="always")
def _inject(x0, x1, first, second, number):
    return np.uint32(x0 + first), np.uint32(x1 + second + np.uint32(number))


@njit(inline="always")
def _threefry(a, b, counter):
    """Threefry-2x32-20 of the counter words (counter, 0) under the key (a, b)."""
    c = a ^ b ^ np.uint32(0x1BD11BDA)
    x0, x1 = np.uint32(counter + a), b
    x0, x1 = _mix(x0, x1, 13)
    x0, x1 = _mix(x0, x1, 15)
    x0, x1 = _mix(x0, x1, 26)
    x0, x1 = _mix(x0, x1, 6)
    x0, x1 = _inject(x0, x1, b, c, 1)
    x0, x1 = _mix(x0, x1, 17)
    x0, x1 = _mix(x0, x1, 29)
    x0, x1 = _mix(x0, x1, 16)
    x0, x1 = _mix(x0, x1, 24)
    x0, x1 = _inject(x0, x1, c, a, 2)
    x0, x1 = _mix(x0, x1, 13)
    x0, x1 = _mix(x0, x1, 15)
    x0, x1 = _mix(x0, x1, 26)
    x0, x1 = _mix(x0, x1, 6)
    x0, x1 = _inject(x0, x1, a, b, 3)
    x0, x1 = _mix(x0, x1, 17)
    x0, x1 = _mix(x0, x1, 29)
    x0, x1 = _mix(x0, x1, 16)
    x0, x1 = _mix(x0, x1, 24)
    x0, x1 = _inject(x0, x1, b, c, 4)
    x0, x1 = _mix(x0, x1, 13)
    x0, x1 = _mix(x0, x1, 15)
    x0, x1 = _mix(x0, x1, 26)
    x0, x1 = _mix(x0, x1, 6)
    return _inject(x0, x1, c, a, 5)


def uniform(key0, key1, out):
    """Fills (N, count) float32 with what `draws.uniform` gives for the uint32 keys (N,)."""
    count = out.shape[1]
    half = (count + 1) // 2
    for model in range(out.shape[0]):
        a, b, row = key0[model], key1[model], out[model]
        for place in range(count - half):
            x0, x1 = _threefry(a, b, np.uint32(place))
            row[place] = np.float32((x0 >> _EIGHT) & _MASK) * _STEP
            row[half + place] = np.float32((x1 >> _EIGHT) & _MASK) * _STEP
        for place in range(count - half, half):  # an odd count leaves one second word unused
            x0, x1 = _threefry(a, b, np.uint32(place))
            row[place] = np.float32((x0 >> _EIGHT) & _MASK) * _STEP


_WORDS, _NUMBERS = types.Array(types.uint32, 1, "C"), types.Array(types.float32, 2, "C")
uniform = compiled_once(uniform, types.void(_WORDS, _WORDS, _NUMBERS), (sys.modules[__name__],))
