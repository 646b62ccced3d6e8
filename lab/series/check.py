"""What is understood of a series, before anyone trains on it."""

from collections.abc import Iterator, Mapping, Sequence

import numpy as np

from lab.errors import DataError
from lab.series.origins import Rows
from lab.series.reading.dates import shown_date
from lab.series.roles import window_starts
from lab.series.series import Series
from lab.series.sources import all_rows, load_series
from lab.settings.data import MOVES, DataConfig, Role

# Settings with which a file that is refused can still be described, the fewest first.
_LENIENT: tuple[dict[str, bool], ...] = (
    {"irregular_steps": True}, {"sort": True}, {"sort": True, "irregular_steps": True},
)  # fmt: skip
_STRETCH = 0.05  # share of the rows from which on a stretch of one value is named
_FAR = 20  # deviations from the rest at which a value that repeats may be a mark for none
_ROWS = {"train": "training rows", "validation": "validation rows", "test": "test rows"}


def check(data: DataConfig, learners: Mapping[str, str]) -> tuple[list[str], list[str]]:
    """What was understood, line by line, and why training would refuse it: no reasons where it would not.

    Args:
        learners: who learns -> the role of the rows that it learns from (see lab.forecaster.Forecaster.learners).
    Raises:
        DataError: the file cannot be understood at all.
    """
    refused, lines = [], []
    try:
        series = load_series(data)
    except DataError as error:
        refused.append(str(error))
        series, settings = _described(data, error)
        data = data.model_copy(update=settings)
        lines = [
            f"refused as it stands; this is what {' '.join(f'data.{name}=true' for name in settings)} would make of it"
        ]
    lines += [*_about(series), "", *_channels(series), ""]
    windows, without = _windows(series, data, learners)
    return [*lines, *windows, *(f"note: {note}" for note in (*series.notes, *_suspects(series)))], [*refused, *without]


def _described(data: DataConfig, error: DataError) -> tuple[Series, dict[str, bool]]:
    """The series as more lenient settings read it, and these. Raises the error again where none does."""
    if data.dataset == "csv":
        for settings in _LENIENT:
            try:
                return load_series(data.model_copy(update=settings)), settings
            except DataError:
                continue
    raise error


def _about(series: Series) -> Iterator[str]:
    rows = len(series.values)
    yield f"{series.name}: {rows} rows to the end of the test split, {series.num_channels} channels; {series.source}"
    if series.timestamps is not None:
        steps = f"one row every {series.step}" if series.step.regular else "rows of unequal steps"
        zone = f", time zone {series.zone}" if series.zone else ""
        yield f"dates: {series.period((0, rows))}, {steps}{zone}"
        if gaps := _gaps(series):
            yield f"gaps: {gaps}"
    yield f"identity: {series.identity}"


def _gaps(series: Series) -> str:
    assert series.timestamps is not None
    if series.step.regular:
        return ""
    between = np.diff(series.timestamps).astype(np.int64)
    values, counts = np.unique(between, return_counts=True)
    usual = values[counts.argmax()]
    wide = np.flatnonzero(between > usual)
    longest = wide[np.argsort(-between[wide], kind="stable")][:3]
    shown = ", ".join(series.period((int(at), int(at) + 2)) for at in longest)
    return f"{len(wide)} wider than the usual step; the widest: {shown}" if len(wide) else ""


def _channels(series: Series) -> Iterator[str]:
    width = max(7, *map(len, series.channels))
    names = ("least", "mean", "most", "deviation")
    yield f"{'channel':<{width}s}" + "".join(f"{name:>13s}" for name in names) + "  longest stretch of one value"
    for index, name in enumerate(series.channels):
        values = series.values[:, index]
        first, length = _longest_stretch(values)
        numbers = (values.min(), values.mean(), values.max(), values.std())
        stretch = f"{length} rows, {series.period((first, first + length))}" if length > 1 else "none"
        yield f"{name:<{width}s}" + "".join(f"{number:>13.6g}" for number in numbers) + f"  {stretch}"


def _longest_stretch(values: np.ndarray) -> Rows:
    """First row and length of the longest run of one value."""
    changes = np.flatnonzero(np.diff(values) != 0) + 1
    edges = np.concatenate([[0], changes, [len(values)]])
    lengths = np.diff(edges)
    at = int(lengths.argmax())
    return int(edges[at]), int(lengths[at])


def _windows(series: Series, data: DataConfig, learners: Mapping[str, str]) -> tuple[list[str], list[str]]:
    lines, without = [], []
    splits = {"train": series.train, "validation": series.validation, "test": series.test, "sealed": series.sealed}
    for split, rows in splits.items():
        if rows is not None:
            when = _sealed_period(data, rows) if split == "sealed" else series.period(rows)
            lines.append(f"{split:<11s}{rows[1] - rows[0]:>8d} rows  {rows[0]}..{rows[1]}, {when}")
    if data.moved:
        said = ", ".join(f"data.{name}={value}" for name in MOVES if (value := getattr(data, name)))
        lines.append(f"training ends at row {series.train[1]}, by {said}")
    found = []
    for name, role in {**learners, "validation": "validation", "test": "test"}.items():
        try:
            found.append(f"{name} {len(window_starts(series, data, role))}")
        except DataError as error:
            without.append(str(error))
            found.append(f"{name} none")
    shown = f"windows of {data.seq_len} rows in and {data.pred_len} out: {', '.join(found)}"
    who = ", ".join(f"{name} from {_called(data.role(role))}" for name, role in learners.items())
    return [*lines, f"{shown} ({who})"], without


def _sealed_period(data: DataConfig, rows: Rows) -> str:
    """The dates of sealed rows, whose values the series does not hold."""
    stamps = all_rows(data).dates.stamps[slice(*rows)]
    return f"{shown_date(stamps[0])} to {shown_date(stamps[-1])}, set aside: read once, when a study is judged"


def _called(role: Role) -> str:
    if role.last is not None:
        return f"the last {role.last:.0%} of the {_ROWS[role.split]} ({role.name})"
    if role.but_last is not None:
        return f"{_ROWS[role.split]} before the last {role.but_last:.0%} ({role.name})"
    return "all training rows" if role.split == "train" else _ROWS[role.split]


def _suspects(series: Series) -> Sequence[str]:
    """What looks like no measurement: long stretches of one value, and a value far off that repeats."""
    notes = []
    for index, name in enumerate(series.channels):
        values = series.values[:, index]
        first, length = _longest_stretch(values)
        if length >= max(3, _STRETCH * len(values)):
            notes.append(f"channel {name} stands still at {values[first]:g} for {length} rows from row {first} on")
        for end in (values.min(), values.max()):
            rest = values[values != end]
            count = len(values) - len(rest)
            if count > 1 and len(rest) > 1 and abs(end - rest.mean()) > _FAR * rest.std() > 0:
                mark = f"{end:g}"
                notes.append(
                    f"channel {name} has {mark} {count} times, far from all else: if it stands for no value, "
                    f"data.missing_values=[{mark}]"
                )
    return notes
