"""What every command that trains is told of W&B."""

import argparse


def add_tracking_arguments(parser: argparse.ArgumentParser) -> None:
    """The options that `tracking.Tracker` reads, the same for every command that trains."""
    add = parser.add_argument
    add("--wandb", choices=("off", "offline", "online"), default="off", help="show runs in W&B too (default: off)")
    add_wandb_place(parser)


def add_wandb_place(parser: argparse.ArgumentParser) -> None:
    parser.add_argument("--wandb-project", default="dynonet", help="W&B project (default: dynonet)")
    parser.add_argument("--wandb-entity", help="W&B user or team (default: the account's own)")
