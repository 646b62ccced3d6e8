"""The seeds that are counted on from a base seed, and why those of two purposes never meet.

A number that was seen while choosing must not be among those that judge the choice: final replicates and an arm's
replicates are trained with seeds that no search had. These numbers are part of every run's id: they stay.

    base + 0 ...        replicates of a proposal (FINAL at most, so they end before the next line)
    base + FINAL ...    final replicates of a search's best, FINAL at most
    0 ... MOST_SEEDS    an ablation's replicates, which a study names or counts from 1
    RETUNE ...          the searches of its arms, by default; a study that says so may begin elsewhere, and is refused
                        where the two meet (see `meeting`)
"""

from collections.abc import Iterable

FINAL = 1000  # beyond a search's base seed
RETUNE = 10_000


def replicates(base: int, count: int) -> tuple[int, ...]:
    """Of a proposal, or of an arm's search: `base` and what follows it."""
    return tuple(range(base, base + count))


def finals(base: int, count: int) -> tuple[int, ...]:
    """Of the best config of a search with this base seed."""
    return replicates(base + FINAL, count)


def counted(count: int) -> tuple[int, ...]:
    """An ablation's replicates where it says how many: 1, 2, ..."""
    return replicates(1, count)


def meeting(one: Iterable[int], other: Iterable[int]) -> list[int]:
    """Seeds that serve both purposes, which none may."""
    return sorted(set(one) & set(other))
