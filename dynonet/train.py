"""`python -m dynonet.train`: lab.train of DynoNet, with the published flags; best.pt is a published checkpoint."""

import argparse
import sys
from collections.abc import Sequence

from dynonet.forecaster import DYNONET
from lab import train
from lab.console.commands import command_named
from lab.console.parser import Parser
from lab.settings.config import Config

# The published flags and the settings they stand for.
FLAGS = {
    **train.FLAGS, "control_hidden": "model.control_hidden", "worker_hidden": "model.worker_hidden",
    "num_layers": "model.num_layers", "dropout": "model.dropout",
}  # fmt: skip


def parser() -> Parser:
    return train.parser(DYNONET, FLAGS)


def configs_of(args: argparse.Namespace) -> list[Config]:
    """The configs that the arguments ask for, one per seed. Raises ConfigError."""
    return train.configs_of(args, DYNONET, FLAGS)


@command_named("dynonet.train")
def main(argv: Sequence[str] | None = None) -> int:
    return train.run_command(argv, DYNONET, FLAGS)


if __name__ == "__main__":
    sys.exit(main())
