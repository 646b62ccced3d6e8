"""Effects pooled over series and origins, against scipy's t test, and what a family of them may say falsely."""

import numpy as np
import pytest
from scipy import stats

from ablations.judging.pooling import CellEffect, Pooled, chance_of_next, over_cells, over_p, pool, reached, reached_by
from ablations.judging.verdicts import HELPS, HURTS, NO_EFFECT, ON_THESE_SERIES, UNDECIDED

BY_SEED = {  # percent, by cell: (series, origin) and a row a seed
    "a-back1": ("a", 100, (1.0, 2.0, 3.0)),
    "a": ("a", 200, (3.0, 4.0, 5.0)),
    "b": ("b", 50, (-1.0, 0.0, 1.0)),
    "c": ("c", 70, (7.0, 8.0, 9.0)),
}


def pooled(**changed: tuple[float, ...]) -> Pooled:
    cells = [CellEffect(name, series, at, np.array(x)) for name, (series, at, x) in BY_SEED.items()]
    return pool([CellEffect(c.cell, c.series, c.origin, np.array(changed.get(c.cell, c.by_seed))) for c in cells])


def test_series_count_alike_and_the_interval_is_students_over_their_means() -> None:
    found = pooled()
    assert found.means == (3.0, 0.0, 8.0) and found.over == "series" and (found.helps_on, found.of) == (2, 3)
    assert found.by_seed == pytest.approx([8 / 3, 11 / 3, 14 / 3]) and found.mean == pytest.approx(11 / 3)
    test = stats.ttest_1samp(found.means, 0)
    low, high = test.confidence_interval(0.95)
    assert found.interval == pytest.approx((low, high)) and found.p == pytest.approx(test.pvalue)
    assert found.spread == pytest.approx((np.std(found.means, ddof=1), np.sqrt(2)))
    assert found.interval_at(found.p) == pytest.approx((0.0, 2 * found.mean), abs=1e-9)
    assert [(one.cell, one.effect, one.diverged) for one in found.cells] == [
        ("a-back1", 2.0, 0), ("a", 4.0, 0), ("b", 0.0, 0), ("c", 8.0, 0)
    ]  # fmt: skip
    one_series = pool([CellEffect(str(at), "a", at, np.array([at, at + 1.0])) for at in (1, 2, 4)])
    assert one_series.over == "origins" and one_series.means == (1.5, 2.5, 4.5) and one_series.next_series is None
    assert over_cells([[1.0], [3.0], [8.0]], ["a", "a", "b"]) == pytest.approx([5.0])


def test_a_diverged_run_hides_in_no_mean() -> None:
    found = pooled(b=(-1.0, np.nan, 1.0))
    assert np.isnan([found.mean, found.typical, *found.seeds, found.p]).all() and found.interval is None
    assert found.next_series is None and (found.helps_on, found.of) == (2, 3)
    assert [one.diverged for one in found.cells] == [0, 0, 1, 0] and found.cells[2].effect == 0.0
    assert reached_by([HELPS], [found], 1.0, 0.05, 1) == [ON_THESE_SERIES]


def test_few_series_never_promise_much() -> None:
    agreed = [float(chance_of_next(np.full(k, 3.0))) for k in (1, 2, 4, 8)]
    assert agreed == pytest.approx([0.67, 0.79, 0.91, 0.98], abs=0.005)
    assert float(chance_of_next([2.0, -2.0])) == 0.5


def test_what_a_family_says_of_other_series() -> None:
    """Each arm at 95% would be right of one arm; of twelve that come to nothing on average, one in two studies errs."""
    means = np.random.default_rng(0).standard_normal((2000, 12, 4))
    said = np.where(means.mean(-1) > 0, HELPS, HURTS)  # over seeds all is shown
    p = over_p(means)
    false = np.isin(reached(said, means.mean(-1), p, np.ones_like(p), 0.05, 12), (HELPS, HURTS)).any(-1).mean()
    assert false < 0.05 + 3 * np.sqrt(0.05 * 0.95 / 2000) < 0.4 < (p < 0.05).any(-1).mean()

    alike = pool([CellEffect(name, name, 1, np.array([5.0, 5.1])) for name in "abc"])
    apart = pooled()
    verdicts = [HELPS, HELPS, NO_EFFECT, UNDECIDED, HURTS]
    assert reached_by(verdicts, [alike, apart, apart, apart, alike], 1.0, 0.05, 5) == [
        HELPS, ON_THESE_SERIES, ON_THESE_SERIES, UNDECIDED, ON_THESE_SERIES
    ]  # fmt: skip
    small = pool([CellEffect(name, name, 1, np.array([at, -at])) for name, at in (("a", 0.1), ("b", 0.2), ("c", 0.1))])
    assert reached_by([NO_EFFECT, HELPS], [small, None], 1.0, 0.05, 2) == [NO_EFFECT, ON_THESE_SERIES]
