"""The command `python -m lab.results`: studies listed, shown, exported, copied, renamed, deleted, unsealed, sent to
W&B; who read test; upkeep."""

import argparse
import contextlib
import json
import math
import os
import statistics
import sys
import uuid
import warnings
from collections import Counter
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from typing import Any

from lab.console.commands import as_typed, command_named, refused
from lab.console.parser import Parser
from lab.console.printing import log_to_stderr, print
from lab.errors import ConfigError, DataError
from lab.ledger.counting import ledger_lines
from lab.pages.formats import counted
from lab.references.titles import TITLES
from lab.store.columns import PARAMS
from lab.store.frames import joined, open_results, to_frame
from lab.store.objects.lease import Lease, LeaseHeld
from lab.store.outcomes import Outcome, over_origins, standing_outcomes
from lab.store.place import Place, add_results_argument
from lab.store.schema import BARS
from lab.store.studies.begun import begun
from lab.store.studies.copying import copy_studies
from lab.store.tables import Results, ResultsError, StorageError
from lab.tracking.options import TRACKERS, TrackerError, Tracking, add_wandb_place, kind_named

Row = dict[str, Any]

_ROWS = 20  # lines of a table on the screen
_SHOWN = ("model", "status", "val_mse", "error")  # of a run, beside its settings


@command_named("lab.results")
def main(arguments: Sequence[str] | None = None) -> int:
    """Runs the command; returns its exit code: 0, or 2 with one line on stderr."""
    parser = Parser(prog=f"python -m {as_typed('lab.results')}", description=__doc__)
    where = Parser(add_help=False)
    add_results_argument(where)
    commands = parser.add_subparsers(dest="command", required=True)
    commands.add_parser("list", parents=[where], help="the studies, and how far they are")
    show = commands.add_parser("show", parents=[where], help="one study: trials, best, test, failures")
    ledger = commands.add_parser(
        "ledger", parents=[where], help="who looked at test, when, for what: here and elsewhere"
    )
    ledger.add_argument("study", nargs="?")
    export = commands.add_parser("export", parents=[where], help="one row a trained run, as CSV")
    wandb = commands.add_parser("wandb", parents=[where], help="send a study to W&B, whole or what is missing")
    track = commands.add_parser("track", parents=[where], help="the same for any tracker")
    compact = commands.add_parser("compact", parents=[where], help="merge many small files into few")
    prune = commands.add_parser("prune", parents=[where], help="delete weights and checkpoints that nothing needs")
    prune.add_argument("studies", nargs="+", metavar="study")
    prune.add_argument("--dry-run", action="store_true", help="say what could go, and delete nothing")
    copy = commands.add_parser("copy", parents=[where], help="studies into other results; called again, what is new")
    copy.add_argument("studies", nargs="+", metavar="study")
    copy.add_argument("--to", required=True, help="folder or URL of the other results; made if it is not there")
    delete = commands.add_parser(
        "delete", parents=[where], help="studies, with the runs that no other study has; the ledger stays"
    )
    delete.add_argument("studies", nargs="+", metavar="study")
    delete.add_argument("--dry-run", action="store_true", help="say what would go, and delete nothing")
    delete.add_argument("--yes", action="store_true", help="do not ask")
    renaming = commands.add_parser("rename", parents=[where], help="a study, with all that names it")
    renaming.add_argument("study")
    renaming.add_argument("to", metavar="new")
    opening = commands.add_parser(
        "unseal", parents=[where], help="read the rows set aside (data.sealed), once, of a study that is judged"
    )
    opening.add_argument("study")
    opening.add_argument("--again", metavar="REASON", help="read rows once more that were read before, and say why")
    show.add_argument("study")
    export.add_argument("study")
    export.add_argument("--csv", required=True, metavar="FILE")
    export.add_argument("--bars", action="store_true", help="the closed-form references in place of what was trained")
    compact.add_argument("study", nargs="?")
    mode = wandb.add_mutually_exclusive_group()
    mode.add_argument("--online", action="store_true", help="to a server (default)")
    mode.add_argument("--offline", action="store_true", help="to folders that `wandb sync` takes")
    track.add_argument("--tracker", required=True, metavar="NAME", help=", ".join(TRACKERS))
    for sending in (wandb, track):
        sending.add_argument("study")
        add_wandb_place(sending)
        sending.add_argument("--all", action="store_true", help="also what was sent before")
    options = parser.parse_args(arguments)
    options.results = Place.of(options.results).url
    log_to_stderr()
    # One line a warning, without the source line that Python adds.
    with warnings.catch_warnings():
        warnings.simplefilter("always", UserWarning)
        warnings.showwarning = _print_warning  # type: ignore[assignment]
        try:
            return _run(options)
        except BrokenPipeError:  # `... | head`
            sys.stderr.close()
            return 0
        except (ConfigError, DataError, ResultsError, StorageError, LeaseHeld, OSError) as error:
            return refused(error, " ".join(_text(error).split()))


