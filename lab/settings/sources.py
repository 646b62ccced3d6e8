"""The series that are known by name. A named series is one row here: a value of `data.dataset`.

Its file is `NAME.csv`, a column `date` and a column a channel (see lab.series.sources for where it is looked for). No
file is part of this project.
"""

from dataclasses import dataclass

from lab.errors import DataError


@dataclass(frozen=True)
class Source:
    """What the file of a series must hold, and how its rows are split.

    Attributes:
        split: rows of training, validation and test, or two shares of all rows as the field has them: the first
            int(share * rows) train, the last int(share * rows) test, those between validate.
        frequency: from one row to the next, as lab.series.reading.dates.Step says it.
        about: whose it is, one line, with its licence where one is given.
        url: where it is downloaded from; None: it is put by hand into the folder of DYNONET_DATA_DIR.
        sha256: of the file; None: not known to us, and the one computed is recorded with every run.
        sealed: rows [first, end) that no split may reach into: what is found elsewhere is confirmed there, once
            (lab.series.sealed); None: none, unless `data.sealed` sets some aside.
    """

    channels: tuple[str, ...]
    split: tuple[int, int, int] | tuple[float, float]
    frequency: str
    about: str
    url: str | None = None
    sha256: str | None = None
    sealed: tuple[int, int] | None = None

    def sizes(self, place: str, rows: int) -> tuple[int, int, int]:
        """Rows of training, validation and test, of so many. Raises DataError where it must have more."""
        if len(self.split) == 2:
            train, test = (int(share * rows) for share in self.split)
            return train, rows - train - test, test
        if rows < sum(self.split):
            raise DataError(f"{place}: {rows} rows, but it has at least {sum(self.split)}; is the file complete?")
        return self.split


# Published splits of ETT: 12, 4 and 4 months of 30 days. No benchmark uses the later rows, which are sealed.
ETT_CHANNELS = ("HUFL", "HULL", "MUFL", "MULL", "LUFL", "LULL", "OT")
_ETT_HOURLY, _HOURLY_SEALED = (8640, 2880, 2880), (14_400, 17_420)
_ETT_QUARTERS, _QUARTERS_SEALED = (4 * 8640, 4 * 2880, 4 * 2880), (4 * 14_400, 4 * 17_420)
_ETT = "ETDataset (Zhou et al. 2021, CC BY-ND 4.0)"
_ETT_URL = "https://raw.githubusercontent.com/zhouhaoyi/ETDataset/main/ETT-small"
_SEVEN_TENTHS = (0.7, 0.2)
_ILLNESS = ("% WEIGHTED ILI", "%UNWEIGHTED ILI", "AGE 0-4", "AGE 5-24", "ILITOTAL", "NUM. OF PROVIDERS", "OT")

SOURCES: dict[str, Source] = {
    "ETTh1": Source(
        ETT_CHANNELS, _ETT_HOURLY, "1 hour", _ETT, f"{_ETT_URL}/ETTh1.csv",
        "f18de3ad269cef59bb07b5438d79bb3042d3be49bdeecf01c1cd6d29695ee066", _HOURLY_SEALED,
    ),
    "ETTh2": Source(
        ETT_CHANNELS, _ETT_HOURLY, "1 hour", _ETT, f"{_ETT_URL}/ETTh2.csv",
        "a3dc2c597b9218c7ce1cd55eb77b283fd459a1d09d753063f944967dd6b9218b", _HOURLY_SEALED,
    ),
    "ETTm1": Source(
        ETT_CHANNELS, _ETT_QUARTERS, "15 minutes", _ETT, f"{_ETT_URL}/ETTm1.csv", sealed=_QUARTERS_SEALED
    ),
    "ETTm2": Source(
        ETT_CHANNELS, _ETT_QUARTERS, "15 minutes", _ETT, f"{_ETT_URL}/ETTm2.csv", sealed=_QUARTERS_SEALED
    ),
    "exchange_rate": Source(
        ("0", "1", "2", "3", "4", "5", "6", "OT"), _SEVEN_TENTHS, "1 day",
        "Lai et al. 2018 (arXiv 1703.07015), daily rates of eight currencies",
        sha256="d55e7aa2641009814a18ba3279431b13f6d413b0eab195b9ff21988d8cf94e97",
    ),
    "national_illness": Source(
        _ILLNESS, _SEVEN_TENTHS, "7 days", "the CDC, weekly influenza-like illness in the United States",
        sha256="8594cecb98c6f2f9dc014eca11c4d5d1e38ad5ce6ed0592d4abe65b146fce395",
    ),
}  # fmt: skip

# Made here, from a seed (lab.series.sources): of `data.synthetic` they take rows and seed, and the first one all of it.
GENERATED = ("synthetic", "water_towers")
# csv: a file of one's own, `data.path`; frame: a DataFrame, given in Python (lab.series.Series.from_frame).
OWN_DATA = ("csv", "frame")


def datasets() -> tuple[str, ...]:
    """The values of `data.dataset`."""
    return (*GENERATED, *SOURCES, *OWN_DATA)
