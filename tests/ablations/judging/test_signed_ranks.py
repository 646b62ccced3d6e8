"""The typical effect: against scipy and brute force, its interval against its test, and the noise it is for."""

from itertools import product

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from scipy import stats

from ablations.judging.max_t import max_t
from ablations.judging.signed_ranks import (
    equivalence_p,
    probability_of_improvement,
    pseudo_median,
    signed_rank_interval,
    signed_rank_p,
    smallest_p,
)

RNG = np.random.default_rng(7)
tied = st.lists(st.integers(-3, 3).map(float), min_size=2, max_size=8)


def p_by_hand(x: np.ndarray) -> float:
    """All 2^n sums of signed mid-ranks; those of zeros count for neither side (Pratt)."""
    ranks = np.where(x == 0, 0, stats.rankdata(np.abs(x)))
    sums = np.array([np.dot(signs, ranks) for signs in product((0, 1), repeat=len(x))])
    seen = ranks[x > 0].sum()
    return min(1.0, 2 * min((sums <= seen + 1e-9).mean(), (sums >= seen - 1e-9).mean()))


@pytest.mark.parametrize("n", [2, 5, 9, 12, 40])
def test_p_is_scipys(n: int) -> None:
    x = RNG.normal(0.3, 1, (4, n))
    np.testing.assert_allclose(signed_rank_p(x), [stats.wilcoxon(row, method="exact").pvalue for row in x])


@settings(deadline=None)
@given(tied)
def test_p_counts_every_sign_vector_with_ties_and_zeros(values: list[float]) -> None:
    x = np.array(values)
    assert signed_rank_p(x) == pytest.approx(p_by_hand(x))
    assert signed_rank_p(x * 0.1 + 0) == pytest.approx(p_by_hand(x)), "rounding tells no tie apart"


def test_the_pseudo_median_is_that_of_the_pairs_and_one_run_does_not_move_it_far() -> None:
    x = np.array([0.01, 0.02, 0.03, 0.05])
    assert pseudo_median(x) == pytest.approx(0.0275)  # of 0.01 0.015 0.02 0.02 0.025 0.03 0.03 0.035 0.04 0.05
    assert pseudo_median(np.array([0.01, 0.02, 0.03, 5])) == pytest.approx(0.0275)
    assert probability_of_improvement([0.1, -0.1, 0, 0.2]) == 0.625


@pytest.mark.parametrize("alpha", [0.01, 0.05, 0.2])
def test_the_interval_excludes_0_exactly_where_the_test_rejects(alpha: float) -> None:
    x = RNG.normal(0.6, 1, (300, 9))
    low, high = signed_rank_interval(x, alpha)
    rejected = signed_rank_p(x) <= alpha
    np.testing.assert_array_equal((low > 0) | (high < 0), rejected)
    assert 0.05 < rejected.mean() < 0.95
    within = equivalence_p(x, 1.0) <= alpha
    np.testing.assert_array_equal((low > -1) & (high < 1), within), "one interval decides of both"


def test_an_alpha_per_row_and_no_bound_where_nothing_can_be_rejected() -> None:
    x = RNG.normal(size=(3, 9))
    low, high = signed_rank_interval(x, [0.5, smallest_p(9), smallest_p(9) / 2])
    np.testing.assert_allclose([low[1], high[1]], [x[1].min(), x[1].max()])
    assert (low[2], high[2]) == (-np.inf, np.inf) and low[0] > x[0].min()


@pytest.mark.parametrize("noise", ["normal", "t2", "skewed"])
def test_level_of_the_test_whatever_the_spread(noise: str) -> None:
    """Each seed as wide as it likes; under skewed noise about a pseudo-median of 0 (0.8392 of an exponential's)."""
    draws = {"normal": RNG.normal(size=(8000, 9)), "t2": RNG.standard_t(2, (8000, 9)),
             "skewed": RNG.exponential(size=(8000, 9)) - 0.8392}  # fmt: skip
    x = draws[noise] * (1 if noise == "skewed" else np.array([1, 1, 1, 1, 1, 8, 8, 8, 8]))
    error = np.sqrt(0.05 * 0.95 / 8000)
    assert (signed_rank_p(x) <= 0.05).mean() <= (0.08 if noise == "skewed" else 0.05 + 3 * error)
    low, high = signed_rank_interval(x, 0.05)
    assert ((low <= 0) & (high >= 0)).mean() >= (0.92 if noise == "skewed" else 0.95 - 3 * error)


# The joint test ------------------------------------------------------------------------------------------------------


def test_max_t_is_the_share_of_flips_of_whole_seeds_by_hand() -> None:
    x = RNG.normal(0.4, 1, (3, 5))

    def largest(rows: np.ndarray) -> np.ndarray:
        return np.abs(rows.mean(-1)) / (rows.std(-1, ddof=1) / np.sqrt(5))

    flips = np.array([largest(x * signs).max() for signs in product((1, -1), repeat=5)])
    found = max_t(x, 0.25)
    np.testing.assert_allclose(found.p, [(flips >= t - 1e-9).mean() for t in largest(x)])
    np.testing.assert_array_equal(found.p <= 0.25, largest(x) > found.critical)
    assert max_t(x[:, :4], 0.05).critical == np.inf, "four seeds decide nothing at 5%"


def test_max_t_decides_large_effects_with_six_seeds_and_keeps_alpha() -> None:
    full, arm = RNG.normal(size=(2000, 1, 6)), RNG.normal(size=(2000, 12, 6))
    assert (max_t(arm - full, 0.05).p <= 0.05).any(-1).mean() <= 0.05 + 3 * np.sqrt(0.05 * 0.95 / 2000)
    arm[:, 0] += 4 * np.sqrt(2)
    assert (max_t(arm - full, 0.05).p[:, 0] <= 0.05).mean() > 0.8
