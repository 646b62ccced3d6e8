"""What one run is: frozen, validated config sections, dotted overrides, canonical JSON and the content id.

A run is named by a hash of everything that can change its numbers (`run_id`), so two people who ask for the
same training ask for the same run.
"""

import hashlib
import json
import os
from collections.abc import Iterable, Mapping
from pathlib import Path
from typing import Annotated, Any, Literal, get_args

from pydantic import BaseModel, BeforeValidator, Field, ValidationError, model_validator

from dynonet.parts import SIGNALS
from lab.console.printing import one_line
from lab.errors import MOST_WHOLE, ConfigError, nearest, unknown
from lab.settings.data import SOURCE, DataConfig, Section
from lab.settings.overrides import dotted, switched, typed
from lab.settings.yaml import YamlError, dump, read_mapping

# Part of every content id: raise it when a change to the code changes what a run computes.
# 2: initial weights are drawn per entry, so that models of unlike shape share those of the entries that agree.
RESULTS_VERSION = 2


class ModelConfig(Section):
    control_hidden: int = Field(64, ge=1)  # K
    worker_hidden: int = Field(8, ge=1)  # D
    num_layers: int = Field(1, ge=1)  # L, GRU layers of each worker
    worker_seq_len: int = Field(96, ge=1)  # W, last steps of the residual that each worker reads
    moving_average: int = Field(25, ge=1)  # kernel of the decomposition, odd
    dropout: float = Field(0.1, ge=0, lt=1)  # of the channel mixer; the workers' rate is a signal
    # How the trend layer starts: drawn, as published, or where the linear baseline ends (dynonet.baseline.fit_trend),
    # with the workers' output layers at 0, so that training starts from the baseline's forecast.
    trend_start: Literal["uniform", "closed_form"] = "uniform"
    worker_cell: Literal["gru", "lstm"] = "gru"  # published: gru; an lstm has no compiled kernel
    # One worker per channel, or one for all, whose clip, decay and freezing take the mean over channels.
    worker_scope: Literal["channel", "all"] = "channel"
    # Switches, one per part. What each `False` means stands in dynonet.parts.OFF.
    revin: bool = True
    film: bool = True
    decomposition: bool = True
    trend: bool = True
    workers: bool = True
    mixer: bool = True
    context: bool = True

    @model_validator(mode="after")
    def _consistent(self) -> "ModelConfig":
        if self.moving_average % 2 == 0:
            raise ValueError(f"moving_average must be odd, got {self.moving_average}")
        if not (self.trend or self.workers):
            raise ValueError("trend and workers are both off, so nothing forecasts; switch one of them on")
        return self


def _signal(name: str) -> Any:
    """The type of one signal: 'adaptive', or held at a number; 'off' (False, as files give it) is neutral."""

    def read(value: Any) -> Any:
        if value is False or value == "off":
            return SIGNALS[name].neutral
        if value is True or value == "on":
            return "adaptive"
        if value == "adaptive":
            return value
        low, high = SIGNALS[name].held
        try:
            number = float("nan" if isinstance(value, str) and "_" in value else value)
        except (TypeError, ValueError):
            number = float("nan")
        if not low <= number <= high:
            hint = nearest(str(value), ["adaptive", "off"])
            raise ValueError(f"allowed: 'adaptive', 'off', or a number from {low:g} to {high:g}{hint}")
        return number

    return Annotated[Literal["adaptive"] | float, BeforeValidator(read)]


class SignalsConfig(Section):
    """Each signal comes from the controller ('adaptive') or is held at a number ('off' is its neutral number)."""

    lr_scale: _signal("lr_scale") = "adaptive"  # type: ignore[valid-type]  # weighs a worker's loss
    wd_scale: _signal("wd_scale") = "adaptive"  # type: ignore[valid-type]  # weighs a worker's L2 term
    dropout_rate: _signal("dropout_rate") = "adaptive"  # type: ignore[valid-type]
    grad_clip: _signal("grad_clip") = "adaptive"  # type: ignore[valid-type]  # largest gradient norm of a worker
    freeze_prob: _signal("freeze_prob") = "adaptive"  # type: ignore[valid-type]  # chance to skip a worker's update
    gate_masks: _signal("gate_masks") = "adaptive"  # type: ignore[valid-type]  # scales a worker's projected input
    loss_weight: _signal("loss_weight") = "adaptive"  # type: ignore[valid-type]
    input_noise: _signal("input_noise") = "adaptive"  # type: ignore[valid-type]  # added to the window in training


