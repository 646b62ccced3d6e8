"""How many parameters an arm has and trains, and the width of the workers that makes two arms comparable in that.

Effective parameters are those that a gradient reaches and that the forecast reads: a head that is switched off, a
position beyond what the workers read or a weight that only ever multiplies an absent context is not among them.
"""

from collections.abc import Mapping
from dataclasses import dataclass

from ablations.study.study import Study
from dynonet.config import Config
from dynonet.network.model import trained_groups
from dynonet.network.parameters import Layout

CLOSE = 0.05  # relative mismatch up to which two arms count as of equal capacity
WIDEST = 1024  # no wider workers are looked for


@dataclass(frozen=True)
class Capacity:
    parameters: int  # that the model holds
    effective: int


@dataclass(frozen=True)
class Match:
    """The width that brings an arm's effective parameters closest to a target."""

    config: Config
    worker_hidden: int
    effective: int
    target: int

    @property
    def mismatch(self) -> float:
        """What is left, relative to the target: positive where the arm has more."""
        return (self.effective - self.target) / self.target

    @property
    def close(self) -> bool:
        return abs(self.mismatch) <= CLOSE

    def text(self) -> str:
        left = f"{self.effective:,} effective parameters against {self.target:,} ({self.mismatch:+.1%})"
        if self.close:
            return f"worker_hidden={self.worker_hidden}: {left}"
        return f"no worker_hidden comes within {CLOSE:.0%}; the closest is {self.worker_hidden}: {left}"


def capacity(config: Config, channels: int) -> Capacity:
    layout, trained = Layout.of(config, channels), trained_groups(config)
    effective = 0
    for block, entries in layout.entries.items():
        count = layout.workers if block == "workers" else 1
        effective += count * sum(entry.size for entry in entries if entry.group in trained[block])
    if config.model.workers:
        hidden = config.model.worker_hidden
        positions = next(entry.shape[0] for entry in layout.entries["workers"] if entry.name == "position")
        unread = (positions - min(config.model.worker_seq_len, config.data.seq_len)) * hidden
        if not config.model.context:
            unread += hidden * hidden  # the half of output.0.weight that reads the context
        effective -= layout.workers * unread
    return Capacity(sum(layout.count().values()), effective)


def match_capacity(config: Config, target: int, channels: int) -> Match:
    """The config with the worker_hidden whose effective parameters are closest to `target`, the narrower of two.

    Where no width is within 5% (the arm has no workers, say, or one unit of width is more) the closest
    is given all the same, and `Match.close` is False.
    """
    best: Match | None = None
    for width in range(1, WIDEST + 1):
        candidate = config.override({"model.worker_hidden": width})
        match = Match(candidate, width, capacity(candidate, channels).effective, target)
        if best is None or abs(match.mismatch) < abs(best.mismatch):
            best = match
        if match.effective > target or not config.model.workers:
            break
    assert best is not None
    if not config.model.workers:  # the width changes nothing: it stays
        return Match(config, config.model.worker_hidden, best.effective, target)
    return best


def match_arms(study: Study, channels: Mapping[str, int]) -> tuple[Study, dict[tuple[str, str], Match]]:
    """`--match-capacity`: the study with an arm of matched width beside each arm that another width brings closer.

    Args:
        channels: of each cell's series.
    Returns:
        the study, and every match by (arm, cell), those too that no width brings closer or close.
    """
    matches: dict[tuple[str, str], Match] = {}
    widths: dict[str, dict[str, int]] = {}
    for comparison in study.comparisons:
        arm = comparison.arm
        for cell in study.cell_names:
            config, against = study.config(cell, arm.name), study.config(cell, arm.against)
            target = capacity(against, channels[cell]).effective
            match = matches[arm.name, cell] = match_capacity(config, target, channels[cell])
            if match.worker_hidden != config.model.worker_hidden:
                widths.setdefault(arm.name, {})[cell] = match.worker_hidden
    return Study.create({**study.model_dump(exclude_defaults=True), "matched": widths}), matches
