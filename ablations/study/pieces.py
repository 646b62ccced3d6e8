"""The pieces of a study's file, and how its layers of settings and its arms are put together."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Any

from pydantic import BaseModel, ConfigDict, Field

from dynonet.arms import ARMS
from dynonet.config import PROTOCOLS
from dynonet.presets import PRESETS
from lab.arms import FULL, Arm
from lab.errors import ConfigError, unknown
from lab.seeds import RETUNE, replicates
from lab.settings.files import dotted, with_own_file

MATCHED = "@matched"  # ends the name of an arm of matched capacity
TUNED = "@tuned"  # ends the name of an arm whose nuisance settings a search of its own chose


class Section(BaseModel):
    model_config = ConfigDict(frozen=True, extra="forbid", allow_inf_nan=False)


class InlineArm(Section):
    """An arm of the study's own."""

    name: str
    claim: str = Field(min_length=10)
    overrides: dict[str, Any] = Field(min_length=1)
    removes: str = ""
    adds: str = ""
    against: str = FULL
    attributable: bool = True

    def arm(self) -> Arm:
        """Raises ConfigError for a bad name, one that a registered arm has, or an unknown setting."""
        if self.name.endswith((MATCHED, TUNED)):
            raise ConfigError(f"arm '{self.name}': names that end in {MATCHED} or {TUNED} are given by the study")
        if self.name in ARMS:
            raise ConfigError(f"arm '{self.name}' is defined here, but a registered arm has that name; take another")
        removes = self.removes or ("" if self.adds else f"what {', '.join(dotted(self.overrides))} had been")
        return Arm(
            self.name, self.claim, dotted(self.overrides), removes, self.adds, (), self.against, self.attributable
        )


class PairSpec(Section):
    """An arm that is compared with another arm than it would be by itself."""

    arm: str
    against: str


class Retune(Section):
    """The search that each arm gets before its replicates. It varies the study's nuisance settings."""

    trials: int = Field(20, ge=1, le=1_000_000)
    replicates: int = Field(2, ge=1, le=1000)  # seeds of a proposal
    seed_offset: int = Field(RETUNE, ge=0, le=2**62)  # the search's seeds are this, this + 1, ...
    space: dict[str, dict[str, Any]] = Field(
        default_factory=dict
    )  # ranges beside dotted paths; the default ranges of tune.space otherwise

    @property
    def seeds(self) -> tuple[int, ...]:
        return replicates(self.seed_offset, self.replicates)


@dataclass(frozen=True)
class Comparison:
    """Two arms, paired by seed: the effect is loss(without) - loss(with_part), that of doing without the part."""

    arm: Arm  # whose claim it tests; the name of the comparison
    without: str
    with_part: str
    instead: bool = False  # of `pairs`: one arm in place of another

    @property
    def name(self) -> str:
        return self.arm.name


def widened(arm: Arm) -> Arm:
    """The arm with workers as wide as brings its parameters closest to its baseline arm's; the cell says how wide."""
    width = "with workers of another width, for about as many parameters"
    removes, adds = (f"{text}, {width}" if text else "" for text in (arm.removes, arm.adds))
    return replace(arm, name=f"{arm.name}{MATCHED}", removes=removes, adds=adds, attributable=False)


def beside(arm: Arm, against: str) -> Arm:
    """The arm compared with another one than by itself: what its text says of a part is no longer what is tested."""
    claim = f"{against} has a lower test error than {arm.name}"
    return replace(
        arm, against=against, claim=claim, removes=f"{against}: {arm.name} stands in its place", adds="",
        attributable=False,
    )  # fmt: skip


def data_of_preset(settings: Mapping[str, Any]) -> dict[str, Any]:
    """The settings of a cell with those of its preset alone that say which data is read and how far ahead."""
    flat = dotted(settings)
    preset = PRESETS.get(flat.pop("preset", None) or "", {})
    return {**{key: value for key, value in preset.items() if key.startswith("data.")}, **flat}


def retuned(arm: Arm) -> Arm:
    """The arm, and its baseline arm, each with the nuisance settings that a search of its own chose."""
    settings = "each side with the nuisance settings that a search of its own chose"
    removes, adds = (f"{text}, {settings}" if text else "" for text in (arm.removes, arm.adds))
    against = f"{arm.against}{TUNED}" if arm.compared else arm.against
    return replace(arm, name=f"{arm.name}{TUNED}", removes=removes, adds=adds, against=against)


def layered(*layers: Mapping[str, Any]) -> dict[str, Any]:
    """Dotted settings from layers, the weakest first. `preset` in a layer stands for settings weaker than its others.

    Where a layer names a protocol, it takes the protocol's settings from the layers below.
    Raises ConfigError for an unknown preset.
    """
    settings: dict[str, Any] = {}
    for layer in layers:
        flat = with_own_file(dotted(layer))
        name = flat.pop("preset", None)
        if name is not None and name not in PRESETS:
            raise unknown("preset", str(name), PRESETS)
        if flat.get("training.protocol") in PROTOCOLS:
            for key in PROTOCOLS["clean"]:
                settings.pop(key, None)
        settings |= {**PRESETS.get(name or "", {}), **flat}
    return settings


def no_repeats(kind: str, names: Sequence[str]) -> None:
    for name in names:
        if names.count(name) > 1:
            raise ConfigError(f"{kind} '{name}' is named twice")


def combined(factors: Sequence[Arm], name: str) -> Arm:
    """Several factors off at once. Raises ConfigError where two of them set the same setting."""
    overrides: dict[str, Any] = {}
    for factor in factors:
        for key in factor.overrides:
            if key in overrides:
                raise ConfigError(f"factors of '{name}' cannot be combined: more than one of them sets {key}")
        overrides |= factor.overrides
    needs = tuple(dict.fromkeys(need for factor in factors for need in factor.needs))
    if len(factors) == 1:
        return factors[0]
    removes = "; ".join(factor.removes for factor in factors)
    return Arm(name, "a cell of the factorial design", overrides, removes, "", needs, attributable=False)
