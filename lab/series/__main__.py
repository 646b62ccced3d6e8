"""`python -m lab.series check FILE`: what is understood of a file, and whether it can be trained on."""

import os
import sys
from collections.abc import Sequence

from lab.console.commands import as_typed, command_named, refused
from lab.console.parser import Parser
from lab.console.printing import one_line, print
from lab.errors import ConfigError, DataError, nearest
from lab.registry import add_model_argument, add_overrides_argument, forecaster
from lab.series.check import check
from lab.settings.sources import OWN_DATA, datasets

NAMED = [name for name in datasets() if name not in OWN_DATA]


def parser() -> Parser:
    result = Parser(prog=f"python -m {as_typed('lab.series')}", description=(__doc__ or "").split("\n")[0])
    commands = result.add_subparsers(dest="command", required=True)
    one = commands.add_parser("check", help="dates, step, channels, gaps, constant stretches, windows of each split")
    one.add_argument("file", help=f"a .csv, .csv.gz or .parquet file, or one of {', '.join(NAMED)}")
    add_overrides_argument(one, "e.g. data.seq_len=96 data.sort=true")
    one.add_argument("--config", help="a YAML file of settings")
    add_model_argument(one)
    return result


@command_named("lab.series")
def main(argv: Sequence[str] | None = None) -> int:
    """Exit code 0 where training would take the data, 2 where it would refuse it, with the reasons."""
    args = parser().parse_args(argv)
    try:
        model = forecaster(args.model)
        config = model.config.from_yaml(args.config) if args.config else model.config.create()
        if not os.path.exists(args.file) and args.file not in NAMED and (hint := nearest(args.file, NAMED)):
            raise DataError(f"{one_line(args.file)}: no such file, and no series of that name{hint}")
        own = {"data.dataset": args.file} if args.file in NAMED else {"data.dataset": "csv", "data.path": args.file}
        config = config.override({"data.path": None, **own}).override(args.overrides)
        lines, reasons = check(config.data, model.learners(config))
    except (ConfigError, DataError) as error:
        return refused(error)
    print("\n".join(lines))
    for reason in reasons:
        print(f"error: {reason}", file=sys.stderr)
    if not reasons:
        print("nothing is in the way of training")
    return 2 if reasons else 0


if __name__ == "__main__":
    sys.exit(main())
