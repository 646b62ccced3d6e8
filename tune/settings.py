"""What a search is: a preset, dotted settings, a space and a budget, all checked before anything is computed."""

import argparse
import json
import os
from collections.abc import Mapping
from dataclasses import dataclass, fields
from pathlib import Path
from typing import Any

from dynonet.config import PROTOCOLS, RESULTS_VERSION, Config, dotted, parse_overrides, read_yaml, with_own_file
from lab.compute import kernels
from lab.console.printing import one_line
from lab.errors import MOST_WHOLE, ConfigError, check_number, unknown
from lab.store.objects.storage import open_storage
from lab.store.schema import check_study
from tune.space import DEFAULT, Space, same_spec

PRESETS = Path(__file__).parents[1] / "dynonet" / "searches"
OBJECTIVES = ("val_mse", "parameters")
SAMPLERS = ("tpe", "nsga2")
FINAL_SEED_OFFSET = 1000  # final replicates share no seed with the search's
MOST_TRIALS, MOST_FAILURES = 1_000_000, 1000
MOST_SECONDS = 1e9  # thirty years


@dataclass(frozen=True)
class Budget:
    """How much is searched, and how. The first group is part of what a study is; the second may change."""

    replicates: int = 3  # seeds per proposal
    grace_epochs: int = 4  # epochs before ASHA may stop a trial
    reduction_factor: float = 3  # ASHA keeps one in so many at each rung
    objectives: tuple[str, ...] = ("val_mse",)
    sampler: str = "tpe"
    seed: int = 0  # of the sampler
    max_parameters: int | None = None  # larger models are not proposed

    trials: int = 20
    final_replicates: int = 5  # fresh seeds of the best config
    max_failures: int = 2  # times a trial that raised goes on from its checkpoint

    IDENTITY = ("replicates", "grace_epochs", "reduction_factor", "objectives", "sampler", "seed", "max_parameters")

    def __post_init__(self) -> None:
        for name, least, most in (
            ("replicates", 1, FINAL_SEED_OFFSET), ("grace_epochs", 1, MOST_WHOLE), ("trials", 1, MOST_TRIALS),
            ("final_replicates", 0, FINAL_SEED_OFFSET), ("max_failures", 0, MOST_FAILURES),
            ("max_parameters", 1, MOST_WHOLE), ("seed", -MOST_WHOLE, MOST_WHOLE),
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


@dataclass(frozen=True)
class SearchSettings:
    study: str
    base: Config  # what is not searched
    space: Space
    budget: Budget

    def __post_init__(self) -> None:
        most = MOST_WHOLE - FINAL_SEED_OFFSET - max(self.budget.replicates, self.budget.final_replicates)
        check_number("training.seed", self.base.training.seed, 0, most)  # replicates count on from it

    def identity(self, data_sha256: str) -> dict[str, Any]:
        """What must stay the same for results to belong to one study."""
        budget = {name: getattr(self.budget, name) for name in Budget.IDENTITY}
        if self.budget.max_parameters is None:  # a study that was begun before there was a limit goes on
            del budget["max_parameters"]
        searched = {item.path for item in self.space.ranges}
        settings = {k: v for k, v in self.base.canonical().items() if k not in searched}
        identity: dict[str, Any] = {"settings": settings, "space": self.space.as_dict(), "search": budget}
        identity |= {"data_sha256": data_sha256, "results_version": RESULTS_VERSION}
        return json.loads(json.dumps(identity))  # as it will be read back

    def final_configs(self, best: Config) -> list[Config]:
        seed = self.base.training.seed + FINAL_SEED_OFFSET
        return [best.override({"training.seed": seed + r}) for r in range(self.budget.final_replicates)]


def differences(old: Mapping[str, Any], new: Mapping[str, Any]) -> list[str]:
    """One line per setting that differs between two identities, and one more where the reason lies in what they are."""
    before, after = _leaves(old), _leaves(new)
    missing = "(not set)"
    keys = sorted(
        key for key in before.keys() | after.keys() if not _same(key, before.get(key, missing), after.get(key, missing))
    )
    lines = [f"{key}: {before.get(key, missing)} -> {after.get(key, missing)}{_meant(key)}" for key in keys]
    if any(key.endswith("data.split") and key not in after for key in keys):
        lines.insert(
            0, "a study on a file of one's own from before files were known by their values: it stays readable"
        )
    return lines


def _meant(key: str) -> str:
    return " (other data: a value, a name, the order, a date or a split)" if key.startswith("data_sha256") else ""


def _same(key: str, one: Any, other: Any) -> bool:
    if key.startswith("space.") and isinstance(one, Mapping) and isinstance(other, Mapping):
        return same_spec(key.removeprefix("space."), one, other)
    return bool(one == other)


def _leaves(identity: Mapping[str, Any]) -> dict[str, Any]:
    """Settings by dotted key, a range of the space as one value."""
    rest = {key: value for key, value in identity.items() if key != "space"}
    return {**dotted(rest), **{f"space.{key}": spec for key, spec in identity.get("space", {}).items()}}


def preset_names() -> list[str]:
    return sorted(path.stem for path in PRESETS.glob("*.yaml"))


def add_resource_arguments(parser: argparse.ArgumentParser) -> None:
    """The options that RaySession and Stop of `ray_session` read, the same for every command that trains."""
    add = parser.add_argument
    add(
        "--max-failures",
        type=int,
        help="times a trial that raised goes on from its checkpoint (0: nor one whose process died)",
    )
    add("--cpus-per-trial", type=float, default=1)
    add("--gpus-per-trial", type=float, help="fractions allowed (default: 1 where the cluster has GPUs, else 0)")
    add("--max-concurrent", type=int, help="trials at once (default: what the machines hold, as they come and go)")
    add("--address", help="address of a running Ray cluster (default: RAY_ADDRESS, else Ray on this machine)")
    add("--storage-patience", type=float, default=600, help="seconds to wait while the storage is full or gone")
    add("--time-budget", type=float, help="seconds after which this call stops; the study can go on later")


def add_tracking_arguments(parser: argparse.ArgumentParser) -> None:
    """The options that `tracking.Tracker` reads, the same for every command that trains."""
    add = parser.add_argument
    add("--wandb", choices=("off", "offline", "online"), default="off", help="show runs in W&B too (default: off)")
    add_wandb_place(parser)


def add_wandb_place(parser: argparse.ArgumentParser) -> None:
    parser.add_argument("--wandb-project", default="dynonet", help="W&B project (default: dynonet)")
    parser.add_argument("--wandb-entity", help="W&B user or team (default: the account's own)")


def check_place(out: str) -> None:
    """Raises ConfigError where there can be no results, a file or within one, before anything is begun."""
    if not out.strip():
        raise ConfigError("--out: got nothing; a folder or an object store's address is needed")
    storage = open_storage(out, create=False)
    if storage.local:
        there = next(place for place in (storage.root, *map(str, Path(storage.root).parents)) if os.path.lexists(place))
        if not os.path.isdir(there):
            raise ConfigError(f"--out: got '{one_line(out)}', but {one_line(there)} is no folder; name another")


def check_resource_arguments(args: argparse.Namespace) -> None:
    """Raises ConfigError for a number that cannot be, or a kernel that is none."""
    kernels.asked()
    for name, least, most in (
        ("cpus_per_trial", 0, 1e6), ("gpus_per_trial", 0, 1e6), ("max_concurrent", 1, 1_000_000),
        ("time_budget", 0, MOST_SECONDS), ("storage_patience", 0, MOST_SECONDS), ("max_failures", 0, MOST_FAILURES),
        ("device_hours", 0, MOST_SECONDS / 3600), ("stack_size", 1, 1_000_000),
    ):  # fmt: skip
        value = getattr(args, name, None)
        if value is not None:
            check_number(name.replace("_", "-"), value, least, most)
    for name in ("cpus_per_trial", "gpus_per_trial"):
        share = getattr(args, name, None) or 0.0
        if round(share, 4) != share:
            raise ConfigError(f"{name.replace('_', '-')}: got {share}; four decimals are allowed, as Ray counts")
    if (gpus := getattr(args, "gpus_per_trial", None) or 0.0) > 1 and not float(gpus).is_integer():
        raise ConfigError(f"gpus-per-trial: got {gpus:g}; above 1 whole numbers are allowed, as Ray counts")


def read_settings(args: argparse.Namespace) -> SearchSettings:
    """The search that the command line asks for. Weakest first: preset, --config, flags, overrides.

    Raises:
        ConfigError: an unknown name, a value that is not allowed, a space that does not fit.
    """
    check_resource_arguments(args)
    if args.preset not in preset_names():
        raise unknown("preset", args.preset, preset_names())
    preset = read_yaml(PRESETS / f"{args.preset}.yaml")
    fixed = with_own_file(parse_overrides(args.overrides))
    if args.max_epochs is not None:
        fixed.setdefault("training.max_epochs", args.max_epochs)
    settings = dict(preset["settings"])
    if args.config:
        settings.update(with_own_file(dotted(read_yaml(args.config))))
    if fixed.get("training.protocol") in PROTOCOLS:
        for key in PROTOCOLS["clean"]:  # the protocol's own settings win over the file's
            settings.pop(key, None)
    base = Config.create({**settings, **fixed})

    specs = read_yaml(args.space) if args.space else preset.get("space", DEFAULT)
    space = Space(specs, base, fixed)
    if not space.ranges:
        raise ConfigError("space: nothing is left to search; every range is fixed on the command line")

    chosen = dict(preset["search"])
    for field in fields(Budget):
        value = getattr(args, field.name, None)
        if value is not None:
            chosen[field.name] = value
    if isinstance(chosen.get("objectives"), str | list):
        names = chosen["objectives"]
        chosen["objectives"] = tuple(names.split(",") if isinstance(names, str) else names)
    return SearchSettings(check_study(args.preset if args.study is None else args.study), base, space, Budget(**chosen))
