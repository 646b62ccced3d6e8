"""Studies of kind `models`: leagues, whose arms are forecasters beside the one that the study is of.

    name: league
    question: Where does it stand among its rivals?
    kind: models
    model: mine                                 # the arm `full`, from `preset` and `baseline` as in any study
    cells: {ETTh1: {data.dataset: ETTh1}, far: {preset: far, data.pred_len: 336}}  # a preset is the baseline's
    models:
      ridge_net: {model: my_package.nets:RIDGE_NET}          # its defaults, which are its published settings
      other: {model: other, preset: authors, settings: {training.max_epochs: 20}}

Each reads the windows of the baseline: the same series, splits and horizon. How far back it looks, and how it is
trained, are its own, unless a cell or an override says so for all.
"""

from collections.abc import Mapping
from typing import Any

from pydantic import Field

from ablations.study.pieces import Section, layered
from lab.arms import FULL, PLAIN, Arm, Variant
from lab.errors import ConfigError
from lab.forecaster import Forecaster
from lab.references.titles import title_with
from lab.registry import forecaster
from lab.settings.config import Config
from lab.settings.data import SOURCE
from lab.settings.files import dotted

MODELS = "models"  # the kind
SHARED = (*SOURCE, "pred_len", "period")  # settings of the data that every model takes from the baseline


class ModelArm(Section):
    """A forecaster as an arm."""

    model: str  # a name of lab.registry
    preset: str | None = None  # weaker than `settings`; by default its defaults
    settings: dict[str, Any] = Field(default_factory=dict)  # dotted
    note: str = ""  # what else a reader should know of them, in words

    @property
    def forecaster(self) -> Forecaster:
        return forecaster(self.model)

    @property
    def title(self) -> str:
        return title_with(self.forecaster.title, self.preset, self.settings)

    @property
    def source(self) -> str:
        """Where its settings come from, in words."""
        return sourced(self.forecaster, self.preset, self.note)

    def arm(self, name: str, base: Forecaster) -> Arm:
        """Compared with the baseline: its error less the baseline's. Raises ConfigError for a bad name."""
        if name == FULL or Variant.read(name)[1] != PLAIN:
            raise ConfigError(f"models: an arm cannot be called '{name}', which the study names itself; take another")
        claim = f"{base.title} has a lower test error than {self.title}"
        return Arm(
            name, claim, {}, removes=f"{base.title}: {self.title} stands in its place", attributable=False,
            noun=base.title, aside=f"{self.title} stands in its place",
        )  # fmt: skip

    def config(self, base: Config, cell: Mapping[str, Any], overrides: Mapping[str, Any]) -> Config:
        """Its settings on the data of the baseline; `cell`, `overrides`: what is said for every model. A cell's
        preset is the baseline's alone."""
        cell = {key: value for key, value in dotted(cell).items() if key != "preset"}
        known = self.forecaster.config.names()
        shared = {key: value for key, value in base.flat().items() if key in known and _is_shared(key)}
        preset = {} if self.preset is None else {"preset": self.preset}
        return self.forecaster.config.create(
            layered(self.forecaster.config, preset, self.settings, shared, cell, overrides)
        )


def sourced(model: Forecaster, preset: str | None, note: str = "") -> str:
    """Where settings by name come from, as the model's presets say it."""
    said = model.config.presets.source(preset)
    return "; ".join(filter(None, (said or ("its defaults" if preset is None else f"its preset {preset}"), note)))


def _is_shared(key: str) -> bool:
    section, name, *_ = key.split(".")
    return section == "data" and name in SHARED
