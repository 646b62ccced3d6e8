"""The samplers by name: one of Optuna's is a row; any other is a row and a file of three methods (see `method`)."""

from collections.abc import Callable
from typing import Any

from optuna.samplers import BaseSampler, NSGAIISampler, QMCSampler, RandomSampler, TPESampler

from tune.methods.latin import Latin
from tune.methods.method import Asked, Start

STARTUP_TRIALS = 10  # drawn at random before TPE models anything
# Ended trials that a sampler is shown at most (tune.methods.window): each further one makes every proposal slower.
SHOWN = {"tpe": 2000}

SAMPLERS: dict[str, Callable[[Start], BaseSampler]] = {
    "tpe": lambda start: TPESampler(
        seed=start.fresh, n_startup_trials=STARTUP_TRIALS, multivariate=True, group=start.space.conditional,
        constant_liar=True,
    ),
    "nsga2": lambda start: NSGAIISampler(seed=start.fresh),
    "random": lambda start: RandomSampler(seed=start.fresh),
    # Sobol's points; a restart begins a scramble of its own.
    "quasi": lambda start: QMCSampler(seed=start.fresh, scramble=True, warn_independent_sampling=False),
    "latin": lambda start: Asked(Latin(start.space, start.seed), start),
}  # fmt: skip


def marks(sampler: BaseSampler, place: int) -> dict[str, Any]:
    """What a sampler of Optuna's has beside the complete trial of that place, from 0, and must find in a study that is
    rebuilt."""
    if isinstance(sampler, NSGAIISampler):
        # It breeds from the trials of earlier generations, and takes one without this mark for none of them.
        return {sampler._get_generation_key(): place // (sampler.population_size or 1)}
    return {}
