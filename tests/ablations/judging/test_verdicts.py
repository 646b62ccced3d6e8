"""Corrections, verdicts and looks: truth tables, and error rates of whole studies whose truth is known."""

from typing import Any

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from statsmodels.stats.multitest import multipletests

from ablations.judging.max_t import max_t
from ablations.judging.signed_ranks import signed_rank_interval, signed_rank_p, smallest_p
from ablations.judging.verdicts import (
    HELPS,
    HURTS,
    INVALID,
    NO_EFFECT,
    RESOLUTION,
    UNDECIDED,
    Evidence,
    Standing,
    evidence,
    holm,
    holm_alpha,
    judge,
    look_schedule,
    seeds_needed,
)
from scripts.verdicts import before
from scripts.verdicts.simulate import TINY, judged, typical
from scripts.verdicts.simulate import studies as noisy

ARMS, ALPHA, STUDIES = 12, 0.05, 2000
LOSS, NOISE = 0.4, 0.002  # of `full`; what a seed changes
BOUND = ALPHA + 3 * np.sqrt(ALPHA * (1 - ALPHA) / STUDIES)  # alpha and three Monte Carlo standard errors
NO_MARGIN = 0.01  # percent: so narrow that equivalence is never shown


def studies(noise: str, seeds: int, effects: Any = 0.0, seed: int = 1) -> tuple[np.ndarray, np.ndarray]:
    """(2000, arms, n) losses of arms, (2000, 1, n) of `full`, which all arms of a study share."""
    rng = np.random.default_rng(seed)

    def draw(arms: int) -> np.ndarray:
        shape = (STUDIES, arms, seeds)
        return NOISE * (rng.standard_normal(shape) if noise == "normal" else rng.standard_t(2, shape))

    return LOSS + np.broadcast_to(effects, ARMS)[:, None] + draw(ARMS), LOSS + draw(1)


def rate(verdict: np.ndarray, *wrong: str) -> float:
    """The share of studies with any such verdict."""
    return float(np.isin(verdict, wrong).any(-1).mean())


# Seeds and looks -----------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("alpha", "family", "looks", "seeds"),
    [(0.05, 12, 1, 9), (0.05, 12, 3, 11), (0.05, 1, 1, 6), (0.05, 36, 1, 11), (0.5, 1, 1, 2), (0.05, 1000, 1, 16)],
)
def test_seeds_needed_is_the_least_number_that_can_decide(alpha: float, family: int, looks: int, seeds: int) -> None:
    assert seeds_needed(alpha, family, looks) == seeds
    assert looks * holm([smallest_p(seeds)], family)[0] <= alpha
    assert seeds == 2 or looks * holm([smallest_p(seeds - 1)], family)[0] > alpha


@pytest.mark.parametrize("n", [2, 5, 9, 16, 20])
def test_the_smallest_p_is_attained(n: int) -> None:
    assert signed_rank_p(np.arange(1.0, n + 1)) == smallest_p(n)
    assert smallest_p(5) == 0.0625


@pytest.mark.parametrize(
    ("first", "most", "looks", "schedule"),
    [
        (11, 15, 3, (11, 13, 15)),
        (11, 16, 3, (11, 13, 16)),
        (9, 9, 1, (9,)),
        (9, 12, 1, (12,)),
        (11, 13, 3, (11, 12, 13)),
    ],
)
def test_look_schedule(first: int, most: int, looks: int, schedule: tuple[int, ...]) -> None:
    assert look_schedule(first, most, looks) == schedule


@pytest.mark.parametrize(
    ("call", "message"),
    [
        (lambda: look_schedule(11, 12, 3), "3 looks do not fit between 11 and 12 seeds: allowed are 1 to 2"),
        (lambda: seeds_needed(5e-15, 5000), "asks for p <= 1e-18, but the smallest p is 1.7e-18"),
        (lambda: seeds_needed(5, 12), "alpha must be between 0 and 1, got 5"),
        (lambda: holm([0.1, 0.2], 1), "a family of 1 cannot hold 2 p-values"),
        (lambda: holm([0.1, np.nan], 2), "p-values must lie between 0 and 1"),
        (lambda: evidence([1.0, np.inf], [1.0, 1.0], 1.0), "values must be finite"),
        (lambda: evidence([1.0, 2.0], [1.0, 1.0], 0.0), "margin must be positive"),
    ],
)
def test_what_cannot_be_computed_is_refused(call: Any, message: str) -> None:
    with pytest.raises(ValueError, match=message):
        call()


# Holm ----------------------------------------------------------------------------------------------------------------

p_values = st.lists(st.integers(1, 512).map(lambda count: count / 512), min_size=1, max_size=8)  # with ties


