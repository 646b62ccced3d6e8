"""What was read on sealed rows, as parts of a page: of a study's and of a search's alike."""

from collections.abc import Iterator

from lab.pages.blocks import Block, Item, Text, items, table
from lab.pages.formats import mean_deviation
from lab.unsealing.records import METRICS, Opened


def readings(opened: Opened) -> Iterator[Block | None]:
    """Who opened the rows and when, and whether that was the first time."""
    if opened.again:
        yield Text(
            f"These rows had been read before, so what they show is no confirmation. Read again: {opened.again}",
            "banner",
        )
    yield items(Item(f"{look.text()}.") for look in opened.looks)


def ledger_says(opened: Opened) -> str:
    """Sentences on who had read these rows before: no more than the ledger tells."""
    said = "No split of this study reaches into these rows; they were opened when all else was settled. "
    fresh = [look for look in opened.looks if not look.again]
    if not fresh:
        said += "The ledger tells of earlier readings of them."
    elif len(fresh) == len(opened.looks):
        said += "The ledger tells of no earlier reading of them, as test or as sealed rows."
    else:
        known = ", ".join(dict.fromkeys(look.dataset for look in opened.looks if look.again))
        said += f"The ledger tells of earlier readings of those of {known}, and of none of the others."
    if opened.inputs:
        said += f" Forecasts had read some of them as inputs, by which nothing was judged: {'; '.join(opened.inputs)}."
    return said


def error_table(opened: Opened, cell: str, caption: str) -> Block | None:
    """The errors of everything that was read there, of one cell ("": of a search)."""
    return table(
        ("", "validation MSE", "test MSE", "sealed MSE", "test MAE", "sealed MAE", "runs"),
        [
            (
                group.title,
                *(mean_deviation(group.mean(metric), group.deviation(metric)) for metric in METRICS),
                str(len(group.runs)),
            )
            for group in opened.groups
            if group.cell == cell
        ],
        f"Errors on test and on {opened.windows[cell]} windows of sealed rows: {caption}",
    )  # fmt: skip
