"""How far an effect reaches: the two noises together, runs far out, and the simulation's own table at a small size."""

import numpy as np
import pytest

from ablations.judging.reach import middle_mean, outlying_runs
from ablations.judging.signed_ranks import pseudo_median, signed_rank_interval
from ablations.judging.verdicts import HELPS, HURTS, NO_EFFECT, ON_THESE_ROWS, UNDECIDED, reaching
from lab.training.over_time import crossed, time_interval


def test_crossed_by_hand() -> None:
    assert crossed(1.0, (0.7, 1.6), (0.5, 1.3)) == pytest.approx((1 - 0.5, 1 + np.hypot(0.6, 0.4)))
    assert crossed(1.0, (-np.inf, np.inf), (0.5, 1.3)) == (-np.inf, np.inf)


@pytest.mark.parametrize(
    ("verdict", "interval", "said"),
    [
        (HELPS, (0.001, 0.02), HELPS),
        (HELPS, (-0.001, 0.02), ON_THESE_ROWS),
        (HURTS, (-0.02, -0.001), HURTS),
        (HURTS, (-0.02, 0.001), ON_THESE_ROWS),
        (NO_EFFECT, (-0.003, 0.004), NO_EFFECT),
        (NO_EFFECT, (-0.003, 0.0041), ON_THESE_ROWS),
        (HELPS, None, ON_THESE_ROWS),
        (HURTS, (np.nan, np.nan), ON_THESE_ROWS),
        (UNDECIDED, (0.001, 0.02), UNDECIDED),
    ],
)
def test_a_verdict_needs_the_interval_over_both(verdict: str, interval: tuple[float, float] | None, said: str) -> None:
    assert reaching(verdict, interval, margin=0.004) == said


def test_the_interval_over_both_covers_where_that_over_seeds_does_not() -> None:
    """Ten seeds and five blocks; half of the variance of the mean is time's. As in `scripts.verdicts.simulate`."""
    rng, studies, windows, seeds = np.random.default_rng(5), 400, 100, 10
    keep, tally = np.exp(-5 / windows), np.zeros(2)
    steps = rng.standard_normal((studies, windows))
    steps[:, 0] /= np.sqrt(1 - keep**2)
    common = np.zeros_like(steps)
    for at in range(windows):
        common[:, at] = steps[:, at] + (keep * common[:, at - 1] if at else 0)
    common /= common.mean(-1).std()
    by_seed = rng.standard_normal((studies, seeds)) * np.sqrt(seeds)
    table = common[:, None] + by_seed[..., None]
    low, high = signed_rank_interval(table.mean(-1), 0.05)
    typical = pseudo_median(table.mean(-1))
    for study in range(studies):
        over_seeds = (float(low[study]), float(high[study]))
        both = crossed(float(typical[study]), over_seeds, time_interval(table[study].mean(0), windows / 5))
        tally += [ends[0] <= 0 <= ends[1] for ends in (over_seeds, both)]
    assert tally[0] / studies < 0.9 and tally[1] / studies >= 0.95 - 3 * np.sqrt(0.95 * 0.05 / studies)


def test_runs_far_out_are_those_of_the_flagship() -> None:
    published = [0.3865, 0.3867, 0.3874, 0.3903, 0.3908, 0.3971, 0.3996, 0.4026, 0.4085, 0.4355]
    assert outlying_runs(published, 0.01).tolist() == [False] * 9 + [True]
    assert not outlying_runs([0.4] * 9 + [0.4001], 0.01).any(), "less than matters"
    assert not outlying_runs([*published[:3], np.nan, 0.5], 0.01).any(), "too few to tell"
    assert middle_mean(published) == pytest.approx(np.mean(published[2:8]))  # as rliable's, of ten