@settings(max_examples=15, deadline=None)  # theirs is slow
@given(p_values, st.integers(0, 4))
def test_holm_is_statsmodels_with_what_is_missing_at_1(p: list[float], missing: int) -> None:
    theirs = multipletests(p + [1.0] * missing, method="holm")[1][: len(p)]
    np.testing.assert_allclose(holm(p, len(p) + missing), theirs)


@settings(deadline=None)
@given(p_values, st.integers(0, 4), st.sampled_from([0.05, 0.1, 0.3]))
def test_each_p_is_at_most_its_step_exactly_where_holm_rejects(p: list[float], missing: int, alpha: float) -> None:
    steps = holm_alpha(p, alpha, len(p) + missing)
    np.testing.assert_array_equal(np.array(p) <= steps, holm(p, len(p) + missing) <= alpha)
    for this, step in zip(p, steps, strict=True):  # arms with one p have one step: order decides nothing
        assert all(step == other for same, other in zip(p, steps, strict=True) if same == this)


def test_holm_steps_by_hand() -> None:
    np.testing.assert_allclose(holm_alpha([0.001, 0.02, 0.4], 0.05, 3), [0.05 / 3, 0.05 / 2, 0.05])
    np.testing.assert_allclose(holm_alpha([0.03, 0.001, 0.4], 0.05, 3), [0.05 / 2, 0.05 / 3, 0.05 / 2])


# Verdicts ------------------------------------------------------------------------------------------------------------

UP, DOWN = 1, -1


@pytest.mark.parametrize(
    ("p", "direction", "equivalence_p", "diverged", "verdict"),
    [
        (0.004, UP, 0.9, False, HELPS),
        (0.004, DOWN, 0.9, False, HURTS),
        (0.004, UP, 0.004, False, NO_EFFECT),  # however small p is
        (1.0, 0, 0.004, False, NO_EFFECT),
        (0.03, UP, 0.03, False, UNDECIDED),  # either alone, but not as one of two
        (0.004, UP, 1.0, True, HELPS),
        (0.03, UP, 1.0, True, INVALID),
        (1.0, 0, 1.0, True, INVALID),
    ],
)
def test_verdict(p: float, direction: int, equivalence_p: float, diverged: bool, verdict: str) -> None:
    one = Evidence(np.array(p), np.array(direction), np.array(equivalence_p), np.array(diverged))
    other = Evidence(np.array(0.5), np.array(UP), np.array(0.5), np.array(False))
    standing = judge(Evidence.of([one, other]), 9, ALPHA, family=2)
    assert standing.verdict.tolist() == [verdict, UNDECIDED]
    assert judge(Evidence.of([one]), 9, ALPHA, family=2).verdict.tolist() == [verdict]  # the other was lost


LOST = np.nan
BASE = LOSS + np.arange(9) / 1000
TWO_TO_ONE = float(signed_rank_p([0.1] * 6 + [1.2, 1.2, -1.2]))
BETTER, WORSE, MIXED = BASE - 0.1, BASE + 0.1, BASE + np.where(np.arange(9) % 2, 0.1, -0.1)


def with_lost(losses: np.ndarray, *seeds: int) -> np.ndarray:
    losses = losses.copy()
    losses[list(seeds)] = LOST
    return losses


@pytest.mark.parametrize(
    ("arm", "full", "p", "verdict"),
    [
        (WORSE, BASE, 2 / 512, HELPS),
        (with_lost(WORSE, 3), BASE, 2 / 512, HELPS),  # the arm diverged: worse still
        (with_lost(WORSE, *range(9)), BASE, 2 / 512, HELPS),  # without the part nothing trains
        (with_lost(BETTER, 3), BASE, 1.0, INVALID),  # better, but for a run that diverged
        (with_lost(BETTER, *range(8)), BASE, 1.0, INVALID),  # divergence never turns the others round
        (BETTER, with_lost(BASE, 3), 2 / 512, HURTS),  # `full` diverged where the arm did not
        (WORSE, with_lost(BASE, 3), 1.0, INVALID),
        (with_lost(WORSE, 3), with_lost(BASE, 3), 1.0, INVALID),  # both did: the sign hangs on which is worse
        (with_lost(WORSE, 1, 2, 3), with_lost(BASE, 3), TWO_TO_ONE, INVALID),  # the larger p of either
        (with_lost(MIXED, 3), BASE, None, INVALID),
        (with_lost(BASE, 3), BASE, 1.0, INVALID),  # all but one the same: not equivalent
    ],
)
def test_a_diverged_run_counts_as_the_worst_outcome(
    arm: np.ndarray, full: np.ndarray, p: float | None, verdict: str
) -> None:
    of = evidence(arm, full, margin_percent=1)
    assert p is None or of.p == p  # both are counts over 2^n
    assert judge(Evidence.of([of]), 9, ALPHA, family=1).verdict.tolist() == [verdict]
    np.testing.assert_array_equal(of.diverged, verdict == INVALID or np.isnan(arm + full).any())