class TrainingConfig(Section):
    protocol: Literal["clean", "published", "custom"] = "clean"  # sets the fields of PROTOCOLS together
    # unrolled: the controller looks through the workers' step (dynonet.learning.unrolled); joint: bi-level off.
    mode: Literal["alternating", "joint", "unrolled"] = "alternating"
    seed: int = Field(12345, ge=0, lt=2**63)
    batch_size: int = Field(512, ge=1)  # windows
    lr: float = Field(2e-3, gt=0)  # of the workers, trend and mixer
    weight_decay: float = Field(1e-4, ge=0)
    controller_lr_ratio: float = Field(0.05, ge=0)  # controller's learning rate / lr
    controller_wd_ratio: float = Field(10.0, ge=0)  # controller's weight decay / weight_decay
    # Mode unrolled. Every how many steps the controller looks ahead, alternating between: at 1 it goes down on one
    # objective throughout, for some 1.6 times the CPU time of an alternating step.
    unroll_every: int = Field(1, ge=1)
    # Learning rate of the heads that steer the update alone / lr. At the other heads' 0.05 their biases would move by
    # 0.15 at most in 100 published epochs, and a sigmoid by next to nothing.
    steering_lr_ratio: float = Field(0.5, ge=0)
    # What lr_scale weighs: a worker's loss, as published, or its step: AdamW hardly feels a factor of the loss.
    lr_scale_on: Literal["loss", "step"] = "loss"
    max_epochs: int = Field(100, ge=1)
    patience: int = Field(20, ge=1)  # epochs without a new best validation MSE
    stopping: Literal["patience", "published"] = "patience"  # published: min(patience, 5), its hidden rule
    schedule: Literal["cosine", "constant"] = "cosine"  # of lr, over max_epochs; the controller's is constant
    train_revin: bool = True  # the published affine pair is in no optimiser
    controller_order: Literal["shuffled", "in_order"] = "shuffled"  # of the controller's windows, each epoch


# A protocol only names settings that are each their own.
PROTOCOLS: dict[str, dict[str, Any]] = {
    "clean": {
        "data.controller_rows": "meta", "data.worker_rows": "before_meta",
        "training.controller_order": "shuffled", "training.schedule": "cosine",
        "training.train_revin": True, "training.stopping": "patience",
    },
    "published": {
        "data.controller_rows": "validation", "data.worker_rows": "train",
        "training.controller_order": "in_order", "training.schedule": "constant",
        "training.train_revin": False, "training.stopping": "published",
    },
}  # fmt: skip


