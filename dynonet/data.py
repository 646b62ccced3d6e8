"""Series with their splits and scaling, and which windows of them a part of the training may read.

The ETT files are those of the Electricity Transformer Dataset (ETDataset, folder ETT-small; Haoyi Zhou et
al., Informer, AAAI 2021; https://github.com/zhouhaoyi/ETDataset), licensed CC BY-ND 4.0: they are read as
published, never changed and never copied into this project. They are looked for in the folder that
`DYNONET_DATA_DIR` names, then in a cache (`DYNONET_CACHE_DIR`, else the user's own), and are downloaded into
the cache if need be.

A window covers rows [s, s + S + H) of a series: S rows are read, H are forecast. Its name is its first row.
"""

import hashlib
import importlib.util
import io
import os
import warnings
from dataclasses import dataclass
from functools import cached_property, lru_cache
from math import floor
from pathlib import Path

import numpy as np
import pandas as pd
import pooch  # type: ignore[import-untyped]

from dynonet import synthetic
from dynonet.config import DataConfig, SyntheticConfig
from dynonet.errors import DataError, nearest, unknown

ETT_CHANNELS = ("HUFL", "HULL", "MUFL", "MULL", "LUFL", "LULL", "OT")
ETT_URL = "https://raw.githubusercontent.com/zhouhaoyi/ETDataset/main/ETT-small"
# The checksums of ETTm1 and ETTm2 are not known to us; the one computed is recorded with every run.
ETT_SHA256: dict[str, str | None] = {
    "ETTh1": "f18de3ad269cef59bb07b5438d79bb3042d3be49bdeecf01c1cd6d29695ee066",
    "ETTh2": "a3dc2c597b9218c7ce1cd55eb77b283fd459a1d09d753063f944967dd6b9218b",
    "ETTm1": None,
    "ETTm2": None,
}
# 12, 4 and 4 months of 30 days, in rows, as in the published splits; later rows are not used.
_ETT_HOURS = (8640, 2880, 2880)
_SYNTHETIC_SPLIT = (0.6, 0.2, 0.2)

Rows = tuple[int, int]  # [first, end)

ROLES = ("train", "before_meta", "meta", "validation", "test", "worker", "controller", "joint")


@dataclass(frozen=True, eq=False)
class Series:
    """A multivariate series and its splits. Arrays are read-only, so that one copy serves every trial.

    Raises DataError from `std` and `scaled` if a channel is constant over the training rows.
    """

    name: str  # 'ETTh1', 'synthetic', or the stem of a csv file
    values: np.ndarray  # (rows, C) float64, raw units; rows after the test split are left out
    channels: tuple[str, ...]
    train: Rows
    validation: Rows
    test: Rows
    sha256: str  # of the file; of a synthetic series: of the generator's version and its settings
    source: str  # where it came from, one line

    @property
    def num_channels(self) -> int:
        return len(self.channels)

    @cached_property
    def mean(self) -> np.ndarray:
        """Mean of the training rows: (C,), raw units."""
        return _read_only(self._training_rows.mean(axis=0))

    @cached_property
    def std(self) -> np.ndarray:
        """Population deviation of the training rows: (C,), raw units."""
        rows = self._training_rows
        deviation = rows.std(axis=0)
        # A constant channel may have a tiny deviation by rounding, so the range decides.
        usable = (rows.max(axis=0) > rows.min(axis=0)) & np.isfinite(deviation) & (deviation > 0)
        if not usable.all():
            name = self.channels[int(np.argmin(usable))]
            first, end = self.train
            raise DataError(
                f"{self.name}: channel '{name}' is constant over the training rows {first}..{end} "
                "(or its deviation is no finite number), so it cannot be scaled; leave the column out"
            )
        return _read_only(deviation)

    @cached_property
    def scaled(self) -> np.ndarray:
        """z-scores by the training rows' mean and population deviation: (rows, C) float64."""
        return _read_only((self.values - self.mean) / self.std)

    @property
    def _training_rows(self) -> np.ndarray:
        return self.values[self.train[0] : self.train[1]]


def load_series(data: DataConfig, folder: str | Path | None = None) -> Series:
    """The series that `data` names; read once in a process for the same file and settings.

    Args:
        folder: where an ETT file is looked for first.
    Raises:
        DataError: no such file and no download, a wrong checksum, a missing or non-numeric column, a value
            that is missing or not finite, too few rows, or a channel that is constant in training.
    """
    if data.dataset == "synthetic":
        return _synthetic(data.synthetic)
    if data.dataset == "csv":
        path = Path(data.path or "").expanduser().absolute()
        return _csv(path, _stamp(path), data.date_column, data.split)
    path = _ett_file(data.dataset, folder)
    return _ett(data.dataset, path, _stamp(path))