def test_a_diverged_run_outweighs_all_others_whatever_it_would_have_been() -> None:
    others = np.array([0.03, -0.01, 0.02, 0.05, 0.01, -0.02, 0.04, 0.01])
    for weight in (1.0, 1e6):
        counted = signed_rank_p(np.append(others, weight))
        assert evidence(np.append(LOSS + others, LOST), np.full(9, LOSS), 1).p == counted


def test_the_margin_is_a_percent_of_fulls_mean() -> None:
    arm = BASE + 0.01 + np.tile([1e-4, -1e-4, 0], 3)
    percent = 100 * 0.01 / BASE.mean()
    assert evidence(arm, BASE, percent * 1.1).equivalence_p == smallest_p(9)
    assert evidence(arm, BASE, percent).equivalence_p == evidence(arm, BASE, percent * 0.9).equivalence_p == 1


@settings(deadline=None)
@given(st.permutations(range(6)), st.permutations(range(9)))
def test_order_of_arms_and_seeds_makes_no_difference(arms: list[int], seeds: list[int]) -> None:
    rng = np.random.default_rng(3)
    losses = BASE + np.array([0, 0, 0.002, 0.01, -0.01, -0.02])[:, None] + rng.normal(0, 0.002, (6, 9))
    losses[4, 2] = LOST  # better, but for this
    straight = judge(evidence(losses, BASE, 2), 9, ALPHA, 6)
    shuffled = judge(evidence(losses[np.ix_(arms, seeds)], BASE[seeds], 2), 9, ALPHA, 6)
    assert set(straight.verdict) == {HELPS, HURTS, NO_EFFECT, INVALID}
    np.testing.assert_array_equal(shuffled.verdict, straight.verdict[arms])
    np.testing.assert_array_equal(shuffled.p_adjusted, straight.p_adjusted[arms])
    np.testing.assert_array_equal(shuffled.interval_alpha, straight.interval_alpha[arms])
    np.testing.assert_allclose(shuffled.equivalence_p_adjusted, straight.equivalence_p_adjusted[arms])


# Whole studies, two thousand at a time -------------------------------------------------------------------------------


@pytest.mark.parametrize("noise", ["normal", "heavy"])
@pytest.mark.parametrize("seeds", [9, 12])
def test_familywise_rate_of_any_false_effect(noise: str, seeds: int) -> None:
    arm, full = studies(noise, seeds)
    wrong = rate(judge(evidence(arm, full, NO_MARGIN), seeds, ALPHA, ARMS).verdict, HELPS, HURTS)
    assert 0.6 * ALPHA < wrong <= BOUND


@pytest.mark.parametrize(("noise", "spread"), [("normal", 8), ("t2", 4), ("exponential", 8), ("lognormal", 8)])
def test_familywise_rates_whatever_the_spread_and_nearly_under_skew(noise: str, spread: float) -> None:
    """Typical effects of 0, or at the margin: at most alpha under symmetric noise, at most 10% under skewed."""
    most = BOUND if noise in ("normal", "t2") else 0.1 + 3 * np.sqrt(0.1 * 0.9 / STUDIES)
    arm, full = noisy(noise, spread, 9, STUDIES, typical(noise, spread, 400_000))
    assert judged(evidence, arm, full, TINY, HELPS, HURTS) <= most
    margin = 20.0 * spread
    at_margin = arm + margin / 100 * full.mean(-1, keepdims=True)
    assert judged(evidence, at_margin, full, margin, NO_EFFECT) <= most
    if noise == "lognormal":  # what it was: where 5% were meant
        assert judged(before.evidence, at_margin, full, margin, NO_EFFECT) > 0.12


def test_power_at_two_deviations_with_nine_seeds() -> None:
    arm, full = studies("normal", 9)
    arm[:, 0] += 2 * np.sqrt(2) * NOISE
    assert (judge(evidence(arm, full, NO_MARGIN), 9, ALPHA, ARMS).verdict[:, 0] == HELPS).mean() > 0.8 - 0.01


def test_nothing_differs_by_less_than_two_machines_do() -> None:
    for size, verdict in ((0.5, UNDECIDED), (2.0, HELPS)):
        of = evidence(BASE * (1 + size * RESOLUTION), BASE, NO_MARGIN)
        assert of.p == smallest_p(9)
        assert judge(Evidence.of([of]), 9, ALPHA, family=1).verdict.tolist() == [verdict]


