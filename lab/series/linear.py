"""The closed-form linear baseline: `python -m dynonet.baseline`.

RevIN and the shared trend layer alone, solved exactly. A model that doesn't beat it has not earned its
size, so every search and every study shows it beside its own results.

One linear map W (S, H), no intercept, shared by all channels, from each window normalised by its own mean m
and deviation s to the targets normalised alike: the least squares of the z-scored error with penalty lambda,
    W = (sum s^2 a a^T + lambda I)^-1 (sum s^2 a t^T),  a = (x - m) / s,  t = (y - m) / s,
with the forecast a W s + m. The deviation cancels in all three (s a = x - m), so it is never computed.
"""

import argparse
import io
import json
import os
import sys
import time
from collections.abc import Iterator, Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import NoReturn

import numpy as np
from numpy.lib.stride_tricks import sliding_window_view

from dynonet.presets import PRESETS
from lab.console.commands import command_named
from lab.console.folders import make_folder
from lab.console.printing import print
from lab.errors import ConfigError, DataError
from lab.series import Series, load_series, window_starts
from lab.settings.config import Config
from lab.settings.data import DataConfig

PENALTIES = tuple(10.0**power for power in range(-1, 6))  # lambda; validation MSE chooses
_CHUNK = 1024  # windows of one channel in memory at once


@dataclass(frozen=True, eq=False)
class Metrics:
    """Errors on the z-scored scale, over all windows and steps of a split."""

    mse: float  # mean over the channels
    mae: float
    mse_channels: np.ndarray  # (C,)
    mae_channels: np.ndarray  # (C,)
    mse_windows: np.ndarray  # (windows,)

    @property
    def windows(self) -> int:
        return len(self.mse_windows)


@dataclass(frozen=True, eq=False)
class LinearBaseline:
    """The fitted map. It holds no test figure: `evaluate(series, data, 'test')` reads test on request."""

    weight: np.ndarray  # (S, H) float64, read-only
    penalty: float  # lambda
    penalties: dict[float, float]  # each lambda tried -> its validation MSE
    validation: Metrics
    train_windows: int
    seconds: float  # of the fit

    @property
    def num_weights(self) -> int:
        return self.weight.size

    @property
    def penalty_at_edge(self) -> bool:
        """The best penalty is the smallest or the largest tried, so a better one may lie beyond."""
        return self.penalty in (PENALTIES[0], PENALTIES[-1])

    def forecast(self, windows: np.ndarray) -> np.ndarray:
        """(B, S, C) z-scored windows -> (B, H, C) forecasts."""
        mean = windows.mean(axis=1, keepdims=True)
        return np.einsum("bsc,sh->bhc", windows - mean, self.weight, optimize=True) + mean

    def evaluate(self, series: Series, data: DataConfig, role: str) -> Metrics:
        """The errors over every window of a role of `lab.series.window_starts`."""
        return map_errors(self.weight, series, data, role)


def fit_linear(series: Series, data: DataConfig, role: str = "train") -> LinearBaseline:
    """Fits the map on every window of `role`, all channels pooled; the penalty is chosen on validation.

    Raises:
        DataError: the training or validation rows hold no window of this S and H.
    """
    began = time.perf_counter()
    starts = window_starts(series, data, role)
    tried: dict[float, float] = {}
    best: tuple[float, np.ndarray, Metrics] | None = None
    for penalty, weight in ridge(series, data, starts):
        validation = map_errors(weight, series, data, "validation")
        tried[penalty] = validation.mse
        if best is None or validation.mse < best[2].mse:
            best = (penalty, weight, validation)
    assert best is not None  # PENALTIES is not empty
    best[1].setflags(write=False)
    return LinearBaseline(best[1], best[0], tried, best[2], len(starts), time.perf_counter() - began)


def ridge(
    series: Series, data: DataConfig, starts: np.ndarray, smooth: np.ndarray | None = None, centred: bool = True
) -> Iterator[tuple[float, np.ndarray]]:
    """Each penalty and its map (S, H) from windows, or from `smooth` (S, S) times each window."""
    gram = np.zeros((data.seq_len, data.seq_len))
    cross = np.zeros((data.seq_len, data.pred_len))
    for _, _, past, future in _chunks(series, data, starts, centred):
        gram += past.T @ past
        cross += past.T @ future
    if smooth is not None:
        gram, cross = smooth @ gram @ smooth.T, smooth @ cross
    # One decomposition serves every penalty: (G + lambda I)^-1 = V (e + lambda)^-1 V^T.
    values, vectors = np.linalg.eigh(gram)
    rotated = vectors.T @ cross
    for penalty in PENALTIES:
        yield penalty, vectors @ (rotated / (np.maximum(values, 0) + penalty)[:, None])


def _chunks(
    series: Series, data: DataConfig, starts: np.ndarray, centred: bool = True
) -> Iterator[tuple[int, int, np.ndarray, np.ndarray]]:
    """Chunks of windows of one channel: channel, place of the first, past (B, S), future (B, H).

    Centred: less the past's mean.
    """
    length = data.seq_len + data.pred_len
    for channel in range(series.num_channels):
        windows = sliding_window_view(np.ascontiguousarray(series.scaled[:, channel]), length)
        for first in range(0, len(starts), _CHUNK):
            chunk = windows[starts[first : first + _CHUNK]]
            if centred:
                chunk = chunk - chunk[:, : data.seq_len].mean(axis=1, keepdims=True)
            yield channel, first, chunk[:, : data.seq_len], chunk[:, data.seq_len :]


