"""What several origins say of a search: where the best trial stands at each, and whether rankings travel."""

import math
from collections.abc import Iterator, Sequence

from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.ticker import MaxNLocator

from lab.pages.blocks import Block, Item, Text, drawing, items, table
from lab.pages.formats import MISSING, counted, decimal, percent
from lab.pages.svg import BLUE, GREY, VERMILION, drawn_or_said, inline, style, tell
from tune.findings.agreement import LEAST_FOR_INTERVAL, Agreement
from tune.findings.findings import STOPPED, SearchFindings
from tune.findings.origins import AtOrigin
from tune.reporting.axes import LOSS, Reach

PLACES_HEADER = ("origin", "trains on", "validates", "best trial", "rank there", "lowest there", "best bar", "start")
RANKS_HEADER = ("chosen by", "at", "rank correlation", "95%", "rank there", "regret", "by chance", "overtuning")
DRAWN = 3  # pairs of origins, the last ones; the table has all


def placed(origins: Sequence[AtOrigin]) -> list[tuple[str, ...]]:
    """A row for each origin, below PLACES_HEADER. Errors are on validation."""
    return [
        (
            each.name, counted(each.trains_on, "row"), each.validates, decimal(each.loss),
            f"{each.rank} of {each.trials}" if each.rank else MISSING,
            f"{decimal(each.lowest)} ({each.lowest_trial})" if each.lowest_trial else MISSING,
            MISSING if (bar := each.standing.best) is None else f"{decimal(bar.errors['val_mse'])} ({bar.title})",
            MISSING if (start := each.standing.start) is None else decimal(start.errors["val_mse"]),
        )
        for each in origins
    ]  # fmt: skip


def ranked(agreements: Sequence[Agreement]) -> list[tuple[str, ...]]:
    """A row for each pair of origins, below RANKS_HEADER."""
    return [
        (
            _chosen_by(each), each.following, decimal(each.correlation, 2), _interval(each),
            f"{each.rank} of {len(each.trials)}", percent(each.regret), percent(each.by_chance),
            percent(each.overtuning),
        )
        for each in agreements
    ]  # fmt: skip


def sentence(agreement: Agreement) -> str:
    """What came of choosing there."""
    of = f"number {agreement.rank} of {len(agreement.trials)}" if agreement.rank > 1 else "the best"
    said = f"the trial that is best by {_chosen_by(agreement)} is {of} at {agreement.following}"
    if agreement.rank > 1:
        said += f", {_above(agreement.regret)} above the lowest there"
        if agreement.regret >= agreement.by_chance:
            said += f": no better than one drawn by chance ({_above(agreement.by_chance)} at the median)"
    if agreement.overtuning > 0:
        said += f"; searching on cost {_above(agreement.overtuning)} there, against a trial that was chosen before it"
    return f"{said}."


def _above(share: float) -> str:
    return percent(share).removeprefix("+")


def _chosen_by(agreement: Agreement) -> str:
    by = agreement.chosen_by
    if len(by) == 1:
        return by[0]
    return f"the mean of {', '.join(by)}" if len(by) < 4 else f"the mean of all {len(by)} before"


def _interval(agreement: Agreement) -> str:
    bounds = agreement.interval
    return MISSING if bounds is None else f"{decimal(bounds[0], 2)} to {decimal(bounds[1], 2)}"


