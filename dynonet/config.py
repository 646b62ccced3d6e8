"""The settings of DynoNet: its parts, its signals and how it is trained."""

from collections.abc import Mapping
from typing import TYPE_CHECKING, Annotated, Any, ClassVar, Literal

from pydantic import BeforeValidator, Field, create_model, model_validator

import lab.settings.config
import lab.settings.data
from dynonet.parts import PARTS, SIGNALS, Part
from dynonet.presets import PRESETS
from lab.errors import nearest
from lab.settings.config import RESULTS_VERSION, CountsWhen, Stopping
from lab.settings.data import NEVER, Role, Section, SyntheticConfig
from lab.settings.presets import Presets

# Starts of the trend layer that are maps of the window -> the bar (lab.series.bars) that each is.
BAR_STARTS = {"last": "last_value", "smoothed": "smoothed", "folded": "folded", "mean": "mean_of_ridges"}


class _Sizes(Section):
    control_hidden: int = Field(64, ge=1)  # K, hidden units of the controller's GRU
    worker_hidden: int = Field(8, ge=1)  # D, hidden units of each worker's
    num_layers: int = Field(1, ge=1)  # L, GRU layers of each worker
    worker_seq_len: int = Field(96, ge=1)  # W, last steps of the residual that each worker reads
    moving_average: int = Field(25, ge=1)  # steps of the decomposition's kernel, odd
    dropout: float = Field(0.1, ge=0, lt=1)  # of the channel mixer; the workers' rate is a signal
    # What the trend layer reads: the moving average, where there is a decomposition, as published, or the window.
    trend_reads: Annotated[
        Literal["average", "window"],
        CountsWhen(lambda config: config.model.trend and config.model.decomposition and config.model.window_trend),
    ] = "average"
    # How the trend layer starts: drawn, as published, or where a closed form ends (dynonet.learning.closed_form): the
    # ridge of what it reads, or a bar of that name, with the workers' output layers at 0, so that training starts from
    # the closed form's forecast.
    trend_start: Annotated[
        Literal["uniform", "closed_form", "last", "smoothed", "folded", "mean"],
        CountsWhen(lambda config: config.model.trend and config.model.trend_start != "uniform"),
    ] = "uniform"
    worker_cell: Literal["gru", "lstm"] = "gru"  # published: gru; an lstm has no compiled kernel
    # One worker per channel, or one for all, whose clip, decay and freezing take the mean over channels.
    worker_scope: Literal["channel", "all"] = "channel"

    if TYPE_CHECKING:

        def __getattr__(self, name: str) -> Any: ...  # a switch per part, which ModelConfig adds


def _switch(part: Part) -> Any:
    """Type and default of one part; what `False` means stands in its row."""
    counts = CountsWhen(lambda config: getattr(config.model, part.name))
    return (Annotated[bool, counts], False) if part.later else (bool, True)


if TYPE_CHECKING:
    _Switched = _Sizes
else:
    _Switched = create_model("_Switched", __base__=_Sizes, **{part.name: _switch(part) for part in PARTS.values()})


class ModelConfig(_Switched):
    @model_validator(mode="after")
    def _consistent(self) -> "ModelConfig":
        if self.moving_average % 2 == 0:
            raise ValueError(f"moving_average must be odd, got {self.moving_average}")
        if not (self.trend or self.workers):
            raise ValueError("trend and workers are both off, so nothing forecasts; switch one of them on")
        if self.trend and self.trend_start in BAR_STARTS and not self.window_trend:
            raise ValueError(
                f"trend_start '{self.trend_start}' is a map of the whole window, and the trend layer reads its moving "
                "average; set model.trend_reads=window (or model.decomposition=false)"
            )
        return self

    @property
    def window_trend(self) -> bool:
        """Whether the trend layer reads the window itself."""
        return not self.decomposition or self.trend_reads == "window"