def window_starts(series: Series, data: DataConfig, role: str) -> np.ndarray:
    """First rows of every window of a role: (windows,) int64, ascending.

    Roles: 'train', windows wholly in the training rows; 'meta', wholly in the last `meta_fraction` of them,
    lookback included; 'before_meta', wholly before those; 'validation' and 'test', targets wholly in the
    split, while the lookback may reach up to S rows back; 'worker', 'controller' and 'joint', whichever of
    these the settings choose for them.
    Raises:
        DataError: the role's rows hold no window.
        ConfigError: no such role.
    """
    chosen = resolve_role(data, role)
    first, end = role_rows(series, data, chosen)
    seq_len, pred_len = data.seq_len, data.pred_len
    reach = seq_len if chosen in ("validation", "test") else 0
    start, stop = max(first - reach, 0), end - seq_len - pred_len + 1
    if start >= stop:
        if reach and end - first >= pred_len:
            have, need = f"{end} rows up to its end", f"S + H = {seq_len} + {pred_len}"
        elif reach:
            have, need = f"{end - first} rows", f"H = {pred_len}"
        else:
            have, need = f"{end - first} rows", f"S + H = {seq_len} + {pred_len} = {seq_len + pred_len}"
        other = {"meta": "larger", "before_meta": "smaller"}.get(chosen)
        also = f", or a {other} data.meta_fraction" if other else ""
        raise DataError(
            f"{series.name}: '{chosen}' has {have}, a window needs {need}; "
            f"take a smaller data.seq_len or data.pred_len{also}"
        )
    return np.arange(start, stop, dtype=np.int64)


def resolve_role(data: DataConfig, role: str) -> str:
    """The split that a role reads: 'worker', 'controller' and 'joint' are what the settings choose."""
    if role not in ROLES:
        raise unknown("role", role, ROLES)
    if role == "controller":
        return data.controller_rows
    if role == "joint" and data.joint_rows == "worker_and_meta":
        return "train"
    return data.worker_rows if role in ("worker", "joint") else role


def role_rows(series: Series, data: DataConfig, role: str) -> Rows:
    """The rows [first, end) of a role; of validation and test, those of the targets."""
    chosen = resolve_role(data, role)
    first, end = series.train
    meta = end - _share(data.meta_fraction, end - first)
    return {
        "train": (first, end),
        "before_meta": (first, meta),
        "meta": (meta, end),
        "validation": series.validation,
        "test": series.test,
    }[chosen]


@lru_cache(maxsize=8)
def _synthetic(config: SyntheticConfig) -> Series:
    return _series(
        "synthetic", synthetic.generate(config), synthetic.CHANNELS,
        _fractions("synthetic", config.rows, _SYNTHETIC_SPLIT), synthetic.checksum(config),
        f"dynonet.synthetic, version {synthetic.VERSION}, seed {config.seed}",
    )  # fmt: skip


# The stamp (modification time and size) is in the key: a file that was replaced is read again.
@lru_cache(maxsize=8)
def _csv(path: Path, stamp: tuple[int, int], date_column: str, split: tuple[float, float, float]) -> Series:
    frame, sha256 = _read(path)
    columns = [str(column) for column in frame.columns]
    if date_column not in columns:
        hint = nearest(date_column, columns) or f"; columns: {', '.join(columns)}"
        raise DataError(f"{path}: no date column '{date_column}'{hint} (set data.date_column)")
    channels = tuple(column for column in columns if column != date_column)
    if not channels:
        raise DataError(f"{path}: no column beside the date column '{date_column}'")
    values = _numbers(path, frame, channels)
    return _series(path.stem, values, channels, _fractions(str(path), len(values), split), sha256, f"csv file {path}")


@lru_cache(maxsize=8)
def _ett(name: str, path: Path, stamp: tuple[int, int]) -> Series:
    frame, sha256 = _read(path, ETT_SHA256[name])
    columns, expected = [str(column) for column in frame.columns], ["date", *ETT_CHANNELS]
    for missing in [column for column in expected if column not in columns]:
        raise DataError(f"{path}: no column '{missing}'{nearest(missing, columns)}; got {', '.join(columns)}")
    for extra in [column for column in columns if column not in expected]:
        raise DataError(f"{path}: column '{extra}' is not one of {name}; own data: data.dataset=csv")
    values = _numbers(path, frame, ETT_CHANNELS)
    per_hour = 4 if name.startswith("ETTm") else 1
    sizes = tuple(per_hour * hours for hours in _ETT_HOURS)
    if len(values) < sum(sizes):
        raise DataError(f"{path}: {len(values)} rows, but {name} has at least {sum(sizes)}; is it complete?")
    source = f"{name}.csv of ETDataset (Zhou et al. 2021, CC BY-ND 4.0), read from {path}"
    return _series(name, values, ETT_CHANNELS, _contiguous(sizes), sha256, source)


def _series(
    name: str, values: np.ndarray, channels: tuple[str, ...], splits: list[Rows], sha256: str, source: str
) -> Series:
    train, validation, test = splits
    series = Series(name, _read_only(values[: test[1]]), channels, train, validation, test, sha256, source)
    _ = series.scaled  # a channel that cannot be scaled is refused here, not in the middle of a search
    return series


