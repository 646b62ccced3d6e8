"""What a study found on sealed rows, beside test, from the records alone."""

import math
from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass, field
from typing import Any

from lab.arms import FULL
from lab.ledger.looks import INPUTS, SEALED, TEST
from lab.pages.formats import mean_deviation
from lab.references.by_run import ByRun
from lab.references.runs import start_run
from lab.references.titles import START_TITLE, TITLES
from lab.series.bars import BARS
from lab.store.schema import START
from lab.store.tables import Results

Row = Mapping[str, Any]
VALIDATION = "val_mse"
METRICS = (VALIDATION, *(f"{split}_{metric}" for metric in ("mse", "mae") for split in (TEST, SEALED)))


@dataclass(frozen=True)
class Look:
    """One reading of sealed rows by the study: a line of the ledger."""

    dataset: str
    first: int  # rows [first, end)
    end: int
    origin: int  # the row where training ends
    runs: int
    when: str
    who: str
    purpose: str
    again: str  # why rows that were read before were read once more; "" of the first reading

    def text(self) -> str:
        rows = f"rows {self.first}..{self.end} of {self.dataset} were read by {self.who} on {self.when}"
        return f"{rows}, with {self.runs} runs trained on rows before {self.origin}"


@dataclass(frozen=True)
class Group(ByRun):
    """Runs of one kind: an arm, the final replicates, a bar, or starts; by run, in the order of their seeds."""

    cell: str
    name: str  # of the arm; "" of final replicates; else column `model` of table `runs`
    title: str
    runs: tuple[str, ...]
    errors: Mapping[str, tuple[float, ...]]  # of METRICS -> by run; NaN: none


@dataclass(frozen=True)
class Opened:
    """What a study read on sealed rows; nothing where it was not unsealed."""

    looks: tuple[Look, ...] = ()
    groups: tuple[Group, ...] = ()  # that have a reading there; cell by cell, in the order of the records
    windows: Mapping[str, int] = field(default_factory=dict)  # of sealed rows, by cell
    inputs: tuple[str, ...] = ()  # what forecast from some of these rows before they were opened

    @property
    def again(self) -> str:
        """Why what is shown is no first reading, or ""."""
        return "; ".join(dict.fromkeys(look.again for look in self.looks if look.again))

    @property
    def cells(self) -> tuple[str, ...]:
        return tuple(dict.fromkeys(group.cell for group in self.groups))


def opened(results: Results, study: str) -> Opened:
    """What is on record of a study's readings of sealed rows."""
    every = results.table("looks").to_pylist()
    looks = [row for row in every if (row["split"], row["read_for"]) == (SEALED, study)]
    if not looks:
        return Opened()
    members = results.table("members", study).to_pylist()
    wanted = [row for row in members if row["role"] in ("arm", "final", "baseline")]
    read = {run for look in looks for run in look["run_ids"] or ()}
    rows = results.runs(sorted(read & {row["run"] for row in wanted}))
    errors, windows = _errors(results, rows)
    starts = {start_run(row["run"]): row["arm"] for row in wanted if row["role"] == "arm"}
    kinds: dict[tuple[str, str, str], dict[str, None]] = {}
    for member in wanted:
        row = rows.get(member["run"])
        if row is not None and f"{SEALED}_mse" in errors.get(row["run"], {}):
            errors[row["run"]][VALIDATION] = math.nan if row["val_mse"] is None else row["val_mse"]
            kinds.setdefault((member["cell"] or "", *_kind(member, row, starts)), {})[row["run"]] = None
    groups = []
    for (cell, name, title), ids in kinds.items():
        runs = tuple(sorted(ids, key=lambda run: rows[run]["seed"] or 0))
        by_name = {key: tuple(errors[run].get(key, math.nan) for run in runs) for key in METRICS}
        groups.append(Group(cell, name, title, runs, by_name))
    cells = list(dict.fromkeys(cell for cell, _, _ in kinds))
    groups.sort(key=lambda group: (cells.index(group.cell), _place(group.name)))
    counts = {group.cell: windows[group.runs[0]] for group in groups}
    return Opened(tuple(map(_look, looks)), tuple(groups), counts, tuple(_inputs(every, looks)))


def _inputs(every: Iterable[Row], looks: Iterable[Row]) -> Iterator[str]:
    """Forecasts that read some of the rows before a look at them did: a network fitted again is trained on them."""
    looks = list(looks)
    for row in every:
        marks = set(row["content"] or ())
        if row["split"] == INPUTS and any(
            row["time"] < look["time"] and not marks.isdisjoint(look["content"] or ()) for look in looks
        ):
            yield f"{row['purpose'] or 'a forecast'} on {row['time']:%Y-%m-%d %H:%M:%S}"


def _place(name: str) -> int:
    """Within a cell: the whole network or the final replicates first, bars and starts last."""
    bars = (*BARS, START)
    if name.startswith(f"{START} of "):
        return 1 + len(bars)
    return -1 if name in ("", FULL) else 1 + bars.index(name) if name in bars else 0


def _kind(member: Row, row: Row, starts: Mapping[str, str]) -> tuple[str, str]:
    """`starts`: run -> the arm that it is the start of."""
    if member["role"] == "baseline":
        if row["model"] == START and (arm := starts.get(row["run"], FULL)) != FULL:
            return f"{START} of {arm}", f"{arm} {START_TITLE}"
        return row["model"], TITLES.get(row["model"], row["model"])
    return (member["arm"], member["arm"]) if member["role"] == "arm" else ("", "final replicates")


def _errors(results: Results, runs: Iterable[str]) -> tuple[dict[str, dict[str, float]], dict[str, int]]:
    """Each run's first reading of test and of sealed rows, and how many windows the latter had."""
    found: dict[str, dict[str, float]] = {}
    windows: dict[str, int] = {}
    for row in results.of_runs("evaluations", runs).to_pylist():  # in order of time
        if row["channel"] is None and row["split"] in (TEST, SEALED) and row["value"] is not None:
            found.setdefault(row["run"], {}).setdefault(f"{row['split']}_{row['metric']}", row["value"])
            if row["split"] == SEALED:
                windows.setdefault(row["run"], row["windows"] or 0)
    return found, windows


def _look(row: Row) -> Look:
    return Look(
        row["dataset"] or "a series", row["first"], row["end"], row["origin"], row["runs"],
        f"{row['time']:%Y-%m-%d %H:%M:%S}", f"{row['user']}@{row['host']}", row["purpose"] or "", row["again"] or "",
    )  # fmt: skip


def error_lines(found: Opened) -> list[str]:
    """A table for a terminal: the error of each kind of run on test and on sealed rows."""
    lines = [f"READ AGAIN, no confirmation: {found.again}"] if found.again else []
    several = len(found.cells) > 1
    for cell in found.cells:
        lines += ["", f"{f'cell {cell}, ' if several and cell else ''}{found.windows[cell]} windows of sealed rows"]
        lines.append(f"{'':<28s}{'validation MSE':>18s}{'test MSE':>18s}{'sealed MSE':>18s}{'runs':>6s}")
        for group in (group for group in found.groups if group.cell == cell):
            shown = [mean_deviation(group.mean(m), group.deviation(m)) for m in (VALIDATION, "test_mse", "sealed_mse")]
            lines.append(f"{group.title:<28s}{''.join(f'{each:>18s}' for each in shown)}{len(group.runs):>6d}")
    return lines