def _signal(name: str) -> Any:
    """Type and default of one signal: 'adaptive', or held at a number; 'off' (False, as files give it) is neutral."""
    signal = SIGNALS[name]
    neutral, (low, high) = signal.neutral, signal.held

    def read(value: Any) -> Any:
        if value is False or value == "off":
            return neutral
        if value is True or value == "on":
            return "adaptive"
        if value == "adaptive":
            return value
        try:
            number = float("nan" if isinstance(value, str) and "_" in value else value)
        except (TypeError, ValueError):
            number = float("nan")
        if not low <= number <= high:
            hint = nearest(str(value), ["adaptive", "off"])
            raise ValueError(f"allowed: 'adaptive', 'off', or a number from {low:g} to {high:g}{hint}")
        return number

    kind = Annotated[Literal["adaptive"] | float, BeforeValidator(read)]
    if not signal.later:
        return kind, "adaptive"
    return Annotated[kind, CountsWhen(lambda config: getattr(config.signals, name) != neutral)], neutral


# As pages and files have had them in turn; others follow.
_IN_ORDER = (
    "lr_scale", "wd_scale", "dropout_rate", "grad_clip", "freeze_prob", "gate_masks", "loss_weight", "input_noise",
)  # fmt: skip
_SIGNAL_FIELDS: dict[str, Any] = {name: _signal(name) for name in dict.fromkeys((*_IN_ORDER, *SIGNALS))}
_Signals: Any = create_model("_Signals", __base__=Section, **_SIGNAL_FIELDS)


class SignalsConfig(_Signals):  # type: ignore[misc]
    """Each signal comes from the controller ('adaptive') or is held at a number ('off' is its neutral number)."""

    if TYPE_CHECKING:

        def __getattr__(self, name: str) -> Any: ...


class DataConfig(lab.settings.data.DataConfig):
    # Which rows the controller learns from: `meta` is the last part of the training rows, apart from the
    # validation rows that pick epochs and hyperparameters; `validation` is what the published code does.
    controller_rows: Literal["meta", "validation"] = "meta"
    worker_rows: Literal["before_meta", "train"] = "before_meta"  # which of the training rows the workers learn from
    meta_fraction: float = Field(0.2, gt=0, lt=1)  # share of the training rows that are meta rows
    # Steps of a season, for the bars; None: what the calendar gives, a day of hourly rows. A start that is a bar of
    # seasons (folded, mean) is another with another one.
    period: Annotated[
        int | None, CountsWhen(lambda config: config.model.trend and config.model.trend_start in ("folded", "mean"))
    ] = Field(None, ge=2)
    # Mode joint: what it learns from.
    joint_rows: Annotated[
        Literal["worker", "worker_and_meta"], CountsWhen(lambda config: config.training.mode == "joint")
    ] = "worker"

    ROLES: ClassVar[tuple[str, ...]] = (
        "train",
        "before_meta",
        "meta",
        "validation",
        "test",
        "worker",
        "controller",
        "joint",
    )

    def role(self, name: str) -> Role:
        """'meta' is the last `meta_fraction` of the training rows, 'before_meta' what comes before; 'worker',
        'controller' and 'joint' are whichever of these the settings choose for them."""
        if name == "controller":
            name = self.controller_rows
        elif name == "joint" and self.joint_rows == "worker_and_meta":
            name = "train"
        elif name in ("worker", "joint"):
            name = self.worker_rows
        if name == "meta":
            return Role(name, "train", last=self.meta_fraction, hint="a larger data.meta_fraction")
        if name == "before_meta":
            return Role(name, "train", but_last=self.meta_fraction, hint="a smaller data.meta_fraction")
        return super().role(name)


