"""The pieces of a study's file, and how its layers of settings and its arms are put together."""

from collections.abc import Collection, Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Any

from pydantic import BaseModel, ConfigDict, Field

from lab.arms import FULL, PLAIN, Arm, Variant
from lab.errors import ConfigError, unknown
from lab.forecaster import Forecaster
from lab.seeds import RETUNE, replicates
from lab.settings.config import Config
from lab.settings.files import dotted, with_own_file


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
    noun: str = ""  # what is removed or added, as a sentence says it; by default `removes` or `adds`
    aside: str = ""  # what follows the noun in brackets

    def arm(self, registered: Collection[str]) -> Arm:
        """Raises ConfigError for a bad name, or one that a registered arm has."""
        if Variant.read(self.name)[1] != PLAIN:
            endings = " or ".join(Variant(**{kind: True}).named("") for kind in ("matched", "tuned"))
            raise ConfigError(f"arm '{self.name}': names that end in {endings} are given by the study")
        if self.name in registered:
            raise ConfigError(f"arm '{self.name}' is defined here, but a registered arm has that name; take another")
        removes = self.removes or ("" if self.adds else f"what {', '.join(dotted(self.overrides))} had been")
        return Arm(
            self.name, self.claim, dotted(self.overrides), removes, self.adds, (), self.against, self.attributable,
            self.noun, self.aside,
        )  # fmt: skip


class PairSpec(Section):
    """An arm that is compared with another arm than it would be by itself."""

    arm: str
    against: str


class Retune(Section):
    """The search that each arm gets before its replicates. It varies the study's nuisance settings."""

    trials: int = Field(20, ge=1, le=1_000_000)
    # Of each search: trials go on until so much is spent, `trials` at most. Equal where models cost unlike.
    device_seconds: float | None = Field(None, gt=0, le=1e9)
    replicates: int = Field(2, ge=1, le=1000)  # seeds of a proposal
    seed_offset: int = Field(RETUNE, ge=0, le=2**62)  # the search's seeds are this, this + 1, ...
    space: dict[str, dict[str, Any]] = Field(
        default_factory=dict
    )  # ranges beside dotted paths; the default ranges of tune.space otherwise

    @property
    def seeds(self) -> tuple[int, ...]:
        return replicates(self.seed_offset, self.replicates)

    @property
    def text(self) -> str:
        """The budget of one search."""
        trials = f"{self.trials} trials x {self.replicates} seeds"
        return trials if self.device_seconds is None else f"{self.device_seconds:g} device seconds (at most {trials})"


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


def widened(arm: Arm, forecaster: Forecaster) -> Arm:
    """The arm with the width that brings its parameters closest to its baseline arm's; the cell says how wide."""
    width = f"with {forecaster.width_words[1]}, for about as many parameters"
    removes, adds = (f"{text}, {width}" if text else "" for text in (arm.removes, arm.adds))
    return arm.as_variant(matched=True, removes=removes, adds=adds, attributable=False)


def beside(arm: Arm, against: str) -> Arm:
    """The arm compared with another one than by itself: what its text says of a part is no longer what is tested."""
    claim = f"{against} has a lower test error than {arm.name}"
    return replace(
        arm, against=against, claim=claim, removes=f"{against}: {arm.name} stands in its place", adds="",
        attributable=False, noun=against, aside=f"{arm.name} stands in its place",
    )  # fmt: skip


def data_of_preset(config: type[Config], settings: Mapping[str, Any]) -> dict[str, Any]:
    """The settings of a cell with those of its preset alone that say which data is read and how far ahead."""
    flat = dotted(settings)
    preset = config.presets.get(flat.pop("preset", None) or "", {})
    return {**{key: value for key, value in preset.items() if key.startswith("data.")}, **flat}


def retuned(arm: Arm) -> Arm:
    """The arm, and its baseline arm, each with the nuisance settings that a search of its own chose."""
    settings = "each side with the nuisance settings that a search of its own chose"
    removes, adds = (f"{text}, {settings}" if text else "" for text in (arm.removes, arm.adds))
    against = Variant(tuned=True).named(arm.against) if arm.compared else arm.against
    return arm.as_variant(tuned=True, removes=removes, adds=adds, against=against)


def layered(config: type[Config], *layers: Mapping[str, Any]) -> dict[str, Any]:
    """Dotted settings from layers, the weakest first. `preset` in a layer stands for settings weaker than its others.

    Where a layer names a protocol, it takes the protocol's settings from the layers below.
    Raises ConfigError for an unknown preset.
    """
    settings: dict[str, Any] = {}
    for layer in layers:
        flat = with_own_file(dotted(layer))
        name = flat.pop("preset", None)
        if name is not None and name not in config.presets:
            raise unknown("preset", str(name), config.presets)
        if (protocol := flat.get("training.protocol")) in config.protocols:
            for key in config.bundled(protocol):
                settings.pop(key, None)
        settings |= {**config.presets.get(name or "", {}), **flat}
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
