"""What one run is: frozen, validated sections of settings, dotted overrides, canonical JSON and the content id.

A run is named by a hash of everything that can change its numbers (`run_id`), so two people who ask for the same
training ask for the same run. A family of models brings a subclass with sections of its own (see lab.forecaster).
"""

import hashlib
import json
import os
from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass
from functools import cache
from pathlib import Path
from typing import Any, ClassVar, Literal, Self, get_args

from pydantic import BaseModel, Field, ValidationError

from lab.console.printing import one_line
from lab.errors import MOST_WHOLE, ConfigError, check_kind, check_number, nearest, unknown
from lab.settings.data import SOURCE, CountsWhen, DataConfig, Section
from lab.settings.files import anchored, dotted, with_own_file
from lab.settings.overrides import switched, typed
from lab.settings.presets import Presets
from lab.settings.yaml import YamlError, dump, read_mapping

# Part of every content id: raise it when a change to the lab changes what a run computes.
# 2: initial weights are drawn per entry, so that models of unlike shape share those of the entries that agree.
RESULTS_VERSION = 2


class TrainingConfig(Section):
    """What every training has. A family may set other defaults, and add its own."""

    seed: int = Field(12345, ge=0, lt=2**63)  # of initial weights, batches and dropout
    batch_size: int = Field(32, ge=1)  # windows
    lr: float = Field(1e-3, gt=0)  # learning rate of AdamW, at its start
    weight_decay: float = Field(0.0, ge=0)  # AdamW's, apart from the gradient
    max_epochs: int = Field(10, ge=1)  # passes over the training rows, at most
    patience: int = Field(3, ge=1)  # epochs without a new best validation MSE
    # Of lr: over max_epochs; not at all; half after each epoch from the second; a tenth, or a fifth, less after each
    # from the third.
    schedule: Literal["cosine", "constant", "halving", "decay", "fast_decay"] = "cosine"


@dataclass(frozen=True)
class Stopping:
    """When a run ends before max_epochs."""

    patience: int  # epochs without a new best
    batch_mean: bool = False  # judged by the mean over batches, a short last one weighing as much


