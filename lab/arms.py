"""Arms of an ablation: what each takes out of a model or adds to it, the claim it tests, and what it takes for granted.

An arm is a set of dotted overrides over a study's baseline. It is refused where the baseline lacks what the arm takes
for granted, and where it would change nothing: an arm that trains the baseline again under another name is a lie.
Which arms there are says each forecaster.
"""

import re
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field, replace
from typing import Any, Protocol, Self, TypeVar

from lab.errors import ConfigError
from lab.settings.data import DataConfig

FULL = "full"
_NAME = re.compile(r"[A-Za-z][A-Za-z0-9_.+@-]{0,127}")
# What differs between configs without being a difference: a protocol's name only stands for other settings.
_NOT_COMPARED = ("training.protocol", "training.seed")


class Settings(Protocol):
    """What an arm asks of a config."""

    @property
    def data(self) -> DataConfig: ...
    def canonical(self) -> dict[str, Any]: ...
    def flat(self) -> dict[str, Any]: ...
    def override(self, settings: Mapping[str, Any], /) -> Self: ...


C = TypeVar("C", bound=Settings)


@dataclass(frozen=True)
class Need:
    """What an arm takes for granted of the baseline."""

    text: str  # completes "needs ..."
    met: Callable[[Any], bool]  # of a config


@dataclass(frozen=True)
class Variant:
    """What a study makes of an arm by itself. Records tell a variant by the ending of its name."""

    matched: bool = False  # as wide as brings its parameters closest to its baseline arm's
    tuned: bool = False  # with the nuisance settings that a search of its own chose

    def named(self, plain: str) -> str:
        """The name of this variant of an arm."""
        return f"{plain}{_MATCHED if self.matched else ''}{_TUNED if self.tuned else ''}"

    @classmethod
    def read(cls, name: str) -> tuple[str, "Variant"]:
        """The name of the arm that an arm of this name is a variant of, and which."""
        untuned = name.removesuffix(_TUNED)
        plain = untuned.removesuffix(_MATCHED)
        return plain, cls(matched=plain != untuned, tuned=untuned != name)


_MATCHED, _TUNED = "@matched", "@tuned"
PLAIN = Variant()


@dataclass(frozen=True)
class Arm:
    """One ablation. Just one of `removes` and `adds` is set, but for an arm that is only ever a baseline.

    `against` is its baseline arm. An arm that removes is compared as loss(arm) - loss(against), one that adds as
    loss(against) - loss(arm): the effect is that of doing without the part, either way.
    """

    name: str
    claim: str  # one sentence about the part, which the comparison can bear out or not
    overrides: Mapping[str, Any] = field(default_factory=dict)
    removes: str = ""  # what the network does without, or has in the part's place
    adds: str = ""
    needs: tuple[Need, ...] = ()
    against: str = FULL
    attributable: bool = True  # to one part; else several things change together
    noun: str = ""  # what is removed or added, as a sentence says it; by default `removes` or `adds`
    aside: str = ""  # what follows the noun in brackets: what stands in its place
    variant: Variant = PLAIN
    plain: str = ""  # of a variant: the name of the arm that it is one of; otherwise its own

    def __post_init__(self) -> None:
        if not _NAME.fullmatch(self.name):
            raise ConfigError(f"arm name {self.name!r}: a letter first, then letters, digits or one of _ . + @ -")
        object.__setattr__(self, "noun", self.noun or self.removes or self.adds)
        object.__setattr__(self, "plain", self.plain or self.name)

    @property
    def compared(self) -> bool:
        """Whether it is compared with anything; a baseline is not."""
        return bool(self.removes or self.adds)

    @property
    def about(self) -> str:
        """What becomes of the network: what is removed or added, or its claim where it is only ever a baseline."""
        return self.removes or (f"adds {self.adds}" if self.adds else self.claim)

    @property
    def untuned(self) -> str:
        """The name of this arm with the settings of its study."""
        return replace(self.variant, tuned=False).named(self.plain)

    def as_variant(self, *, matched: bool = False, tuned: bool = False, **changes: Any) -> "Arm":
        """A variant of this arm, with its name; other fields can be said anew."""
        variant = Variant(self.variant.matched or matched, self.variant.tuned or tuned)
        return replace(self, name=variant.named(self.plain), variant=variant, **changes)

    def apply(self, base: C) -> C:
        """The baseline with this arm's overrides.

        Raises:
            ConfigError: the baseline lacks what the arm needs or is already what the arm would make of it, or the
                result is no valid config.
        """
        for need in self.needs:
            if not need.met(base):
                raise ConfigError(f"arm '{self.name}' needs {need.text}, which the baseline lacks")
        try:
            config = base.override(self.overrides)
        except ConfigError as error:
            raise ConfigError(f"arm '{self.name}': {error}") from None
        if self.compared and self.against == FULL and not difference(base, config):
            if config.data.source() != base.data.source():
                raise ConfigError(f"arm '{self.name}' reads other rows than its baseline; make it a cell")
            now = ", ".join(f"{key} is already {value!r}" for key, value in self.overrides.items())
            raise ConfigError(f"arm '{self.name}' changes nothing against the baseline: {now or 'no overrides'}")
        return config

    def touches(self, base: Settings) -> frozenset[str]:
        """The settings that the arm decides: its overrides, what a protocol among them changes, what is read for them.

        What is read no longer is not decided: without a part it does not matter how it would be set. Nor is what stays
        as it is and is not read: a part that came later and is off.
        """
        after = base.override(self.overrides)
        changed, read = difference(base, after), {**base.canonical(), **after.canonical()}
        was, now = base.flat(), after.flat()
        decided = {key for key in self.overrides if key in read or was.get(key) != now.get(key)}
        return frozenset(decided | {key for key, (_, value) in changed.items() if value is not None})


BASELINE = Arm(FULL, "the baseline, against which arms are compared")


def difference(one: Settings, other: Settings) -> dict[str, tuple[Any, Any]]:
    """The settings that can change a run's numbers and differ, each with both values; None where one does not read it.

    Seeds are left out: they tell replicates apart, not arms.
    """
    left, right = one.canonical(), other.canonical()
    keys = [*left, *(key for key in right if key not in left)]
    pairs = {key: (left.get(key), right.get(key)) for key in keys if key not in _NOT_COMPARED}
    return {key: pair for key, pair in pairs.items() if pair[0] != pair[1]}
