"""`python -m tune.search`: Ray Tune schedules, Optuna proposes, every run goes on record in Parquet.

The same command again goes on where the study stood.
"""

import argparse
import sys
from collections.abc import Sequence
from dataclasses import fields

from lab.console.commands import command_named
from lab.console.parser import Parser
from lab.console.printing import print
from lab.driving import run_command
from lab.machines.options import add_call_arguments, told
from lab.registry import known_presets
from tune.driver import Search
from tune.methods.table import SAMPLERS
from tune.settings import Budget, SearchCall


def parser() -> Parser:
    result = Parser(prog="python -m tune.search", description=(__doc__ or "").split("\n")[0])
    add = result.add_argument
    add("--preset", help=f"settings or a search by name, of the model: {', '.join(known_presets())}")
    add("--space", help="a YAML file of ranges instead of the preset's (see tune/space/space.py)")
    add("--study", help="name of the study (default: the preset's)")
    add("--trials", type=int, help="proposals in all, earlier ones of the study included")
    add("--replicates", type=int, help="seeds per proposal, trained as one stack")
    add(
        "--race", action="store_true", default=None,
        help="train each proposal with one seed, and with the others only while a paired test does not exclude it",
    )  # fmt: skip
    add("--origins", type=int, help="origins at which every seed is trained; a trial's value is their geometric mean")
    add("--max-epochs", type=int, help="= training.max_epochs")
    add("--objectives", help="val_mse, or val_mse,parameters")
    add("--sampler", help=f"{', '.join(SAMPLERS)} (see tune/methods)")
    add("--seed", type=int, help="of the sampler")
    add("--max-parameters", type=int, help="propose no model of more parameters")
    add("--grace-epochs", type=int, help="epochs before a trial may be stopped early")
    add("--reduction-factor", type=float, help="one trial in so many goes on at each rung")
    add("--final-replicates", type=int, help="fresh seeds of the best config (0: none, and test is not read)")
    result.completes |= {"preset": known_presets(), "sampler": SAMPLERS}
    add_call_arguments(result)
    return result


def asked(args: argparse.Namespace) -> SearchCall:
    """What the command line asks for. Raises ConfigError for a number that cannot be."""
    values = {each.name: getattr(args, each.name, None) for each in fields(Budget)}
    return SearchCall(
        **told(args), preset=args.preset, space=args.space, study=args.study, max_epochs=args.max_epochs,
        budget={name: value for name, value in values.items() if value is not None},
    )  # fmt: skip


@command_named("tune.search")
def main(argv: Sequence[str] | None = None) -> int:
    args = parser().parse_intermixed_args(argv)  # overrides may stand between the flags

    def work() -> int:
        call = asked(args)
        call.place.check()
        search = Search(call.settings(), call)
        if call.dry_run:
            search.start_ray()
            print("\n".join(search.plan()))
            return 0
        return search.run()

    return run_command("tune.search", work)


if __name__ == "__main__":
    sys.exit(main())