def blocks(findings: SearchFindings) -> Iterator[Block | None]:
    """Of a search over several origins; nothing of one."""
    if not findings.origins:
        return
    yield Text(
        f"A trial is trained at {counted(len(findings.origins), 'origin')}, rows where training ends, and its "
        f"{LOSS} is the geometric mean over them: one percent counts the same at each. Errors here are those on "
        "validation, of complete trials; no test row was read for them. Start: the best trial's networks before their "
        "first step, where that is a closed form."
    )
    yield table(PLACES_HEADER, placed(findings.origins), f"{LOSS[0].upper()}{LOSS[1:]} at each origin", words=3)
    yield drawing(
        travel(findings, "travel"),
        "Above: complete trials at one origin and the next (vermilion: chosen by the first; a ring: lowest at the "
        "next). Below: the best trial so far by the first, as far above the lowest there (blue), and the same trial at "
        "the next origin (vermilion): where that rises while the blue falls, the search tunes itself to one stretch "
        "of rows. Beyond a dotted line an axis is pressed together.",
    )
    if not findings.agreements:
        yield Text("Of fewer than two complete trials there is no ranking to compare.", "note")
        return
    yield table(
        RANKS_HEADER, ranked(findings.agreements),
        "Had one chosen by earlier rows: the ranking there, and at the origin that follows", words=2,
    )  # fmt: skip
    yield items(Item(_capitalised(sentence(each))) for each in findings.agreements)
    few = len(findings.agreements[0].trials) < LEAST_FOR_INTERVAL
    yield Text(
        "Rank correlation: Spearman's. Regret: the chosen trial's error at the following origin above the lowest that "
        "a trial has there. By chance: the median of all trials' regrets. Overtuning (arXiv 2506.19540): above the "
        "lowest there of those that were the best so far."
        + (" Trials that were stopped early are left out: the ranking is one among the better ones, which agree less "
           "than all would." if findings.of(STOPPED) else "")
        + (" Of so few trials these are rough guides." if few else ""),
        "note",
    )  # fmt: skip


def _capitalised(text: str) -> str:
    return text[0].upper() + text[1:]


@drawn_or_said
def travel(findings: SearchFindings, prefix: str) -> str:
    """A column for each of the last pairs of origins: the trials at both, and the best so far at both."""
    shown = findings.agreements[-DRAWN:]
    if not shown:
        return ""
    with style():
        figure = Figure(figsize=(0.6 + 2.45 * len(shown), 4.6), layout="constrained")
        rows = figure.subplots(2, len(shown), squeeze=False)
        for place, agreement in enumerate(shown):
            _scatter(rows[0][place], agreement)
            _so_far(rows[1][place], agreement, place == 0)
        figure.legend(*rows[1][0].get_legend_handles_labels(), loc="outside lower left", ncols=2)
        return inline(figure, prefix, "Trials at one origin and the next, and the best so far at both")


def _scatter(axes: Axes, agreement: Agreement) -> None:
    here, there, chosen = agreement.here, agreement.there, agreement.chosen
    lowest = min(range(len(there)), key=lambda place: there[place])
    points = axes.scatter(here, there, s=14, color=GREY, alpha=0.8, edgecolors="none")
    numbers = zip(agreement.trials, here, there, strict=True)
    tell(points, [f"{trial}: {decimal(at)}, then {decimal(then)}" for trial, at, then in numbers])
    axes.scatter([here[chosen]], [there[chosen]], s=26, color=VERMILION, zorder=4)
    axes.scatter([here[lowest]], [there[lowest]], s=60, facecolors="none", edgecolors=BLUE, zorder=3)
    Reach.of(here).set(axes, "x")
    Reach.of(there).set(axes, "y")
    axes.set_ylabel(f"{LOSS} at {agreement.following}")
    by = agreement.chosen_by
    axes.set_xlabel(f"at {by[0]}" if len(by) == 1 else f"mean of {len(by)} origins before")
    axes.grid()


def _so_far(axes: Axes, agreement: Agreement, named: bool) -> None:
    numbers = range(1, len(agreement.trials) + 1)
    for errors, colour, label in (
        (agreement.here, BLUE, "best so far, where it was chosen"),
        (agreement.there, VERMILION, "the same trial at the next origin"),
    ):  # fmt: skip
        lowest = min(errors)
        if lowest <= 0 or not math.isfinite(lowest):
            continue
        above = [100 * (errors[place] / lowest - 1) for place in agreement.incumbents]
        axes.plot(numbers, above, color=colour, drawstyle="steps-post", linewidth=1.4, label=label)
    axes.set(xlabel="complete trials", ylim=(0, None))
    if named:
        axes.set_ylabel("% above the lowest")
    axes.xaxis.set_major_locator(MaxNLocator(4, integer=True))
    axes.grid(axis="y")
