"""The rule that verdicts had until version 2.61, to be set beside today's: the mean effect, its sign-flip test (Fisher
1935), the paired-t equivalence test, the paired-t interval, and a moving-block bootstrap over windows."""

import numpy as np
from numpy.typing import ArrayLike
from scipy import stats

from ablations.judging.statistics import Array, paired_effects, standard_error
from ablations.judging.verdicts import Evidence


def evidence(arm: ArrayLike, full: ArrayLike, margin_percent: float) -> Evidence:
    """As `ablations.judging.verdicts.evidence`, of at most 16 seeds, without divergence."""
    x, baseline = paired_effects(arm, full), np.asarray(full, float)
    margin = np.broadcast_to(margin_percent / 100 * baseline.mean(-1), x.shape[:-1])
    return Evidence(
        p=sign_flip_p(x), direction=np.sign(x.mean(-1)).astype(int), equivalence_p=equivalence_p(x, margin),
        diverged=np.zeros(x.shape[:-1], bool),
    )  # fmt: skip


def sign_flip_p(effects: Array) -> Array:
    """The share of all 2^n sign vectors whose |sum| is at least the observed one, (..., n) -> (...)."""
    n = effects.shape[-1]
    signs = 1.0 - 2.0 * (np.arange(2 ** (n - 1))[:, None] >> np.arange(n) & 1)
    rows, p = effects.reshape(-1, n), []
    for part in np.array_split(rows, max(1, len(rows) // 500)):
        sums = np.abs(part @ signs.T)
        p.append((sums >= sums[:, :1] - 1e-12 * np.abs(part).max(-1, keepdims=True)).mean(-1))
    return np.concatenate(p).reshape(effects.shape[:-1])


def equivalence_p(effects: Array, margin: Array) -> Array:
    """Two one-sided paired t tests (Schuirmann 1987)."""
    t = (margin - np.abs(effects.mean(-1))) / standard_error(effects)
    return np.asarray(stats.t.sf(t, effects.shape[-1] - 1))


def window_interval(x: Array, block: int, resamples: int = 999, seed: int = 0) -> tuple[float, float]:
    """(windows,) differences: Künsch's (1989) moving blocks, stretched by the factors of a t interval."""
    windows, tail = len(x), 0.025
    if windows < 2 * block:
        return -np.inf, np.inf
    whole, rest = divmod(windows, block)
    starts = np.random.default_rng(seed).integers(0, windows - block + 1, (resamples, whole + 1))
    sums, lengths = np.concatenate([[0], np.cumsum(x)]), np.array([block] * whole + [rest])
    means = (sums[starts + lengths] - sums[starts]).sum(-1) / windows
    blocks = windows / block
    stretch = np.sqrt(blocks / (blocks - 1)) * stats.t.isf(tail, blocks - 1) / stats.norm.isf(tail)
    low, high = x.mean() + stretch * np.quantile(means - means.mean(), [tail, 1 - tail])
    return float(low), float(high)
