"""Any torch module as a forecaster: a module, its settings, and what a search and a study should know of them.

    class Settings(Section):
        hidden: int = Field(64, ge=1)
        dropout: Annotated[float, PER_MODEL] = Field(0.1, ge=0, lt=1)
        smooth: bool = True

    class Net(nn.Module):
        def __init__(self, config, channels): ...  # config.model, config.data.seq_len, config.data.pred_len
        def forward(self, window): ...             # (B, S, C) -> (B, H, C), z-scored

    NET = ModuleForecaster("net", Net, Settings, space={"model.hidden": {"int": [16, 256], "log": True}},
                           parts={"smooth": Switch("the moving average", "smoothing ... lowers the test error")})

and `--model my_package.my_module:NET` searches, ablates and reports it. A forward may ask for more by an argument's
name: `calendar`, (B, S + H, 4) of window and horizon (lab.series.calendar); `rows`, (B,), where in the series each
window begins. It may give a pair: the forecast, and diagnostics by key (`Forecaster.diagnostics`).

What a module should do:
- drop by `nn.Dropout`, in whose place a layer is put that draws from the run's seed. What draws from torch's own
  generator (functional dropout, attention's own) is begun at the run's seed in each step, and keeps models from being
  computed as one; what draws from numpy's or Python's own in a forward makes a run that cannot be repeated.
- keep what training changes in parameters and buffers: nothing else is in a checkpoint.
- be built from settings and C alone; what it draws then comes from the run's seed.
"""

import copy
import inspect
from collections.abc import Callable, Hashable, Iterable, Mapping, Sequence
from dataclasses import dataclass
from functools import lru_cache
from pathlib import Path
from typing import Any

import torch
from pydantic import Field, ValidationError, create_model
from torch import Tensor

from lab.arms import BASELINE, FULL, Arm
from lab.console.printing import one_line
from lab.errors import ConfigError, unknown
from lab.forecaster import Diagnostic, Forecaster, Network, Part, Size, Stack
from lab.registry import house_packages
from lab.series import Series, window_starts
from lab.settings.config import Config, TrainingConfig
from lab.settings.data import DataConfig, Section
from lab.settings.presets import Presets
from lab.training.modules.computing import Wants
from lab.training.modules.members import Build, seeded
from lab.training.modules.sources import digest, of_the_house, source_files
from lab.training.modules.stack import ModuleNetwork, ModuleStack

SPACE: dict[str, dict[str, Any]] = {
    "training.lr": {"float": [1e-4, 1e-2], "log": True},
    "training.weight_decay": {"float": [1e-6, 1e-1], "log": True},
    "training.batch_size": {"choice": [32, 64, 128, 256]},
}


class PerModel:
    """Annotates a setting of which the models of a stack may each have their own: one that shapes nothing."""


PER_MODEL = PerModel()


@dataclass(frozen=True)
class Switch:
    """A part of a module that a bool setting of its name switches off, and the arm `no_NAME` that does."""

    noun: str  # as a sentence calls it: "the moving average"
    claim: str  # one sentence about it, which the arm's comparison can bear out or not
    off: str = "left out"  # what the module does where it is off


