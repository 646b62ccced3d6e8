"""`python -m tune.search`: Ray Tune schedules, Optuna proposes, every run goes on record in Parquet.

The same command again goes on where the study stood.
"""

import argparse
import sys
from collections.abc import Sequence

from lab.console.commands import command_named
from lab.console.printing import Parser, print
from lab.machines.options import add_resource_arguments
from lab.machines.session import run_command
from lab.store.place import check_place
from lab.tracking.options import add_tracking_arguments
from tune.driver import Search
from tune.settings import preset_names, read_settings


def parser() -> argparse.ArgumentParser:
    result = Parser(prog="python -m tune.search", description=(__doc__ or "").split("\n")[0])
    add = result.add_argument
    add("overrides", nargs="*", metavar="section.key=value", help="fixed settings; they win over every range")
    add("--preset", default="quickstart", help=f"{', '.join(preset_names())} (default: quickstart)")
    add("--config", help="a YAML file of settings laid over the preset's")
    add("--space", help="a YAML file of ranges instead of the preset's (see tune/space.py)")
    add("--study", help="name of the study (default: the preset's)")
    add("--out", default="results", help="folder or object store URL of the results (default: results)")
    add("--trials", type=int, help="proposals in all, earlier ones of the study included")
    add("--replicates", type=int, help="seeds per proposal, trained as one stack")
    add("--max-epochs", type=int, help="= training.max_epochs")
    add("--objectives", help="val_mse, or val_mse,parameters")
    add("--sampler", help="tpe or nsga2")
    add("--seed", type=int, help="of the sampler")
    add("--max-parameters", type=int, help="propose no model of more parameters")
    add("--grace-epochs", type=int, help="epochs before a trial may be stopped early")
    add("--reduction-factor", type=float, help="one trial in so many goes on at each rung")
    add("--final-replicates", type=int, help="fresh seeds of the best config (0: none, and test is not read)")
    add("--dry-run", action="store_true", help="show the plan; train nothing, record nothing")
    add_resource_arguments(result)
    add_tracking_arguments(result)
    return result


@command_named("tune.search")
def main(argv: Sequence[str] | None = None) -> int:
    args = parser().parse_intermixed_args(argv)  # overrides may stand between the flags

    def work() -> int:
        check_place(args.out)
        search = Search(read_settings(args), args)
        if args.dry_run:
            search.start_ray()
            print("\n".join(search.plan()))
            return 0
        return search.run()

    return run_command("tune.search", work)


if __name__ == "__main__":
    sys.exit(main())