def _fractions(name: str, rows: int, split: tuple[float, float, float]) -> list[Rows]:
    sizes = tuple(_share(fraction, rows) for fraction in split)
    if min(sizes) == 0 or sizes[0] < 2:
        raise DataError(f"{name}: {rows} rows are too few to split {split}; got {sizes} rows a split")
    return _contiguous(sizes)


def _share(fraction: float, rows: int) -> int:
    return floor(fraction * rows + 1e-9)  # 0.29 of 100 rows is 29, though the product is 28.999...


def _contiguous(sizes: tuple[int, ...]) -> list[Rows]:
    ends = np.cumsum(sizes).tolist()
    return [(end - size, end) for size, end in zip(sizes, ends, strict=True)]


def _read(path: Path, expected_sha256: str | None = None) -> tuple[pd.DataFrame, str]:
    """A csv file as a frame, and its sha256. The bytes that are checked are those that are parsed."""
    try:
        content = path.read_bytes()
    except OSError as error:
        raise DataError(f"{path}: cannot be read: {error.strerror}") from None
    sha256 = hashlib.sha256(content).hexdigest()
    if expected_sha256 not in (None, sha256):
        raise DataError(
            f"{path}: the checksum is off: expected sha256 {expected_sha256}, got {sha256}; "
            "the file is damaged or was changed, delete it and get it again"
        )
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("error", pd.errors.ParserWarning)  # a line with too many fields
            # index_col: or else lines with one field too many would turn the dates into an index.
            # dtype: numbers are read by `float`, to the last bit the same with any version of pandas.
            frame = pd.read_csv(io.BytesIO(content), index_col=False, dtype=str)
    except (ValueError, pd.errors.ParserWarning) as error:  # pandas' own errors are ValueErrors
        reason = str(error).strip() or type(error).__name__
        raise DataError(f"{path}: not a csv file that can be read: {reason}") from None
    return frame, sha256


def _numbers(path: Path, frame: pd.DataFrame, channels: tuple[str, ...]) -> np.ndarray:
    """The channels as (rows, C) float64. Raises DataError at the first value that is no finite number."""
    values = np.empty((len(frame), len(channels)))
    for index, channel in enumerate(channels):
        texts = frame[channel].tolist()
        values[:, index] = [_float(text) for text in texts]
        bad = np.flatnonzero(~np.isfinite(values[:, index]))
        if bad.size:
            row = int(bad[0])
            # Rows count from 0 like those of the splits; the header and counting from 1 make the line.
            where = f"{path}: channel '{channel}', row {row} (line {row + 2})"
            got = "no value (NaN)" if pd.isna(texts[row]) else f"'{texts[row]}', no finite number"
            more = f"; {bad.size} of {len(texts)} rows are like this" if bad.size > 1 else ""
            raise DataError(f"{where}: {got}{more}; fill or remove it first, nothing is filled silently")
    return values


def _float(text: object) -> float:
    try:
        return float(text)  # type: ignore[arg-type]  # pandas gives a NaN where there was no text
    except ValueError:
        return float("nan")


def _stamp(path: Path) -> tuple[int, int]:
    if not path.is_file():
        raise DataError(f"{path}: no such file" if not path.exists() else f"{path}: not a file")
    status = path.stat()
    return status.st_mtime_ns, status.st_size


def _ett_file(name: str, folder: str | Path | None) -> Path:
    """Where the file is, downloaded if it is nowhere yet."""
    cache = os.environ.get("DYNONET_CACHE_DIR") or pooch.os_cache("dynonet")
    folders = [place for place in (folder, os.environ.get("DYNONET_DATA_DIR"), cache) if place]
    places = [Path(folder).expanduser().absolute() / f"{name}.csv" for folder in folders]
    return next((place for place in places if place.exists()), None) or _download(name, places[-1])


def _download(name: str, target: Path) -> Path:
    # pooch writes to a temporary file of its own beside the target and renames it once its checksum is right,
    # so several processes may download at once: each rename puts a whole file in place.
    url, known = f"{ETT_URL}/{name}.csv", ETT_SHA256[name]
    try:
        pooch.retrieve(
            url, known_hash=f"sha256:{known}" if known else None, fname=target.name, path=target.parent,
            progressbar=importlib.util.find_spec("tqdm") is not None,
        )  # fmt: skip
    except (OSError, ValueError) as error:
        raise DataError(
            f"{name}: could not download {url}: {error}\n"
            f"Get {name}.csv by hand and set DYNONET_DATA_DIR to the folder that holds it "
            f"(now {os.environ.get('DYNONET_DATA_DIR') or 'not set'})"
        ) from None
    return target


def _read_only(array: np.ndarray) -> np.ndarray:
    array.setflags(write=False)
    return array
