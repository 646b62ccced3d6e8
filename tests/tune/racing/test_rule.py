"""The rule of a race: its arithmetic by the textbook's, and how often it loses what would have been better."""

import math

import numpy as np
import pytest
from scipy import stats

from tune.racing.rule import ALPHA, Race, looks


def test_looks_double() -> None:
    assert [looks(count) for count in (2, 3, 5, 8)] == [[1, 2], [1, 2, 3], [1, 2, 4, 5], [1, 2, 4, 8]]


def test_the_bound_is_that_of_a_table_of_trials_by_seeds() -> None:
    rng = np.random.default_rng(1)
    table = 0.5 + rng.normal(0, 0.01, (7, 1)) + rng.normal(0, 0.02, (1, 4)) + rng.normal(0, 0.003, (7, 4))
    race = Race(4)
    for number, losses in enumerate(table):
        race.add(f"t{number}", losses.tolist())
    both = table - table.mean(0) - table.mean(1, keepdims=True) + table.mean()
    variance = float((both**2).sum() / (6 * 3))
    assert race.variance == pytest.approx(variance) and race.degrees == 18
    best = int(table.mean(1).argmin())
    losses = (table[best, :2] + (0.001, 0.004)).tolist()
    judged = race.judge(losses)
    # Two looks come before the last seed; the two seeds are half of the four.
    bound = stats.t.ppf(1 - ALPHA / 2, 18) * math.sqrt(2 * variance / 2 * (1 - 2 / 4))
    assert (judged.best, judged.difference, judged.bound) == (f"t{best}", pytest.approx(0.0025), pytest.approx(bound))
    assert judged.excluded == (bound < 0.0025)
    assert (
        race.judge((table[best, :1] + 1).tolist()).excluded and not race.judge((table[best, :1] - 1).tolist()).excluded
    )


def test_nobody_is_excluded_by_too_few() -> None:
    race = Race(2)
    first = race.judge([9.0])
    assert not first.excluded and first.text == "raced on after 1 of 2 seeds: no trial has them all"
    race.add("t0", [1.0, 1.1])
    second = race.judge([9.0])
    assert not second.excluded and second.text.endswith(
        "8.0000 above t0 on the same; too few trials have them all to exclude one"
    )
    race.add("t1", [1.2, 1.29])
    assert race.judge([9.0]).text.startswith(
        "raced out after 1 of 2 seeds: 9.0000, 8.0000 above t0 on the same; more than 0."
    )
    alike = Race(2)  # seeds that differ in every trial by the same leave no spread
    for trial, losses in (("t0", [1.0, 1.5]), ("t1", [2.0, 2.5])):
        alike.add(trial, losses)
    assert (
        alike.judge([1.0]).text
        == "raced on after 1 of 2 seeds: 1.0000, 0.0000 below t0 on the same; more than 0.0000 excludes"
    )
    assert alike.judge([1.25]).excluded and "0.5000 below t0" in alike.judge([0.5]).text
    for wrong in ([], [1.0, 1.0]):
        with pytest.raises(ValueError, match="can be judged"):
            race.judge(wrong)
    with pytest.raises(ValueError, match="2 losses are needed"):
        race.add("t2", [1.0])


@pytest.mark.parametrize("replicates", [2, 3, 5])
@pytest.mark.parametrize("spread", [0.0, 1.0, 4.0])
def test_few_are_lost_that_would_have_been_better(replicates: int, spread: float) -> None:
    """Tables of which every loss is known, trials as far apart as their seeds, further, or not at all."""
    rng = np.random.default_rng(replicates)
    better = lost = out = wrong = 0
    for _ in range(60):
        table = (
            10
            + spread * rng.normal(size=(30, 1))
            + rng.normal(size=(1, replicates))
            + rng.normal(size=(30, replicates))
        )
        race, raced_out, before = Race(replicates), [], math.inf
        for number, losses in enumerate(table):
            gone = any(race.judge(losses[:k].tolist()).excluded for k in looks(replicates)[:-1])
            would = bool(losses.mean() < before)
            better, lost = better + would, lost + (would and gone)
            if gone:
                raced_out.append(number)
            else:
                race.add(f"t{number:02d}", losses.tolist())
                before = min(before, losses.mean())
        assert race.best is not None
        out += len(raced_out)
        wrong += sum(table[number].mean() < race.best[0] for number in raced_out)
    assert lost <= ALPHA * better + 2 * math.sqrt(ALPHA * better), "of those that would have been the best so far"
    assert wrong <= ALPHA * out, "of those that were raced out, against the winner"
    assert out >= {0.0: 0.1, 1.0: 0.2, 4.0: 0.5}[spread] * 60 * 30, "and it saves seeds"
