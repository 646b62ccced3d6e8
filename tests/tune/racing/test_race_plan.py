"""What a race is said to cost before it begins."""

from tune.racing.plan import race_lines
from tune.settings import Budget


def test_the_least_that_a_race_trains() -> None:
    (line,) = race_lines(Budget(replicates=4, final_replicates=5, race=True), 20)
    assert "a trial has one seed, and 2, then 4 unless" in line
    assert "so 20 runs at least, and down to 29% of the time below" in line, "25 of 85 runs, the final ones among them"
    assert race_lines(Budget(replicates=4), 20) == [] == race_lines(Budget(replicates=4, race=True), 0)
