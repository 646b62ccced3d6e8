"""What every command that trains is told of W&B."""

import argparse
from dataclasses import dataclass

MODES = ("off", "offline", "online")


@dataclass(frozen=True)
class Tracking:
    """Where runs are shown beside the records."""

    mode: str = "off"  # of MODES
    project: str = "dynonet"
    entity: str | None = None  # the account's own by default

    @classmethod
    def of(cls, args: argparse.Namespace) -> "Tracking":
        """What the options of `add_tracking_arguments` say."""
        return cls(args.wandb, args.wandb_project, args.wandb_entity)


def add_tracking_arguments(parser: argparse.ArgumentParser) -> None:
    parser.add_argument("--wandb", choices=MODES, default="off", help="show runs in W&B too (default: off)")
    add_wandb_place(parser)


def add_wandb_place(parser: argparse.ArgumentParser) -> None:
    parser.add_argument("--wandb-project", default="dynonet", help="W&B project (default: dynonet)")
    parser.add_argument("--wandb-entity", help="W&B user or team (default: the account's own)")
