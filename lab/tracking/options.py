"""What every command that trains is told of trackers, and which there are: a row each."""

import argparse
from dataclasses import dataclass

from lab.errors import ConfigError, unknown

MODES = ("off", "offline", "online")


class TrackerError(RuntimeError):
    """A tracker does not take what it is sent; says why in one line."""


def reason(error: Exception) -> str:
    """What an error of a client's says, in one line."""
    lines = str(error).strip().splitlines() or [type(error).__name__]
    return " ".join(lines)[:300]


@dataclass(frozen=True)
class Kind:
    """One kind of tracker. To add one: a file with a subclass of `lab.tracking.sink.Sink`, and a row."""

    title: str
    sink: str  # `module:class`, imported where it is asked for
    mode: str  # of MODES, where no other is asked for


TRACKERS = {
    "wandb": Kind("W&B", "lab.tracking.wandb_sink:WandbSink", "online"),
    "tensorboard": Kind("TensorBoard", "lab.tracking.tensorboard:TensorBoardSink", "offline"),
    "mlflow": Kind("MLflow", "lab.tracking.mlflow:MlflowSink", "online"),
}


@dataclass(frozen=True)
class Tracking:
    """Where runs are shown beside the records."""

    mode: str = "off"  # of MODES
    project: str = "dynonet"  # MLflow: the experiment
    entity: str | None = None  # the account's own by default
    tracker: str = "wandb"  # a row of TRACKERS

    @property
    def on(self) -> bool:
        return self.mode != "off"

    @property
    def kind(self) -> Kind:
        return TRACKERS[self.tracker]

    @property
    def title(self) -> str:
        """The tracker as messages name it."""
        return f"{self.kind.title} ({self.mode})" if self.tracker == "wandb" else self.kind.title

    def command(self, study: str, url: str) -> str:
        """What sends later what is missing."""
        how = "wandb" if self.tracker == "wandb" else f"track --tracker {self.tracker}"
        return f"python -m tune.results {how} {study} --results {url}"

    @classmethod
    def of(cls, args: argparse.Namespace) -> "Tracking":
        """What the options of `add_tracking_arguments` say. Raises ConfigError."""
        if args.tracker is None:
            return cls(args.wandb, args.wandb_project, args.wandb_entity)
        if args.wandb != "off" and args.tracker != "wandb":
            raise ConfigError(f"--wandb {args.wandb} and --tracker {args.tracker}: a call has one tracker; take either")
        mode = kind_named(args.tracker).mode if args.wandb == "off" else args.wandb
        return cls(mode, args.wandb_project, args.wandb_entity, args.tracker)


def kind_named(name: str) -> Kind:
    """A row of TRACKERS. Raises ConfigError."""
    if name not in TRACKERS:
        raise unknown("tracker", name, TRACKERS)
    return TRACKERS[name]


def add_tracking_arguments(parser: argparse.ArgumentParser) -> None:
    parser.add_argument("--wandb", choices=MODES, default="off", help="show runs in W&B too (default: off)")
    parser.add_argument(
        "--tracker",
        metavar="NAME",
        help=f"show runs there too: {', '.join(TRACKERS)} (default: none; MLflow: --wandb-project is its experiment)",
    )
    add_wandb_place(parser)


def add_wandb_place(parser: argparse.ArgumentParser) -> None:
    parser.add_argument("--wandb-project", default="dynonet", help="W&B project (default: dynonet)")
    parser.add_argument("--wandb-entity", help="W&B user or team (default: the account's own)")
