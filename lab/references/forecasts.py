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
_MORE = {"scale": 1, "times": 2, "zone": 0}  # what those on record from before have not
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
    scale: tuple[float, float] | None = None  # mean and deviation that undo the z-scores; None: not on record
    times: np.ndarray | None = None  # (FEW, P + H) datetime64[us], the clock that the data writes; None: it has none
    zone: str = ""  # of the times

    def own(self, values: np.ndarray) -> np.ndarray:
        """In the data's own units, where they are known."""
        return values if self.scale is None else values.astype(float) * self.scale[1] + self.scale[0]


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


def keep_forecasts(results: Results, run: str, config: Config, weights: Mapping[str, Any], series: Series) -> None:
    """Those of a run whose test is just being read, as a part of that look."""
    if forecasts_of_run(results, run) is None:
        results.put_blob(forecasts_path(run), encoded(_forecast(config, weights, series)))


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
    times = None
    if series.timestamps is not None:
        times = np.stack([series.timestamps[row - before : row + config.data.pred_len] for row in rows])
    return Forecasts(
        found[0, -1].T.numpy(), target[0, -1].T.numpy(), past, tuple(rows.tolist()), series.channels[-1],
        StackTrainer([config], series, device).steps, (float(series.mean[-1]), float(series.std[-1])), times,
        series.zone,
    )  # fmt: skip


def encoded(found: Forecasts) -> bytes:
    buffer = io.BytesIO()
    arrays: dict[str, Any] = {name: np.asarray(getattr(found, name), np.float32) for name in _NUMBERS}
    arrays |= {"rows": np.array(found.rows, np.int64), "steps": np.array(found.steps, np.int64)}
    if found.scale is not None:
        arrays["scale"] = np.array(found.scale, np.float64)
    if found.times is not None:
        arrays |= {"times": found.times.astype("datetime64[us]").astype(np.int64), "zone": np.array(found.zone)}
    np.savez_compressed(buffer, **arrays, channel=np.array(found.channel))
    return buffer.getvalue()


def _parsed(data: bytes) -> Forecasts:
    with np.load(io.BytesIO(data), allow_pickle=False) as kept:
        arrays = {name: kept[name] for name in (*_ARRAYS, *(name for name in _MORE if name in kept.files))}
    if any(each.ndim != (_ARRAYS | _MORE)[name] or each.size > _MOST for name, each in arrays.items()):
        raise ValueError("no forecasts of ours: expected a few windows")
    shapes = [arrays[name].shape for name in ("forecast", "truth")]
    if shapes[0] != shapes[1] or {len(arrays[name]) for name in ("past", "rows")} != {shapes[0][0]}:
        raise ValueError("no forecasts of ours: as many windows are expected of each array")
    forecast, truth, past = (arrays[name].astype(np.float32) for name in _NUMBERS)
    rows: Sequence[int] = arrays["rows"].tolist()
    scale, times = arrays.get("scale"), arrays.get("times")
    if times is not None and times.shape != (len(truth), past.shape[1] + truth.shape[1]):
        raise ValueError("no forecasts of ours: a date for each row is expected")
    return Forecasts(
        forecast, truth, past, tuple(rows), str(arrays["channel"]), int(arrays["steps"]),
        None if scale is None else (float(scale[0]), float(scale[1])),
        None if times is None else times.astype("datetime64[us]"), str(arrays.get("zone", "")),
    )  # fmt: skip
