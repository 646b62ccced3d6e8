"""`--gpus-per-trial auto`: a trial's share of a GPU, from what its step and its memory were measured to be.

A step of a stack takes a time that is there for any stack (launches, steps in time that wait for each other) and one
that grows with its models. Only in the second is the card full, so as many trials side by side fill it as the whole is
times the second; no more than its memory holds, and than the machine's CPUs and memory feed.
"""

import math
from collections.abc import Sequence
from dataclasses import dataclass

from lab.pages.formats import counted

AUTO = "auto"
MOST = 16  # trials on one card: below a sixteenth processes cost more than they fill
MEMORY_SHARE = 0.7  # of what a trial may take: other shapes' steps are not quite like the measured ones
TURNS = 2  # trials that feed a card on which processes compute in turns: while one computes, the other's host works


@dataclass(frozen=True)
class Need:
    """What one trial takes, measured on a card that it had for itself."""

    memory: float  # bytes of the card, what the driver takes for a process included
    of_card: float  # bytes that the card has, 0 where that is not known
    fill: float  # the share of a step's time in which the card is full, 0 to 1
    host: float = 0.0  # bytes of the machine, of its process


@dataclass(frozen=True)
class Beside:
    """What a machine has for each of its cards."""

    cpus: float
    memory: float  # bytes


@dataclass(frozen=True)
class Share:
    trials: int  # at once on one card
    reason: str

    @property
    def gpus(self) -> float:
        """Of one card, as Ray counts: four decimals, rounded down, so that as many fit."""
        return math.floor(1e4 / self.trials) / 1e4

    def text(self) -> str:
        return f"--gpus-per-trial {AUTO}: {self.gpus:g} of a GPU, {self.trials} at once on each: {self.reason}"


def choose(needs: Sequence[Need], beside: Sequence[Beside], cpus_per_trial: float, side_by_side: bool) -> Share:
    """The share for trials like those measured, from 1/16 to 1.

    Args:
        needs: one at least. Memory must hold the most demanding; their mean step is filled.
        beside: of each machine with cards; none where an autoscaler is still to bring them.
        side_by_side: whether processes on one card compute at the same time (MPS), or in turns.
    """
    fill = math.fsum(need.fill for need in needs) / len(needs)
    wanted = math.ceil(1 / max(fill, 1 / MOST) - 1e-9) if side_by_side else TURNS
    limits = {"its memory holds": min(_times(MEMORY_SHARE * need.of_card, need.memory) for need in needs)}
    if cpus_per_trial and beside:
        limits["the machine's CPUs feed"] = max(_times(each.cpus, cpus_per_trial) for each in beside)
    host = max(need.host for need in needs)
    if host and beside:
        limits["the machine's memory holds"] = min(_times(MEMORY_SHARE * each.memory, host) for each in beside)
    trials = max(1, min(wanted, *limits.values()))
    why = f"a trial fills it in {100 * fill:.0f}% of a step's time, as measured"
    if not side_by_side:
        why = f"processes compute on it in turns without MPS, and {why}"
    tight = [f"{name} {counted(max(most, 0), 'trial')}" for name, most in limits.items() if most <= trials < wanted]
    return Share(trials, "; ".join([why, *tight]))


def _times(have: float, need: float) -> int:
    """How often it goes in; where either is not known as often as any may."""
    return math.floor(have / need + 1e-9) if need > 0 and have > 0 else MOST
