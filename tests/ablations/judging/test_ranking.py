"""Ranks, their critical difference, and how often each is best: against published values and planted errors."""

import numpy as np
import pytest
from scipy import stats

from ablations.judging.ranking import Sample, critical_difference, friedman_p, rank
from lab.training.over_time import time_draws, time_interval


def test_the_critical_difference_and_friedmans_test_are_those_of_the_literature() -> None:
    """Demšar (2006), section 3.2.2: of four classifiers on 14 data sets it is 1.25 at 5%."""
    assert critical_difference(4, 14) == pytest.approx(1.25, abs=0.005)
    errors = np.random.default_rng(1).normal(np.arange(4) / 3, 1, (14, 4))
    chi = stats.friedmanchisquare(*errors.T).statistic
    iman = 13 * chi / (14 * 3 - chi)
    assert friedman_p(stats.rankdata(errors, axis=-1)) == pytest.approx(stats.f.sf(iman, 3, 3 * 13))
    assert friedman_p(np.tile([1.0, 2, 3], (5, 1))) == 0 and friedman_p(np.full((3, 4), 2.5)) == 1


def test_draws_over_time_have_the_interval_of_every_pair() -> None:
    rng = np.random.default_rng(3)
    x = np.cumsum(rng.standard_normal((3, 900)), axis=1) / 9 + rng.standard_normal((3, 900))
    drawn = time_draws(x, 60, 40_000, rng)
    for one, other in ((0, 1), (1, 2)):
        low, high = np.quantile(drawn[:, one] - drawn[:, other], [0.025, 0.975])
        wanted = time_interval(x[one] - x[other], 60)
        assert (high - low) == pytest.approx(wanted[1] - wanted[0], rel=0.03)
        assert abs(high + low) < 0.03 * (high - low)


def samples(level: float, rng: np.random.Generator, shared: np.ndarray, cells: tuple[str, ...]) -> dict[str, Sample]:
    return {
        cell: Sample(level + 0.01 * rng.standard_normal(5), level + shared + 0.1 * rng.standard_normal(len(shared)))
        for cell in cells
    }


def test_how_often_each_is_best() -> None:
    rng, cells = np.random.default_rng(5), ("a", "b", "b2")
    shared = rng.standard_normal(2000)  # hard and easy stretches: the same for all, so that no pair is blurred by them
    entrants = {name: samples(level, rng, shared, cells) for name, level in (("low", 1), ("high", 2), ("twin", 1))}
    found = rank(entrants, {"a": "a", "b": "b", "b2": "b"}, dict.fromkeys(cells, 100), dict.fromkeys(cells, "high"))
    by_name = {place.name: place for place in found.places}
    assert found.series == 2 and found.places[-1].name == "high" and found.over_time == cells
    assert by_name["high"].best == 0 and by_name["high"].rank == 3 and by_name["high"].ranks == (3, 3)
    assert by_name["low"].best + by_name["twin"].best == 1 and 0.05 < by_name["low"].best < 0.95
    assert by_name["low"].ranks == (1, 2)
    assert found.difference == pytest.approx(critical_difference(3, 2)) and found.difference > 2  # of two series: all
    gap, (below, above) = by_name["low"].above["a"]
    assert gap == pytest.approx(-1, abs=0.05) and below < gap < above < 0
    assert by_name["high"].above["a"] == (0, (0, 0))


def test_a_diverged_run_is_the_worst_and_windows_that_are_not_on_record_are_said() -> None:
    rng, cells = np.random.default_rng(5), ("a",)
    shared = rng.standard_normal(2000)
    entrants = {name: samples(level, rng, shared, cells) for name, level in (("low", 1), ("high", 2), ("lost", 1))}
    entrants["lost"]["a"] = Sample(np.array([0.5, np.nan]), None)
    found = rank(entrants, {"a": "a"}, {"a": 100})
    assert [place.name for place in found.places] == ["low", "high", "lost"]
    assert found.places[-1].best == 0 and found.over_time == ("a",)
    assert found.difference is None and found.friedman_p is None
    entrants["high"]["a"] = Sample(entrants["high"]["a"].seeds, None)
    assert rank(entrants, {"a": "a"}, {"a": 100}).over_time == ()
    with pytest.raises(ValueError, match="two entrants or more"):
        rank({"low": entrants["low"]}, {"a": "a"}, {"a": 100})
