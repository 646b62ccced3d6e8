"""What the trials of a search say together: importance, rungs, improvements, repetitions. Pure functions of trials."""

import math
from collections.abc import Iterable, Iterator, Sequence

import numpy as np
import optuna
from optuna.importance import PedAnovaImportanceEvaluator

from tune.findings.findings import COMPLETE, STOPPED, Importance, Rung, Trial, loss_study
from tune.proposals import Proposal
from tune.space.points import point

LEAST_COMPLETE = 10  # complete trials below which an importance would be noise
LEAST_TOP = 5  # trials that Optuna's authors want among the best that are set against all
TOP_SHARE = 0.1  # of the complete trials, Optuna's default


def importance_of(trials: Sequence[Trial]) -> Importance:
    """PED-ANOVA (Watanabe et al., arXiv 2304.10255), which draws nothing at random and needs no seed.

    Optuna's other evaluators know no conditional settings, and need a package more.
    """
    complete = [trial for trial in trials if trial.outcome == COMPLETE]
    if len(complete) < LEAST_COMPLETE:
        are = "1 trial is" if len(complete) == 1 else f"{len(complete)} trials are"
        return Importance({}, len(complete), 0, f"{are} complete; at least {LEAST_COMPLETE} are needed")
    losses = sorted(trial.loss for trial in complete)
    share = max(TOP_SHARE, LEAST_TOP / len(complete))
    top = math.ceil(share * len(complete))
    if losses[0] == losses[-1]:
        return Importance({}, len(complete), top, "all complete trials have the same loss")
    shares = optuna.importance.get_param_importances(
        loss_study(trials), evaluator=PedAnovaImportanceEvaluator(target_quantile=share)
    )
    ordered = dict(sorted(shares.items(), key=lambda item: (-item[1], item[0])))
    return Importance(ordered, len(complete), top)


def rung_epochs(grace_epochs: int, reduction_factor: float, max_epochs: int) -> list[int]:
    """The epochs at which ASHA compares, as Ray Tune's bracket has them: the first at or after each milestone.

    What comes to the last epoch is complete: no rung lies there.
    """
    grace = min(grace_epochs, max_epochs)
    count = int(np.log(max_epochs / grace) / np.log(reduction_factor) + 1)
    epochs = [math.ceil(grace * reduction_factor**rung) for rung in range(count)]
    return [epoch for epoch in epochs if epoch < max_epochs]


def rungs_of(trials: Sequence[Trial], epochs: Sequence[int]) -> list[Rung]:
    rungs = []
    ends = [*epochs[1:], math.inf][: len(epochs)]  # where no trial can be stopped there is no rung
    for epoch, following in zip(epochs, ends, strict=True):
        reached = [trial for trial in trials if trial.last_epoch >= epoch]
        stopped = sum(trial.outcome == STOPPED and trial.last_epoch < following for trial in reached)
        rungs.append(Rung(epoch, len(reached), stopped))
    return rungs


def improvements_of(trials: Iterable[Trial]) -> Iterator[Trial]:
    best = math.inf
    for trial in trials:
        if trial.outcome == COMPLETE and trial.loss < best:
            best = trial.loss
            yield trial


def repeated_in(proposals: Iterable[Proposal]) -> list[tuple[str, ...]]:
    points: dict[str, list[str]] = {}
    for proposal in proposals:
        points.setdefault(point(proposal.params), []).append(proposal.trial)
    return [tuple(names) for names in points.values() if len(names) > 1]
