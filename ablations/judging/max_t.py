"""A joint test of arms that share `full`: the largest t under flips of whole seeds (Westfall and Young 1993).

In place of Holm's it asks more of the noise and less of the seeds: the smallest p is 2 / 2^n for all arms together, so
that six seeds can decide, where Holm's needs nine for twelve arms. What it asks: that the effects of all arms at one
seed, taken together, are as likely with all their signs turned. That is more than each arm's own symmetry, for they
share `full`: where its noise is skewed it fails for all of them at once. It is off unless a study asks for it
(`correction: max_t`). Single-step: an arm that is decided makes nothing easier for the others.
"""

from typing import NamedTuple

import numpy as np
from numpy.typing import ArrayLike

from ablations.judging.statistics import Array, checked, fraction, standard_error

EXACT_SEEDS = 14  # all flips up to here; beyond, as many drawn ones as there are here
_TIE = 1e-9


class MaxT(NamedTuple):
    p: Array  # (..., m), familywise
    critical: Array  # (...), |t| above it is decided at alpha; infinite where so few seeds can decide nothing


def max_t(effects: ArrayLike, alpha: float, seed: int = 0) -> MaxT:
    """(..., m, n) effects of m arms at the same n seeds.

    Raises:
        ValueError: effects that are not finite, fewer than two, or an alpha outside (0, 1).
    """
    x = checked(effects)
    n = x.shape[-1]
    level = float(fraction("alpha", alpha))
    t = np.abs(_t(x))
    signs = _signs(n, seed)
    squares = (x**2).sum(-1)
    largest = np.empty((*x.shape[:-2], len(signs)))
    for place in np.ndindex(x.shape[:-2]):
        means = x[place] @ signs.T / n
        variances = np.maximum(squares[place][:, None] - n * means**2, 0) / (n - 1)
        error = np.sqrt(variances / n)
        with np.errstate(divide="ignore", invalid="ignore"):
            largest[place] = np.where(means == 0, 0, np.abs(means) / error).max(0)
    p = (largest[..., None, :] >= t[..., :, None] * (1 - _TIE)).mean(-1)
    allowed = int(np.floor(level * len(signs) + 1e-9))  # flips that may be as large
    ordered = np.sort(largest, axis=-1)
    critical = ordered[..., -(allowed + 1)] if allowed >= 2 else np.full(x.shape[:-2], np.inf)
    return MaxT(p, critical)


def _t(x: Array) -> Array:
    mean, error = x.mean(-1), standard_error(x)
    return np.where(error > 0, mean / np.where(error > 0, error, 1), np.where(mean == 0, 0, np.inf))


def _signs(n: int, seed: int) -> Array:
    """(f, n) of 1 and -1, the observed signs first, each beside its mirror image."""
    if n <= EXACT_SEEDS:
        half = np.arange(2 ** (n - 1))
    else:
        drawn = np.random.default_rng(seed).choice(2 ** (n - 1) - 1, 2 ** (EXACT_SEEDS - 1) - 1, replace=False)
        half = np.concatenate([[0], 1 + drawn])
    signs = 1.0 - 2.0 * (half[:, None] >> np.arange(n) & 1)
    return np.concatenate([signs, -signs])