def _print_warning(message: Warning | str, *_: Any, **__: Any) -> None:
    print(f"warning: {message}", file=sys.stderr)


def _text(error: Exception) -> str:
    return error.strerror if isinstance(error, StorageError) and error.strerror else str(error)


def _run(options: argparse.Namespace) -> int:
    if options.command == "list":
        print("\n".join(list_lines(open_results(options.results))))
    elif options.command == "show":
        print("\n".join(show_lines(open_results(options.results), options.study)))
    elif options.command == "ledger":
        results = open_results(options.results)
        print("\n".join([*ledger_lines(results, options.study), *_skipped_lines(results)]))
    elif options.command == "export":
        results = open_results(options.results)
        frame = to_frame(joined(results, options.study, "bars" if options.bars else "trained"))
        for name in frame.columns:  # lists as JSON: CSV knows none
            if str(frame[name].dtype).startswith("list<"):
                frame[name] = [
                    json.dumps([*v]) if hasattr(v, "__len__") else None for v in frame[name].to_numpy(object)
                ]
        with whole_file(options.csv) as path:
            frame.to_csv(path, index=False)
        print("\n".join([f"{counted(len(frame), 'run')} written to {options.csv}", *_skipped_lines(results)]))
    elif options.command in ("wandb", "track"):
        return _send(options)
    elif options.command == "copy":
        return _copy(options)
    elif options.command == "unseal":
        from lab.unsealing.reading import unseal  # imports torch

        print("\n".join(unseal(open_results(options.results), options.study, options.again)))
        print(f"\nthe report: python -m ablations.any_report {options.study} --results {options.results}")
    elif options.command == "prune":
        from lab.store.pruning import prune  # imports torch

        print(
            "\n".join(prune(open_results(options.results), options.studies, options.dry_run).lines(not options.dry_run))
        )
    elif options.command == "delete":
        return _delete(open_results(options.results), options)
    elif options.command == "rename":
        from lab.store.studies.renaming import rename  # imports torch

        first, *more = rename(open_results(options.results), options.study, options.to)
        print(f"study {options.study} is called {first} now" + (f", its searches {', '.join(more)}" if more else ""))
        print("W&B, where it was shown, and pages that were written, have the old name")
    elif options.command == "compact":
        print(f"{counted(open_results(options.results).compact(options.study), 'file')} merged")
    return 0


def _delete(results: Results, options: argparse.Namespace) -> int:
    from lab.store.studies.deleting import delete, planned  # imports torch

    found = planned(results, options.studies)
    if not (options.dry_run or options.yes):
        print("\n".join(found.lines(done=False)))
        if not sys.stdin.isatty():
            raise ConfigError("nothing is deleted: nobody can be asked here; add --yes")
        if input("delete? [y/N] ").strip().lower() not in ("y", "yes"):
            print("nothing is deleted")
            return 0
    if not options.dry_run:
        found = delete(results, options.studies)
    print("\n".join(found.lines(done=not options.dry_run)))
    return 0


def _copy(options: argparse.Namespace) -> int:
    results = open_results(options.results)
    made = copy_studies(results, options.studies, Results(options.to))
    studies = "1 study" if len(options.studies) == 1 else f"{len(options.studies)} studies"
    if made.nothing:
        print(f"{studies} in {options.to}: up to date")
    else:
        rows = f"{counted(made.rows, 'row')} that {'was' if made.rows == 1 else 'were'} not there"
        runs = counted(made.runs, "run")
        print(f"{studies} and {runs} copied to {options.to} ({rows}); weights stay in {options.results}")
    if lines := _skipped_lines(results):
        print("\n".join(lines))
    return 0


@contextlib.contextmanager
def whole_file(path: str) -> Iterator[str]:
    """Where to write a file so that it is at `path` as a whole or not at all; pipes and devices are written to."""
    if os.path.exists(path) and not os.path.isfile(path):
        yield path
        return
    path = os.path.realpath(path)
    temporary = os.path.join(os.path.dirname(path), f".{os.path.basename(path)}.{uuid.uuid4().hex[:8]}")
    try:
        yield temporary
        os.replace(temporary, path)
    finally:
        with contextlib.suppress(FileNotFoundError):
            os.unlink(temporary)


