"""The benchmark of racing: to which value times are taken, what counts as a wrong elimination, and one tiny race."""

import math

import pytest

from lab.store.tables import Results
from scripts.bench.race import Out, Pair, audit, line, raced, share, summary
from scripts.bench.search import Trace, search, settings_of
from tune.proposals import Proposals

FIXED = Trace([5.0, 20.0], [2.0, 1.0], trials=8)
RACE = Trace([4.0, 10.0, 30.0], [1.9, 1.5, 0.5], trials=12, stopped=7)


def test_times_are_taken_to_the_lower_value_that_both_came_to() -> None:
    assert Pair(0, FIXED, RACE).times() == (20.0, 30.0), "1.0 is the best of fixed"
    assert Pair(0, FIXED, Trace([4.0, 9.0], [1.9, 1.5])).times() == (20.0, 9.0), "1.5 is the best of the race"
    assert Pair(0, FIXED, FIXED).times() == (20.0, 20.0)


def test_what_is_wrong_is_what_the_winner_would_have_lost_to() -> None:
    out = [Out("t1", 1, 0.6, 0.5), Out("t2", 1, 0.4, 0.5), Out("t3", 1, 0.5, 0.5), Out("t4", 1, math.inf, 0.5)]
    pairs = [Pair(seed, FIXED, RACE, out if seed == 3 else []) for seed in range(10)]
    assert line(pairs[3]).split() == ["3", "8", "/", "12", "(7,", "4)", "1.0000", "0.5000", "20.0", "30.0", "1.50", "1"]
    text = summary(pairs)
    assert text[1].startswith("  median 1.50, 1.50 to 1.50") and text[3].startswith("  sooner in 0 of 10 seeds")
    assert text[5].startswith("  median -0.5000") and "lower in 10 of 10 seeds (sign test p = 0.00195)" in text[5]
    assert text[7] == "  1 of 4: 25.0%, 0.6% to 80.6% (exact, 95%)", "by the table of Clopper and Pearson"
    assert share(0, 0) == "none was raced out"


def test_a_tiny_race() -> None:
    tiny = [
        "data.synthetic.rows=300", "data.seq_len=16", "data.pred_len=4", "model.moving_average=5",
        "model.control_hidden=4", "model.worker_hidden=2", "model.dropout=0.1", "training.lr=0.005",
        "training.weight_decay=0", "training.controller_lr_ratio=0.05", "training.max_epochs=3",
    ]  # fmt: skip
    found: list[Out] = []

    def after(results: Results, proposals: Proposals) -> None:
        first = proposals.all["t00000"]  # which has nobody beside it to be stopped or raced out by
        assert first.state == "complete" and len(first.losses) == 3
        first.state = "stopped"  # as if it had been raced out
        audit(results, proposals, found)
        assert found[0].mean == pytest.approx(sum(first.losses) / 3)

    settings = settings_of(tiny, replicates=3)
    trace = search(settings, "race", 1, math.inf, after)  # it ends when the space's two points are used up
    assert trace.trials == 2 and trace.values == sorted(trace.values, reverse=True)
    assert [each.trial for each in found] == ["t00000"] and found[0].mean >= trace.best - 1e-9


def test_a_replay_counts_what_is_lost_and_what_is_saved() -> None:
    wide = [[1.0, 1.1], [1.2, 1.3], [1.4, 1.5], [9.0, 0.1]]  # the last is raced out, and would have been no better
    assert raced(wide) == (2, 0, 2 + 2 + 1 + 1)
    assert raced([*wide[:3], [9.0, -9.0]]) == (2, 1, 6), "and here it would have been the best"
    assert raced([[1.0, 1.1], [5.0, 5.1]]) == (0, 0, 4), "the first two have all their seeds"
