"""What one call of the command that runs a study was asked for, beside the study's own file."""

from dataclasses import dataclass
from pathlib import Path
from typing import Any

from ablations.study.models import MODELS
from ablations.study.reading import load_study, with_settings
from ablations.study.study import Study
from lab.errors import ConfigError, check_number
from lab.machines.options import MOST_SECONDS, Call
from lab.registry import DEFAULT
from lab.store.schema import check_study

MOST_TRIALS = 1000  # of a search that ends by what it has spent


@dataclass(frozen=True)
class StudyCall(Call):
    """Raises ConfigError for a number that cannot be."""

    study: str = ""  # a name, or a file
    name: str | None = None  # under which it goes on record; None: its own
    arms: tuple[str, ...] | None = None  # only these
    cells: tuple[str, ...] | None = None  # only these, as the study lists them
    tuned: bool = False  # of a league: beside each model the best that a search of it finds
    trials: int | None = None  # of each such search
    search_seconds: float | None = None  # of a device, of each such search
    seeds: int | tuple[int, ...] | str | None = None  # how many, which, or auto; None: the study's
    max_seeds: int | None = None
    looks: int | None = None
    alpha: float | None = None
    margin: float | None = None
    max_epochs: int | None = None
    match_capacity: bool = False
    train_inert: bool = False
    stack_size: int | None = None  # None: what memory and devices say
    device_hours: float | None = None  # with seeds auto: no further look that could take more in all
    ledger: bool = False

    def __post_init__(self) -> None:
        for name, least, most in (("device_hours", 0, MOST_SECONDS / 3600), ("stack_size", 1, 1_000_000)):
            if (value := getattr(self, name)) is not None:
                check_number(name.replace("_", "-"), value, least, most)

    @property
    def is_file(self) -> bool:
        return Path(self.study).suffix in (".yaml", ".yml")

    @property
    def files(self) -> tuple[str, ...]:
        return (*super().files, *([self.study] if self.is_file else []))

    def settings(self) -> tuple[Study, str]:
        """The study that is asked for, and the name that it goes by.

        Raises ConfigError for an unknown study, arm or setting, or values that cannot be.
        """
        study = self._file()
        overrides = list(self.overrides)
        if self.max_epochs is not None:
            overrides.insert(0, f"training.max_epochs={self.max_epochs}")
        changes: dict[str, Any] = {}
        if self.seeds is not None:
            changes["seeds"] = self.seeds
        automatic = self.seeds == "auto" or (self.seeds is None and study.seeds == "auto")
        for option, field, value in (
            ("max-seeds", "max_seeds", self.max_seeds), ("looks", "looks", self.looks),
            ("device-hours", None, self.device_hours),
        ):  # fmt: skip
            if value is not None and not automatic:
                raise ConfigError(f"--{option} goes with --seeds auto; the seeds of this study are fixed")
            if value is not None and field:
                changes[field] = value
        if self.seeds == "auto" and self.looks is None and study.looks == 1:
            changes["looks"] = 2  # one look alone would add no seeds
        asked = (("alpha", self.alpha), ("margin_percent", self.margin))
        changes |= {field: value for field, value in asked if value is not None}
        changes |= self._retune(study)
        study = with_settings(study, self.config, overrides, self.arms, self.cells, changes)
        return study, check_study(study.name if self.name is None else self.name)

    def _retune(self, study: Study) -> dict[str, Any]:
        """What --tuned asks for."""
        if not self.tuned:
            for option, value in (("trials", self.trials), ("search-seconds", self.search_seconds)):
                if value is not None:
                    raise ConfigError(f"--{option} goes with --tuned")
            return {}
        if study.kind != MODELS:
            raise ConfigError(
                "--tuned goes with a league; a study of one model says `retune` and `nuisance` in its file"
            )
        asked = {} if study.retune is None else study.retune.model_dump(exclude_defaults=True)
        if self.search_seconds is not None:
            check_number("--search-seconds", self.search_seconds, 0.001, MOST_SECONDS)
            asked |= {"device_seconds": self.search_seconds, "trials": MOST_TRIALS}
        return {"retune": asked | ({} if self.trials is None else {"trials": self.trials})}

    def name_on_record(self) -> str:
        """Under which a study that is only read is on record: a file says its name, any other word is one."""
        return self.name or (self._file().name if self.is_file else self.study)

    def _file(self) -> Study:
        """A file may name its model itself."""
        return load_study(self.study, self.model if self.model_said or self.model != DEFAULT else None)