class ModuleForecaster(Forecaster):
    """A family of torch modules.

    Args:
        name: as pages and tables call it.
        module: makes a module of a config and the number of channels C: a class, mostly.
        settings: section `model` of its configs; every setting has a default.
        space: default ranges by dotted setting, beside those of `SPACE`; None leaves one of those out.
        parts: bool settings that switch a part off.
        arms: further arms of ablations.
        diagnostics: by key `group.name`, what the module gives besides its forecast.
        presets: settings by name; dotted.
        sources: where a preset's settings come from, and under None the defaults'; a league says it beside the model.
        renamed: older names of presets -> theirs, still taken.
        defaults: of the sections `data` and `training`, by dotted setting, other than the lab's.
        width: the setting that makes it wider.
        effective: parameters that a gradient reaches and the forecast reads, of a config and C; by default all.
        small: dotted settings that make it small, for the checks of lab.contract.
        fused: whether the models of a stack are computed as one; None: on a GPU, where the module allows it.
        version: raised when a change to its code changes what a run computes. Of the house's own forecasters alone:
            any other's source is in its ids.
    Raises:
        ConfigError: a module without a source file; a part that is no bool setting; a default that is not allowed.
    """

    def __init__(
        self,
        name: str,
        module: Build,
        settings: type[Section],
        *,
        title: str | None = None,
        space: Mapping[str, Mapping[str, Any] | None] | None = None,
        parts: Mapping[str, Switch] | None = None,
        arms: Iterable[Arm] = (),
        diagnostics: Mapping[str, Diagnostic] | None = None,
        presets: Mapping[str, Mapping[str, Any]] | None = None,
        sources: Mapping[str | None, str] | None = None,
        renamed: Mapping[str, str] | None = None,
        defaults: Mapping[str, Any] | None = None,
        width: str | None = None,
        effective: Callable[[Any, int], int] | None = None,
        searches: Path | None = None,
        studies: Path | None = None,
        small: Mapping[str, Any] | None = None,
        fused: bool | None = None,
        version: int = 1,
    ):
        if not hasattr(module, "__qualname__"):
            raise ConfigError(
                f"{name}: a class or function that makes the module is needed, got {type(module).__name__}"
            )
        self.name, self.title, self.module, self.version = name, title or name, module, version
        self.studies, self.width, self.fused = studies, width, fused
        self._effective = effective
        self._files = {} if of_the_house(module) else source_files(module, settings)
        known = Presets(presets, searches, sources, renamed)
        self.config = _config_of(name, settings, defaults or {}, known, self._identity())
        self.space = {key: spec for key, spec in {**SPACE, **(space or {})}.items() if spec is not None}
        self.diagnostics, self.small = dict(diagnostics or {}), dict(small or {})
        self.parts, self.arms = {}, {FULL: BASELINE}
        for part, switch in (parts or {}).items():
            self._add_part(part, switch)
        self.arms |= {arm.name: arm for arm in arms}
        for key in [
            *self.space,
            *self.small,
            *([width] if width else []),
            *(key for arm in self.arms.values() for key in arm.overrides),
        ]:
            self.config.check_key(key)
        asked = inspect.signature(getattr(module, "forward", module)).parameters
        self.wants = Wants("calendar" in asked, "rows" in asked)
        self.wants_calendar, self.wants_rows = self.wants.calendar, self.wants.rows
        self._size = lru_cache(maxsize=4096)(self._counted)
        self._own = {f"model.{key}" for key, field in settings.model_fields.items() if _is_own(field.metadata)}

    def _identity(self) -> dict[str, Any]:
        if not self._files:
            return {"model": self.name, "version": self.version}
        return {"model": self.name, "module": self.module.__qualname__, "source": digest(self._files)}

    def _add_part(self, part: str, switch: Switch) -> None:
        key = f"model.{part}"
        self.config.check_key(key)
        if self.config.annotation(key) is not bool:
            raise ConfigError(
                f"{self.name}: part '{part}' is a setting of type {self.config.annotation(key)}; bool is needed"
            )
        self.parts = {**self.parts, part: Part(part, switch.noun, switch.off)}
        self.arms = {
            **self.arms,
            f"no_{part}": Arm(
                f"no_{part}", switch.claim, {key: False}, removes=f"{part}: {switch.off}", noun=switch.noun
            ),
        }

    def stack(self, configs: Sequence[Config], series: Series, device: torch.device, dtype: torch.dtype) -> Stack:
        role = self.learners(configs[0])["training"]
        starts = torch.as_tensor(window_starts(series, configs[0].data, role).copy())
        return ModuleStack(
            self.module, configs, series, starts, device, dtype, self.wants, self.fused, tuple(self.diagnostics)
        )

    def network(
        self, configs: Sequence[Config], weights: Sequence[Mapping[str, Tensor]], channels: int, device: torch.device
    ) -> Network:
        return ModuleNetwork(self.module, configs, weights, channels, device, self.wants)

    def stack_key(self, config: Config) -> Hashable:
        return tuple(item for item in super().stack_key(config) if item[0] not in self._own)  # type: ignore[attr-defined]

    def size(self, config: Config, channels: int) -> Size:
        flat = {key: value for key, value in config.flat().items() if not key.startswith("training.")}
        return self._size(self.config.create(flat).to_json(), channels)

    def _counted(self, config: str, channels: int) -> Size:
        settings = self.config.from_json(config)
        try:
            with torch.device("meta"):  # without memory, and without drawing
                module = self.module(settings, channels)
        except Exception:  # some compute as they are built
            module = seeded(self.module, settings, channels)
        count = sum(p.numel() * (2 if p.is_complex() else 1) for p in module.parameters() if p.requires_grad)
        return Size(count, count if self._effective is None else self._effective(settings, channels))

    def kernel(self, device: str) -> str:
        """What is meant to compute it; `ModuleStack.kernel` says what does."""
        return "torch, stacked" if self.fused or (self.fused is None and device == "cuda") else "torch"


