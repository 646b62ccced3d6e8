"""What rows hold, as marks that any other copy of some of them shares: whatever file, store, name or setting it is read
by, and whichever channels and rows are read.

Sixteen values on end of a channel are hashed, rounded to six digits, and of every so many hashes on end the least is
kept (winnowing: Schleimer, Wilkerson and Aiken, SIGMOD 2003). Which are kept follows from the values alone, so two
readings that share a stretch of a channel share a mark: surely from `every` + 15 rows on. Stretches of one value say
nothing and are passed over. What was rescaled or resampled is other content, which no mark can tell.
"""

import hashlib

import numpy as np
from numpy.lib.stride_tricks import sliding_window_view

EVERY, SELDOM = 48, 480  # hashes of which one is kept: of rows that are read once, and of others
_ON_END = 16  # values of a hash
_DIGITS = 2.0**20  # of a value's mantissa
_FACTOR = np.uint64(0x9E3779B97F4A7C15)


def marks_of(values: np.ndarray, every: int = EVERY) -> tuple[str, ...]:
    """The marks of rows (rows, C), sorted.

    Args:
        every: of how many hashes one is kept, of short series fewer. Those kept with more are kept with fewer, too.
    """
    found = {f"{mark:012x}" for channel in np.asarray(values, float).T for mark in _marks(channel, every)}
    if not found:  # nothing moves in it
        found = {hashlib.sha256(np.ascontiguousarray(values, "<f8").tobytes()).hexdigest()[:12]}
    return tuple(sorted(found))


def _marks(channel: np.ndarray, every: int) -> list[int]:
    on_end = min(_ON_END, len(channel))
    mantissa, exponent = np.frexp(channel)
    whole = np.rint(mantissa * _DIGITS).astype(np.int64) * 4096 + exponent
    stretches = sliding_window_view(whole.astype(np.uint64), on_end)
    hashes = np.zeros(len(stretches), np.uint64)
    for place in range(on_end):  # wraps around, as a hash may
        hashes = _mixed(hashes * _FACTOR + stretches[:, place])
    hashes = hashes[(stretches != stretches[:, :1]).any(axis=1)] >> np.uint64(16)
    if not len(hashes):
        return []
    span = min(every, max(1, len(channel) // 8), len(hashes))
    return [int(mark) for mark in np.unique(sliding_window_view(hashes, span).min(axis=1))]


def _mixed(bits: np.ndarray) -> np.ndarray:
    """Each bit of what comes hangs on every bit of what goes in (the finaliser of splitmix64)."""
    bits = (bits ^ (bits >> np.uint64(30))) * np.uint64(0xBF58476D1CE4E5B9)
    bits = (bits ^ (bits >> np.uint64(27))) * np.uint64(0x94D049BB133111EB)
    return np.asarray(bits ^ (bits >> np.uint64(31)))
