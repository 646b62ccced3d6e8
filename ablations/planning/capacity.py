"""The width that makes two arms comparable in their number of parameters.

What counts are effective parameters: those that a gradient reaches and that the forecast reads.
"""

from collections.abc import Mapping
from dataclasses import dataclass

from ablations.study.reading import changed
from ablations.study.study import Study
from lab.errors import ConfigError
from lab.forecaster import Forecaster
from lab.registry import forecaster_of
from lab.settings.config import Config

CLOSE = 0.05  # relative mismatch up to which two arms count as of equal capacity
WIDEST = 1024  # no larger widths are looked for


@dataclass(frozen=True)
class Match:
    """The width that brings an arm's effective parameters closest to a target."""

    config: Config
    setting: str  # that is the width
    width: int
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
        name = self.setting.rpartition(".")[-1]
        left = f"{self.effective:,} effective parameters against {self.target:,} ({self.mismatch:+.1%})"
        if self.close:
            return f"{name}={self.width}: {left}"
        return f"no {name} comes within {CLOSE:.0%}; the closest is {self.width}: {left}"


def match_capacity(config: Config, target: int, channels: int) -> Match:
    """The config of the width whose effective parameters are closest to `target`, the narrower of two.

    Where no width is within 5% (the arm has nothing that is so wide, say, or one unit of width is more) the closest is
    given all the same, and `Match.close` is False.
    """
    forecaster = forecaster_of(config)
    setting = _setting(forecaster)

    def at(width: int) -> Match:
        candidate = config.override({setting: width})
        return Match(candidate, setting, width, forecaster.size(candidate, channels).effective, target)

    now = at(int(config.flat()[setting]))
    best: Match | None = None
    for width in range(1, WIDEST + 1):
        try:
            match = at(width)
        except ConfigError:  # a width that this model cannot have
            continue
        if width != now.width and match.effective == now.effective:  # the width changes nothing: it stays
            return now
        if best is None or abs(match.mismatch) < abs(best.mismatch):
            best = match
        if match.effective > target:
            break
    return best or now


def match_arms(study: Study, channels: Mapping[str, int]) -> tuple[Study, dict[tuple[str, str], Match]]:
    """`--match-capacity`: the study with an arm of matched width beside each arm that another width brings closer.

    Args:
        channels: of each cell's series.
    Returns:
        the study, and every match by (arm, cell), those too that no width brings closer or close.
    Raises:
        ConfigError: models of this kind have no width.
    """
    setting = _setting(study.forecaster)
    matches: dict[tuple[str, str], Match] = {}
    widths: dict[str, dict[str, int]] = {}
    for comparison in study.comparisons:
        arm = comparison.arm
        for cell in study.cell_names:
            config, against = study.config(cell, arm.name), study.config(cell, arm.against)
            target = study.forecaster.size(against, channels[cell]).effective
            match = matches[arm.name, cell] = match_capacity(config, target, channels[cell])
            if match.width != config.flat()[setting]:
                widths.setdefault(arm.name, {})[cell] = match.width
    return changed(study, {"matched": widths}), matches


def _setting(forecaster: Forecaster) -> str:
    if forecaster.width is None:
        raise ConfigError(f"--match-capacity: {forecaster.title} names no setting that is its width; leave it out")
    return forecaster.width