def test_a_joint_test_stands_in_holms_place_with_six_seeds() -> None:
    arm, full = studies("normal", 6)
    arm, full = arm[0], full[0]
    arm[0] += 0.02
    now, joint = evidence(arm, full, NO_MARGIN), max_t(arm - full, ALPHA)
    assert (judge(now, 6, ALPHA, ARMS).verdict == UNDECIDED).all()
    standing = judge(now, 6, ALPHA, ARMS, joint=joint)
    assert standing.verdict.tolist() == [HELPS] + [UNDECIDED] * 11 and standing.p_adjusted[0] == 2 / 2**6
    assert (standing.critical == joint.critical).all()


def test_familywise_rate_where_half_of_the_arms_have_an_effect() -> None:
    effects = np.repeat([0.02, 0.0], ARMS // 2)
    arm, full = studies("normal", 10, effects)
    standing = judge(evidence(arm, full, NO_MARGIN), 10, ALPHA, ARMS)
    assert (standing.verdict[:, effects > 0] == HELPS).all()
    assert 0.5 * ALPHA < rate(standing.verdict[:, effects == 0], HELPS, HURTS) <= BOUND


@pytest.mark.parametrize("sign", [1, -1])
def test_familywise_rate_of_false_equivalence_at_the_margin(sign: int) -> None:
    arm, full = studies("normal", 9, sign * 0.01 * LOSS)
    assert 0.2 * ALPHA < rate(judge(evidence(arm, full, 1), 9, ALPHA, ARMS).verdict, NO_EFFECT) <= BOUND


def test_equivalence_is_shown_where_it_is_true() -> None:
    arm, full = studies("normal", 9)
    assert (judge(evidence(arm, full, 2), 9, ALPHA, ARMS).verdict == NO_EFFECT).mean() > 0.99


def run_looks(arm: np.ndarray, full: np.ndarray, margin: float, schedule: tuple[int, ...]) -> Standing:
    standing = None
    for seeds in schedule:
        now = evidence(arm[..., :seeds], full[..., :seeds], margin)
        standing = judge(now, seeds, ALPHA, ARMS, len(schedule), standing)
    assert standing is not None
    return standing


@pytest.mark.parametrize("noise", ["normal", "heavy"])
def test_familywise_rate_over_three_looks(noise: str) -> None:
    arm, full = studies(noise, 15)
    wrong = rate(run_looks(arm, full, NO_MARGIN, look_schedule(11, 15, 3)).verdict, HELPS, HURTS)
    assert 0.3 * ALPHA < wrong <= BOUND  # the looks share most seeds, and Bonferroni does not know


def test_familywise_rate_of_false_equivalence_over_three_looks() -> None:
    arm, full = studies("normal", 13, 0.01 * LOSS)
    wrong = rate(run_looks(arm, full, 1, look_schedule(11, 13, 3)).verdict, NO_EFFECT)
    assert 0.1 * ALPHA < wrong <= BOUND


def test_what_is_decided_at_a_look_stays_and_only_undecided_arms_are_read_again() -> None:
    spread = np.tile([NOISE, -NOISE], 6) + np.arange(12) / 1e5
    full = np.full(12, LOSS)
    arm = full + np.array([0.02, 0.0, 0.003, -0.001])[:, None] + np.array([1, 0.1, 2, 8])[:, None] * spread
    first = judge(evidence(arm[:, :10], full[:10], 1), 10, ALPHA, 4, looks=2)
    assert first.verdict.tolist() == [HELPS, NO_EFFECT, UNDECIDED, UNDECIDED]
    np.testing.assert_allclose(first.p_adjusted[0], 2 * 4 * smallest_p(10))  # looks, family

    later = evidence(arm + np.array([0, 0, 0.01, 0])[:, None], full, 1)
    later.p[:2], later.equivalence_p[:2] = np.nan, np.nan  # not run
    second = judge(later, 12, ALPHA, 4, looks=2, before=first)
    assert second.verdict.tolist() == [HELPS, NO_EFFECT, HELPS, UNDECIDED]
    assert (second.seeds.tolist(), second.look.tolist()) == ([10, 10, 12, 12], [1, 1, 2, 2])
    np.testing.assert_array_equal(second.p_adjusted[:2], first.p_adjusted[:2])
    with pytest.raises(ValueError, match="all 2 looks are spent"):
        judge(later, 14, ALPHA, 4, looks=2, before=second)


def test_the_adjusted_interval_agrees_with_the_verdict() -> None:
    arm, full = studies("normal", 10, np.linspace(0, 0.008, ARMS))
    arm, full = arm[:50], full[:50]
    standing = judge(evidence(arm, full, NO_MARGIN), 10, ALPHA, ARMS, looks=2)
    low, high = signed_rank_interval(arm - full, standing.interval_alpha)
    np.testing.assert_array_equal((low > 0) | (high < 0), standing.p_adjusted <= ALPHA)
    assert 0.1 < (standing.p_adjusted <= ALPHA).mean() < 0.9