def _skipped_lines(results: Results) -> list[str]:
    """What could not be read, to stand on the page."""
    lines = results.skipped_lines()
    if not lines:
        return []
    more = [f"  ... and {len(lines) - _ROWS} more"] if len(lines) > _ROWS else []
    shown = [f"  {text[:300]}" for text in lines[:_ROWS]]
    return ["", f"passed over: {len(lines)}, which are in no number above", *shown, *more]


def _send(options: argparse.Namespace) -> int:
    """A study to a tracker. Exit code 2 where not all has arrived."""
    from lab.tracking.sink import sink_of

    name = "wandb" if options.command == "wandb" else options.tracker
    mode = "offline" if vars(options).get("offline") else kind_named(name).mode
    to = Tracking(mode, options.wandb_project, options.wandb_entity, name)
    results = open_results(options.results)
    results.check_known(options.study)
    sent = 0
    try:
        with Lease(results.storage, options.study), sink_of(to, results, patience=60.0) as sink:
            try:
                sink.send(options.study, again=options.all)
            finally:
                sent = sink.sent
            print(f"{to.kind.title}: {sink.said(options.study)}")
    except LeaseHeld as error:
        print(f"error: {error}; its runs can be sent after that", file=sys.stderr)
        return 2
    except TrackerError as error:
        print(
            f"error: {to.title}: {error}; {sent} runs were sent, and the same command goes on from there",
            file=sys.stderr,
        )
        return 2
    return 0


def list_lines(results: Results) -> list[str]:
    """A line per study: trained runs by status, and the best validation MSE."""
    names = results.studies()
    unfinished = [f"note: {each.text}" for each in begun(results)]
    if not names:
        return [*unfinished, f"no studies in {results.storage.url}", *_skipped_lines(results)]
    wanted = ["run", "model", "status", "val_mse"]
    runs = {row["run"]: row for row in results.latest(columns=wanted).select(wanted).to_pylist()}
    members: dict[str, set[str]] = {name: set() for name in names}
    for member in results.table("members", columns=["study", "run"]).select(["study", "run"]).to_pylist():
        members.setdefault(member["study"], set()).add(member["run"])
    rows = []
    for name, ids in sorted(members.items()):
        mine = [runs[run] for run in ids if run in runs and runs[run]["model"] not in BARS]
        rows.append([name, len(mine), _statuses(mine), min(_present(mine, "val_mse"), default=None)])
    return [
        *_aligned(["study", "runs", "by status", "lowest val MSE of a run"], rows),
        *unfinished,
        *_skipped_lines(results),
    ]


def show_lines(results: Results, study: str) -> list[str]:
    """A study in some sixty lines at most: its best trials, best run, test readings and failures."""
    table = joined(results, study, columns=[*_SHOWN, f"{PARAMS}*"])
    runs = table.to_pylist()
    if not runs:
        return [f"study {study}: no run recorded yet", *_skipped_lines(results)]
    networks = [run for run in runs if run["model"] not in BARS]
    lines = [f"study {study}: {counted(len(networks), 'run')} ({_statuses(networks)})"]
    # The best trial's final replicates stand below, with their test readings.
    searched = [run for run in runs if "search" in run["role"].split(",")]
    origins = sorted({run["cell"] or "" for run in searched}, key=lambda name: (len(name), name))
    compared = networks if len(origins) < 2 else [run for run in networks if run["cell"] in (None, origins[-1])]
    varied = [
        name
        for name in table.column_names
        if name.startswith(PARAMS) and name != f"{PARAMS}training.seed" and len({str(r[name]) for r in compared}) > 1
    ][:8]
    trials = {run["trial"] for run in searched}
    outcomes = standing_outcomes(results.table("trials", study).to_pylist() if trials else [], trials, results)
    lines += (
        _trial_lines(searched, outcomes, varied)
        if len(origins) < 2
        else _trials_at(origins, searched, outcomes, varied)
    )
    tests = [name for name in table.column_names if name.startswith(("test_", "sealed_")) and "." not in name]
    groups = _grouped(runs, _group_of)
    for name, group in list(groups.items())[:_ROWS]:
        figures = [f"{test} {_spread(_present(group, test))}" for test in tests if _present(group, test)]
        if figures:
            lines += ["", f"{name}: {', '.join(figures)}"]
    bad = [run for run in runs if run["status"] in ("failed", "diverged")]
    if bad:
        lines += ["", f"failed or diverged: {len(bad)}"]
        for run in bad[:_ROWS]:
            reason = (run["error"] or "").strip().splitlines()[-1:]
            lines.append("  ".join(["", run["run"], run["status"], *(text[:80] for text in reason)]))
        lines += [f"  ... and {len(bad) - _ROWS} more"] if len(bad) > _ROWS else []
    return [*lines, *_skipped_lines(results)]


