"""Sealed rows read: on the ledger first, then run by run, so that a call that was killed is gone on with.

Rows that anybody has read before are refused, unless that is asked for with a reason, which stands on the ledger and on
every page. What a look of this study was to read and has not yet is no second reading.
"""

import io
import logging
from collections import defaultdict
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Any

import numpy as np

from lab.errors import DataError
from lab.ledger.cache import read as read_own
from lab.ledger.looks import SEALED, open_look, record
from lab.ledger.sealed import on_own, read_before, told
from lab.references.starts import Starts
from lab.series.bars import Metrics
from lab.series.bars.windows import map_errors
from lab.store.objects.lease import Lease
from lab.store.schema import BARS, START, ResultsError
from lab.store.tables import Results
from lab.training.readings import load_weights
from lab.training.trainer import evaluate_weights
from lab.training.window_errors import keep_window_errors
from lab.unsealing.plan import Run, Sealed, planned
from lab.unsealing.records import error_lines, opened
from lab.unsealing.settled import unsettled

logger = logging.getLogger(__name__)

METRICS = ("mse", "mae")
PURPOSE = "unseal {} ({})"  # of a look: a study, and the period of the rows
FIRST, AGAIN = "sealed rows", "sealed rows, again: {}"  # of an evaluation
Row = Mapping[str, Any]


@dataclass(frozen=True)
class Opening:
    """What one call has to do with the sealed rows of one series."""

    sealed: Sealed
    look: str  # on the ledger already; "" where it is to come
    again: str = ""  # why rows that were read before are read once more


def unseal(results: Results, study: str, again: str | None = None) -> list[str]:
    """Reads the sealed rows of a study's series, each at its latest origin, with all that it compares: arms or final
    replicates, bars, networks before their first step. Returns lines that say what was done.

    Args:
        again: why rows that were read before are read once more.
    Raises:
        ResultsError: no such study; not judged yet; no rows are sealed; read before. Nothing is read.
        DataError: a series that is not there, or is another one by now.
        LeaseHeld: a driver works on it.
    """
    results.check_known(study)
    if again is not None and not again.strip():
        raise ResultsError("--again: got nothing; a reason is needed, which stands on the ledger")
    with Lease(results.storage, study):
        if why := unsettled(results, study):
            raise ResultsError(
                f"study '{study}' cannot be unsealed yet: {why}. Sealed rows are read when all else is settled; the "
                "command that trains it goes on"
            )
        openings = _openings(results, study, planned(results, study), again)
        openings = [_on_ledger(results, study, each) for each in openings]  # all of them before any is read
        lines = [line for each in openings for line in _open(results, each)]
    if problem := read_own().problem:
        lines.append(f"your own ledger cannot be read, so that these results alone tell who read before: {problem}")
    return [*lines, *error_lines(opened(results, study))]


def _openings(results: Results, study: str, plan: Sequence[Sealed], again: str | None) -> list[Opening]:
    """Raises ResultsError where rows were read before and no reason is given for reading them again."""
    found, refused = [], []
    for sealed in plan:
        look = _begun(results, study, sealed)
        if look is not None:
            on_own(look, results.storage.url)
            found.append(Opening(_only(sealed, look["run_ids"]), look["look"], look["again"] or ""))
            continue
        before = read_before(results, sealed.rows)
        if before and again is None:
            rows = _rows(sealed)
            refused.append(f"rows {rows} of {sealed.series.name} were read {told(before, results.storage.url)}")
        readable = _only(sealed, [run for run, each in sealed.runs.items() if _there(results, each)])
        if not readable.runs:
            raise ResultsError(f"study '{study}': the weights of all its runs are gone: nothing of it can be read")
        reason = f"{again} (read before: {told(before, results.storage.url)})" if before else ""
        found.append(Opening(readable, "", " ".join(reason.split())))
    if refused:
        raise ResultsError(
            f"study '{study}': sealed rows are read once: {'; '.join(refused)}. What was found then stands in the "
            f'report. --again "REASON" reads them once more: that stands on the ledger, and no page takes it for a '
            "first reading"
        )
    return found


def _begun(results: Results, study: str, sealed: Sealed) -> Row | None:
    """The last look of this study at these rows, where it is not through yet."""
    rows = [
        row for row in results.table("looks").to_pylist()
        if (row["split"], row["read_for"], row["series"]) == (SEALED, study, sealed.series.identity)
    ]  # fmt: skip
    if not rows:
        return None
    look = rows[-1]
    lacking = {*sealed.runs} & {*look["run_ids"]} - _read(results, look["run_ids"])
    return look if any(_there(results, sealed.runs[run]) for run in lacking) else None


