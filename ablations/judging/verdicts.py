"""From the evidence on each arm to verdicts on a family of arms, at one look or several. Pure functions of arrays.

The null hypothesis of an arm is that the typical run is as good without the part as with it: that the pseudo-median of
its paired effects is 0 (`signed_ranks.py`). Verdicts on that are of seeds alone; `reaching` says which of them hold
over other stretches of time too.

The family is the live arms times the cells of the primary metric. Its size m is fixed before anything runs: an arm that
was lost on the way counts with p = 1, so that losing it makes nothing easier. Effects and equivalence are two families,
each at alpha. The family's axis is the last one; leading axes (simulated studies) are carried along.
"""

from collections.abc import Sequence
from dataclasses import dataclass, fields
from typing import TypeVar

import numpy as np
from numpy.typing import ArrayLike, NDArray

from ablations.judging.max_t import MaxT
from ablations.judging.signed_ranks import (
    MOST_SEEDS,
    equivalence_p,
    one_sided,
    pseudo_median,
    signed_rank_p,
    smallest_p,
)
from ablations.judging.statistics import Array, fraction, paired_effects

HELPS, HURTS, NO_EFFECT = "helps", "hurts", "no practical effect"  # what is decided
UNDECIDED, INVALID = "undecided", "invalid"
ON_THESE_ROWS = "on these rows only"  # shown over seeds, but not that it holds for other stretches of the series
# Likewise of an effect that is pooled over cells (see pooling.py): not that it holds for other series. In a study of
# one series every verdict is of its origins, which are too much alike to speak for others.
ON_THESE_SERIES, AT_THESE_ORIGINS = "on these series only", "at these origins only"
DESCRIPTIVE = "descriptive"  # of a cell whose effect is pooled with others': nothing is decided of it by itself
INCOMPLETE = "incomplete"  # runs are missing
SAME = "made no difference"  # trained, and came to the same with every seed: it leaves the family
INERT = "inert"  # found before training (`liveness.py`); no arm of a family

# Relative to the error of `full`: what one run came to on two machines, or alone and in a stack, differed by up to this
# after 60 epochs (`python -m scripts.check_stack`). A typical effect within it is no difference, however small its p.
RESOLUTION = 2.5e-4


def seeds_needed(alpha: float, family: int, looks: int = 1) -> int:
    """The fewest seeds that can decide an arm: the least n with 2 / 2^n <= (alpha / looks) / family.

    Raises:
        ValueError: no number can, as no more than 60 seeds are judged; or alpha is outside (0, 1).
    """
    bar = float(fraction("alpha", alpha)) / looks / family
    enough = [n for n in range(2, MOST_SEEDS + 1) if smallest_p(n) <= bar]
    if not enough:
        raise ValueError(
            f"alpha {alpha} over {looks} looks and {family} arms asks for p <= {bar:.2g}, but the smallest p "
            f"is {smallest_p(MOST_SEEDS):.2g} with {MOST_SEEDS} seeds, the most: take fewer arms or looks"
        )
    return enough[0]


def holm(p: ArrayLike, family: int) -> Array:
    """Holm's (1979) step-down adjusted p-values, (..., k) -> (..., k), in a family of `family` >= k.

    Raises:
        ValueError: more p-values than members, or one outside [0, 1].
    """
    given = np.asarray(p, float)
    if given.shape[-1] > family:
        raise ValueError(f"a family of {family} cannot hold {given.shape[-1]} p-values")
    if not ((given >= 0) & (given <= 1)).all():
        raise ValueError("p-values must lie between 0 and 1")
    order = np.argsort(given, axis=-1)
    steps = np.take_along_axis(given, order, axis=-1) * (family - np.arange(given.shape[-1]))
    adjusted = np.empty_like(given)
    np.put_along_axis(adjusted, order, np.minimum(np.maximum.accumulate(steps, axis=-1), 1), axis=-1)
    return adjusted


def holm_alpha(p: ArrayLike, alpha: float, family: int) -> Array:
    """The alpha at which Holm's procedure judges each p, (..., k) -> (..., k); `signed_rank_interval` takes it.

    alpha / (family - r), r the number of rejected p-values that are smaller: a rejected arm's own step; for all others,
    the step at which the procedure stopped. An interval at this alpha excludes 0 exactly where Holm rejects (stepped
    intervals; compare Serlin 1993). Only that is familywise: each interval has this alpha's coverage alone, not all of
    them together.

    Raises:
        ValueError: as `holm`, or an alpha outside (0, 1).
    """
    given = np.asarray(p, float)
    rejected = holm(given, family) <= fraction("alpha", alpha)
    smaller = given[..., None, :] < given[..., :, None]
    return alpha / (family - (smaller & rejected[..., None, :]).sum(-1))


