"""The settings of the data: which series is read, how a file of one's own is understood, and how its rows are split."""

import os
from collections.abc import Callable
from dataclasses import dataclass
from typing import Annotated, Any, ClassVar, Literal

from pydantic import BaseModel, ConfigDict, Field, ValidationInfo, field_validator, model_validator

from lab.console.printing import one_line
from lab.errors import nearest, unknown
from lab.settings.sources import GENERATED, OWN_DATA, SOURCES, datasets

ROWS = ("train", "validation", "test")
SEALED = "sealed"  # rows set aside: no role of a training, read once (lab.series.sealed)


class Section(BaseModel):
    model_config = ConfigDict(frozen=True, extra="forbid", allow_inf_nan=False)


@dataclass(frozen=True)
class CountsWhen:
    """Annotates a setting that changes a run's numbers only where this holds; elsewhere it is no part of the id.

    Such is one that a mode does not read, or one that came later, where it says what all runs did before.
    """

    condition: Callable[[Any], bool]  # of the config


NEVER = CountsWhen(lambda config: False)


class SyntheticConfig(Section):
    """A seeded series like ETT (see lab.series.synthetic); each strength 0 leaves that structure out. What else is made
    from a seed takes rows and seed alone."""

    rows: int = Field(4000, ge=64)  # hours
    seed: int = Field(0, ge=0)  # of all that is drawn; another is another series
    noise: float = Field(0.3, ge=0)  # deviation of the observation noise
    level_shifts: float = Field(0.0, ge=0)  # size of sudden shifts of a channel's level
    cross_channel: float = Field(0.0, ge=0)  # weight of another channel's value some hours ago
    regimes: float = Field(0.0, ge=0)  # how far a hidden regime changes a channel's dynamics
    noise_channels: int = Field(0, ge=0, le=6)  # how many channels, from the last, are noise alone


@dataclass(frozen=True)
class Role:
    """Rows of a series that a part of the training may read: a split, or a share of it."""

    name: str
    split: str  # train, validation or test
    last: float | None = None  # only so large a share of its rows, from the end
    but_last: float | None = None  # all but so large a share
    hint: str = ""  # what else would give it more windows, beside shorter ones


