"""What every command that trains is told, read once from its line: where results go, what machines give, W&B."""

import argparse
import os
from dataclasses import dataclass, field, fields
from typing import Any, Literal

from lab.compute import kernels
from lab.console.parser import Parser
from lab.console.printing import one_line
from lab.console.units import seconds
from lab.errors import ConfigError, check_number, nearest, unknown
from lab.machines.card.mps import MPS, SHARINGS, TURNS
from lab.machines.card.share import AUTO
from lab.registry import DEFAULT, add_model_argument, add_overrides_argument
from lab.store.place import Place, add_results_argument
from lab.tracking.options import Tracking, add_tracking_arguments

MOST_FAILURES = 1000
MOST_SECONDS = 1e9  # thirty years


@dataclass(frozen=True)
class Resources:
    """What one call may take of machines and of time. Raises ConfigError for a number that cannot be."""

    cpus_per_trial: float = 1.0
    gpus_per_trial: float | Literal["auto"] | None = None  # None: 1 where the cluster has GPUs, else 0
    gpu_sharing: str = TURNS  # one of `SHARINGS`: how trials that share a GPU compute on it
    max_concurrent: int | None = None  # None: what the machines hold, as they come and go
    address: str | None = None  # of a running Ray cluster; None: RAY_ADDRESS, else Ray on this machine
    max_failures: int | None = None  # times a trial that raised goes on; None: the command's own number
    storage_patience: float = 600.0  # seconds to wait while the storage is full or gone
    time_budget: float | None = None  # seconds after which this call stops

    def __post_init__(self) -> None:
        for name, least, most in (
            ("cpus_per_trial", 0, 1e6), ("gpus_per_trial", 0, 1e6), ("max_concurrent", 1, 1_000_000),
            ("time_budget", 0, MOST_SECONDS), ("storage_patience", 0, MOST_SECONDS), ("max_failures", 0, MOST_FAILURES),
        ):  # fmt: skip
            if (value := getattr(self, name)) is not None and value != AUTO:
                check_number(name.replace("_", "-"), value, least, most)
        gpus = 0.0 if self.gpus_per_trial is None or self.gpus_per_trial == AUTO else float(self.gpus_per_trial)
        for name, share in (("cpus-per-trial", self.cpus_per_trial), ("gpus-per-trial", gpus)):
            if round(share, 4) != share:
                raise ConfigError(f"{name}: got {share}; four decimals are allowed, as Ray counts")
        if gpus > 1 and not gpus.is_integer():
            raise ConfigError(f"gpus-per-trial: got {gpus:g}; above 1 whole numbers are allowed, as Ray counts")

        if self.gpu_sharing not in SHARINGS:
            raise unknown("gpu-sharing", self.gpu_sharing, SHARINGS)
        if self.gpu_sharing == MPS and self.gpus_per_trial != AUTO and not 0 < gpus < 1:
            raise ConfigError(f"gpu-sharing: {MPS} goes with --gpus-per-trial between 0 and 1, such as 0.25 or {AUTO}")

    @classmethod
    def of(cls, args: argparse.Namespace) -> "Resources":
        """What the options of `add_call_arguments` say. Raises ConfigError, for a kernel that is none too."""
        kernels.asked()
        return cls(**{each.name: getattr(args, each.name) for each in fields(cls)})

    @property
    def cluster(self) -> str | None:
        """The address of the cluster that is used, if any."""
        return self.address or os.environ.get("RAY_ADDRESS") or None

    @property
    def beginning(self) -> str:
        """What a command says before it has Ray."""
        return f"joining Ray at {one_line(self.cluster)} ..." if self.cluster else "starting Ray ..."


@dataclass(frozen=True)
class Call:
    """One call of a command that trains. Each such command has its own, with what it alone is told."""

    place: Place = field(default_factory=lambda: Place.of(None))
    resources: Resources = field(default_factory=Resources)
    tracking: Tracking = field(default_factory=Tracking)
    overrides: tuple[str, ...] = ()  # `section.key=value`
    config: str | None = None  # a file of settings
    model: str = DEFAULT  # a name of lab.registry
    model_said: bool = False  # on the command line
    dry_run: bool = False

    @property
    def files(self) -> tuple[str, ...]:
        """Files of this machine that the call names."""
        return (self.config,) if self.config else ()


def add_call_arguments(parser: Parser) -> None:
    """The options of `Call`, the same for every command that trains. A new one that all take is added here alone."""
    add = parser.add_argument
    add_overrides_argument(parser, "settings that are fixed; they win over all others")
    add("--config", help="a YAML file of settings, such as a search's best.yaml")
    add_model_argument(parser, None)
    add_results_argument(parser)
    add("--dry-run", action="store_true", help="show the plan and what it takes; train nothing, record nothing")
    add("--max-failures", type=int, metavar="N",
        help="times a trial that raised goes on from its checkpoint (0: nor one whose process died)")  # fmt: skip
    add("--cpus-per-trial", type=float, default=1)
    add("--gpus-per-trial", type=_gpus, metavar="N",
        help=f"fractions allowed; {AUTO}: as measured (default: 1 where the cluster has GPUs, else 0)")  # fmt: skip
    parser.completes["gpus_per_trial"] = (AUTO,)
    add("--gpu-sharing", choices=SHARINGS, default=TURNS,
        help="how trials that share a GPU compute: in turns (default), or side by side by NVIDIA's MPS")  # fmt: skip
    add("--max-concurrent", type=int, help="trials at once (default: what the machines hold, as they come and go)")
    add("--address", help="address of a running Ray cluster (default: RAY_ADDRESS, else Ray on this machine)")
    add("--storage-patience", type=seconds, default=600, metavar="TIME",
        help="how long to wait while the storage is full or gone: seconds, or such as 10m (default: 10m)")  # fmt: skip
    add("--time-budget", type=seconds, metavar="TIME",
        help="after which this call stops: seconds, or such as 90s, 10m, 1h30m; the study can go on later")  # fmt: skip
    add_tracking_arguments(parser)


def _gpus(text: str) -> float | str:
    """The type of the option. Raises ArgumentTypeError for a word that is neither."""
    if text.strip() == AUTO:
        return AUTO
    try:
        return float(text)
    except ValueError:
        hint = nearest(text, [AUTO])
        raise argparse.ArgumentTypeError(f"got '{one_line(text)}'; a number or {AUTO} is needed{hint}") from None


def told(args: argparse.Namespace) -> dict[str, Any]:
    """The fields of `Call`, from what the options of `add_call_arguments` say. Raises ConfigError."""
    return {
        "place": Place.of(args.results), "resources": Resources.of(args), "tracking": Tracking.of(args),
        "overrides": tuple(args.overrides), "config": args.config,
        "model": args.model or DEFAULT, "model_said": args.model is not None,
        "dry_run": args.dry_run,
    }  # fmt: skip
