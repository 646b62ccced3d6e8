"""Trained runs on record, read again: their weights, and their errors on test, which is read once."""

import io
import logging
from collections import defaultdict
from collections.abc import Callable, Mapping, Sequence
from typing import Any, TypeAlias

import torch

from lab.errors import DataError
from lab.ledger.looks import looking
from lab.registry import DEFAULT, forecaster
from lab.series import Series, load_series
from lab.settings.config import Config
from lab.store.tables import Results
from lab.training.trainer import evaluate_weights
from lab.training.window_errors import keep_window_errors

Beside: TypeAlias = Callable[[str, Config, Mapping[str, torch.Tensor]], None]  # run, its config and weights

logger = logging.getLogger(__name__)


def load_weights(results: Results, row: Mapping[str, Any]) -> tuple[Config, dict[str, torch.Tensor]]:
    """Config and best weights of a run on record.

    Raises:
        DataError: it has none, or none that can be read (which `results.skipped` says, too).
        ConfigError: its model is not to be had here.
        StorageError: a store out of reach.
    """
    if not row.get("weights"):
        raise DataError(f"run {row['run']} has no weights on record (status {row['status']})")
    settings = forecaster(row.get("model") or DEFAULT).config

    def parse(data: bytes) -> tuple[Config, dict[str, torch.Tensor]]:
        blob = torch.load(io.BytesIO(data), map_location="cpu", weights_only=True)
        config, weights = settings.from_json(blob["config"]), dict(blob["weights"])
        if not all(isinstance(value, torch.Tensor) for value in weights.values()):
            raise ValueError("no weights of ours: expected tensors by name")
        return config, weights

    found = results.read_blob(row["weights"], parse)
    if found is None:
        reason = results.skipped.get(row["weights"], "they are not there, or damaged")
        raise DataError(f"run {row['run']}: its weights in {row['weights']} cannot be read: {reason}")
    return found


def unread(results: Results, ids: Sequence[str]) -> dict[str, dict[str, Any]]:
    """Those of the runs that are done and whose test was not read, or read without counting its windows, by id."""
    readings = results.of_runs("evaluations", ids).to_pylist()
    known = {row["run"] for row in readings if row["split"] == "test" and row["windows"] is not None}
    return {run: row for run, row in results.done([i for i in ids if i not in known]).items() if row["weights"]}


def lost(results: Results, ids: Sequence[str]) -> list[str]:
    """Those of the unread runs whose weights are gone (`tune.results prune`): they are to be trained once more."""
    return [run for run, row in unread(results, ids).items() if not results.storage.exists(row["weights"])]


def read_test(
    results: Results,
    ids: Sequence[str],
    purpose: str,
    device: str | torch.device = "cpu",
    series: Series | None = None,
    study: str | None = None,
    command: str | None = None,
    beside: Beside | None = None,
) -> None:
    """Evaluates runs on test and records the readings. A run whose test was read before is not read again.

    All runs of one series are one look on the ledger.

    Beside the records it keeps the error of every window (see lab.training.window_errors). A run whose weights cannot
    be read is named in the log, and the others are read.

    Args:
        series: the data of all of these runs, where the caller has it.
        study, command: for which they are read, and what was typed, for the ledger.
        beside: what else is done with each in the same look.
    """
    by_series: dict[str | None, dict[str, Mapping[str, Any]]] = defaultdict(dict)
    for run, row in unread(results, ids).items():
        by_series[row["data_sha256"]][run] = row
    for rows in by_series.values():
        data = _series_of(results, rows) if series is None else series
        if data is None:
            continue
        with looking(data, purpose, ids=list(rows), study=study, results=results, command=command):
            _read(results, rows, purpose, device, data, beside)


def _series_of(results: Results, rows: Mapping[str, Mapping[str, Any]]) -> Series | None:
    """That of runs on one series; None where no run tells, which is in the log."""
    for row in rows.values():
        try:
            return load_series(load_weights(results, row)[0].data)
        except DataError as error:
            logger.warning("%s; the others are read", error)
    return None


def _read(
    results: Results, rows: Mapping[str, Mapping[str, Any]], purpose: str, device: str | torch.device, data: Series,
    beside: Beside | None,
) -> None:  # fmt: skip
    for run, row in rows.items():
        try:
            config, weights = load_weights(results, row)
        except DataError as error:  # its test stays unread, which every page says of it
            logger.warning("%s; the others are read", error)
            continue
        found = evaluate_weights(config, weights, data, "test", device)
        key = {"run": run, "attempt": row["attempt"], "split": "test", "purpose": purpose}
        key["windows"] = found.mse_windows.shape[1]
        keep_window_errors(results, run, found.mse_windows[0].cpu().numpy())
        readings = []
        for metric in ("mse", "mae"):
            readings.append({**key, "metric": metric, "channel": None, "value": getattr(found, metric)[0].item()})
            channels = getattr(found, f"{metric}_channels")[0].tolist()
            for channel, value in zip(data.channels, channels, strict=True):
                readings.append({**key, "metric": metric, "channel": channel, "value": value})
        results.add("evaluations", readings)
        if beside is not None:
            beside(run, config, weights)