def sources(forecaster: Forecaster) -> dict[str, Path]:
    """The files that a forecaster of one's own is imported from, by name below an import path, without those of the
    house, which are wherever it is; {} for the house's forecasters."""
    files = forecaster._files if isinstance(forecaster, ModuleForecaster) else {}
    return {name: path for name, path in files.items() if name.split("/")[0] not in house_packages()}


def _is_own(metadata: Iterable[Any]) -> bool:
    return any(isinstance(mark, PerModel) or mark is PerModel for mark in metadata)


def _config_of(
    name: str, settings: type[Section], defaults: Mapping[str, Any], presets: Presets,
    identity: Mapping[str, Any],
) -> type[Config]:  # fmt: skip
    """The class of its configs."""
    changed: dict[str, dict[str, Any]] = {"data": {}, "training": {}}
    for key, value in defaults.items():
        section, _, setting = key.partition(".")
        if section not in changed:
            raise unknown(f"section of the defaults of {name}", section, changed)
        changed[section][setting] = value
    try:
        model = settings()
    except ValidationError as error:
        missing = ", ".join(".".join(map(str, item["loc"])) for item in error.errors())
        raise ConfigError(
            f"{name}: every setting of {settings.__name__} needs a default that is allowed: {missing}"
        ) from None
    data, training = (
        _with_defaults(name, DataConfig, changed["data"]),
        _with_defaults(name, TrainingConfig, changed["training"]),
    )
    config = create_model(
        f"{settings.__name__}Config", __base__=Config, __module__=settings.__module__,
        data=(data, data()), model=(settings, model), training=(training, training()),
    )  # fmt: skip
    config.forecaster, config.identity = name, dict(identity)
    config.presets = presets
    for preset in config.presets:
        config.create(preset=preset)  # refused here and not when somebody asks for it
    return config


def _with_defaults(name: str, section: type[Section], values: Mapping[str, Any]) -> type[Section]:
    """A section whose settings have other defaults."""
    fields: dict[str, Any] = {}
    for key, value in values.items():
        if key not in section.model_fields:
            raise unknown(f"default of {name}", key, section.model_fields)
        field = copy.copy(section.model_fields[key])
        fields[key] = (field.annotation, field)
        field.default = value
    if not fields:
        return section
    made = create_model(section.__name__, __base__=section, **fields)
    try:
        made.model_validate(dict(values))
    except ValidationError as error:
        raise ConfigError(f"{name}: a default is not allowed: {one_line(str(error), 300)}") from None
    return made


__all__ = ["PER_MODEL", "Diagnostic", "Field", "ModuleForecaster", "Section", "Switch", "sources"]
