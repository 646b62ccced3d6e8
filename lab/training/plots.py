"""Figures of one trained run: forecasts, training curves, and its diagnostics over test windows."""

from pathlib import Path

import matplotlib
import numpy as np
import torch

matplotlib.use("Agg")
from matplotlib import pyplot as plt
from matplotlib.dates import ConciseDateFormatter
from matplotlib.ticker import MaxNLocator

from lab.console.printing import one_line
from lab.ledger.looks import look_at
from lab.registry import forecaster_of
from lab.series import Series, window_starts
from lab.series.windows import Windows
from lab.training.trainer import Run

SHOWN_WINDOWS = 256  # evenly over the test split, for the heatmaps


def write_plots(run: Run, series: Series, folder: Path, device: torch.device) -> list[Path]:
    """Writes forecast.png, curves.png and, where the model gives any, diagnostics.png for the run's best weights.

    `$` in a name is a dollar.
    """
    with matplotlib.rc_context({"text.parse_math": False, "text.usetex": False}):
        return _write_plots(run, series, folder, device)


def _write_plots(run: Run, series: Series, folder: Path, device: torch.device) -> list[Path]:
    assert run.weights is not None, "a run without weights has nothing to draw"
    look_at(series, "test", "figures")
    forecaster = forecaster_of(run.config)
    network = forecaster.network([run.config], [run.weights], series.num_channels, device)
    dtype = next(tensor.dtype for tensor in run.weights.values() if tensor.is_floating_point())
    windows = Windows.of(series, run.config.data, device, dtype, forecaster.wants_calendar)
    starts = window_starts(series, run.config.data, "test")
    shown = starts[np.unique(np.linspace(0, len(starts) - 1, SHOWN_WINDOWS).astype(int))]
    inputs, target = windows.inputs(torch.as_tensor(shown, device=device)[None])
    window = inputs.window
    with torch.no_grad():
        forecast, diagnostics = network.forecast(inputs)
    middle = len(shown) // 2
    paths = [folder / name for name in ("forecast.png", "curves.png")]
    read = int(shown[middle]) + run.config.data.seq_len  # the row of the first step that is forecast
    _forecast(window[0, ..., middle], target[0, ..., middle], forecast[0, ..., middle], series, read, paths[0])
    _curves(run, paths[1])
    # Those with a number for every window, which is their last axis; further axes begin with the channels.
    values = {
        key.partition(".")[2]: value[0].cpu().numpy()
        for key, value in diagnostics.items()
        if value.dim() > 1 and value.shape[-1] == len(shown)
    }
    if values:
        paths.append(folder / "diagnostics.png")
        _diagnostics(values, series.channels, paths[-1])
    return paths


def _save(figure: plt.Figure, path: Path) -> None:
    figure.savefig(path, dpi=110)
    plt.close(figure)


def _forecast(
    window: torch.Tensor, target: torch.Tensor, forecast: torch.Tensor, series: Series, read: int, path: Path
) -> None:
    """One window by channel, over the dates of its rows; `read` is the first row that is forecast."""
    channels, horizon = target.shape
    shown = min(2 * horizon, len(window))
    size = (9, 1.6 * channels + 0.6)
    figure, axes = plt.subplots(channels, 1, figsize=size, sharex=True, layout="constrained", squeeze=False)
    # True and forecast start at the last step read.
    past, ahead = np.arange(read - shown, read), np.arange(read - 1, read + horizon)
    over, name = np.arange(len(series.values)) - (read - 1), "steps after the last one read"
    if series.timestamps is not None and series.step.regular:
        over, name = series.timestamps, f"date ({series.zone})" if series.zone else "date"
    for i, axis in enumerate(axes[:, 0]):
        last = window[-1:, i]
        axis.plot(over[past], window[-shown:, i].cpu(), color="0.6", label="read")
        axis.plot(over[ahead], torch.cat([last, target[i]]).cpu(), color="black", label="true")
        axis.plot(over[ahead], torch.cat([last, forecast[i]]).cpu(), color="tab:blue", label="forecast")
        axis.set_ylabel(f"{one_line(series.channels[i])} (z)")
    axes[0, 0].legend(ncols=3, loc="upper left", fontsize="small")
    if name.startswith("date"):
        axes[-1, 0].xaxis.set_major_formatter(ConciseDateFormatter(axes[-1, 0].xaxis.get_major_locator()))
    axes[-1, 0].set_xlabel(name)
    figure.suptitle(f"{one_line(series.name)}: one test window, forecast for {series.period((read, read + horizon))}")
    _save(figure, path)


def _curves(run: Run, path: Path) -> None:
    figure, axis = plt.subplots(figsize=(7, 4), layout="constrained")
    for name in [name for name in run.history[0] if name.endswith("_loss") and name != "val_loss"] + ["val_mse"]:
        points = [(row["epoch"], row[name]) for row in run.history if name in row]
        axis.plot(*zip(*points, strict=True), marker=".", label=name)
    if run.best_epoch is not None:
        axis.axvline(run.best_epoch, color="0.7", linestyle="--", label=f"best epoch {run.best_epoch}")
    axis.set_xlabel("epoch")
    axis.xaxis.set_major_locator(MaxNLocator(integer=True))
    axis.set_ylabel("loss (z-scored)")
    axis.legend()
    _save(figure, path)


def _diagnostics(values: dict[str, np.ndarray], channels: tuple[str, ...], path: Path) -> None:
    """One heatmap per quantity that varies, channels by test windows; with a further axis, channel by that."""
    constant = {name: value.flat[0] for name, value in values.items() if np.ptp(value) == 0}
    values = {name: value for name, value in values.items() if name not in constant}
    if not values:
        return
    size = (9, 1.7 * len(values) + 2)
    figure, grid = plt.subplots(len(values), 1, figsize=size, sharex=True, layout="constrained", squeeze=False)
    axes = grid[:, 0]
    for axis, (name, value) in zip(axes, values.items(), strict=True):
        rows = value.reshape(-1, value.shape[-1])
        image = axis.imshow(rows, aspect="auto", interpolation="nearest", cmap="viridis")
        if len(rows) % len(channels) == 0:
            step = len(rows) // len(channels)
            places = [step * i + (step - 1) / 2 for i in range(len(channels))]
            axis.set_yticks(places, [one_line(name) for name in channels], fontsize=6)
        axis.set_title(f"{name}  ({rows.min():.3g} to {rows.max():.3g})", fontsize=9, loc="left")
        figure.colorbar(image, ax=axis, pad=0.01)
    axes[-1].set_xlabel("test windows, in time")
    if constant:
        held = ", ".join(f"{name} {value:g}" for name, value in constant.items())
        figure.suptitle(f"constant over all windows: {held}", fontsize=9)
    _save(figure, path)
