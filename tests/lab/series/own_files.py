"""Files of one's own as tests write them: a hundred hours of two channels, and how they are read."""

import math
from datetime import UTC, datetime, timedelta
from pathlib import Path

from lab.series import Series, load_series
from lab.settings.data import DataConfig

START = datetime(2020, 1, 1)
ROWS = 100


def values_of(rows: int = ROWS) -> list[tuple[str, str]]:
    return [(f"{math.sin(i / 4):.4f}", f"{10 + math.cos(i / 3):.4f}") for i in range(rows)]


def lines_of(dates: list[str], header: str = "date,a,b", separator: str = ",") -> str:
    rows = [separator.join((date, *values)) for date, values in zip(dates, values_of(len(dates)), strict=True)]
    return "\n".join([header, *rows]) + "\n"


def hours(form: str, rows: int = ROWS, step: int = 1) -> list[str]:
    return [(START + timedelta(hours=step * i)).strftime(form) for i in range(rows)]


def read(folder: Path, text: str | bytes, name: str = "mine.csv", **settings: object) -> Series:
    path = folder / name
    path.write_bytes(text if isinstance(text, bytes) else text.encode())
    return load_series(DataConfig(dataset="csv", path=str(path), **settings))


ISO = hours("%Y-%m-%d %H:%M:%S")
PLAIN = lines_of(ISO)
TIMES = [START + timedelta(hours=i) for i in range(ROWS)]
SECONDS = [int(moment.replace(tzinfo=UTC).timestamp()) for moment in TIMES]