class Config(Section):
    """One run. Build it with `Config.create`, which knows presets, protocols and dotted overrides."""

    data: DataConfig = DataConfig()
    model: ModelConfig = ModelConfig()
    signals: SignalsConfig = SignalsConfig()
    training: TrainingConfig = TrainingConfig()

    @classmethod
    def create(
        cls, settings: Mapping[str, Any] | None = None, *, preset: str | None = None, overrides: Iterable[str] = ()
    ) -> "Config":
        """A config from, weakest first: defaults, a protocol, a preset, settings, overrides.

        Args:
            settings: nested sections or dotted keys, `{"model": {"film": False}}` or `{"model.film": False}`.
            preset: a name in dynonet.presets.PRESETS.
            overrides: `section.key=value` strings (see parse_overrides).
        Raises:
            ConfigError: an unknown key or preset, or a value that is not allowed; names the nearest valid one.
        """
        flat: dict[str, Any] = {}
        if preset is not None:
            from dynonet.presets import PRESETS

            if preset not in PRESETS:
                raise unknown("preset", preset, PRESETS)
            flat.update(PRESETS[preset])
        flat.update(with_own_file(dotted(settings or {})))
        flat.update(with_own_file(parse_overrides(overrides)))
        for key, value in flat.items():
            check_key(key)
            if isinstance(value, bool) and setting_type(key) in (int, float):
                raise ConfigError(f"{key}: got {value}; a number is needed")
            if isinstance(value, str) and setting_type(key) in (int, float):  # '1_0' is no 10
                raise ConfigError(f"{key}: got {one_line(repr(value))}; a number is needed")
            if isinstance(value, int) and abs(value) > MOST_WHOLE:
                raise ConfigError(f"{key}: got {str(value)[:40]}; whole numbers of 64 bits are allowed")
        protocol = str(flat.get("training.protocol", "clean"))  # an unknown one is refused with the other values
        flat = {**PROTOCOLS.get(protocol, {}), **flat}
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
            raise ConfigError(_explain(error)) from None
        return config._with_protocol_named()

    def _with_protocol_named(self) -> "Config":
        """The protocol's name says what the settings are, whatever was asked for."""
        mine = self.flat()
        named = next((n for n, s in PROTOCOLS.items() if all(mine[k] == v for k, v in s.items())), "custom")
        if named == self.training.protocol:
            return self
        return self.model_copy(update={"training": self.training.model_copy(update={"protocol": named})})

    def override(self, settings: Mapping[str, Any] | Iterable[str]) -> "Config":
        """This config with dotted settings (a mapping, or `key=value` strings) replaced, validated anew.

        A new `training.protocol` sets its bundle again; otherwise the bundle's settings stay as they are.
        """
        changes = with_own_file(dotted(settings) if isinstance(settings, Mapping) else parse_overrides(settings))
        base = self.flat()
        asked = changes.get("training.protocol")
        if asked is not None and asked != "custom":
            for key in PROTOCOLS["clean"]:
                base.pop(key)
        return Config.create({**base, **changes})

    def flat(self) -> dict[str, Any]:
        """Every setting by its dotted key, in the order of the sections."""
        return dotted(self.model_dump())

    def canonical(self) -> dict[str, Any]:
        """The settings that can change the numbers of this run, by dotted key.

        Left out: what the identity of the series already says (all of SOURCE but the data set's name), what the mode
        does not read, and the protocol's name, which only stands for other settings. So is a setting that came
        later, where it says what all runs did before: their ids stay.
        """
        flat = self.flat()
        drop = {"training.protocol", *(f"data.{name}" for name in SOURCE if name != "dataset")}
        drop |= {key for key in flat if key.startswith("data.synthetic.")}
        if self.training.mode != "joint":
            drop.add("data.joint_rows")
        if self.training.mode != "unrolled":
            drop |= {"training.unroll_every", "training.steering_lr_ratio"}
        if self.training.lr_scale_on == "loss":
            drop.add("training.lr_scale_on")
        if self.model.trend_start == "uniform" or not self.model.trend:
            drop.add("model.trend_start")
        return {key: value for key, value in flat.items() if key not in drop}

    def shown(self) -> dict[str, Any]:
        """Every setting as pages and W&B show it: of a file its name alone, never a folder of somebody's home."""
        flat = self.flat()
        if self.data.path is not None:
            flat["data.path"] = os.path.basename(self.data.path)
        return flat

    @property
    def learns_from_validation(self) -> bool:
        """Whether anything is trained on the rows that pick epochs and hyperparameters, whatever the protocol's name.

        In mode joint the controller learns from the workers' rows.
        """
        return self.data.controller_rows == "validation" and self.training.mode != "joint"

    def run_id(self, data_sha256: str) -> str:
        """The content id of this run on the series of that identity: 20 hexadecimal digits."""
        content = {"config": self.canonical(), "data": data_sha256, "results_version": RESULTS_VERSION}
        text = json.dumps(content, sort_keys=True, separators=(",", ":"))
        return hashlib.sha256(text.encode()).hexdigest()[:20]

    def to_json(self) -> str:
        return json.dumps(self.model_dump(mode="json"), sort_keys=True, separators=(",", ":"))

    @classmethod
    def from_json(cls, text: str) -> "Config":
        return cls.create(json.loads(text))

    def to_yaml(self) -> str:
        return dump(self.model_dump(mode="json"))

    @classmethod
    def from_yaml(cls, path: str | Path) -> "Config":
        """Reads a config file. Raises ConfigError if it is missing, no mapping, or holds an unknown key."""
        return cls.create(read_yaml(path))


def read_yaml(path: str | Path) -> dict[str, Any]:
    """A file of settings, a space or a study, with every relative `data.path` in it taken from the file's own folder.

    Raises ConfigError, with file and line, for what could be misread.
    """
    content: dict[str, Any] = _anchored(_with_switches(read_mapping(path)), Path(path).absolute().parent)
    return content


def _anchored(settings: Any, folder: Path) -> Any:
    if isinstance(settings, list):
        return [_anchored(item, folder) for item in settings]
    if not isinstance(settings, dict):
        return settings
    content = {key: _anchored(value, folder) for key, value in settings.items()}
    for section, key in _paths_of(content):
        section[key] = os.path.join(folder, os.path.expanduser(section[key]))
    return content


def data_paths(settings: Any) -> list[str]:
    """Every `data.path` in nested settings, as it is written there."""
    if isinstance(settings, list):
        return [path for item in settings for path in data_paths(item)]
    if not isinstance(settings, dict):
        return []
    own = [section[key] for section, key in _paths_of(settings)]
    return own + [path for value in settings.values() for path in data_paths(value)]


