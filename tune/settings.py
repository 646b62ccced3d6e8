"""What a search is: a preset, dotted settings, a space and a budget, all checked before anything is computed."""

import json
from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any

from lab import seeds
from lab.errors import MOST_WHOLE, ConfigError, check_number, unknown
from lab.machines.options import MOST_FAILURES, Call
from lab.registry import DEFAULT, forecaster, study_name
from lab.settings.config import RESULTS_VERSION, Config
from lab.settings.differences import differences as settings_differences
from lab.settings.files import dotted, with_own_file
from lab.store.schema import check_study
from tune.methods.table import SAMPLERS
from tune.space import Space, same_spec

QUICKSTART = "quickstart"  # the preset of a search that names none
OBJECTIVES = ("val_mse", "parameters")
MOST_TRIALS = 1_000_000
MOST_ORIGINS = 100


@dataclass(frozen=True)
class Budget:
    """How much is searched, and how. The first group is part of what a study is; the second may change."""

    replicates: int = 3  # seeds per proposal
    grace_epochs: int = 4  # epochs before ASHA may stop a trial
    reduction_factor: float = 3  # ASHA keeps one in so many at each rung
    objectives: tuple[str, ...] = ("val_mse",)
    sampler: str = "tpe"  # a row of tune.methods.table
    seed: int = 0  # of the sampler
    max_parameters: int | None = None  # larger models are not proposed
    origins: int = 1  # at which every replicate is trained, the data's own the last (tune.origins)
    race: bool = False  # over seeds: one first, more where the trial may still be the best (tune.racing)

    trials: int = 20
    final_replicates: int = 5  # fresh seeds of the best config
    max_failures: int = 2  # times a trial that raised goes on from its checkpoint

    IDENTITY = (
        "replicates", "grace_epochs", "reduction_factor", "objectives", "sampler", "seed", "max_parameters", "origins",
        "race",
    )  # fmt: skip

    def __post_init__(self) -> None:
        for name, least, most in (
            ("replicates", 1, seeds.FINAL), ("grace_epochs", 1, MOST_WHOLE), ("trials", 1, MOST_TRIALS),
            ("final_replicates", 0, seeds.FINAL), ("max_failures", 0, MOST_FAILURES),
            ("max_parameters", 1, MOST_WHOLE), ("seed", -MOST_WHOLE, MOST_WHOLE), ("origins", 1, MOST_ORIGINS),
        ):  # fmt: skip
            if getattr(self, name) is not None:
                check_number(name.replace("_", "-"), getattr(self, name), least, most)
        if not 1.01 <= self.reduction_factor <= 1e6:  # a smaller one has rungs without number
            raise ConfigError(
                f"reduction-factor: got {self.reduction_factor}, a number above 1 is needed (from 1.01 to 1,000,000)"
            )
        for name in self.objectives:
            if name not in OBJECTIVES:
                raise unknown("objective", name, OBJECTIVES)
        if self.objectives[:1] != ("val_mse",) or len(set(self.objectives)) != len(self.objectives):
            raise ConfigError(f"objectives: got {','.join(self.objectives)}; allowed: val_mse, or val_mse,parameters")
        if self.sampler not in SAMPLERS:
            raise unknown("sampler", self.sampler, SAMPLERS)
        if self.race:
            self._check_race()

    def _check_race(self) -> None:
        for name, bad, ways in (
            ("replicates", self.replicates < 2, "a race needs at least 2: --replicates 2"),
            ("origins", self.origins > 1, "a race is over seeds at one origin: --origins 1"),
            ("objectives", len(self.objectives) > 1, "a race has one: --objectives val_mse"),
        ):  # fmt: skip
            if bad:
                got = getattr(self, name)
                shown = ",".join(got) if isinstance(got, tuple) else got
                raise ConfigError(f"race: got {name} {shown}; {ways}, or leave --race out")


