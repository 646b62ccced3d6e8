"""The command `python -m tune.results`: list studies, show one, export it, compact the files."""

import argparse
import os
import sys
import warnings
from collections import Counter
from collections.abc import Iterable, Sequence
from typing import Any

import pandas as pd

from tune.results import Results, ResultsError, StorageError, load, open_results
from tune.schema import SCHEMAS

_ROWS = 20  # lines of a table on the screen


def main(arguments: Sequence[str] | None = None) -> int:
    """Runs the command; returns its exit code: 0, or 2 with one line on stderr."""
    parser = argparse.ArgumentParser(prog="python -m tune.results", description=__doc__)
    where = argparse.ArgumentParser(add_help=False)
    where.add_argument("--out", default=os.environ.get("DYNONET_RESULTS", "results"), help="folder or URL")
    commands = parser.add_subparsers(dest="command", required=True)
    commands.add_parser("list", parents=[where], help="the studies, and how far they are")
    show = commands.add_parser("show", parents=[where], help="one study: trials, best, test, failures")
    export = commands.add_parser("export", parents=[where], help="one row a run, as CSV")
    compact = commands.add_parser("compact", parents=[where], help="merge many small files into few")
    show.add_argument("study")
    export.add_argument("study")
    export.add_argument("--csv", required=True, metavar="FILE")
    compact.add_argument("study", nargs="?")
    options = parser.parse_args(arguments)
    # One line a warning, without the source line that Python adds.
    with warnings.catch_warnings():
        warnings.simplefilter("always", UserWarning)
        warnings.showwarning = lambda message, *_, **__: print(f"warning: {message}", file=sys.stderr)
        try:
            return _run(options)
        except BrokenPipeError:  # `... | head`
            sys.stderr.close()
            return 0
        except (ResultsError, StorageError, OSError) as error:
            print(f"error: {' '.join(_text(error).split())}", file=sys.stderr)
            return 2


def _text(error: Exception) -> str:
    return error.strerror if isinstance(error, StorageError) and error.strerror else str(error)


def _run(options: argparse.Namespace) -> int:
    if options.command == "list":
        print("\n".join(list_lines(open_results(options.out))))
    elif options.command == "show":
        print("\n".join(show_lines(options.study, options.out)))
    elif options.command == "export":
        frame = load(options.study, options.out)
        frame.to_csv(options.csv, index=False)
        print(f"{len(frame)} runs written to {options.csv}")
    elif options.command == "compact":
        print(f"{open_results(options.out).compact(options.study)} files merged")
    return 0


def list_lines(results: Results) -> list[str]:
    """A line per study: runs by status, and the best validation MSE."""
    names = results.studies()
    if not names:
        return [f"no studies in {results.storage.url}"]
    runs = results.runs()
    members: dict[str, set[str]] = {name: set() for name in names}
    for member in results.table("members").to_pylist():
        members[member["study"]].add(member["run"])
    rows = []
    for name in names:
        mine = [runs[run] for run in members[name] if run in runs]
        scores = [row["val_mse"] for row in mine if row["val_mse"] is not None]
        rows.append([name, len(mine), _counts(row["status"] for row in mine), min(scores, default=None)])
    return _aligned(["study", "runs", "by status", "best val MSE"], rows)


def show_lines(study: str, out: str) -> list[str]:
    """A study in at most some sixty lines: its best trials, final test results and failures."""
    frame = load(study, out)
    if frame.empty:
        return [f"study {study}: no run recorded yet"]
    lines = [f"study {study}: {len(frame)} runs ({_counts(frame['status'])})", ""]
    varied = [c for c in frame.columns if c.startswith("params.") and frame[c].nunique(dropna=False) > 1]
    varied = [c for c in varied if c != "params.training.seed"][:8]
    searched = frame[frame["trial"].notna()]
    if len(searched):
        rows = []
        for trial, runs in searched.groupby("trial", sort=False):
            first = runs.iloc[0]
            value, spread = runs["val_mse"].mean(), runs["val_mse"].std()
            counts = _counts(runs["status"])
            rows.append([trial, len(runs), counts, value, spread, *(first[c] for c in varied)])
        rows.sort(key=lambda row: float("inf") if pd.isna(row[3]) else row[3])
        header = ["trial", "runs", "by status", "val MSE", "sd", *(c.split(".")[-1] for c in varied)]
        lines += _aligned(header, rows[:_ROWS])
        if len(rows) > _ROWS:
            lines.append(f"... and {len(rows) - _ROWS} more trials")
    done = frame[frame["val_mse"].notna()]
    if len(done):
        best = done.loc[done["val_mse"].idxmin()]
        lines += [
            "",
            f"best run: {best['run']}  val MSE {_cell(best['val_mse'])}  epoch {_cell(best['best_epoch'])}",
        ]
        lines += [f"  {c.removeprefix('params.')}={_cell(best[c])}" for c in varied]
    own = set(SCHEMAS["runs"].names)
    tests = [c for c in frame.columns if c.startswith("test_") and "." not in c and c not in own]
    for (role, arm), runs in frame.groupby(["role", "arm"], dropna=False):
        figures = []
        for column in tests:
            values = runs[column].dropna()
            if len(values):
                spread = f" ± {values.std():.4f}" if len(values) > 1 else ""
                figures.append(f"{column} {values.mean():.4f}{spread} (n={len(values)})")
        if figures:
            name = role if pd.isna(arm) else f"{role} {arm}"
            lines += ["", f"{name}: {', '.join(figures)}"]
    failed = frame[frame["status"].isin(["failed", "diverged"])]
    if len(failed):
        lines += ["", f"failed or diverged: {len(failed)}"]
        for _, run in failed.head(_ROWS).iterrows():
            reason = "" if pd.isna(run["error"]) else str(run["error"]).strip().splitlines()[-1][:80]
            lines.append(f"  {run['run']}  {run['status']}  {reason}".rstrip())
        if len(failed) > _ROWS:
            lines.append(f"  ... and {len(failed) - _ROWS} more")
    return lines


def _counts(statuses: Iterable[Any]) -> str:
    return ", ".join(f"{count} {status}" for status, count in sorted(Counter(statuses).items())) or "-"


def _cell(value: Any) -> str:
    if value is None or pd.isna(value):
        return "-"
    return f"{value:.4g}" if isinstance(value, float) else str(value)


def _aligned(header: list[str], rows: list[list[Any]]) -> list[str]:
    cells = [header, *([_cell(value) for value in row] for row in rows)]
    widths = [max(len(row[i]) for row in cells) for i in range(len(header))]
    return ["  ".join(c.ljust(w) for c, w in zip(row, widths, strict=True)).rstrip() for row in cells]
