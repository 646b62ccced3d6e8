"""Forecasts of a few test windows, kept beside the records of a run: a page draws them wherever the records are.

Which windows, is no choice of anybody who has seen an error: FEW of test, evenly spread over it, of the last channel.
Windows of equally many are of the same rows, however far back a model looks.
"""

import io
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np

from lab.errors import DataError
from lab.ledger.looks import looking
from lab.registry import forecaster_of
from lab.series import Series, window_starts
from lab.settings.config import Config
from lab.store.tables import Results

FEW = 3  # windows
_NUMBERS = ("forecast", "truth", "past")
_ARRAYS = {**dict.fromkeys(_NUMBERS, 2), "rows": 1, "channel": 0, "steps": 0}  # name -> axes
_MOST = 2**20  # numbers of an array of ours


@dataclass(frozen=True, eq=False)
class Forecasts:
    """Of one run, z-scored."""

    forecast: np.ndarray  # (FEW, H) float32
    truth: np.ndarray  # (FEW, H)
    past: np.ndarray  # (FEW, P), the P <= H rows before
    rows: tuple[int, ...]  # of the series, at which each forecast begins
    channel: str
    steps: int  # of training in an epoch


def chosen(windows: int) -> list[int]:
    """Places, among so many windows, of those that are kept: the middles of FEW equal stretches."""
    return list(dict.fromkeys((2 * place + 1) * windows // (2 * FEW) for place in range(FEW)))


def forecasts_path(run: str) -> str:
    return f"test_forecasts/{run}/windows.npz"


def forecasts_of_run(results: Results, run: str) -> Forecasts | None:
    """None where there are none that can be read."""
    return results.read_blob(forecasts_path(run), _parsed)


def forecasts_object(results: Results, run: str) -> tuple[str, bytes] | None:
    """What to put elsewhere for a run: its path there, and what it holds; None as of `forecasts_of_run`."""
    found = forecasts_of_run(results, run)
    return None if found is None else (forecasts_path(run), encoded(found))


def record_forecasts(
    results: Results, study: str, rows: Mapping[str, Mapping[str, Any]], series: Series
) -> dict[str, str]:
    """Keeps the forecasts of runs of one series, by the weights on record, where they are not kept yet.

    `rows`: of table `runs`, by run. Returns why there are none, by run, where the weights are gone.
    """
    lacking = {run: row for run, row in rows.items() if forecasts_of_run(results, run) is None}
    without: dict[str, str] = {}
    ready = {}
    for run, row in lacking.items():
        from lab.training.readings import load_weights  # what has none to keep does without torch

        try:
            ready[run] = load_weights(results, row)
        except DataError as error:
            without[run] = str(error)
    if ready:
        with looking(series, "forecasts to be shown", ids=list(ready), study=study, results=results):
            for run, (config, weights) in ready.items():
                results.put_blob(forecasts_path(run), encoded(_forecast(config, weights, series)))
    return without


def _forecast(config: Config, weights: Mapping[str, Any], series: Series) -> Forecasts:
    import torch

    from lab.series.windows import Windows
    from lab.training.trainer import StackTrainer

    own, device = forecaster_of(config), torch.device("cpu")
    starts = window_starts(series, config.data, "test")
    starts = starts[chosen(len(starts))]
    network = own.network([config], [weights], series.num_channels, device)
    windows = Windows.of(series, config.data, device, torch.float32, own.wants_calendar)
    with torch.no_grad():
        inputs, target = windows.inputs(torch.as_tensor(starts.copy())[None])
        found = network.forecast(inputs)[0]  # (1, C, H, B)
    rows = starts + config.data.seq_len
    before = min(config.data.pred_len, int(rows[0]))
    past = np.stack([series.scaled[row - before : row, -1] for row in rows])
    return Forecasts(
        found[0, -1].T.numpy(), target[0, -1].T.numpy(), past, tuple(rows.tolist()), series.channels[-1],
        StackTrainer([config], series, device).steps,
    )  # fmt: skip


def encoded(found: Forecasts) -> bytes:
    buffer = io.BytesIO()
    arrays: dict[str, Any] = {name: np.asarray(getattr(found, name), np.float32) for name in _NUMBERS}
    arrays |= {"rows": np.array(found.rows, np.int64), "steps": np.array(found.steps, np.int64)}
    np.savez_compressed(buffer, **arrays, channel=np.array(found.channel))
    return buffer.getvalue()


def _parsed(data: bytes) -> Forecasts:
    with np.load(io.BytesIO(data), allow_pickle=False) as kept:
        arrays = {name: kept[name] for name in _ARRAYS}
    if any(each.ndim != _ARRAYS[name] or each.size > _MOST for name, each in arrays.items()):
        raise ValueError("no forecasts of ours: expected a few windows")
    shapes = [arrays[name].shape for name in ("forecast", "truth")]
    if shapes[0] != shapes[1] or {len(arrays[name]) for name in ("past", "rows")} != {shapes[0][0]}:
        raise ValueError("no forecasts of ours: as many windows are expected of each array")
    forecast, truth, past = (arrays[name].astype(np.float32) for name in _NUMBERS)
    rows: Sequence[int] = arrays["rows"].tolist()
    return Forecasts(forecast, truth, past, tuple(rows), str(arrays["channel"]), int(arrays["steps"]))