@dataclass(frozen=True, eq=False)
class Evidence:
    """What decides arms, before any correction: arrays of one shape, the family's axis last."""

    p: Array  # of the signed-rank test, divergence counted as worst
    direction: NDArray[np.int64]  # 1: removing the part raised the loss; -1: lowered it; 0: neither, both, too little
    equivalence_p: Array  # of the signed-rank equivalence test; 1 with a diverged run
    diverged: NDArray[np.bool_]  # a run of the arm, or its partner of `full`, diverged

    @classmethod
    def of(cls, arms: Sequence["Evidence"]) -> "Evidence":
        """The family of arms that were judged one by one (they may differ in their number of seeds)."""
        return cls(*(np.stack([getattr(arm, field.name) for arm in arms], axis=-1) for field in fields(cls)))


def evidence(arm: ArrayLike, full: ArrayLike, margin_percent: float) -> Evidence:
    """(..., n) losses of arms and (n,) or (..., n) of `full`, NaN exactly where a run diverged -> (...) evidence.

    A diverged run is the worst outcome there is, not a gap (worst-rank scores: Lachin 1999). Its pair counts as an
    effect that outweighs all others together: positive where the arm's run diverged, negative where `full`'s did. A
    pair whose runs both diverged is tried as either, and the larger p holds. The direction must be the same each time
    and must not be opposed by the signed ranks of the pairs without divergence; else it is 0 and p is 1. So divergence
    can support a verdict to which the other pairs point, and never turns one round: better but for a run that diverged
    is no verdict. Without divergence the direction is 0 where the typical effect is within RESOLUTION of `full`'s mean.

    Raises:
        ValueError: unlike seeds, fewer than two, an infinite loss, or a mean loss or margin that is not positive.
    """
    arms, baseline = np.broadcast_arrays(np.asarray(arm, float), np.asarray(full, float))
    arm_lost, full_lost = np.isnan(arms), np.isnan(baseline)
    lost, both = arm_lost | full_lost, arm_lost & full_lost
    known = paired_effects(np.where(lost, 0, arms), np.where(lost, 0, baseline))
    total = np.abs(known).sum(-1, keepdims=True)
    outweighs = np.where(total > 0, 2 * total, 1)
    counted = known + outweighs * (arm_lost.astype(float) - full_lost)
    completions = [counted + sign * outweighs * both for sign in (1, -1)] if both.any() else [counted]

    seen = _direction(known)
    worst = np.stack([np.sign(effects.sum(-1)).astype(int) for effects in completions])
    directions = np.where(lost.any(-1), worst, seen)
    holds = (directions == directions[0]).all(0) & (seen * directions[0] >= 0)
    p = np.stack([signed_rank_p(effects) for effects in completions]).max(0)
    level = np.where(lost.any(-1), 1, baseline.mean(-1))
    margin = margin_percent / 100 * level
    told_apart = lost.any(-1) | (np.abs(pseudo_median(known)) > RESOLUTION * level)
    return Evidence(
        p=np.where(holds, p, 1),
        direction=np.where(holds & told_apart, directions[0], 0),
        equivalence_p=np.where(lost.any(-1), 1, equivalence_p(known, margin)),
        diverged=lost.any(-1),
    )


def _direction(effects: Array) -> NDArray[np.int64]:
    below, above = one_sided(effects)
    return np.sign(below - above).astype(int)


@dataclass(frozen=True, eq=False)
class Standing:
    """Where a family stands after a look: arrays of one shape, the family's axis last. What is decided is kept."""

    evidence: Evidence
    verdict: NDArray[np.str_]
    p_adjusted: Array  # Holm's, times the number of looks: to be compared with alpha
    equivalence_p_adjusted: Array  # likewise, in its own family
    interval_alpha: Array  # `signed_rank_interval` at it excludes 0 exactly where p_adjusted <= alpha
    seeds: NDArray[np.int64]  # that each arm was judged with
    look: NDArray[np.int64]  # at which it was; 1 is the first
    critical: Array  # of a joint test: mean ± critical standard errors excludes 0 there; NaN under Holm's


