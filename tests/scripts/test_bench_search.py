"""The search benchmark's arithmetic: who had what when, what is censored, and the intervals; and one tiny pair."""

import math

import pytest

from scripts.bench.search import Pair, Trace, bootstrap_interval, order_interval, pair, sign_p, summary, table, time_to

BUDGET = 40.0
RANDOM = Trace([5.0, 20.0], [2.0, 1.0], trials=8)
SOONER = Trace([4.0, 10.0, 30.0], [1.5, 1.0, 0.5], trials=12, stopped=7)
NEVER = Trace([4.0], [1.5], trials=12, stopped=7)


@pytest.mark.parametrize(("value", "seconds"), [(3.0, 4.0), (1.5, 4.0), (1.2, 10.0), (1.0, 10.0), (0.5, 30.0)])
def test_the_time_to_a_value_is_that_of_the_first_at_least_as_good(value: float, seconds: float) -> None:
    assert time_to(SOONER, value) == seconds


def test_a_value_never_reached_is_censored_at_the_budget() -> None:
    assert time_to(NEVER, 1.0) is None and time_to(Trace([], []), 1.0) is None and Trace([], []).best == math.inf
    assert Pair(0, RANDOM, SOONER).reached() == (20.0, 10.0)
    assert Pair(0, RANDOM, NEVER).reached() == (20.0, None)
    sooner, never = table([Pair(3, RANDOM, SOONER), Pair(4, RANDOM, NEVER)], BUDGET)[1:3]
    assert sooner.split() == ["3", "8", "/", "12", "(7)", "1.0000", "0.5000", "20.0", "10.0", "0.50"]
    assert never.split()[-2:] == [">40.0", ">2.00"]


def test_the_summary_says_where_a_figure_is_only_a_bound() -> None:
    pairs = [Pair(seed, RANDOM, NEVER if seed == 0 else SOONER) for seed in range(10)]
    text = summary(pairs, BUDGET)
    assert text[1] == "  median 0.50, 0.50 to 0.50 (order statistics, 97.9%)", "one bound above changes no middle"
    assert text[2].startswith(f"  geometric mean at least {0.5**0.9 * 2**0.1:.2f}, 0.50 to at least ")
    assert text[3] == "  sooner in 9 of 10 seeds (sign test p = 0.0215); not reached within the budget in 1"
    assert text[5].startswith("  median -0.5000, -0.5000 to -0.5000") and text[5].endswith("lower in 9 of 10 seeds")
    most = [Pair(seed, RANDOM, NEVER if seed < 6 else SOONER) for seed in range(10)]
    assert summary(most, BUDGET)[1].startswith("  median at least 2.00, 0.50 to at least 2.00")
    ties = [Pair(seed, RANDOM, RANDOM) for seed in range(10)]
    assert "sooner in 0 of 10 seeds (sign test p = 1)" in summary(ties, BUDGET)[3], "a tie is neither"


@pytest.mark.parametrize(
    ("count", "places", "level"),  # of the exact binomial table
    [(1, (0, 0), 0.0), (5, (0, 4), 0.9375), (6, (0, 5), 0.96875), (10, (1, 8), 0.9785), (20, (5, 14), 0.9586)],
)
def test_the_interval_of_the_median(count: int, places: tuple[int, int], level: float) -> None:
    values = [float((7 * k) % count) for k in range(count)]  # 0 to count - 1 in another order, where 7 is prime to it
    low, high, found = order_interval(values)
    assert (low, high) == places and found == pytest.approx(level, abs=1e-4)


def test_the_bootstrap_interval_is_about_the_mean_and_the_same_each_time() -> None:
    values = [float(k) for k in range(10)]
    low, high = bootstrap_interval(values)
    assert (low, high) == bootstrap_interval(values) and low < 4.5 < high
    assert high - low == pytest.approx(2 * 1.96 * math.sqrt(8.25 / 10), rel=0.05)
    assert bootstrap_interval([2.0] * 5) == (2.0, 2.0)


def test_the_sign_test() -> None:
    assert [sign_p(*pair) for pair in ((0, 0), (5, 5), (5, 0), (0, 6))] == [1.0, 1.0, 0.0625, 0.03125]


def test_a_tiny_pair_runs_both_searches() -> None:
    tiny = [
        "data.synthetic.rows=300", "data.seq_len=16", "data.pred_len=4", "model.moving_average=5",
        "model.control_hidden=4", "model.worker_hidden=2", "model.dropout=0.1", "training.lr=0.005",
        "training.weight_decay=0", "training.controller_lr_ratio=0.05", "training.max_epochs=3",
    ]  # fmt: skip
    found = pair(tiny, math.inf, seed=1)  # it ends when the two points that are left of the space are used up
    for trace in (found.random, found.default):
        assert trace.trials == 2 and trace.times == sorted(trace.times)
        assert trace.values == sorted(trace.values, reverse=True) and math.isfinite(trace.best)
    assert found.random.stopped == 0
    assert found.random.values[:2] == found.default.values[:2], "both begin with the same config"