def _group_of(run: Row) -> str:
    role = TITLES[run["model"]] if run["model"] in BARS else run["role"]
    return " ".join(filter(None, (role, run["arm"], _cell_of(run))))


def _cell_of(run: Row) -> str:
    return f"in {run['cell']}" if run["cell"] not in (None, "main") else ""


def _trial_lines(runs: list[Row], outcomes: Mapping[str, Outcome], varied: list[str]) -> list[str]:
    rows = []
    for trial, group in _grouped([run for run in runs if run["trial"]], lambda run: run["trial"]).items():
        scores = _present(group, "val_mse")
        mean = statistics.fmean(scores) if scores else None
        spread = statistics.stdev(scores) if len(scores) > 1 else None
        rows.append([trial, len(group), _statuses(group), mean, spread, *(group[0][name] for name in varied)])
    if not rows:
        return []
    return _best_first(rows, outcomes, ["sd"], varied)


def _trials_at(origins: list[str], runs: list[Row], outcomes: Mapping[str, Outcome], varied: list[str]) -> list[str]:
    """Trials of a search over several origins: their mean, and what it is the mean of."""
    rows = []
    for trial, group in _grouped([run for run in runs if run["trial"]], lambda run: run["trial"]).items():
        there = [_present([run for run in group if run["cell"] == origin], "val_mse") for origin in origins]
        losses = [statistics.fmean(scores) if scores else None for scores in there]
        known = [loss for loss in losses if loss is not None]
        mean = over_origins(known) if len(known) == len(losses) else None
        rows.append([trial, len(group), _statuses(group), mean, *losses, *(group[0][name] for name in varied)])
    return _best_first(rows, outcomes, origins, varied)


def _best_first(
    rows: list[list[Any]], outcomes: Mapping[str, Outcome], figures: list[str], varied: list[str]
) -> list[str]:
    """Complete trials before all others: what was stopped or raced out has an error of fewer epochs or seeds."""
    for row in rows:
        if (outcome := outcomes.get(row[0])) is not None and outcome.raced_out:
            row[2] += ", raced out"
    other = {trial for trial, outcome in outcomes.items() if outcome.state != "complete"}
    rows.sort(key=lambda row: (row[0] in other, math.inf if row[3] is None else row[3]))
    header = ["trial", "runs", "by status", "val MSE", *figures, *(name.rsplit(".", 1)[-1] for name in varied)]
    more = [f"... and {len(rows) - _ROWS} more trials"] if len(rows) > _ROWS else []
    return ["", *_aligned(header, rows[:_ROWS]), *more]


def _grouped(runs: list[Row], key: Callable[[Row], str]) -> dict[str, list[Row]]:
    groups: dict[str, list[Row]] = {}
    for run in runs:
        groups.setdefault(key(run), []).append(run)
    return groups


def _present(runs: Iterable[Row], column: str) -> list[float]:
    return [run[column] for run in runs if run[column] is not None]


def _statuses(runs: Iterable[Row]) -> str:
    counts = Counter(run["status"] for run in runs)
    return ", ".join(f"{count} {status}" for status, count in sorted(counts.items())) or "-"


def _spread(values: list[float]) -> str:
    """Mean and standard deviation over runs."""
    deviation = f" ± {statistics.stdev(values):.4f}" if len(values) > 1 else ""
    return f"{statistics.fmean(values):.4f}{deviation} (n={len(values)})"


def _cell(value: Any) -> str:
    if value is None:
        return "-"
    if isinstance(value, bool):
        return str(value).lower()  # as it is typed
    return f"{value:.4g}" if isinstance(value, float) else str(value)


def _aligned(header: list[str], rows: list[list[Any]]) -> list[str]:
    cells = [header, *([_cell(value) for value in row] for row in rows)]
    widths = [max(len(row[i]) for row in cells) for i in range(len(header))]
    return ["  ".join(c.ljust(w) for c, w in zip(row, widths, strict=True)).rstrip() for row in cells]


if __name__ == "__main__":
    sys.exit(main())