@dataclass(frozen=True)
class SearchSettings:
    study: str
    base: Config  # what is not searched
    space: Space
    budget: Budget

    def __post_init__(self) -> None:
        most = MOST_WHOLE - seeds.FINAL - max(self.budget.replicates, self.budget.final_replicates)
        check_number("training.seed", self.base.training.seed, 0, most)  # replicates count on from it

    def identity(self, data_sha256: str, origins: Mapping[str, Any] | None = None) -> dict[str, Any]:
        """What must stay the same for results to belong to one study.

        `origins`: what is told of each, by name, where there are several.
        """
        budget = {name: getattr(self.budget, name) for name in Budget.IDENTITY}
        if self.budget.max_parameters is None:  # a study that was begun before there was a limit goes on
            del budget["max_parameters"]
        if self.budget.origins == 1:  # or before there were origins
            del budget["origins"]
        if not self.budget.race:
            del budget["race"]
        searched = {item.path for item in self.space.ranges}
        settings = {k: v for k, v in self.base.canonical().items() if k not in searched}
        identity: dict[str, Any] = {"settings": settings, "space": self.space.as_dict(), "search": budget}
        identity |= {"data_sha256": data_sha256, "results_version": RESULTS_VERSION, **self.base.identity}
        if origins:
            identity["origins"] = dict(origins)
        if self.base.forecaster != DEFAULT:
            identity["model"] = self.base.forecaster
        return json.loads(json.dumps(identity))  # as it will be read back

    def final_configs(self, best: Config) -> list[Config]:
        """The best config with fresh seeds, to be trained to its end."""
        fresh = seeds.finals(self.base.training.seed, self.budget.final_replicates)
        return [best.override({"training.seed": seed}) for seed in fresh]


def differences(old: Mapping[str, Any], new: Mapping[str, Any]) -> list[str]:
    """One line per setting that differs between the identities of two searches, a range of the space as one value."""
    settings = forecaster(new.get("model", DEFAULT)).config

    def same(key: str, one: Any, other: Any) -> bool:
        if key.startswith("space.") and isinstance(one, Mapping) and isinstance(other, Mapping):
            return same_spec(key.removeprefix("space."), one, other, settings)
        return bool(one == other)

    return settings_differences(old, new, whole=("space",), same=same)


@dataclass(frozen=True)
class SearchCall(Call):
    """What one call of the search command was asked for.

    Attributes:
        budget: fields of `Budget` that the command line names; the preset gives the others.
    """

    preset: str | None = None  # None: `QUICKSTART` where the model has it, else its defaults
    space: str | None = None  # a file of ranges
    study: str | None = None  # None: the preset's
    max_epochs: int | None = None
    budget: Mapping[str, Any] = field(default_factory=dict)

    @property
    def files(self) -> tuple[str, ...]:
        return (*super().files, *([self.space] if self.space else []))

    def settings(self) -> SearchSettings:
        """The search that is asked for. Weakest first: preset, --config, flags, overrides.

        Raises:
            ConfigError: an unknown name, a value that is not allowed, a space that does not fit.
        """
        model = forecaster(self.model)
        presets, settings_of = model.config.presets, model.config
        named = self.preset if self.preset is not None or QUICKSTART not in presets else QUICKSTART
        preset: dict[str, Any] = {"settings": {}, "search": {}}
        if named is not None:
            preset = settings_of.understood(presets.search(named), presets.path(named))
        fixed = with_own_file(settings_of.parse_overrides(self.overrides))
        if self.max_epochs is not None:
            fixed.setdefault("training.max_epochs", self.max_epochs)
        settings = dict(preset["settings"])
        if self.config:
            settings.update(with_own_file(dotted(settings_of.read_yaml(self.config))))
        for key in settings_of.bundled(fixed.get("training.protocol")):  # the protocol's own win over the file's
            settings.pop(key, None)
        base = settings_of.create({**settings, **fixed})

        specs = settings_of.read_yaml(self.space) if self.space else preset.get("space", model.space)
        space = Space(specs, base, fixed)
        if not space.ranges:
            raise ConfigError("space: nothing is left to search; every range is fixed on the command line")

        chosen = {**preset["search"], **self.budget}
        if isinstance(chosen.get("objectives"), str | list):
            names = chosen["objectives"]
            chosen["objectives"] = tuple(names.split(",") if isinstance(names, str) else names)
        study = check_study((named or study_name(self.model)) if self.study is None else self.study)
        return SearchSettings(study, base, space, Budget(**chosen))
