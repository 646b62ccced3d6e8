"""Intervals over series that were weighed against `ablations.judging.pooling`'s, over many simulated studies at once.

Cells come as (studies, series, origins) means over seeds and variances of such a mean; NaN where a series has no such
origin.
"""

from dataclasses import dataclass

import numpy as np
from scipy import stats

from ablations.judging.statistics import Array

TAIL = 0.025


@dataclass(frozen=True, eq=False)
class Found:
    """By study: bounds of 95%, and the chance that the next series' effect is positive."""

    low: Array
    high: Array
    next_series: Array


def students_t(means: Array) -> Found:
    """What `pool` does: (studies, series) means over origins."""
    k = means.shape[-1]
    centre, deviation = means.mean(-1), means.std(-1, ddof=1)
    reach = stats.t.isf(TAIL, k - 1) * deviation / np.sqrt(k)
    return Found(centre - reach, centre + reach, stats.t.cdf(centre / (deviation * np.sqrt(1 + 1 / k)), k - 1))


def mixed_model(cells: Array, variances: Array, seeds: int) -> Found:
    """Series, origins within them, seeds within those, by restricted maximum likelihood, with Satterthwaite's degrees
    of freedom: of a balanced table it is the analysis of variance (Searle, Casella and McCulloch 1992), but that a mean
    square smaller than the next level's is pooled with it. Unbalanced: of unweighted means."""
    there = np.isfinite(cells[0])
    k, origins = there.shape[0], there.sum(-1)
    m = 1 / np.mean(1 / origins)
    means = np.nanmean(cells, -1)
    within = np.nansum((cells - means[..., None]) ** 2, (-1, -2))
    levels = [  # sum of squares, degrees of freedom: of series, of origins, of seeds, per seed
        (m * seeds * means.var(-1, ddof=1) * (k - 1), float(k - 1)),
        (seeds * within, float(origins.sum() - k)),
        (np.nansum(variances, (-1, -2)) * seeds * (seeds - 1), float(origins.sum() * (seeds - 1))),
    ]
    squares, freedom = levels[0][0], np.full(len(cells), levels[0][1])
    below, its_freedom = levels[2][0], np.full(len(cells), levels[2][1])
    if levels[1][1]:
        merged = levels[1][0] / levels[1][1] < below / its_freedom  # origins' deviation is 0
        below = np.where(merged, below + levels[1][0], levels[1][0])
        its_freedom = np.where(merged, its_freedom + levels[1][1], levels[1][1])
    merged = squares / freedom < below / its_freedom  # that of series is
    squares, freedom = np.where(merged, squares + below, squares), np.where(merged, freedom + its_freedom, freedom)
    variance, centre = squares / freedom / (k * m * seeds), means.mean(-1)
    reach = stats.t.isf(TAIL, freedom) * np.sqrt(variance)
    wide = np.sqrt(variance * (k + 1))
    return Found(centre - reach, centre + reach, stats.t.cdf(centre / wide, freedom))


def hierarchical(
    cells: Array, variances: Array, seeds: int, scale: float = 2.0, tails: float = 4.0, prior: str = "normal"
) -> Found:
    """In the manner of Benavoli et al. (2017): series deviate from the mean as Student's t with `tails` degrees of
    freedom, tau wide; origins as a normal, omega wide; half-normal priors on tau and omega, `scale` and scale / 2
    deviations of a seed's effect (their own prior, uniform up to 1,000 of them, is one for many series); a flat one on
    the mean. By quadrature; the noise of seeds is taken as known."""
    there = np.isfinite(cells[0])
    unit = np.sqrt(np.nanmean(variances, (-1, -2)) * seeds)[:, None, None]
    y, v = np.where(there, cells / unit, 0), np.where(there, variances / unit**2, np.inf)
    several = bool((there.sum(-1) > 1).any())
    at = (np.arange(12) + 0.5) / 12
    grid = {"normal": stats.norm.isf((1 - at) / 2), "t": stats.t.isf((1 - at) / 2, 3)}[prior]
    taus, omegas = scale * grid, scale / 2 * grid[1::3] if several else np.zeros(1)
    mixing = tails / stats.chi2.isf((np.arange(5) + 0.5) / 5, tails)  # of normals to t
    middle = np.nanmean(np.where(there, y, np.nan), (-1, -2))
    apart = np.nanstd(np.where(there, y, np.nan).mean(-1) if not several else np.nanmean(cells, -1) / unit[..., 0], -1)
    steps = np.sinh(np.linspace(-4, 4, 121)) / 4
    mus = middle[:, None] + (apart + 0.5)[:, None] * steps
    total = np.zeros((len(y), len(taus), len(omegas), len(steps)))
    for which, omega in enumerate(omegas):
        weight = 1 / (omega**2 + v)  # (studies, series, origins)
        precision = weight.sum(-1)
        mean = (weight * y).sum(-1) / precision
        rest = 0.5 * (np.where(there, np.log(np.where(there, weight, 1)), 0).sum(-1) - np.log(precision)).sum(-1)
        rest -= 0.5 * (weight * np.where(there, (y - mean[..., None]) ** 2, 0)).sum((-1, -2))
        for place, tau in enumerate(taus):
            wide = tau**2 * mixing + 1 / precision[..., None]  # (studies, series, mixing)
            for series in range(y.shape[1]):
                off = (mean[:, series, None] - mus) ** 2
                density = sum(
                    np.exp(-0.5 * off / wide[:, series, j, None]) / np.sqrt(wide[:, series, j, None]) for j in range(5)
                )
                total[:, place, which] += np.log(density + 1e-300)
        total[:, :, which] += rest[:, None, None]
    total -= total.max((1, 2, 3), keepdims=True)
    cell = np.gradient(mus, axis=-1)
    posterior = np.exp(total) * cell[:, None, None]
    posterior /= posterior.sum((1, 2, 3), keepdims=True)
    cumulated = np.cumsum(posterior.sum((1, 2)), -1)
    bounds = [
        [np.interp(q, c, m + 0.5 * w) for c, m, w in zip(cumulated, mus, cell, strict=True)] for q in (TAIL, 1 - TAIL)
    ]
    helps = stats.t.cdf(mus[:, None] / taus[None, :, None], tails)
    found = [np.asarray(b) * unit[:, 0, 0] for b in bounds]
    return Found(*found, (posterior.sum(2) * helps).sum((1, 2)))
