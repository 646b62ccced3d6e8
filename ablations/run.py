"""`python -m ablations.run STUDY`: does every part of DynoNet earn its keep?

Arms and seeds train together in stacks, each a Ray trial; every run goes on record in Parquet, and the verdicts are
printed at the end. The same command again goes on where the study stood.
"""

import argparse
import sys
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from ablations.driver import Ablation
from ablations.findings.collect import findings_of
from ablations.reporting.console import ledger_lines
from ablations.study.study import Study, study_names
from lab.console.commands import command_named
from lab.console.printing import Parser, print
from lab.errors import ConfigError
from lab.machines.options import add_resource_arguments, check_resource_arguments
from lab.machines.session import run_command
from lab.store.frames import open_results
from lab.store.place import check_place
from lab.store.schema import check_study
from lab.tracking.options import add_tracking_arguments


def parser() -> argparse.ArgumentParser:
    result = Parser(prog="python -m ablations.run", description=(__doc__ or "").split("\n")[0])
    add = result.add_argument
    add("study", help=f"{', '.join(study_names())}, or a YAML file (see ablations/study.py)")
    add("overrides", nargs="*", metavar="section.key=value", help="settings of every arm; no arm may change them")
    add("--config", help="a YAML file of settings, such as a search's best.yaml, as the baseline")
    add("--arms", help="only these arms, comma-separated (registered ones, or the study's own)")
    add("--seeds", help="how many, a comma-separated list of them, or auto: more only where nothing is decided")
    add("--max-seeds", type=int, help="with --seeds auto: at most so many (default: the study's, else 16)")
    add("--looks", type=int, help="with --seeds auto: how often to look; alpha is shared among the looks")
    add("--alpha", type=float, help="error rate of the whole family of comparisons")
    add("--margin", type=float, help="percent of the baseline's error below which an effect does not matter")
    add("--name", help="under which the study goes on record (default: its own)")
    add("--out", default="results", help="folder or object store URL of the results (default: results)")
    add("--max-epochs", type=int, help="= training.max_epochs")
    add("--match-capacity", action="store_true", help="beside arms of other size, one of about the baseline's")
    add("--train-inert", action="store_true", help="train arms too that were found to change nothing")
    add("--stack-size", type=int, help="models trained side by side (default: what memory and devices say)")
    add("--device-hours", type=float, help="with --seeds auto: no further look that could take more in all")
    add("--dry-run", action="store_true", help="show the plan and what it will cost; record nothing")
    add("--ledger", action="store_true", help="show every reading of test that the study made; train nothing")
    add_resource_arguments(result)
    add_tracking_arguments(result)
    return result


def read_study(args: argparse.Namespace) -> tuple[Study, str]:
    """The study that the command line asks for, and the name that it goes by.

    Raises ConfigError for an unknown study, arm or setting, or values that cannot be.
    """
    check_resource_arguments(args)
    study = Study.load(args.study)
    overrides = list(args.overrides)
    if args.max_epochs is not None:
        overrides.insert(0, f"training.max_epochs={args.max_epochs}")
    changes: dict[str, Any] = {}
    seeds = None if args.seeds is None else _seeds(args.seeds)
    if seeds is not None:
        changes["seeds"] = seeds
    automatic = seeds == "auto" or (seeds is None and study.seeds == "auto")
    for option, field, value in (
        ("max-seeds", "max_seeds", args.max_seeds), ("looks", "looks", args.looks),
        ("device-hours", None, args.device_hours),
    ):  # fmt: skip
        if value is not None and not automatic:
            raise ConfigError(f"--{option} goes with --seeds auto; the seeds of this study are fixed")
        if value is not None and field:
            changes[field] = value
    if seeds == "auto" and args.looks is None and study.looks == 1:
        changes["looks"] = 2  # one look alone would add no seeds
    changes |= {
        field: value for field, value in (("alpha", args.alpha), ("margin_percent", args.margin)) if value is not None
    }
    arms = [name.strip() for name in args.arms.split(",")] if args.arms else None
    study = study.with_settings(args.config, overrides, arms, changes)
    return study, check_study(study.name if args.name is None else args.name)


def _seeds(text: str) -> Any:
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
        if args.ledger:
            is_file = Path(args.study).suffix in (".yaml", ".yml")
            name = args.name or (Study.load(args.study).name if is_file else args.study)
            print("\n".join(ledger_lines(findings_of(open_results(args.out), name))))
            return 0
        check_place(args.out)
        ablation = Ablation(*read_study(args), args)
        if args.dry_run:
            print("\n".join(ablation.dry_run()))
            return 0
        return ablation.run()

    return run_command("ablations.run", work)


if __name__ == "__main__":
    sys.exit(main())
