"""Data of one's own: which of a table's columns is the date, which are channels, and that rows follow each other."""

from dataclasses import dataclass

import numpy as np

from lab.console.printing import one_line
from lab.errors import DataError, nearest
from lab.series.reading.date_texts import are_dates
from lab.series.reading.dates import Dates, Step, in_order, one_step
from lab.series.reading.files import Column, Table, counts_rows, dates_of, numbers_of, numbers_rows
from lab.series.reading.hints import are_clocks, are_hours, joined
from lab.settings.data import DataConfig

MOST_NAMED = 20  # columns that an error names


@dataclass(frozen=True, eq=False)
class Understood:
    """What a series is made of, rows in the order of their dates.

    Attributes:
        values: (rows, C) float64.
        notes: what a reader of results must know of the data, a sentence each.
    """

    channels: tuple[str, ...]
    values: np.ndarray
    dates: Dates
    step: Step
    notes: tuple[str, ...] = ()


def understand(table: Table, data: DataConfig) -> Understood:
    """What a table holds: which column is the date, which are channels, all of it in order and complete.

    Raises:
        DataError: what cannot be understood, or is not as a series has to be; says the setting that resolves it.
    """
    notes: list[str] = []
    date_column = _date_column(table, data, notes)
    channels = _channels(table, data, date_column, notes)
    dates = dates_of(table, date_column, data.date_format)
    shown = date_column or "without a name"
    try:
        _check_one_column_of_dates(table, date_column, dates)
        _check_no_long_format(table, date_column, dates)
        order = in_order(dates, shown, table.where, data.sort)
        if order is not None:
            notes.append("the rows were sorted by their dates")
            table, dates = table.ordered(order), Dates(dates.stamps[order], dates.zone)
        step = one_step(dates.stamps, shown, table.where, data.irregular_steps)
    except DataError as error:
        raise DataError(f"{table.place}: {error}") from None
    met: set[float | str] = set()
    values = np.stack([numbers_of(table, channel, data.missing_values, met) for channel in channels], axis=1)
    if unmet := [str(one_line(mark)) for mark in data.missing_values if mark not in met]:
        notes.append(f"no cell is {' or '.join(unmet)}, which data.missing_values names")
    if not step.regular:
        notes.append("the rows are of unequal steps and were taken as if they were of one")
    values = _filled(table, channels, values, data.fill, notes)
    return Understood(channels, values, dates, step, tuple(notes))


def _date_column(table: Table, data: DataConfig, notes: list[str]) -> str:
    names = [column.name for column in table.columns]
    if data.date_column in names:
        return data.date_column
    default = DataConfig.model_fields["date_column"].default
    if data.date_column == default and names[0] == "" and not counts_rows(table.columns[0].cells):
        try:
            dates_of(table, "", data.date_format)
        except DataError:
            pass
        else:
            notes.append("the dates are in the first column, which has no name")
            return ""
    both = [name.strip(" '\"") for name in data.date_column.strip("[]").split(",")]
    if len(both) == 2 and set(both) <= set(names):
        raise DataError(
            f"{table.place}: data.date_column names one column, got {data.date_column}; of dates and times of day make "
            f"one first, with pandas: {joined(both[0], both[1])}"
        )
    holding = [column.name for column in table.columns if column.name and are_dates(column.cells)]
    if holding:
        shown = " or ".join(f"data.date_column={name!r}" for name in holding[:MOST_NAMED])
        raise DataError(f"{table.place}: no date column '{data.date_column}'; dates stand in another: set {shown}")
    if len(names) == 1:
        raise DataError(
            f"{table.place}: no date column '{data.date_column}': it has one column, '{names[0]}'"
            + (f" ({how}); data.separator sets another separator" if (how := table.understood()) else "")
        )
    hint = nearest(data.date_column, names)
    if not hint:
        named = [name for name in names if name][:MOST_NAMED]
        hint = f"; columns: {', '.join(named)}{', ...' if len(named) < len(names) else ''}"
    raise DataError(f"{table.place}: no date column '{data.date_column}'{hint} (set data.date_column)")