def map_errors(weight: np.ndarray, series: Series, data: DataConfig, role: str, centred: bool = True) -> Metrics:
    """The errors of a map (S, H) over every window of a role; centred: each window is taken less its own mean."""
    starts = window_starts(series, data, role)
    squared, absolute = np.zeros(series.num_channels), np.zeros(series.num_channels)
    by_window = np.zeros((series.num_channels, len(starts)))
    for channel, first, past, future in _chunks(series, data, starts, centred):
        error = past @ weight - future  # a mean that was taken off is off both
        squares = np.square(error)
        by_window[channel, first : first + len(error)] = squares.mean(axis=1)
        squared[channel] += squares.sum()
        absolute[channel] += np.abs(error).sum()
    count = len(starts) * data.pred_len
    mse, mae = squared / count, absolute / count
    return Metrics(float(mse.mean()), float(mae.mean()), mse, mae, by_window.mean(axis=0))


def record(baseline: LinearBaseline, series: Series, config: Config, test: Metrics | None) -> dict[str, object]:
    """Everything but the weights, ready for JSON; `test` is None where it was not read."""

    def plain(metrics: Metrics) -> dict[str, object]:
        numbers = asdict(metrics) | {"windows": metrics.windows}
        del numbers["mse_windows"]
        for name in ("mse_channels", "mae_channels"):
            numbers[name] = dict(zip(series.channels, numbers[name].tolist(), strict=True))
        return numbers

    return {
        "model": "linear",
        "penalty": baseline.penalty,
        "penalty_at_edge": baseline.penalty_at_edge,
        "penalties": [{"penalty": p, "validation_mse": mse} for p, mse in baseline.penalties.items()],
        "weights": baseline.num_weights,
        "train_windows": baseline.train_windows,
        "seconds": baseline.seconds,
        "validation": plain(baseline.validation),
        "test": None if test is None else plain(test),
        "data": {
            "name": series.name,
            "sha256": series.identity,
            "file_sha256": series.file_sha256 or None,
            "source": series.source,
            "notes": list(series.notes),
        },
        "config": config.model_dump(mode="json"),
    }


def table(baseline: LinearBaseline, series: Series, data: DataConfig, test: Metrics | None) -> str:
    """The figures as plain text, one row a channel."""
    splits = {"validation": baseline.validation} | ({} if test is None else {"test": test})
    width = max(len(name) for name in ("all", "channel", *series.channels))
    titles = [f"{split} {kind}" for split in splits for kind in ("MSE", "MAE")]
    rows = [("channel".ljust(width), *(f"{title:>15}" for title in titles))]
    for index, name in enumerate(series.channels):
        pairs = [(float(m.mse_channels[index]), float(m.mae_channels[index])) for m in splits.values()]
        rows.append((name.ljust(width), *(f"{number:15.4f}" for pair in pairs for number in pair)))
    overall = [number for m in splits.values() for number in (m.mse, m.mae)]
    rows.append(("all".ljust(width), *(f"{number:15.4f}" for number in overall)))
    windows = ", ".join(f"{m.windows} {split}" for split, m in splits.items())
    edge = " (at the edge of the range tried)" if baseline.penalty_at_edge else ""
    return "\n".join(
        [
            f"Linear baseline on {series.name}, S={data.seq_len}, H={data.pred_len}",
            f"{baseline.num_weights:,} weights, penalty {baseline.penalty:g}{edge}, {baseline.seconds:.1f} s",
            f"windows: {baseline.train_windows} train, {windows}",
            *(f"note: {note}" for note in series.notes),
            "",
            *("  ".join(row) for row in rows),
        ]
    )


def write(folder: Path, baseline: LinearBaseline, content: dict[str, object]) -> None:
    """Writes baseline.json and baseline.npz (`weight`, (S, H)); each appears whole or not at all."""
    arrays = io.BytesIO()
    np.savez(arrays, weight=baseline.weight)
    # The weights first: whoever finds the JSON finds them too.
    for name, body in (
        ("baseline.npz", arrays.getvalue()),
        ("baseline.json", (json.dumps(content, indent=2) + "\n").encode()),
    ):
        partial = folder / f".{name}.{os.getpid()}"
        partial.write_bytes(body)
        os.replace(partial, folder / name)


class _Parser(argparse.ArgumentParser):
    def error(self, message: str) -> NoReturn:  # one line, without the usage
        self.exit(2, f"{self.prog}: error: {message}\n")


@command_named("dynonet.baseline")
def main(arguments: Sequence[str] | None = None) -> int:
    """The command. Returns the exit status: 0, or 2 for bad arguments or data, with one line on stderr."""
    parser = _Parser(
        prog="python -m dynonet.baseline",
        description="Fit the closed-form linear baseline and show its errors on the z-scored scale.",
    )
    parser.add_argument("overrides", nargs="*", metavar="section.key=value", help="e.g. data.dataset=ETTh2")
    parser.add_argument("--preset", help=f"settings by name: {', '.join(PRESETS)}")
    parser.add_argument("--out", type=Path, metavar="DIR", help="write baseline.json and baseline.npz there")
    parser.add_argument("--no-test", action="store_true", help="do not read the test split")
    # Overrides may stand before and after an option, which parse_args does not allow.
    options = parser.parse_intermixed_args(arguments)
    try:
        config = Config.create(preset=options.preset, overrides=options.overrides)
        if options.out:
            make_folder(options.out)
        series = load_series(config.data)
        baseline = fit_linear(series, config.data)
        test = None if options.no_test else baseline.evaluate(series, config.data, "test")
        print(table(baseline, series, config.data, test))
        if options.out:
            write(options.out, baseline, record(baseline, series, config, test))
            print(f"\nwritten: {options.out / 'baseline.json'}, {options.out / 'baseline.npz'}")
    except (ConfigError, DataError) as error:
        print(f"{parser.prog}: error: {' '.join(str(error).split())}", file=sys.stderr)
        return 2
    return 0


if __name__ == "__main__":
    sys.exit(main())