class TrainingConfig(lab.settings.config.TrainingConfig):
    """Of `schedule`, the controller's is constant."""

    # Sets the fields of PROTOCOLS together. Only a name for other settings.
    protocol: Annotated[Literal["clean", "published", "custom"], NEVER] = "clean"
    # unrolled: the controller looks through the workers' step (dynonet.learning.unrolled); joint: bi-level off.
    mode: Literal["alternating", "joint", "unrolled"] = "alternating"
    batch_size: int = Field(512, ge=1)  # windows
    lr: float = Field(2e-3, gt=0)  # of the workers, trend and mixer
    weight_decay: float = Field(1e-4, ge=0)  # AdamW's, of the same
    controller_lr_ratio: float = Field(0.05, ge=0)  # controller's learning rate / lr
    controller_wd_ratio: float = Field(10.0, ge=0)  # controller's weight decay / weight_decay
    # Mode unrolled. Every how many steps the controller looks ahead, alternating between: at 1 it goes down on one
    # objective throughout, for some 1.6 times the CPU time of an alternating step.
    unroll_every: Annotated[int, CountsWhen(lambda config: config.training.mode == "unrolled")] = Field(1, ge=1)
    # Learning rate of the heads that steer the update alone / lr. At the other heads' 0.05 their biases would move by
    # 0.15 at most in 100 published epochs, and a sigmoid by next to nothing.
    steering_lr_ratio: Annotated[float, CountsWhen(lambda config: config.training.mode == "unrolled")] = Field(
        0.5, ge=0
    )
    # What lr_scale weighs: a worker's loss, as published, or its step: AdamW hardly feels a factor of the loss.
    lr_scale_on: Annotated[
        Literal["loss", "step"], CountsWhen(lambda config: config.training.lr_scale_on != "loss")
    ] = "loss"
    max_epochs: int = Field(100, ge=1)  # passes over the training rows, at most
    patience: int = Field(20, ge=1)  # epochs without a new best validation MSE
    stopping: Literal["patience", "published"] = "patience"  # published: min(patience, 5), its hidden rule
    # How a step's matrix products round their factors, on a GPU alone: to 11 bits (tf32), to 8 (bf16), or not. What is
    # validated, tested and forecast is float32.
    precision: Annotated[
        Literal["float32", "tf32", "bf16"], CountsWhen(lambda config: config.training.precision != "float32")
    ] = "float32"
    train_revin: bool = True  # the published affine pair is in no optimiser
    controller_order: Literal["shuffled", "in_order"] = "shuffled"  # of the controller's windows, each epoch


PUBLISHED_PATIENCE = 5  # the published code's hidden second rule
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


class Config(lab.settings.config.Config):
    """One run of DynoNet. Build it with `Config.create`, which knows presets, protocols and dotted overrides."""

    data: DataConfig = DataConfig()
    model: ModelConfig = ModelConfig()
    signals: SignalsConfig = SignalsConfig()
    training: TrainingConfig = TrainingConfig()

    forecaster: ClassVar[str] = "dynonet"
    presets: ClassVar[Presets] = PRESETS
    protocols: ClassVar[Mapping[str, Mapping[str, Any]]] = PROTOCOLS
    searchable_data: ClassVar[tuple[str, ...]] = (
        "data.seq_len", "data.meta_fraction", "data.worker_rows", "data.joint_rows",
    )  # fmt: skip
    not_searched: ClassVar[Mapping[str, str]] = {
        "data.controller_rows": (
            "a controller that learns from validation has seen what judges trials; fix it (data.controller_rows=meta)"
        ),
        "training.precision": "it says how a GPU rounds, not what is trained; fix it",
        "training.protocol": "it stands for other settings, data.controller_rows among them; fix it, or vary those",
    }
    decides_windows: ClassVar[tuple[str, ...]] = ("training.mode",)

    @classmethod
    def is_switch(cls, key: str) -> bool:
        return super().is_switch(key) or (key.startswith("signals.") and key in cls.names())

    @property
    def stopping(self) -> Stopping:
        training = self.training
        if training.stopping == "published":
            return Stopping(min(training.patience, PUBLISHED_PATIENCE), batch_mean=True)
        return Stopping(training.patience)

    @property
    def validation_learner(self) -> tuple[str, str] | None:
        """Whatever the protocol's name. In mode joint the controller learns from the workers' rows."""
        learns = self.data.controller_rows == "validation" and self.training.mode != "joint"
        return ("the controller", "data.controller_rows") if learns else None


__all__ = [
    "PROTOCOLS", "RESULTS_VERSION", "Config", "DataConfig", "ModelConfig", "SignalsConfig", "SyntheticConfig",
    "TrainingConfig",
]  # fmt: skip
