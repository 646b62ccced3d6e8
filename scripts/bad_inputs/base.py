"""What an input is, and the plain file that most of those of data are made of."""

from dataclasses import dataclass, field
from datetime import datetime, timedelta

import numpy as np

START = datetime(2020, 1, 1)
ROWS = 80
WINDOWS = ("data.seq_len=8", "data.pred_len=4", "data.meta_fraction=0.4")
TINY = (*WINDOWS, "data.synthetic.rows=300", "training.max_epochs=1", "training.batch_size=16")


@dataclass(frozen=True)
class Input:
    command: str  # of check_inputs.COMMANDS
    name: str
    arguments: tuple[str, ...]
    says: tuple[str, ...] = ()  # patterns, each of which the refusal has to match
    environment: dict[str, str] = field(default_factory=dict)
    good: bool = False


def hours(rows: int = ROWS) -> list[str]:
    return [f"{START + timedelta(hours=i):%Y-%m-%d %H:%M}" for i in range(rows)]


def values(rows: int = ROWS) -> list[list[str]]:
    return [[f"{np.sin(i / 4):.4f}", f"{10 + np.cos(i / 3):.4f}"] for i in range(rows)]


def csv(dates: list[str] | None = None, header: str = "date,a,b", **cells: str) -> str:
    """The plain file, with other dates, another header or some cells `a3="x"` (column a, row 3) replaced."""
    dates = hours() if dates is None else dates
    rows = [[date, *row] for date, row in zip(dates, values(len(dates)), strict=True)]
    for place, text in cells.items():
        rows[int(place[1:])]["dab".index(place[0])] = text
    return "\n".join([header, *(",".join(row) for row in rows)]) + "\n"


def dates(form: str, step: timedelta = timedelta(hours=1), rows: int = ROWS) -> list[str]:
    return [(START + step * i).strftime(form) for i in range(rows)]


def numbers(first: float, step: float) -> list[str]:
    return [f"{first + step * i:.10g}" for i in range(ROWS)]
