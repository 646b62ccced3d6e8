"""The figure of a forecast: history, forecast and band, a panel a channel."""

import matplotlib
import numpy as np
import pandas as pd
from matplotlib.dates import ConciseDateFormatter
from matplotlib.figure import Figure

from lab.console.printing import one_line
from lab.forecasting.given import Given, Reading

MOST_PANELS = 12  # channels that are drawn, the first


def draw(
    frame: pd.DataFrame, given: Given, reading: Reading, title: str, level: float, history: int | None = None
) -> Figure:
    """Of a `frame` as `ForecastModel.predict` gave it of these rows; `title` names the model.

    `$` in a name is a dollar.
    """
    with matplotlib.rc_context({"text.parse_math": False, "text.usetex": False}):
        return _draw(frame, given, reading, title, level, history)


def _draw(frame: pd.DataFrame, given: Given, reading: Reading, title: str, level: float, history: int | None) -> Figure:
    horizon, rows = reading.pred_len, len(given.values)
    shown = min(rows, 2 * horizon if history is None else history)
    channels = reading.channels[:MOST_PANELS]
    figure = Figure(figsize=(9, 1.9 * len(channels) + 1), layout="constrained")
    axes = figure.subplots(len(channels), 1, sharex=True, squeeze=False)[:, 0]
    past, ahead = np.arange(1 - shown, 1), np.arange(horizon + 1)  # both with the last row
    name, band = "steps after the last row", f"{level:.0%} band"
    if "date" in frame and given.stamps is not None:
        dates = frame["date"].to_numpy()[:: len(reading.channels)]
        past, ahead = given.stamps[-shown:], np.concatenate([given.stamps[-1:], dates])
        name = f"date ({reading.zone})" if reading.zone else "date"
    for place, (channel, axis) in enumerate(zip(channels, axes, strict=True)):
        last, mine = given.values[-1, place], frame.iloc[place :: len(reading.channels)]
        axis.plot(past, given.values[-shown:, place], color="0.4", label="history")
        axis.fill_between(ahead[1:], mine["low"], mine["high"], color="tab:blue", alpha=0.2, lw=0, label=band)
        axis.plot(ahead, [last, *mine["forecast"]], color="tab:blue", label="forecast")
        axis.set_title(one_line(channel, 100), loc="left", fontsize="medium")  # a long name has no room beside an axis
    figure.legend(*axes[0].get_legend_handles_labels(), ncols=3, loc="outside lower right", fontsize="small")
    if name.startswith("date"):
        axes[-1].xaxis.set_major_formatter(ConciseDateFormatter(axes[-1].xaxis.get_major_locator()))
    axes[-1].set_xlabel(name)
    more = f" ({len(channels)} of {len(reading.channels)} channels)" if len(channels) < len(reading.channels) else ""
    figure.suptitle(f"{one_line(given.name)}: the next {horizon} steps, {one_line(title)}{more}")
    return figure
