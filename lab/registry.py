"""Forecasters by name: those of the house, those that packages offer, and any `package.module:OBJECT`."""

import importlib
import importlib.metadata
import os
import sys
from collections.abc import Iterable, Sequence
from functools import cache
from pathlib import Path

from lab.console.parser import Parser, Settings
from lab.console.printing import one_line
from lab.errors import ConfigError, unknown
from lab.forecaster import Forecaster
from lab.references.reports import Report
from lab.settings.config import Config
from lab.settings.data import DataConfig
from lab.settings.listing import setting_lines

DEFAULT = "dynonet"
GROUP = "lab.forecasters"  # of entry points: name = "package.module:OBJECT"
HOUSE = "forecasters"  # the package that alone names the models


@cache
def names() -> dict[str, str]:
    """Name -> import string of the forecasters that are known without being imported."""
    offered = {point.name: point.value for point in importlib.metadata.entry_points(group=GROUP)}
    return {**offered, **importlib.import_module(HOUSE).FORECASTERS}


@cache
def house_packages() -> frozenset[str]:
    """The packages in which the house's own forecasters stand."""
    return frozenset({HOUSE, *(where.split(".")[0] for where in importlib.import_module(HOUSE).FORECASTERS.values())})


@cache
def forecaster(name: str) -> Forecaster:
    """The forecaster of a name, or of `package.module:OBJECT`.

    Raises:
        ConfigError: an unknown name, with the nearest; a module that cannot be imported; an object that is no
            forecaster.
    """
    if ":" not in name and name not in names():
        known = unknown("model", name, names())
        raise ConfigError(f"{known} (or package.module:OBJECT of one's own)")
    where = names().get(name, name)
    module, _, attribute = where.partition(":")
    family = importlib.import_module(HOUSE).FAMILIES.get(module)
    module = family or module
    if where == name and family is None:
        _import_from_here()
    try:
        found = importlib.import_module(module)
    except Exception as error:  # whatever a module of somebody's raises as it is imported
        text = f"{type(error).__name__}: {one_line(str(error), 200)}"
        raise ConfigError(f"model '{one_line(name)}': {one_line(module)} cannot be imported ({text})") from error
    candidate = getattr(found, attribute, None)
    if not isinstance(candidate, Forecaster):
        there = [key for key, value in vars(found).items() if isinstance(value, Forecaster)]
        raise ConfigError(
            f"model '{one_line(name)}': {one_line(attribute or 'nothing')} in {found.__name__} is no forecaster"
            + (f"; there is {', '.join(there)}" if there else " (see lab.forecaster and lab.training.module_stack)")
        )
    if where.split(".")[0] not in house_packages() and not candidate.config.identity:
        raise ConfigError(
            f"model '{one_line(name)}': its config says no identity, so that an edited model would pass for the one on "
            "record; set config.identity to what tells its code apart (see lab.training.modules.sources)"
        )
    candidate.config.forecaster = name
    return candidate


def _import_from_here() -> None:
    """The folder that a command runs in is searched for modules, as `python -m` does; an installed command does not."""
    here = os.getcwd()
    if here not in sys.path and "" not in sys.path:
        sys.path.insert(0, here)


def add_model_argument(parser: Parser, default: str | None = DEFAULT, otherwise: str = DEFAULT) -> None:
    """`--model`, the same for every command.

    Args:
        default: None where what is on record, or in a file, says it.
        otherwise: what the help says of the default.
    """
    text = f"a forecaster: {', '.join(names())}, or package.module:OBJECT of one's own (default: {otherwise})"
    parser.add_argument("--model", default=default, help=text)
    parser.completes["model"] = names()


class ModelSettings(Settings):
    """Those of one model, or of the one that `--model` names."""

    def __init__(self, model: str | None = None):
        self.model = model

    def _config(self, given: Sequence[str]) -> type[Config]:
        asked = self.model
        for at, word in enumerate(given if asked is None else ()):
            name, equals, value = word.partition("=")
            if name == "--model":
                asked = value if equals else "".join(given[at + 1 : at + 2])
        try:
            return forecaster(asked or DEFAULT).config
        except ConfigError:
            return forecaster(DEFAULT).config

    def names(self, given: Sequence[str]) -> Iterable[str]:
        return self._config(given).names()

    def lines(self, given: Sequence[str]) -> list[str]:
        return setting_lines(self._config(given))


def add_overrides_argument(parser: Parser, about: str, model: str | None = None) -> None:
    """`section.key=value ...`, and what they may name in the help; `model`: of a command of one model alone."""
    parser.add_argument("overrides", nargs="*", metavar="section.key=value", help=about)
    parser.settings = ModelSettings(model)


def model_option(config: Config) -> str:
    """What a command line needs besides to be of these settings' model."""
    return "" if config.forecaster == DEFAULT else f" --model {config.forecaster}"


def known_presets() -> list[str]:
    """Those of the default model, for a help text."""
    return list(forecaster(DEFAULT).config.presets)


def study_name(model: str) -> str:
    """What a study of a model is called where nobody names it: the object of `package.module:OBJECT`."""
    return model.rpartition(":")[2]


def reported(data: DataConfig) -> dict[str, tuple[float, float, str]]:
    """What others report of this data and horizon: model -> (test MSE, test MAE, parameters as printed)."""
    found: dict[str, tuple[float, float, str]] = importlib.import_module(f"{HOUSE}.reported").reported(data)
    return found


def league_records() -> Path:
    """Where the house keeps what its own league measured, beside its code; there may be nothing."""
    return Path(importlib.import_module(f"{HOUSE}.reported").RECORDS)


def reports(config: Config) -> tuple[Report, ...]:
    """What others report of these settings' model on their data and horizon."""
    found: tuple[Report, ...] = importlib.import_module(f"{HOUSE}.reported").reports(config.forecaster, config.data)
    return found


def configs_of_json(model: str, texts: Iterable[str]) -> list[Config]:
    """Configs of a forecaster, as `Config.to_json` wrote them."""
    settings = forecaster(model).config
    return [settings.from_json(text) for text in texts]


def forecaster_of(config: Config) -> Forecaster:
    """The forecaster whose settings these are."""
    return forecaster(config.forecaster)