class Config(Section):
    """One run. Build it with `create`, which knows presets, protocols and dotted overrides."""

    data: DataConfig = DataConfig()
    training: TrainingConfig = TrainingConfig()

    forecaster: ClassVar[str] = ""  # whose settings these are: a name of lab.registry
    identity: ClassVar[Mapping[str, Any]] = {}  # what besides settings and data says what a run computes
    presets: ClassVar[Presets] = Presets()
    # Settings by name of `training.protocol`, the default first; each names settings that are their own.
    protocols: ClassVar[Mapping[str, Mapping[str, Any]]] = {}

    # What a search may vary of the data, for it changes neither what is forecast nor what validation judges: how far
    # back windows reach, and which of the training rows teach whom.
    searchable_data: ClassVar[tuple[str, ...]] = ("data.seq_len",)
    not_searched: ClassVar[Mapping[str, str]] = {}  # settings that no search may vary -> why
    decides_windows: ClassVar[tuple[str, ...]] = ()  # settings beside those of the data that say who reads which rows

    # Its settings ---------------------------------------------------------------------------------------------------

    @classmethod
    def names(cls) -> tuple[str, ...]:
        """Every setting by its dotted path, in the order of the sections."""
        return tuple(_leaves(cls))

    @classmethod
    def annotation(cls, key: str) -> Any:
        return _leaves(cls)[key]

    @classmethod
    def check_key(cls, key: str) -> None:
        """Raises ConfigError, with the nearest name, if `key` is no dotted path of a setting."""
        keys = _leaves(cls)
        if key not in keys:
            # A section left out is the likeliest slip: 'hidden' for 'model.hidden'.
            same_name = [k for k in keys if k.rsplit(".", 1)[-1] == key.rsplit(".", 1)[-1]]
            hint = f"; did you mean '{same_name[0]}'?" if same_name else nearest(key, keys)
            raise ConfigError(f"unknown key '{one_line(key)}'{hint}")

    @classmethod
    def setting_type(cls, key: str) -> type:
        """The scalar type a setting is recorded with: bool, int, float or str (which also serves unions)."""
        annotation = cls.annotation(key)
        return annotation if annotation in (bool, int, float) else str

    @classmethod
    def is_switch(cls, key: str) -> bool:
        """Whether the words on and off mean something to a setting."""
        return key in _leaves(cls) and cls.annotation(key) is bool

    # Made ------------------------------------------------------------------------------------------------------------

    @classmethod
    def create(
        cls,
        settings: Mapping[str, Any] | None = None,
        *,
        preset: str | None = None,
        overrides: Iterable[str] = (),
        **others: Any,
    ) -> Self:
        """A config from, weakest first: defaults, a protocol, a preset, settings, overrides.

        Args:
            settings: nested sections or dotted keys, `{"model": {"hidden": 8}}` or `{"model.hidden": 8}`.
            preset: a name in `presets`.
            overrides: `section.key=value` strings (see parse_overrides).
            others: none; whoever gives one is told where it goes.
        Raises:
            ConfigError: an unknown key or preset, or a value that is not allowed; names the nearest valid one.
        """
        for key in others:
            raise ConfigError(
                f"create: '{one_line(key)}' is no argument{nearest(key, cls.names()) or '.'} Settings go in as one "
                "mapping: Config.create({'training.lr': 0.001}); Config.from_yaml(FILE) reads a file"
            )
        if settings is not None:
            check_kind("settings", settings, Mapping, "a mapping such as {'training.lr': 0.001} (of a file: from_yaml)")
        flat: dict[str, Any] = {}
        if preset is not None:
            if preset not in cls.presets:
                raise unknown("preset", preset, cls.presets)
            flat.update(cls.presets[preset])
        flat.update(with_own_file(dotted(settings or {})))
        flat.update(with_own_file(cls.parse_overrides(overrides)))
        for key, value in flat.items():
            cls.check_key(key)
            if isinstance(value, bool) and cls.setting_type(key) in (int, float):
                raise ConfigError(f"{key}: got {value}; a number is needed")
            if isinstance(value, str) and cls.setting_type(key) in (int, float):  # '1_0' is no 10
                raise ConfigError(f"{key}: got {one_line(repr(value))}; a number is needed")
            if isinstance(value, int) and abs(value) > MOST_WHOLE:
                raise ConfigError(f"{key}: got {str(value)[:40]}; whole numbers of 64 bits are allowed")
        if cls.protocols:
            # An unknown one is refused with the other values.
            protocol = str(flat.get("training.protocol", next(iter(cls.protocols))))
            flat = {**cls.protocols.get(protocol, {}), **flat}
        nested: dict[str, Any] = {}
        for key, value in flat.items():
            *sections, name = key.split(".")
            node = nested
            for section in sections:
                node = node.setdefault(section, {})
            node[name] = value
        try:
            config = cls.model_validate(nested)
        except ValidationError as error:
            raise ConfigError(cls._explain(error)) from None
        return config._with_protocol_named()

    def _with_protocol_named(self) -> Self:
        """The protocol's name says what the settings are, whatever was asked for."""
        if not self.protocols:
            return self
        mine = self.flat()
        named = next((n for n, s in self.protocols.items() if all(mine[k] == v for k, v in s.items())), "custom")
        if named == self.protocol:
            return self
        return self.model_copy(update={"training": self.training.model_copy(update={"protocol": named})})

    def override(self, settings: Mapping[str, Any] | Iterable[str]) -> Self:
        """This config with dotted settings (a mapping, or `key=value` strings) replaced, validated anew.

        A new `training.protocol` sets its bundle again; otherwise the bundle's settings stay as they are.
        """
        check_kind("override", settings, Iterable, "a mapping, or a list of 'section.key=value' texts,")
        changes = with_own_file(dotted(settings) if isinstance(settings, Mapping) else self.parse_overrides(settings))
        base = self.flat()
        for key in self.bundled(changes.get("training.protocol")):
            base.pop(key)
        return self.create({**base, **changes})

    def with_seed(self, seed: int) -> Self:
        """The same run with another seed, without validating the rest anew."""
        check_kind("training.seed", seed, int, "a whole number")
        check_number("training.seed", seed, 0)
        return self.model_copy(update={"training": self.training.model_copy(update={"seed": seed})})

    @classmethod
    def bundled(cls, protocol: Any) -> tuple[str, ...]:
        """The settings that a protocol of this name sets together; none for one that stands for none."""
        known = protocol is not None and protocol != "custom" and cls.protocols
        return tuple(next(iter(cls.protocols.values()))) if known else ()

    # Read ------------------------------------------------------------------------------------------------------------

    @property
    def protocol(self) -> str:
        return getattr(self.training, "protocol", "")

    @property
    def stopping(self) -> Stopping:
        return Stopping(self.training.patience)

    @property
    def validation_learner(self) -> tuple[str, str] | None:
        """What is trained on the rows that pick epochs and hyperparameters, and the setting that says so."""
        return None

    @property
    def learns_from_validation(self) -> bool:
        return self.validation_learner is not None

    def flat(self) -> dict[str, Any]:
        """Every setting by its dotted key, in the order of the sections."""
        return dotted(self.model_dump())

    def canonical(self) -> dict[str, Any]:
        """The settings that can change the numbers of this run, by dotted key.

        Left out: what the identity of the series already says (all of SOURCE but the data set's name), and what does
        not count here (CountsWhen).
        """
        flat = self.flat()
        drop = {f"data.{name}" for name in SOURCE if name != "dataset"}
        drop |= {key for key in flat if key.startswith("data.synthetic.")}
        drop |= {key for key, counts in _conditions(type(self)).items() if not counts(self)}
        return {key: value for key, value in flat.items() if key not in drop}

    def shown(self) -> dict[str, Any]:
        """Every setting as pages and W&B show it: of a file its name alone, never a folder of somebody's home."""
        flat = self.flat()
        if self.data.path is not None:
            flat["data.path"] = os.path.basename(self.data.path)
        return flat

    def run_id(self, data_sha256: str) -> str:
        """The content id of this run on the series of that identity: 20 hexadecimal digits."""
        content = {"config": self.canonical(), "data": data_sha256, "results_version": RESULTS_VERSION, **self.identity}
        text = json.dumps(content, sort_keys=True, separators=(",", ":"))
        return hashlib.sha256(text.encode()).hexdigest()[:20]

    # Files and texts -------------------------------------------------------------------------------------------------

    def to_json(self) -> str:
        return json.dumps(self.model_dump(mode="json"), sort_keys=True, separators=(",", ":"))

    @classmethod
    def from_json(cls, text: str) -> Self:
        check_kind("from_json", text, str, "text, as to_json wrote it,")
        try:
            return cls.create(json.loads(text))
        except (json.JSONDecodeError, RecursionError) as error:
            raise ConfigError(f"from_json: '{one_line(text, 60)}' is no JSON ({error})") from None

    def to_yaml(self) -> str:
        return dump(self.model_dump(mode="json"))

    @classmethod
    def from_yaml(cls, path: str | Path) -> Self:
        """Reads a config file. Raises ConfigError if it is missing, no mapping, or holds an unknown key."""
        return cls.create(cls.read_yaml(path))

    @classmethod
    def read_yaml(cls, path: str | Path) -> dict[str, Any]:
        """A file of settings, a space or a study, with every relative `data.path` in it taken from the file's folder.

        Raises ConfigError, with file and line, for what could be misread.
        """
        check_kind("file of settings", path, (str, os.PathLike), "its path")
        return cls.understood(read_mapping(path), path)

    @classmethod
    def understood(cls, content: Mapping[str, Any], path: str | Path) -> dict[str, Any]:
        """The content of a file at `path` as `read_yaml` gives it."""
        result: dict[str, Any] = anchored(cls._with_switches(dict(content)), Path(path).absolute().parent)
        return result

    @classmethod
    def parse_overrides(cls, overrides: Iterable[str]) -> dict[str, Any]:
        """`section.key=value` strings as a dotted mapping.

        The value of a setting that is text is taken as it is typed (`null` unsets one that may be unset), and so are
        the items of a list of texts, `[a, "b, c"]`. Any other value is read as YAML: `off` is False, `8` an int.
        """
        flat: dict[str, Any] = {}
        for text in [overrides] if isinstance(overrides, str) else overrides:
            check_kind("overrides", text, str, "a text 'section.key=value'")
            key, equals, value = text.partition("=")
            if not equals or not key:
                hint = f"; did you mean --preset {one_line(text)}?" if text in cls.presets else ""
                if key in cls.names():
                    hint = f"; a value is needed, {key}=VALUE, without spaces"
                raise ConfigError(f"override '{one_line(text)}' is not of the form section.key=value{hint}")
            cls.check_key(key)
            try:
                read = typed(value, cls.annotation(key))
            except YamlError as error:
                raise ConfigError(f"override '{one_line(text)}': {error.problem}") from None
            flat[key] = switched(read) if cls.is_switch(key) else read
        return flat

    @classmethod
    def _with_switches(cls, content: Any, prefix: str = "") -> Any:
        """A file's content with the words for true and false read where a switch is set, searched or asked for."""
        if isinstance(content, list):
            return [cls._with_switches(each) for each in content]
        if not isinstance(content, dict):
            return content
        sections = {key.rpartition(".")[0] for key in cls.names()}
        found = {}
        for key, value in content.items():
            path = f"{prefix}{key}"
            if cls.is_switch(path) or cls.is_switch(str(key)) or key == "log":  # of a range
                found[key] = cls._switched(value)
            else:
                found[key] = cls._with_switches(value, f"{path}." if path in sections else "")
        return found

    @classmethod
    def _switched(cls, value: Any) -> Any:
        """What a switch is set to, or a range of it."""
        if isinstance(value, dict):
            return {
                key: switched(each) if key in ("choice", "log") else cls._with_switches(each)
                for key, each in value.items()
            }
        return switched(value)

    @classmethod
    def _explain(cls, error: ValidationError) -> str:
        leaves = _leaves(cls)
        parts = {part for key in leaves for part in key.split(".")}
        lines = []
        for item in error.errors():
            key = ".".join(str(part) for part in item["loc"] if str(part) in parts)
            if item["type"] == "literal_error":
                allowed = [str(value) for value in get_args(leaves.get(key)) if value is not None]
                shown = [value if any(map(str.isalnum, value)) else repr(value) for value in allowed]
                detail = "allowed: " + ", ".join(shown) + nearest(str(item["input"]), allowed)
            else:
                detail = item["msg"].removeprefix("Value error, ")
                if item["type"] == "string_type":
                    detail = "text is needed; in a file of settings, put it in quotes"
                if detail.startswith(_SHOULD):  # pydantic's own words
                    needed = (
                        detail.removeprefix(_SHOULD).replace("valid ", "").replace("a tuple", "a list such as [a, b]")
                    )
                    detail = f"{needed} is needed"
            got = "" if isinstance(item["input"], (BaseModel, dict)) else f"got {one_line(repr(item['input']))}; "
            lines.append(f"{key or 'config'}: {got}{detail}")
        return "\n".join(lines)


_SHOULD = "Input should be "


@cache
def _leaves(section: type[BaseModel], prefix: str = "") -> dict[str, Any]:
    """Dotted path of every setting -> its type."""
    leaves: dict[str, Any] = {}
    for name, field in section.model_fields.items():
        if isinstance(field.annotation, type) and issubclass(field.annotation, BaseModel):
            leaves.update(_leaves(field.annotation, f"{prefix}{name}."))
        else:
            leaves[prefix + name] = field.annotation
    return leaves


@cache
def _conditions(section: type[BaseModel], prefix: str = "") -> dict[str, Callable[[Any], bool]]:
    """Dotted path of every setting that says when it counts -> the condition."""
    found: dict[str, Callable[[Any], bool]] = {}
    for name, field in section.model_fields.items():
        if isinstance(field.annotation, type) and issubclass(field.annotation, BaseModel):
            found.update(_conditions(field.annotation, f"{prefix}{name}."))
        for mark in field.metadata:
            if isinstance(mark, CountsWhen):
                found[prefix + name] = mark.condition
    return found
