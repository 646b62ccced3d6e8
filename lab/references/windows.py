"""How a page draws a forecast beside the truth: by date and in the data's own units, where they are on record."""

import numpy as np
from matplotlib.axes import Axes
from matplotlib.dates import AutoDateLocator, ConciseDateFormatter
from matplotlib.figure import Figure

from lab.pages.formats import decimal
from lab.pages.svg import BLUE, GREY, INK, drawn_or_said, inline, style
from lab.references.forecasts import Forecasts


@drawn_or_said
def in_a_row(found: Forecasts, prefix: str) -> str:
    """Every window of one run, the error of each above it."""
    with style():
        figure = Figure(figsize=(9, 2.9), layout="constrained")
        panels = figure.subplots(1, len(found.rows), sharey=True, squeeze=False)[0]
        for place, axes in enumerate(panels):
            window(axes, found, place, BLUE)
            name_rows(axes, found, place)
            axes.grid(axis="y")
        panels[0].set_ylabel(units(found))
        figure.legend(*panels[0].get_legend_handles_labels(), loc="outside upper left", ncols=3)
        return inline(figure, prefix, f"Forecasts of {found.channel} beside the truth")


def units(found: Forecasts) -> str:
    return f"{found.channel} (z-scored)" if found.scale is None else f"{found.channel}, own units"


def window(axes: Axes, found: Forecasts, place: int, colour: str) -> None:
    """One window: what was read last, the truth after it, and what was forecast."""
    past, truth, forecast = (found.own(each[place]) for each in (found.past, found.truth, found.forecast))
    over = np.arange(1 - len(past), len(truth) + 1) if found.times is None else found.times[place]
    before, ahead = over[: len(past)], over[len(past) :]
    axes.plot(before, past, color=INK, linewidth=0.7, alpha=0.6, label="read")
    axes.plot(ahead, truth, color=INK, linewidth=0.9, label="true")
    axes.plot(ahead, forecast, color=colour, linewidth=1.5, label="forecast")
    if len(before):
        axes.axvline(before[-1], color=GREY, linewidth=0.6)
    axes.tick_params(length=2)
    error = float(np.mean(np.square(found.forecast[place].astype(float) - found.truth[place])))
    axes.text(1, 1.01, f"MSE {decimal(error, 3)}", ha="right", va="bottom", transform=axes.transAxes, fontsize=7.5)


def name_rows(axes: Axes, found: Forecasts, place: int) -> None:
    """The horizontal axis below: dates, or from which row on."""
    if found.times is None:
        axes.set_xlabel(f"rows from {found.rows[place] - 1:,} on")
        return
    locator = AutoDateLocator(minticks=3, maxticks=5)
    axes.xaxis.set_major_locator(locator)
    axes.xaxis.set_major_formatter(ConciseDateFormatter(locator))
    axes.set_xlabel(f"date ({found.zone})" if found.zone else "date")