def _only(sealed: Sealed, runs: Sequence[str]) -> Sealed:
    return replace(sealed, runs={run: each for run, each in sealed.runs.items() if run in set(runs)})


def _there(results: Results, run: Run) -> bool:
    """Whether a run can be read: a start needs no weights."""
    weights = run.row["weights"]
    return run.model == START or bool(weights and results.storage.exists(weights))


def _read(results: Results, runs: Sequence[str]) -> set[str]:
    readings = results.of_runs("evaluations", runs, ["run", "split"]).to_pylist()
    return {row["run"] for row in readings if row["split"] == SEALED}


def _on_ledger(results: Results, study: str, opening: Opening) -> Opening:
    if opening.look:
        return opening
    series = opening.sealed.series
    look = record(
        series, PURPOSE.format(study, _period(opening.sealed)), ids=list(opening.sealed.runs), study=study,
        results=results, split=SEALED, again=opening.again or None,
    )  # fmt: skip
    return replace(opening, look=look.look)


def _period(sealed: Sealed) -> str:
    assert sealed.series.sealed is not None
    return sealed.series.period(sealed.series.sealed)


def _rows(sealed: Sealed) -> str:
    assert sealed.series.sealed is not None
    return "{}..{}".format(*sealed.series.sealed)


def _open(results: Results, opening: Opening) -> Iterator[str]:
    sealed = opening.sealed
    known = _read(results, list(sealed.runs))
    lacking = _only(sealed, [run for run in sealed.runs if run not in known])
    where = f"{sealed.series.name}, sealed rows {_rows(sealed)} ({_period(sealed)})"
    count = len(sealed.runs)
    yield f"{where}: {count} runs" + (f", {len(known)} of them read already" if known else "")
    purpose = AGAIN.format(opening.again) if opening.again else FIRST
    done = 0
    with open_look(sealed.series, SEALED):
        for run, found in _evaluated(results, lacking):
            keep_window_errors(results, run.run, found.mse_windows, SEALED)
            results.add("evaluations", list(_readings(run, found, sealed.series.channels, purpose)))
            done += 1
    if done < len(lacking.runs):
        yield f"  {len(lacking.runs) - done} runs could not be read (named above)"


def _evaluated(results: Results, sealed: Sealed) -> Iterator[tuple[Run, Metrics]]:
    """Each run with its errors; what cannot be read is named in the log."""
    stacks: dict[str, list[Run]] = defaultdict(list)  # starts that differ in their seeds alone
    for run in sealed.runs.values():
        if run.model == START:
            stacks[run.config.with_seed(0).to_json()].append(run)
            continue
        try:
            yield run, _of_bar(results, run, sealed) if run.model in BARS else _of_network(results, run, sealed)
        except DataError as error:
            logger.warning("%s; the others are read", error)
    for runs in stacks.values():
        yield from zip(runs, Starts([run.config for run in runs], sealed.series).evaluate(SEALED), strict=True)


def _of_network(results: Results, run: Run, sealed: Sealed) -> Metrics:
    config, weights = load_weights(results, run.row)
    found = evaluate_weights(config, weights, sealed.series, SEALED)
    return Metrics(
        found.mse[0].item(), found.mae[0].item(),
        *(getattr(found, name)[0].cpu().numpy() for name in ("mse_channels", "mae_channels", "mse_windows")),
    )  # fmt: skip


def _of_bar(results: Results, run: Run, sealed: Sealed) -> Metrics:
    """Of the map that was read on test."""

    def parse(data: bytes) -> np.ndarray:
        weight = np.load(io.BytesIO(data), allow_pickle=False)["weight"]
        if weight.shape != (run.config.data.seq_len, run.config.data.pred_len):
            raise ValueError(f"a map of shape {weight.shape}")
        return np.asarray(weight, float)

    weight = results.read_blob(run.row["weights"], parse)
    if weight is None:
        raise DataError(f"bar {run.run}: its map cannot be read")
    return map_errors(weight, sealed.series, run.config.data, SEALED)


def _readings(run: Run, found: Metrics, channels: Sequence[str], purpose: str) -> Iterator[dict[str, Any]]:
    key = {"run": run.run, "attempt": run.row["attempt"], "split": SEALED, "purpose": purpose}
    for metric in METRICS:
        values = [
            (None, getattr(found, metric)), *zip(channels, getattr(found, f"{metric}_channels"), strict=True)
        ]  # fmt: skip
        for channel, value in values:
            row = {"metric": metric, "channel": channel, "value": float(value), "windows": found.windows}
            yield {**key, **row}