def _paths_of(settings: dict[str, Any]) -> list[tuple[dict[str, Any], str]]:
    """Where a mapping itself names a file of data: dotted, or in its section."""
    found = [(settings, "data.path"), (settings.get("data"), "path")]
    return [(section, key) for section, key in found if isinstance(section, dict) and isinstance(section.get(key), str)]


def with_own_file(flat: dict[str, Any]) -> dict[str, Any]:
    """Dotted settings in which a path alone says that the data is a file of one's own."""
    return {"data.dataset": "csv", **flat} if flat.get("data.path") is not None else flat


def parse_overrides(overrides: Iterable[str]) -> dict[str, Any]:
    """`section.key=value` strings as a dotted mapping.

    The value of a setting that is text is taken as it is typed (`null` unsets one that may be unset), and so are the
    items of a list of texts, `[a, "b, c"]`. Any other value is read as YAML: `off` is False, `8` an int.
    """
    flat: dict[str, Any] = {}
    for text in overrides:
        key, equals, value = text.partition("=")
        if not equals or not key:
            raise ConfigError(f"override '{one_line(text)}' is not of the form section.key=value")
        check_key(key)
        try:
            read = typed(value, _LEAVES[key])
        except YamlError as error:
            raise ConfigError(f"override '{one_line(text)}': {error.problem}") from None
        flat[key] = switched(read) if key in _SWITCHES else read
    return flat


def _with_switches(content: Any, prefix: str = "") -> Any:
    """A file's content with the words for true and false read where a switch is set, searched or asked for."""
    if isinstance(content, list):
        return [_with_switches(each) for each in content]
    if not isinstance(content, dict):
        return content
    found = {}
    for key, value in content.items():
        path = f"{prefix}{key}"
        if path in _SWITCHES or key in _SWITCHES or key == "log":  # of a range
            found[key] = _switched(value)
        else:
            found[key] = _with_switches(value, f"{path}." if path in _SECTIONS else "")
    return found


def _switched(value: Any) -> Any:
    """What a switch is set to, or a range of it."""
    if isinstance(value, dict):
        return {
            key: switched(each) if key in ("choice", "log") else _with_switches(each) for key, each in value.items()
        }
    return switched(value)


def _leaves(section: type[BaseModel], prefix: str = "") -> dict[str, Any]:
    leaves: dict[str, Any] = {}
    for name, field in section.model_fields.items():
        if isinstance(field.annotation, type) and issubclass(field.annotation, BaseModel):
            leaves.update(_leaves(field.annotation, f"{prefix}{name}."))
        else:
            leaves[prefix + name] = field.annotation
    return leaves


_LEAVES = _leaves(Config)
KEYS: tuple[str, ...] = tuple(_LEAVES)
_SECTIONS = {key.rpartition(".")[0] for key in KEYS}
_SWITCHES = {key for key in KEYS if _LEAVES[key] is bool or key.startswith("signals.")}


def check_key(key: str) -> None:
    """Raises ConfigError, with the nearest name, if `key` is no dotted path of a setting."""
    if key not in _LEAVES:
        # A section left out is the likeliest slip: 'worker_hidden' for 'model.worker_hidden'.
        same_name = [k for k in KEYS if k.rsplit(".", 1)[-1] == key.rsplit(".", 1)[-1]]
        hint = f"; did you mean '{same_name[0]}'?" if same_name else nearest(key, KEYS)
        raise ConfigError(f"unknown key '{one_line(key)}'{hint}")


def setting_type(key: str) -> type:
    """The scalar type a setting is recorded with: bool, int, float or str (which also serves unions)."""
    annotation = _LEAVES[key]
    return annotation if annotation in (bool, int, float) else str


def _explain(error: ValidationError) -> str:
    lines = []
    for item in error.errors():
        key = ".".join(str(part) for part in item["loc"] if str(part) in _KEY_PARTS)
        if item["type"] == "literal_error":
            allowed = [str(value) for value in get_args(_LEAVES.get(key)) if value is not None]
            shown = [value if any(map(str.isalnum, value)) else repr(value) for value in allowed]
            detail = "allowed: " + ", ".join(shown) + nearest(str(item["input"]), allowed)
        else:
            detail = item["msg"].removeprefix("Value error, ")
            if item["type"] == "string_type":
                detail = "text is needed; in a file of settings, put it in quotes"
        got = "" if isinstance(item["input"], (BaseModel, dict)) else f"got {one_line(repr(item['input']))}; "
        lines.append(f"{key or 'config'}: {got}{detail}")
    return "\n".join(lines)


_KEY_PARTS = {part for key in KEYS for part in key.split(".")}