class DataConfig(Section):
    dataset: str = "synthetic"  # a series by its name, one made from a seed (lab.settings.sources), or csv: one's own
    path: str | None = None  # csv: .csv, .csv.gz or .parquet; kept as an absolute path
    channels: tuple[str, ...] | None = Field(None, min_length=1)  # columns that are read, in this order; None: all
    # Settings of csv and frame (OWN below): how the file is to be understood.

    date_column: str = "date"  # every other column is a channel
    date_format: str | None = None  # as strptime takes it; None: recognised, never guessed (lab.series.reading.dates)
    separator: str = Field("auto", min_length=1)  # auto: comma, semicolon or tab; or one character, or 'tab'
    decimal: Literal["auto", ".", ","] = "auto"  # between a number's whole and its fraction; auto: recognised
    missing_values: tuple[float | str, ...] = ()  # cells that stand for no value, such as -9999
    fill: Literal["no", "previous"] = "no"  # no: a missing value is refused; previous: the channel's last one before
    sort: bool = False  # put rows in the order of their dates; False: another order is refused
    irregular_steps: bool = False  # take rows of unequal steps, such as trading days, as if they were equal
    split: tuple[float, float, float] = (0.6, 0.2, 0.2)  # fractions of rows for train, validation, test
    # Where the splits lie (MOVES below, lab.series.origins). None: the data's own, published or by `split`.

    origin: int | None = Field(None, ge=2, strict=True)  # the row where training ends
    origins_back: int = Field(0, ge=0, strict=True)  # instead: how many test lengths before the data's own origin
    validation_rows: int | None = Field(None, ge=1, strict=True)  # the rows after the origin
    test_rows: int | None = Field(None, ge=1, strict=True)  # those after them
    sealed: int | None = Field(None, ge=1, strict=True)  # the last rows, set aside before anything is split
    seq_len: int = Field(336, ge=2)  # S, steps read
    pred_len: int = Field(96, ge=1)  # H, steps it forecasts
    # Steps of a season, for the bars alone (lab.series.bars); None: what the calendar gives, a day of hourly rows.
    period: Annotated[int | None, NEVER] = Field(None, ge=2)
    synthetic: SyntheticConfig = SyntheticConfig()

    ROLES: ClassVar[tuple[str, ...]] = ROWS  # names of rows that may be asked for

    @field_validator("dataset")
    @classmethod
    def _known(cls, dataset: str) -> str:
        if dataset not in datasets():
            raise ValueError(f"allowed: {', '.join(datasets())}{nearest(dataset, datasets())}")
        return dataset

    @field_validator("path")
    @classmethod
    def _absolute(cls, path: str | None) -> str | None:
        return None if path is None else os.path.abspath(os.path.expanduser(path))

    @field_validator("split", "missing_values", mode="before")
    @classmethod
    def _numbers(cls, values: Any, info: ValidationInfo) -> Any:
        for value in values if isinstance(values, list | tuple) else ():
            if isinstance(value, bool) or (isinstance(value, str) and info.field_name == "split"):
                raise ValueError(f"numbers are needed, got {value!r}")
        return values

    @field_validator("channels", mode="before")
    @classmethod
    def _names(cls, channels: Any) -> Any:
        if isinstance(channels, str):
            return (channels,)
        for name in channels if isinstance(channels, list | tuple) else ():
            if not isinstance(name, str):
                raise ValueError(f"the names of columns are text; quote {name!r}, as in ['{name}']")
        return channels

    @field_validator("separator")
    @classmethod
    def _one_character(cls, separator: str) -> str:
        if separator not in ("auto", "tab") and (len(separator) != 1 or separator in '\r\n"\0'):
            raise ValueError("allowed: auto, tab, or one character that is no quote and ends no line")
        return "tab" if separator == "\t" else separator

    @model_validator(mode="after")
    def _consistent(self) -> "DataConfig":
        if self.dataset == "csv" and self.path is None:
            raise ValueError("dataset=csv reads a file of your own, and none is named; add data.path=FILE")
        if self.path is not None and self.dataset != "csv":
            raise ValueError(
                f"path={one_line(self.path)} is a file of your own, and dataset={self.dataset} reads none; leave one "
                "of the two out"
            )
        if min(self.split) <= 0 or sum(self.split) > 1 + 1e-9:
            raise ValueError(f"split must be three positive fractions that sum to at most 1, got {self.split}")
        if self.channels is not None and len(set(self.channels)) != len(self.channels):
            twice = next(name for name in self.channels if self.channels.count(name) > 1)
            raise ValueError(f"channels names '{twice}' twice")
        if self.origin is not None and self.origins_back:
            raise ValueError(
                f"origin={self.origin} and origins_back={self.origins_back} both say where training ends; leave one out"
            )
        if self.sealed is not None and self.dataset in SOURCES and (published := SOURCES[self.dataset].sealed):
            raise ValueError(
                f"sealed: got {self.sealed}; those of {self.dataset} are its rows {published[0]} to {published[1]}, "
                "always: leave it out"
            )
        if self.dataset in GENERATED[1:]:
            for name, field in SyntheticConfig.model_fields.items():
                if name not in ("rows", "seed") and getattr(self.synthetic, name) != field.default:
                    raise ValueError(
                        f"synthetic.{name} is a setting of dataset {GENERATED[0]}; {self.dataset} takes synthetic.rows "
                        "and synthetic.seed alone"
                    )
        if self.dataset not in OWN_DATA:
            fields = type(self).model_fields
            for name in OWN:
                if getattr(self, name) != fields[name].default:
                    raise ValueError(
                        f"{name} is a setting of one's own data (dataset csv), and dataset is {self.dataset}"
                    )
        return self

    @property
    def name(self) -> str:
        """What the data is called on pages and in tables: a file of one's own by its name, without its folder."""
        if self.path is None:
            return self.dataset
        name = os.path.basename(self.path)
        for ending in (".gz", ".csv", ".tsv", ".txt", ".parquet"):
            name = name.removesuffix(ending)
        return name or os.path.basename(self.path)

    @property
    def moved(self) -> bool:
        """Whether the splits are to lie elsewhere than the data's own."""
        return any(getattr(self, name) for name in MOVES)

    def role(self, name: str) -> Role:
        """The rows that a role names. Raises ConfigError for an unknown one."""
        if name not in (*ROWS, SEALED):
            raise unknown("role", name, self.ROLES)
        return Role(name, name)

    def source(self) -> dict[str, Any]:
        """The settings that say which values are seen, in which order and split, and not how they are used."""
        return {name: getattr(self, name) for name in SOURCE}


# Settings of `data` that only one's own data has.
OWN = (
    "date_column", "date_format", "separator", "decimal", "missing_values", "fill", "sort", "irregular_steps", "split",
)  # fmt: skip
# Those that say where the splits of any data lie.
MOVES = ("origin", "origins_back", "validation_rows", "test_rows")
# Those that say which series is read. A series' identity says all of it (lab.series.Series.identity).
SOURCE = ("dataset", "path", "channels", *OWN, *MOVES, "sealed", "synthetic")