def judge(
    now: Evidence,
    seeds: int,
    alpha: float,
    family: int,
    looks: int = 1,
    before: Standing | None = None,
    joint: MaxT | None = None,
    left: NDArray[np.bool_] | None = None,
) -> Standing:
    """The verdicts after a look, each of the two families at alpha / looks (Bonferroni over looks, Holm within).

    Equivalence shown: `no practical effect`, however small p is. Else p shown: `helps` or `hurts`, by the direction.
    Else `invalid` if a run diverged, as its sign did not hold, or `undecided`. At a further look (`before`: where
    things stood) only undecided arms are judged anew. The others keep their verdict and their place in the family, and
    what `now` holds for them is not read: they need no more seeds.

    `left`: arms that got no more seeds though they are undecided, since an older rule held them for decided: they stay
    as they were. `joint` stands in the place of Holm's p of the effects, at one look; equivalence stays Holm's.

    Why that keeps alpha: of the t arms whose null hypothesis is true, the first that Holm rejects at some look has
    p <= alpha / (looks t), from the seeds of that look or of the one that closed it; there are looks times t such p.

    Raises:
        ValueError: more arms than the family has, an alpha outside (0, 1), or no look left.
    """
    look = 1 if before is None else int(before.look.max()) + 1
    if look > looks:
        raise ValueError(f"all {looks} looks are spent: verdicts from more seeds are exploratory")
    level = float(fraction("alpha", alpha)) / looks
    again = np.zeros(now.p.shape, bool) if before is None else before.verdict == UNDECIDED
    if left is not None:
        again &= ~left
    if before is not None:
        now = _updated(before.evidence, now, again)
    p, equivalence = (np.minimum(looks * holm(values, family), 1) for values in (now.p, now.equivalence_p))
    if joint is not None:
        p = np.where(now.diverged, 1, joint.p)
    rejected = p <= alpha
    verdict = np.select(
        [equivalence <= alpha, rejected & (now.direction > 0), rejected & (now.direction < 0), now.diverged],
        [NO_EFFECT, HELPS, HURTS, INVALID],
        UNDECIDED,
    )
    stepped = holm_alpha(now.p, level, family)
    critical = np.full(p.shape, np.nan) if joint is None else np.broadcast_to(joint.critical[..., None], p.shape)
    after = Standing(now, verdict, p, equivalence, stepped, np.full(p.shape, seeds), np.full(p.shape, look), critical)
    return after if before is None else _updated(before, after, again)


def reaching(verdict: str, interval: tuple[float, float] | None, margin: float, only: str = ON_THESE_ROWS) -> str:
    """`verdict`, of seeds alone, where `interval`, over seeds and windows or cells, carries it; else `only`.

    `helps` and `hurts` need 0 outside it, on their side; `no practical effect` needs all of it within ±margin. What is
    not decided over seeds stays as it is. None, or NaN: nothing is known of other rows.
    """
    if verdict not in (HELPS, HURTS, NO_EFFECT):
        return verdict
    low, high = interval or (np.nan, np.nan)
    carried = {HELPS: low > 0, HURTS: high < 0, NO_EFFECT: -margin <= low and high <= margin}[verdict]
    return verdict if carried else only


def look_schedule(first: int, most: int, looks: int) -> tuple[int, ...]:
    """The numbers of seeds at which to look, fixed beforehand: evenly from `first` to `most`, just `most` for one look.

    Raises:
        ValueError: fewer than one look, or no room for that many.
    """
    if looks < 1 or most - first < looks - 1:
        raise ValueError(
            f"{looks} looks do not fit between {first} and {most} seeds: allowed are 1 to {most - first + 1}"
        )
    if looks == 1:
        return (most,)
    return tuple(first + look * (most - first) // (looks - 1) for look in range(looks))


_Record = TypeVar("_Record", Evidence, Standing)


def _updated(old: _Record, new: _Record, where: NDArray[np.bool_]) -> _Record:
    """`new` where it says so, field by field, else `old`."""
    pairs = ((getattr(old, field.name), getattr(new, field.name)) for field in fields(old))
    return type(old)(*(_updated(a, b, where) if isinstance(a, Evidence) else np.where(where, b, a) for a, b in pairs))
