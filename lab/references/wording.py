"""What training added, to the network before its first step and to the best bar, in plain sentences."""

from collections.abc import Sequence

from lab.pages.formats import counted, decimal, interval, known, signed
from lab.references.standing import Added, Interval, Standing
from lab.series.bars import LAST


def added(standing: Standing, network: str = "the network") -> list[str]:
    """A sentence each: against the start, against the best bar on validation, how far back bars look, which are not on
    record."""
    said = (_to_start(standing, network), _to_best(standing, network), _lookbacks(standing), _missing(standing))
    return [*filter(None, said)]


def over_cells(standings: Sequence[Standing], network: str = "the network") -> list[str]:
    """What `added` says of each of several cells, counted."""
    starts = [each.over_start for each in standings if each.over_start is not None]
    bests = [each.over_best for each in standings if each.over_best is not None and known(each.over_best.mean)]
    said = []
    if starts:
        said.append(f"Training lowered the test MSE of {network}'s closed-form start {_tally(starts, 'raised it')}.")
    if bests:
        said.append(f"{network} is below the best bar on validation, by test MSE, {_tally(bests, 'is above it')}.")
    return [text[0].upper() + text[1:] for text in said]


def _tally(gaps: Sequence[Added], otherwise: str) -> str:
    """In how many cells it was so, or otherwise; and in how many of them for sure."""
    below, above = [gap for gap in gaps if gap.mean < 0], [gap for gap in gaps if gap.mean > 0]
    sure = (sum(_beyond(gap.over_both) for gap in group) for group in (below, above))
    return (
        f"in {len(below)} of {counted(len(gaps), 'cell')} and {otherwise} in {len(above)}; 95% over seeds and test "
        f"windows exclude 0 in {' and '.join(map(str, sure))} of these"
    )


def _to_start(standing: Standing, network: str) -> str:
    start, gap = standing.start, standing.over_start
    if start is None or gap is None:
        return ""
    before = (
        f"Before its first step {network} has a test MSE of {decimal(start.errors['test_mse'])} (its start is a closed "
        f"form, fitted on the training rows)"
    )
    windows = f"95% over test windows, {interval(gap.over_windows)}" if gap.over_windows else "over other rows unknown"
    if gap.over_seeds is None:
        return f"{before}; training changed it by {signed(gap.mean)}, as far as one seed can say ({windows})."
    numbers = f"95% over {counted(gap.seeds, 'seed')}, {interval(gap.over_seeds)}"
    numbers += f"; over seeds and test windows, {interval(gap.over_both)}" if gap.over_both else f"; {windows}"
    if not _beyond(gap.over_seeds):
        return f"{before}; training added nothing to it that can be told from 0: {signed(gap.mean)} ({numbers})."
    moved = f"{before}; training {'lowered' if gap.mean < 0 else 'raised'} it by {decimal(abs(gap.mean))}"
    if _beyond(gap.over_both):
        return f"{moved} ({numbers})."
    turned = ", so other test rows could turn it round" if gap.over_both else ""
    return f"{moved} on these rows only ({numbers}{turned})."


def _to_best(standing: Standing, network: str) -> str:
    best, gap = standing.best, standing.over_best
    if best is None:
        return ""
    chosen = (
        f"The best bar on validation is the {_noun(best.title)} ({decimal(best.errors['val_mse'])}), with a test MSE "
        f"of {decimal(best.errors['test_mse'])}"
    )
    if gap is None or not known(gap.mean):
        return f"{chosen}; {network} has no test error on record to hold against it."
    seeds = "one seed" if gap.seeds == 1 else f"mean of {gap.seeds} seeds"
    side = "below" if gap.mean < 0 else "above"
    said = f"{chosen}; {network} is {decimal(abs(gap.mean))} {side} it ({seeds})"
    if gap.over_windows is None:
        return f"{said}, and how much of that other test rows could turn round is not known."
    said += f": 95% over test windows, {interval(gap.over_windows)}"
    if not _beyond(gap.over_windows):
        return f"{said}, so other test rows could turn it round."
    if gap.over_both is None:
        return f"{said}; what other seeds would change, one cannot say."
    both = f"over seeds and test windows, {interval(gap.over_both)}"
    return f"{said}; {both}{'' if _beyond(gap.over_both) else ', so other seeds and rows could turn it round'}."


def _noun(title: str) -> str:
    """As a sentence calls it."""
    return {"seasonal": "seasonal value"}.get(title, title)


def _lookbacks(standing: Standing) -> str:
    if not standing.lookbacks:
        return ""
    among = " or ".join(map(str, standing.lookbacks))
    chose = ", ".join(f"{bar.title} {bar.lookback}" for bar in standing.bars if bar.name != LAST.name)
    return f"Bars look back {among} rows, as proposals do; validation chose for each: {chose}."


def _missing(standing: Standing) -> str:
    if not standing.missing:
        return ""
    return (
        f"Not on record: {', '.join(standing.missing)} (a study of before has the linear baseline alone; one with a "
        "period needs windows that hold it: python -m lab.baseline says which)."
    )


def _beyond(bounds: Interval | None) -> bool:
    """Whether 0 lies outside."""
    return bounds is not None and (bounds[0] > 0 or bounds[1] < 0)
