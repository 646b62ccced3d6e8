"""`python -m ablations.run STUDY`: does every part of a forecaster earn its keep?

Arms and seeds train together in stacks, each a Ray trial; every run goes on record in Parquet, and the verdicts are
printed at the end. The same command again goes on where the study stood.
"""

import argparse
import sys
from collections.abc import Sequence

from ablations.driver import Ablation
from ablations.findings.collect import findings_of
from ablations.planning.call import StudyCall
from ablations.reporting.console import ledger_lines
from ablations.study.reading import study_names
from lab.console.commands import command_named
from lab.console.options import add_option
from lab.console.parser import Parser
from lab.console.printing import print
from lab.console.units import hours, seconds
from lab.driving import run_command
from lab.errors import ConfigError
from lab.machines.options import add_call_arguments, told
from lab.store.frames import open_results


def parser() -> Parser:
    result = Parser(prog="python -m ablations.run", description=(__doc__ or "").split("\n")[0])
    add = result.add_argument
    add("study", help=f"{', '.join(study_names())}, or a YAML file (see ablations/study/study.py)")
    result.completes["study"] = study_names()
    add("--arms", help="only these arms, comma-separated (registered ones, or the study's own)")
    add("--cells", help="only these cells, comma-separated, as the study lists them")
    add("--tuned", action="store_true", help="of a league: beside each model the best that a search of it finds")
    add("--trials", type=int, help="with --tuned: of each search (default: the study's, else 20)")
    about = "with --tuned: device time of each search (seconds, or such as 10m), the same for all, in place of --trials"
    add("--search-seconds", type=seconds, metavar="TIME", help=about)
    add("--seeds", help="how many, a comma-separated list of them, or auto: more only where nothing is decided")
    add("--max-seeds", type=int, help="with --seeds auto: at most so many (default: the study's, else 16)")
    add("--looks", type=int, help="with --seeds auto: how often to look; alpha is shared among the looks")
    add("--alpha", type=float, help="error rate of the whole family of comparisons")
    add("--margin", type=float, help="percent of the baseline's error below which an effect does not matter")
    about = "name under which the study goes on record (default: its own)"
    add_option(result, "--study", old="--name", dest="name", metavar="NAME", help=about)
    add("--max-epochs", type=int, help="= training.max_epochs")
    add("--match-capacity", action="store_true", help="beside arms of other size, one of about the baseline's")
    add("--train-inert", action="store_true", help="train arms too that were found to change nothing")
    add("--stack-size", type=int, help="models trained side by side (default: what memory and devices say)")
    add("--device-hours", type=hours, metavar="TIME",
        help="with --seeds auto: no further look that could take more in all; hours, or such as 90m")  # fmt: skip
    add("--ledger", action="store_true", help="show every reading of test that the study made; train nothing")
    add_call_arguments(result)
    return result


def asked(args: argparse.Namespace) -> StudyCall:
    """What the command line asks for. Raises ConfigError for a number that cannot be."""
    return StudyCall(
        **told(args), study=args.study, name=args.name, seeds=None if args.seeds is None else _seeds(args.seeds),
        arms=_names(args.arms), cells=_names(args.cells), tuned=args.tuned, trials=args.trials,
        search_seconds=args.search_seconds,
        max_seeds=args.max_seeds, looks=args.looks, alpha=args.alpha, margin=args.margin, max_epochs=args.max_epochs,
        match_capacity=args.match_capacity, train_inert=args.train_inert, stack_size=args.stack_size,
        device_hours=args.device_hours, ledger=args.ledger,
    )  # fmt: skip


def _names(text: str | None) -> tuple[str, ...] | None:
    return tuple(name.strip() for name in text.split(",")) if text else None


def _seeds(text: str) -> int | tuple[int, ...] | str:
    if text == "auto":
        return text
    try:
        numbers = [int(part) for part in text.split(",")]
    except ValueError:
        raise ConfigError(f"--seeds: got '{text}'; a number, a list such as 1,2,3, or auto is needed") from None
    return numbers[0] if len(numbers) == 1 else tuple(numbers)


@command_named("ablations.run")
def main(argv: Sequence[str] | None = None) -> int:
    args = parser().parse_intermixed_args(argv)

    def work() -> int:
        call = asked(args)
        if call.ledger:
            found = findings_of(open_results(call.place.url), call.name_on_record())
            print("\n".join(ledger_lines(found)))
            return 0
        call.place.check()
        ablation = Ablation(*call.settings(), call)
        if call.dry_run:
            print("\n".join(ablation.dry_run()))
            return 0
        return ablation.run()

    return run_command("ablations.run", work)


if __name__ == "__main__":
    sys.exit(main())
