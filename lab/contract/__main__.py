"""`python -m lab.contract --model NAME`: does a forecaster do what every one must? Exit code 1 where it does not."""

import sys
from collections.abc import Sequence

from lab.console.commands import command_named, refused
from lab.console.parser import Parser
from lab.console.printing import print
from lab.contract import ContractBroken, check_forecaster
from lab.errors import ConfigError, DataError
from lab.registry import add_model_argument, add_overrides_argument, forecaster


def parser() -> Parser:
    result = Parser(prog="python -m lab.contract", description=(__doc__ or "").split("\n")[0])
    add_model_argument(result)
    add_overrides_argument(result, "e.g. data.seq_len=96")
    return result


@command_named("lab.contract")
def main(argv: Sequence[str] | None = None) -> int:
    args = parser().parse_intermixed_args(argv)
    try:
        print(check_forecaster(args.model, forecaster(args.model).config.parse_overrides(args.overrides)))
    except ContractBroken as broken:
        print(broken.report)
        print(f"error: {broken}", file=sys.stderr)
        return 1
    except (ConfigError, DataError) as error:
        return refused(error)
    return 0


if __name__ == "__main__":
    sys.exit(main())
