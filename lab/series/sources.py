"""Where series come from: files that are known by name, the synthetic generator, and data of one's own.

Named files (lab.settings.sources.SOURCES) are looked for in the folder that `DYNONET_DATA_DIR` names, then in a cache
(`DYNONET_CACHE_DIR`, else the user's own), and are downloaded into the cache where an address is known. They are read
as published, never changed and never copied into this project. The ETT files are those of the Electricity Transformer
Dataset (ETDataset, folder ETT-small; Haoyi Zhou et al., Informer, AAAI 2021;
https://github.com/zhouhaoyi/ETDataset), licensed CC BY-ND 4.0.
"""

import importlib.util
import os
import stat
import time
from functools import lru_cache
from pathlib import Path

import numpy as np
import pooch  # type: ignore[import-untyped]

from lab.console.printing import one_line
from lab.errors import DataError, nearest
from lab.series import synthetic
from lab.series.own import Understood, understand
from lab.series.reading.dates import Dates, Step
from lab.series.reading.files import read_file
from lab.series.series import Series, contiguous, fractions
from lab.settings.data import DataConfig, SyntheticConfig
from lab.settings.sources import SOURCES

_SYNTHETIC_SPLIT = (0.6, 0.2, 0.2)
_SYNTHETIC_START = np.datetime64("2000-01-01T00:00", "us")
_HOUR = Step(microseconds=3_600_000_000)
_FRESH = 100_000_000  # nanoseconds after a change


def load_series(data: DataConfig, folder: str | Path | None = None) -> Series:
    """The series that `data` names; read once in a process for the same file and settings.

    Args:
        folder: where a named file is looked for first.
    Raises:
        DataError: no such file and no download, a wrong checksum, a column that is missing or no number, a value
            that is missing or not finite, dates that cannot be read or are out of order, too few rows, or a channel
            that is constant in training. Each says the setting that resolves it, where there is one.
    """
    if data.dataset == "synthetic":
        return _chosen(_synthetic(data.synthetic), data.channels)
    if data.dataset == "frame":
        raise DataError(
            "data.dataset=frame is a DataFrame, given in Python: StackTrainer(configs, Series.from_frame(...))"
        )
    if data.dataset == "csv":
        assert data.path is not None  # DataConfig checks it
        path = Path(data.path)
        return _own_file(path, _stamp(path), _reading(data))
    path = _named_file(data.dataset, folder)
    return _chosen(_named(data.dataset, path, _stamp(path)), data.channels)


@lru_cache(maxsize=8)
def _chosen(series: Series, channels: tuple[str, ...] | None) -> Series:
    return series.choose(channels)


def _reading(data: DataConfig) -> DataConfig:
    """The settings that a file is read by, and no others, so that one copy serves every window's length."""
    return DataConfig(**data.source())


@lru_cache(maxsize=8)
def _synthetic(config: SyntheticConfig) -> Series:
    values = synthetic.generate(config)
    dates = Dates(_SYNTHETIC_START + np.arange(len(values)) * np.timedelta64(1, "h"))
    source = f"lab.series.synthetic, version {synthetic.VERSION}, seed {config.seed}"
    splits = fractions("synthetic", config.rows, _SYNTHETIC_SPLIT)
    known = synthetic.checksum(config)
    return Series.checked("synthetic", Understood(synthetic.CHANNELS, values, dates, _HOUR), splits, known, source)


# The stamp (times, size, inode) is in the key: a file that was replaced is read again.
@lru_cache(maxsize=8)
def _own_file(path: Path, stamp: tuple[int, ...], data: DataConfig) -> Series:
    table = read_file(path, data.separator, data.decimal)
    understood = table.understood()
    return Series.of_table(table, data, data.name, f"file {path.name}{f' ({understood})' if understood else ''}")


@lru_cache(maxsize=8)
def _named(name: str, path: Path, stamp: tuple[int, ...]) -> Series:
    source = SOURCES[name]
    table = read_file(path, ",", ".", source.sha256)
    columns, wanted = [column.name for column in table.columns], ["date", *source.channels]
    for missing in [column for column in wanted if column not in columns]:
        raise DataError(f"{path}: no column '{missing}'{nearest(missing, columns)}; got {', '.join(columns)}")
    for extra in [column for column in columns if column not in wanted]:
        raise DataError(f"{path}: column '{extra}' is not one of {name}; own data: data.dataset=csv")
    understood = understand(table, DataConfig(dataset="frame", channels=source.channels))
    if str(understood.step) != source.frequency:
        raise DataError(
            f"{path}: a row every {understood.step}, but {name} has one every {source.frequency}; own data: "
            "data.dataset=csv"
        )
    try:
        splits = contiguous(source.sizes(table.rows))
    except DataError as error:
        raise DataError(f"{path}: {name}: {error}") from None
    return Series.checked(name, understood, splits, table.sha256, f"{name}.csv of {source.about}", table.sha256)


def _stamp(path: Path) -> tuple[int, ...]:
    try:
        status = path.stat()
    except (FileNotFoundError, NotADirectoryError, ValueError):  # ValueError: a name with NUL in it
        raise DataError(f"{one_line(path)}: no such file") from None
    except OSError as error:
        raise DataError(f"{one_line(path)}: cannot be read: {error.strerror}") from None
    if not stat.S_ISREG(status.st_mode):
        raise DataError(f"{one_line(path)}: not a file")
    known = (status.st_mtime_ns, status.st_ctime_ns, status.st_size, status.st_ino)
    # A file that is written in this moment may be written again within the tick of its clock: it is read each time.
    fresh = time.time_ns() - max(status.st_mtime_ns, status.st_ctime_ns) < _FRESH
    return (*known, time.monotonic_ns()) if fresh else known


def _named_file(name: str, folder: str | Path | None) -> Path:
    """Where the file is, downloaded if it is nowhere yet."""
    if (named := os.environ.get("DYNONET_DATA_DIR")) and not os.path.isdir(os.path.expanduser(named)):
        raise DataError(f"DYNONET_DATA_DIR: got '{one_line(named)}', which is no folder; unset it, or name one")
    cache = os.environ.get("DYNONET_CACHE_DIR") or pooch.os_cache("dynonet")
    folders = [place for place in (folder, os.environ.get("DYNONET_DATA_DIR"), cache) if place]
    places = [Path(folder).expanduser().absolute() / f"{name}.csv" for folder in folders]
    return next((place for place in places if place.exists()), None) or _download(name, places[-1])


def _download(name: str, target: Path) -> Path:
    # pooch writes to a temporary file of its own beside the target and renames it once its checksum is right,
    # so several processes may download at once: each rename puts a whole file in place.
    source = SOURCES[name]
    by_hand = (
        f"Get {name}.csv by hand and set DYNONET_DATA_DIR to the folder that holds it "
        f"(now {os.environ.get('DYNONET_DATA_DIR') or 'not set'})"
    )
    if source.url is None:
        known = f", sha256 {source.sha256}" if source.sha256 else ""
        raise DataError(f"{name}: no {name}.csv, and no address to download it from ({source.about}{known})\n{by_hand}")
    try:
        pooch.retrieve(
            source.url, known_hash=f"sha256:{source.sha256}" if source.sha256 else None, fname=target.name,
            path=target.parent, progressbar=importlib.util.find_spec("tqdm") is not None,
        )  # fmt: skip
    except (OSError, ValueError) as error:
        raise DataError(f"{name}: could not download {source.url}: {error}\n{by_hand}") from None
    return target
