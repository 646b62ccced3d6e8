"""Intervals, tests, contrasts: against scipy, statsmodels and brute force, and simulations whose truth is known."""

from itertools import product
from typing import Any

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from scipy import stats
from statsmodels.api import OLS

from ablations.judging.signed_ranks import equivalence_p, pseudo_median, signed_rank_interval, signed_rank_p
from ablations.judging.statistics import (
    bootstrap_t_interval,
    factorial_contrasts,
    hedges_g,
    paired_effects,
    t_interval,
)

RNG = np.random.default_rng(7)
ARM, FULL = RNG.normal(0.412, 0.01, (5, 9)), RNG.normal(0.4, 0.01, 9)
EFFECTS = ARM - FULL

# Whole numbers as well: their ties are where rounding could decide.
effects_of_one_arm = st.one_of(
    st.lists(st.integers(-3, 3).map(float), min_size=2, max_size=9),
    st.lists(st.floats(-1, 1).map(lambda x: round(x, 3)), min_size=2, max_size=9),
)


def standard_error(rate: float, studies: int) -> float:
    return float(np.sqrt(rate * (1 - rate) / studies))


def covered(interval: tuple[np.ndarray, np.ndarray], truth: float = 0.0) -> float:
    return float(((interval[0] <= truth) & (truth <= interval[1])).mean())


# Against others' code ------------------------------------------------------------------------------------------------


def test_t_interval_is_scipys() -> None:
    theirs = [stats.ttest_rel(arm, FULL).confidence_interval(0.9) for arm in ARM]
    np.testing.assert_allclose(t_interval(paired_effects(ARM, FULL), 0.9), np.transpose(theirs))


def test_factorial_contrasts_are_the_coefficients_of_a_regression_with_seeds_as_blocks() -> None:
    losses = RNG.normal(size=(2, 2, 2, 6))
    rows = [(*cell, seed) for cell in product((0, 1), repeat=3) for seed in range(6)]
    contrasts = factorial_contrasts(losses, ["film", "gates", "bilevel"])
    names = ["film", "gates", "bilevel"]
    columns = [[np.prod([1 - 2 * row[names.index(part)] for part in chosen]) for row in rows] for chosen in contrasts]
    blocks = np.eye(6)[[row[-1] for row in rows]]
    fit = OLS([losses[row] for row in rows], np.column_stack([np.transpose(columns), blocks])).fit()
    np.testing.assert_allclose([2 * fit.params[i] for i in range(7)], [values.mean() for values in contrasts.values()])
    assert list(contrasts)[:4] == [("film",), ("gates",), ("bilevel",), ("film", "gates")]


# Worked by hand ------------------------------------------------------------------------------------------------------


def test_a_factorial_main_effect_is_off_minus_on_and_an_interaction_says_who_needs_whom() -> None:
    losses = np.array([[[5.0, 6.0], [3.0, 4.0]], [[4.0, 5.0], [0.0, 1.0]]])  # (film, gates, seed)
    contrasts = factorial_contrasts(losses, ("film", "gates"))
    assert contrasts["film",].tolist() == [2.0, 2.0]  # (5 - 4 + 3 - 0) / 2
    assert contrasts["gates",].tolist() == [3.0, 3.0]
    assert contrasts["film", "gates"].tolist() == [-1.0, -1.0]  # film is worth 1 without gates, 3 with them


def test_standardised_effect() -> None:
    x = np.array([1.0, 2.0, 3.0, 4.0, 5.0, 6.0, 7.0, 8.0, 9.0])
    d_z = 5 / x.std(ddof=1)
    assert hedges_g(x) == pytest.approx(d_z * (1 - 3 / (4 * 8 - 1)), rel=2e-3)  # Hedges' own approximation
    assert np.isnan(hedges_g(np.ones(9))) and np.isnan(hedges_g(x[:2]))
    many = RNG.normal(0.8, 1, (20_000, 8))
    assert hedges_g(many).mean() == pytest.approx(0.8, abs=4 * hedges_g(many).std() / np.sqrt(20_000))


def test_effects_that_are_all_the_same_leave_no_doubt() -> None:
    same = np.full(9, 0.1) * [[1], [-1], [0]]
    for low, high in (t_interval(same), bootstrap_t_interval(same)):
        np.testing.assert_allclose(low, [0.1, -0.1, 0])
        np.testing.assert_allclose(high, [0.1, -0.1, 0])
    np.testing.assert_array_equal(signed_rank_p(same), [2 / 512, 2 / 512, 1])
    np.testing.assert_array_equal(equivalence_p(same, 0.05), [1, 1, 2 / 512])


@settings(deadline=None)
@given(effects_of_one_arm, st.randoms(use_true_random=False))
def test_order_of_seeds_and_neighbours_make_no_difference(values: list[float], random: Any) -> None:
    shuffled = random.sample(values, len(values))
    beside = np.array([RNG.normal(size=len(values)), shuffled])
    for function in (
        t_interval,
        lambda x: bootstrap_t_interval(x, resamples=199),
        lambda x: signed_rank_interval(x, 0.1),
        lambda x: equivalence_p(x, 0.3),
        pseudo_median,
        signed_rank_p,
        hedges_g,
    ):
        np.testing.assert_allclose(function(values), np.array(function(beside))[..., 1], rtol=1e-7, atol=1e-9)


# Against simulations of known truth ----------------------------------------------------------------------------------


@pytest.mark.parametrize("n", [8, 12])
def test_coverage_of_the_intervals_under_normal_noise(n: int) -> None:
    x = RNG.normal(size=(4000, n))
    error = standard_error(0.95, 4000)
    assert covered(t_interval(x)) == pytest.approx(0.95, abs=3 * error)
    assert covered(bootstrap_t_interval(x, resamples=999)) == pytest.approx(0.95, abs=3 * error + 0.01)


def test_bootstrap_t_shows_what_the_t_interval_misses_under_skewed_noise() -> None:
    x = RNG.exponential(size=(4000, 10))
    t, bootstrap = covered(t_interval(x), 1), covered(bootstrap_t_interval(x, resamples=999), 1)
    assert t < 0.92 < bootstrap < 0.97


# Refusals ------------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("call", "message"),
    [
        (
            lambda: paired_effects(np.ones((3, 8)), np.ones(9)),
            r"same seed twice: got losses of shape \(3, 8\), of full",
        ),
        (lambda: paired_effects([1.0, np.nan], [1.0, 1.0]), "values must be finite: a diverged run"),
        (lambda: t_interval([1.0]), r"at least two seeds are needed, got shape \(1,\)"),
        (lambda: t_interval(EFFECTS, 95), "level must be between 0 and 1, got 95"),
        (lambda: signed_rank_interval(EFFECTS, 0.0), "alpha must be between 0 and 1, got 0.0"),
        (lambda: signed_rank_p(np.ones(61)), "at most 60 seeds, got 61"),
        (lambda: equivalence_p(EFFECTS, 0.0), "margin must be positive, got 0.0"),
        (lambda: factorial_contrasts(np.ones((2, 3, 4)), ("a", "b")), r"need losses of shape \(2, 2\) and seeds, got"),
        (lambda: factorial_contrasts(np.ones((2, 2, 4)), ("a", "a")), "parts"),
    ],
)
def test_what_cannot_be_computed_is_refused(call: Any, message: str) -> None:
    with pytest.raises(ValueError, match=message):
        call()
