"""Where series come from: files that are known by name, those made from a seed, and data of one's own.

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
from dataclasses import dataclass
from functools import lru_cache, partial
from pathlib import Path

import numpy as np
import pooch  # type: ignore[import-untyped]

from lab.console.printing import one_line
from lab.errors import DataError, check_kind, nearest
from lab.series import synthetic, water_towers
from lab.series.origins import by_fractions, splits_of
from lab.series.own import Understood, understand
from lab.series.reading.dates import Dates, Step
from lab.series.reading.files import read_file
from lab.series.roles import window_starts
from lab.series.series import Series
from lab.settings.data import MOVES, ROWS, DataConfig, SyntheticConfig
from lab.settings.sources import GENERATED, SOURCES

_GENERATORS = dict(zip(GENERATED, (synthetic, water_towers), strict=True))
_GENERATED_SPLIT = (0.6, 0.2, 0.2)
_GENERATED_START = np.datetime64("2000-01-01T00:00", "us")
_MOST_GENERATED = 10_000_000  # hours, a thousand years
_HOUR = Step(microseconds=3_600_000_000)
_KEPT = 16  # series of a process: those of a study, an origin each
_ANYWHERE = {name: DataConfig.model_fields[name].default for name in (*MOVES, "sealed", "split")}
_FRESH = 100_000_000  # nanoseconds after a change


def load_series(data: DataConfig, folder: str | Path | None = None) -> Series:
    """The series that `data` names; read once in a process for the same file and settings.

    Args:
        folder: where a named file is looked for first.
    Raises:
        DataError: no such file and no download, a wrong checksum, a column that is missing or no number, a value
            that is missing or not finite, dates that cannot be read or are out of order, too few rows, a channel
            that is constant in training, or an origin from which a split has no rows or no window. Each says the
            setting that resolves it, where there is one.
    """
    check_kind("data", data, DataConfig, "the section `data` of a Config, load_series(config.data),")
    reading = _reading(data)
    whole = reading.model_copy(update={"channels": None})
    if data.dataset in GENERATED:
        series = _chosen(_generated(whole), data.channels)
    elif data.dataset == "frame":
        raise DataError(
            "data.dataset=frame is a DataFrame, given in Python: StackTrainer(configs, Series.from_frame(...))"
        )
    elif data.dataset == "csv":
        assert data.path is not None  # DataConfig checks it
        path = Path(data.path)
        series = _own_file(path, _stamp(path), reading)
    else:
        path = _named_file(data.dataset, folder)
        series = _chosen(_named(path, _stamp(path), whole), data.channels)
    if data.moved:
        for role in ROWS:
            window_starts(series, data, role)
    return series


def all_rows(data: DataConfig, folder: str | Path | None = None) -> Understood:
    """Every row of what `data` names, those after its test split and the sealed ones, too: see lab.series.sealed."""
    if data.dataset in GENERATED:
        return _generated_values(data.dataset, data.synthetic)
    if data.dataset == "csv":
        assert data.path is not None
        path = Path(data.path)
        return _own_values(path, _stamp(path), _reading(data).model_copy(update=_ANYWHERE)).understood
    path = _named_file(data.dataset, folder)
    return _named_values(data.dataset, path, _stamp(path)).understood


@lru_cache(maxsize=_KEPT)
def _chosen(series: Series, channels: tuple[str, ...] | None) -> Series:
    return series.choose(channels)


def _reading(data: DataConfig) -> DataConfig:
    """The settings that a file is read by, and no others, so that one copy serves every window's length."""
    return DataConfig(**data.source())


@lru_cache(maxsize=_KEPT)
def _generated(data: DataConfig) -> Series:
    name, config, generator = data.dataset, data.synthetic, _GENERATORS[data.dataset]
    splits = splits_of(name, data, config.rows, by_fractions(name, _GENERATED_SPLIT))
    known = generator.checksum(config) if splits.own else None
    source = f"lab.series.{name}, version {generator.VERSION}, seed {config.seed}"
    return Series.checked(name, _generated_values(name, config), splits, known, source)


@lru_cache(maxsize=4)
def _generated_values(name: str, config: SyntheticConfig) -> Understood:
    if config.rows > _MOST_GENERATED:
        raise DataError(f"data.synthetic.rows: got {config.rows}; at most {_MOST_GENERATED:,} are made")
    values = _GENERATORS[name].generate(config)
    dates = Dates(_GENERATED_START + np.arange(len(values)) * np.timedelta64(1, "h"))
    return Understood(_GENERATORS[name].CHANNELS, values, dates, _HOUR)


@lru_cache(maxsize=_KEPT)
def _own_file(path: Path, stamp: tuple[int, ...], data: DataConfig) -> Series:
    read = _own_values(path, stamp, data.model_copy(update=_ANYWHERE))
    place = str(path)
    splits = splits_of(place, data, len(read.understood.values), by_fractions(place, data.split))
    return Series.checked(data.name, read.understood, splits, None, f"file {path.name}{read.how}", read.sha256)


@lru_cache(maxsize=_KEPT)
def _named(path: Path, stamp: tuple[int, ...], data: DataConfig) -> Series:
    name, source, read = data.dataset, SOURCES[data.dataset], _named_values(data.dataset, path, stamp)
    sizes = partial(source.sizes, f"{path}: {name}")
    splits = splits_of(f"{path}: {name}", data, len(read.understood.values), sizes, source.sealed)
    known = read.sha256 if splits.own else None
    return Series.checked(name, read.understood, splits, known, f"{name}.csv of {source.about}", read.sha256)


@dataclass(frozen=True)
class _Values:
    """What a file holds, read once for all origins."""

    understood: Understood
    sha256: str
    how: str = ""  # it was read, in brackets


# The stamp (times, size, inode) is in the key: a file that was replaced is read again.
@lru_cache(maxsize=4)
def _own_values(path: Path, stamp: tuple[int, ...], data: DataConfig) -> _Values:
    table = read_file(path, data.separator, data.decimal)
    how = table.understood()
    return _Values(understand(table, data), table.sha256, f" ({how})" if how else "")


@lru_cache(maxsize=4)
def _named_values(name: str, path: Path, stamp: tuple[int, ...]) -> _Values:
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
    return _Values(understood, table.sha256)


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
