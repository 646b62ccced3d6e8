"""What a race over seeds means for the cost of a search, beforehand."""

from lab.pages.formats import counted
from tune.racing.rule import ALPHA, looks
from tune.settings import Budget


def race_lines(budget: Budget, trials: int) -> list[str]:
    """For a plan of so many trials to come; [] of a search with fixed replicates."""
    if not budget.race or not trials:
        return []
    first, *more = looks(budget.replicates)
    least = (trials * first + budget.final_replicates) / (trials * budget.replicates + budget.final_replicates)
    return [
        f"race over seeds: a trial has one seed, and {', then '.join(map(str, more))} unless a paired test "
        f"(one-sided, {ALPHA:g}) says that it stays above the best; so {counted(trials * first, 'run')} at least, and "
        f"down to {least:.0%} of the time below. A trial takes its seeds in turn: where one stack of "
        f"{budget.replicates} fills a device no better than one seed does, as on most GPUs, little of it is saved"
    ]