def _channels(table: Table, data: DataConfig, date_column: str, notes: list[str]) -> tuple[str, ...]:
    names = [column.name for column in table.columns]
    if data.channels is not None:
        for name in data.channels:
            if name == date_column:
                raise DataError(f"{table.place}: data.channels names the date column '{name}'")
            if name not in names:
                others = [other for other in names if other not in ("", date_column)]
                hint = nearest(name, others) or f"; columns: {', '.join(others[:MOST_NAMED])}"
                raise DataError(f"{table.place}: no column '{name}'{hint} (data.channels)")
        return data.channels
    channels = []
    for place, column in enumerate(table.columns, 1):
        if column.name == date_column:
            continue
        if not column.name or column.name.startswith("Unnamed:"):  # as pandas writes an index, and reads it back
            _leave_out(table, column, place, notes)
            continue
        if counts_rows(column.cells):
            notes.append(f"channel {column.name} only counts the rows; data.channels=[...] leaves it out")
        channels.append(column.name)
    if not channels:
        raise DataError(f"{table.place}: no column beside the date column '{date_column}'")
    return tuple(channels)


def _leave_out(table: Table, column: Column, place: int, notes: list[str]) -> None:
    """A column without a name: the index that pandas writes, or nothing at all. Raises DataError for any other."""
    if counts_rows(column.cells):
        notes.append(f"column {place}, without a name, counts the rows and was left out")
    elif numbers_rows(column.cells):
        notes.append(f"column {place}, without a name, numbers the rows (of which some may be gone) and was left out")
    elif not isinstance(column.cells, np.ndarray) and not any(cell.strip() for cell in column.cells):
        notes.append(f"column {place}, without a name, is empty and was left out")
    else:
        raise DataError(
            f"{table.place}: column {place} has no name; give it one, or choose the channels with data.channels=[...]"
        )


def _check_one_column_of_dates(table: Table, date_column: str, dates: Dates) -> None:
    """Raises DataError where the time of day stands in a column of its own."""
    days = dates.stamps.astype("M8[D]")
    if (days != dates.stamps).any() or 2 * len(np.unique(days)) > table.rows:
        return
    for column in table.columns:
        if column.name != date_column and not isinstance(column.cells, np.ndarray) and are_clocks(column.cells):
            raise DataError(
                f"column '{column.name}' holds times of day and '{date_column}' the dates: make one column of both "
                f"first, with pandas: {joined(date_column, column.name)}"
            )


def _check_no_long_format(table: Table, date_column: str, dates: Dates) -> None:
    """Raises DataError where dates stand once for each value of another column: one series below the other."""
    unique, of_date, counts = np.unique(dates.stamps, return_inverse=True, return_counts=True)
    if counts.max() == 1 or 2 * (counts > 1).sum() < len(unique):
        return
    others = [column for column in table.columns if column.name != date_column]
    for column in others:
        ids, of_id = np.unique(np.asarray(column.cells), return_inverse=True)
        if not 1 < len(ids) <= table.rows // 2 or len(np.unique(of_date * len(ids) + of_id)) < table.rows:
            continue
        value = next((other.name for other in others if other is not column), "value")
        shown = ", ".join(map(str, ids[:3])) + (", ..." if len(ids) > 3 else "")
        hours = ""
        if are_hours([f"{id_:g}" if isinstance(id_, float) else str(id_).strip() for id_ in ids]):
            first = 0 if min(map(float, ids)) == 0 else 1
            hours = f"; or, if that is the hour of the day: {joined(date_column, column.name, ':00', first)}"
        raise DataError(
            f"the file is in long format: each date stands once for each of the {len(ids)} values of column "
            f"'{column.name}' ({shown}); give each a column first, with pandas: "
            f"frame.pivot(index='{date_column}', columns='{column.name}', values='{value}').to_csv(FILE){hours}"
        )


def _filled(table: Table, channels: tuple[str, ...], values: np.ndarray, fill: str, notes: list[str]) -> np.ndarray:
    """Raises DataError at the first missing value, unless the one before it is to stand for it."""
    missing = np.isnan(values)
    if not missing.any():
        return values
    for index, channel in enumerate(channels):
        rows = np.flatnonzero(missing[:, index])
        if not rows.size or (fill == "previous" and rows[0] > 0):
            continue
        where = f"{table.place}: channel '{channel}', {table.where(int(rows[0]))}: no value"
        if fill == "previous":
            raise DataError(f"{where}, and none before it that could be taken; leave the first rows out")
        more = f"; {rows.size} of {len(values)} rows are like this" if rows.size > 1 else ""
        raise DataError(
            f"{where}{more}; nothing is filled silently: fill it in the file, or data.fill=previous takes the "
            "channel's last value before it, which every page then says"
        )
    notes.append(
        f"{int(missing.sum())} of {values.size} values are missing; each was filled with its channel's last one before"
    )
    last = np.maximum.accumulate(np.where(missing, 0, np.arange(len(values))[:, None]), axis=0)
    return np.take_along_axis(values, last, axis=0)
