"""The registry of arms: what each ablation takes out of the network, the claim it tests, and what it takes for granted.

An arm is a set of dotted overrides over a study's baseline. It is refused where the baseline lacks what the arm takes
for granted, and where it would change nothing: an arm that trains the baseline again under another name is a lie.
"""

import re
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from typing import Any

from dynonet.config import Config, check_key
from dynonet.network.model import trained_groups
from dynonet.parts import OFF, SIGNALS
from lab.errors import ConfigError, unknown

FULL = "full"
_NAME = re.compile(r"[A-Za-z][A-Za-z0-9_.+@-]{0,127}")
# What differs between configs without being a difference: a protocol's name only stands for other settings.
_NOT_COMPARED = ("training.protocol", "training.seed")


@dataclass(frozen=True)
class Need:
    """What an arm takes for granted of the baseline."""

    text: str  # completes "needs ..."
    met: Callable[[Config], bool]


WORKERS = Need("the workers, through which it acts (model.workers)", lambda c: c.model.workers)
TREND = Need("the trend layer, or nothing is left that forecasts (model.trend)", lambda c: c.model.trend)
BILEVEL = Need("bi-level training (training.mode: alternating or unrolled)", lambda c: c.training.mode != "joint")
ALTERNATING = Need("alternating training (training.mode)", lambda c: c.training.mode == "alternating")
LEARNS = Need("a controller that learns something", lambda c: bool(trained_groups(c)["controller"]))
NOISE_ENTERS = Need(
    "a place where noise enters the forecast (model.trend, or model.decomposition off)",
    lambda c: c.model.trend or not c.model.decomposition,
)
CLOSED_FORM = Need(
    "a trend layer that starts at the linear baseline (model.trend_start: closed_form)",
    lambda c: c.model.trend and c.model.trend_start == "closed_form",
)
META = Need("a controller that learns from meta rows", lambda c: c.data.controller_rows == "meta")


@dataclass(frozen=True)
class Arm:
    """One ablation. Just one of `removes` and `adds` is set, but for an arm that is only ever a baseline.

    `against` is its baseline arm. An arm that removes is compared as loss(arm) - loss(against), one that adds as
    loss(against) - loss(arm): the effect is that of doing without the part, either way.
    """

    name: str
    claim: str  # one sentence about the part, which the comparison can bear out or not
    overrides: Mapping[str, Any] = field(default_factory=dict)
    removes: str = ""  # what the network does without, or has in the part's place
    adds: str = ""
    needs: tuple[Need, ...] = ()
    against: str = FULL
    attributable: bool = True  # to one part; else several things change together

    def __post_init__(self) -> None:
        if not _NAME.fullmatch(self.name):
            raise ConfigError(f"arm name {self.name!r}: a letter first, then letters, digits or one of _ . + @ -")
        for key in self.overrides:
            check_key(key)

    @property
    def compared(self) -> bool:
        """Whether it is compared with anything; a baseline is not."""
        return bool(self.removes or self.adds)

    def apply(self, base: Config) -> Config:
        """The baseline with this arm's overrides.

        Raises:
            ConfigError: the baseline lacks what the arm needs or is already what the arm would make of it, or the
                result is no valid config.
        """
        for need in self.needs:
            if not need.met(base):
                raise ConfigError(f"arm '{self.name}' needs {need.text}, which the baseline lacks")
        try:
            config = base.override(self.overrides)
        except ConfigError as error:
            raise ConfigError(f"arm '{self.name}': {error}") from None
        if self.compared and self.against == FULL and not difference(base, config):
            now = ", ".join(f"{key} is already {value!r}" for key, value in self.overrides.items())
            raise ConfigError(f"arm '{self.name}' changes nothing against the baseline: {now or 'no overrides'}")
        return config

    def touches(self, base: Config) -> frozenset[str]:
        """The settings that the arm decides: its overrides, what a protocol among them changes, what is read for them.

        What is read no longer is not decided: without a trend it does not matter how it would start.
        """
        changed = difference(base, base.override(self.overrides))
        return frozenset({key for key, (_, now) in changed.items() if now is not None} | set(self.overrides))


def difference(one: Config, other: Config) -> dict[str, tuple[Any, Any]]:
    """The settings that can change a run's numbers and differ, each with both values; None where one does not read it.

    Seeds are left out: they tell replicates apart, not arms.
    """
    left, right = one.canonical(), other.canonical()
    keys = [*left, *(key for key in right if key not in left)]
    pairs = {key: (left.get(key), right.get(key)) for key in keys if key not in _NOT_COMPARED}
    return {key: pair for key, pair in pairs.items() if pair[0] != pair[1]}


def arm_named(name: str) -> Arm:
    """The registered arm. Raises ConfigError with the nearest name."""
    if name not in ARMS:
        raise unknown("arm", name, ARMS)
    return ARMS[name]


# Arms that remove ----------------------------------------------------------------------------------------------------

# What a signal's controller is compared with: the same quantity held at its neutral number.
_SIGNAL_CLAIMS = {
    "lr_scale": "weighing each worker's loss by the controller's lr_scale lowers the test error, against 1",
    "wd_scale": "letting the controller scale each worker's L2 term lowers the test error, against a scale of 1",
    "dropout_rate": "letting the controller set workers' dropout rates lowers the test error, against a rate of 0.1",
    "grad_clip": "letting the controller set workers' largest gradient norms lowers the test error, against 1",
    "freeze_prob": "letting the controller skip workers' updates lowers the test error, against skipping none",
    "gate_masks": "gating each worker's hidden units by the window lowers the test error, against gates held open",
    "loss_weight": "weighing each worker's loss by the controller's loss_weight lowers the test error, against 1",
    "input_noise": "shifting windows in training by the controller's input_noise lowers the test error, against none",
}
_PART_CLAIMS = {
    "revin": "normalising each window by its own mean and deviation (RevIN) lowers the test error",
    "film": "modulating the workers' hidden units by the controller (FiLM) lowers the test error",
    "decomposition": "splitting the window into a moving average and a residual lowers the test error",
    "trend": "the shared linear trend layer lowers the test error of a network that has workers",
    "workers": "the recurrent workers lower the test error of a network that has a linear trend layer",
    "mixer": "mixing channels at the end lowers the test error",
    "context": "giving the workers the controller's context vector lowers the test error",
}
_PART_NEEDS = {"film": (WORKERS,), "context": (WORKERS,), "trend": (WORKERS,), "workers": (TREND,)}
_SIGNAL_NEEDS = {name: (NOISE_ENTERS,) if name == "input_noise" else (WORKERS,) for name in SIGNALS}

_SIGNALS_OFF = {f"signals.{name}": "off" for name in SIGNALS}
_CONTROLLER_OFF = {"model.film": False, "model.context": False, **_SIGNALS_OFF}
_JOINT = {"training.mode": "joint", "data.joint_rows": "worker"}
_JOINT_ALL = {"training.mode": "joint", "data.joint_rows": "worker_and_meta"}

_REMOVING = [
    Arm(FULL, "the baseline, against which arms are compared"),
    *(
        Arm(
            f"no_{part}", _PART_CLAIMS[part], {f"model.{part}": False},
            f"{part}: {OFF[part]}", "", _PART_NEEDS.get(part, ()),
        )
        for part in OFF
    ),
    *(
        Arm(
            f"no_{name}", _SIGNAL_CLAIMS[name], {f"signals.{name}": "off"},
            f"the controller's {name}, which is held at {SIGNALS[name].neutral:g}", "", _SIGNAL_NEEDS[name],
        )
        for name in SIGNALS
    ),
    Arm(
        "no_signals", "the eight signals together lower the test error, against all of them held at neutral",
        _SIGNALS_OFF, "all signals, which are held at their neutral numbers; FiLM and context stay", "", (LEARNS,),
    ),
    Arm(
        "no_controller", "a controller that modulates the workers lowers the test error, against plain workers that "
        "learn from the same rows",
        _CONTROLLER_OFF, "everything the controller does; no part takes over rows that it alone learned from", "",
        (LEARNS,),
    ),
    Arm(
        "no_controller_all_rows", "a controller is a better use of the meta rows than training plain workers on them",
        {**_CONTROLLER_OFF, **_JOINT_ALL},
        "everything the controller does; the workers learn from the meta rows too", "", (LEARNS, BILEVEL),
    ),
    Arm(
        "no_bilevel", "training the controller on held-out rows lowers the test error, against training it with the "
        "workers on the workers' rows",
        _JOINT, "bi-level training: the controller learns with the workers, from their windows", "", (BILEVEL, LEARNS),
    ),
    Arm(
        "no_bilevel_all_rows", "holding the meta rows out for the controller lowers the test error, against training "
        "everything jointly on all training rows",
        _JOINT_ALL, "bi-level training; controller and workers learn from the meta rows too", "", (BILEVEL, LEARNS),
    ),
    Arm(
        "lstm_workers", "GRU workers have a lower test error than LSTM workers of the same width",
        {"model.worker_cell": "lstm"}, "the workers' GRU cells, which become LSTM cells", "", (WORKERS,),
    ),
    Arm(
        "shared_worker", "a worker for each channel has a lower test error than one worker shared by all channels",
        {"model.worker_scope": "all"},
        "the channels' own workers: one serves all, its clip, freezing and decay averaged over channels",
        "", (WORKERS,),
    ),
    Arm(
        "no_closed_form", "starting at the linear baseline lowers the test error, against drawn initial weights",
        {"model.trend_start": "uniform"}, "the closed-form start: trend and workers' output layers are drawn", "",
        (CLOSED_FORM,),
    ),
    Arm(
        "controller_on_validation", "training the controller on rows apart from those that pick epochs lowers the test "
        "error, against training it on those",
        {"data.controller_rows": "validation"},
        "the separation of the controller's rows from those that pick epochs; the workers' rows stay",
        "", (BILEVEL, LEARNS, META),
    ),
    Arm(
        "published_protocol", "the clean protocol has a lower test error than the published one",
        {"training.protocol": "published"},
        "the clean protocol: rows, schedule, stopping rule, order and RevIN's training change together",
        attributable=False,
    ),
]  # fmt: skip


# Arms that add, from the bare linear trend up ------------------------------------------------------------------------

_BARE: dict[str, Any] = {**{f"model.{part}": part == "trend" for part in OFF}, **_SIGNALS_OFF, **_JOINT}
_WORKERS_ON = {**_BARE, "model.workers": True}
_FILM_ON = {**_WORKERS_ON, "model.film": True}


def _adds(part: str, on: Mapping[str, Any], start: Mapping[str, Any], against: str, what: str) -> Arm:
    beside = {"only_trend": "the linear trend alone", "only_workers": "linear trend and plain workers"}
    claim = f"added to {beside.get(against, 'trend, workers and jointly trained FiLM')}, {what} lowers the test error"
    return Arm(f"only_{part}", claim, {**start, **on}, adds=what, against=against)


_ADDING = [
    Arm("only_trend", "the bare linear trend layer, trained jointly, to which parts are added", _BARE),
    _adds("revin", {"model.revin": True}, _BARE, "only_trend", "normalising each window (RevIN)"),
    _adds("mixer", {"model.mixer": True}, _BARE, "only_trend", "mixing channels at the end"),
    _adds("workers", {"model.workers": True}, _BARE, "only_trend", "a plain recurrent worker per channel"),
    _adds("input_noise", {"signals.input_noise": "adaptive"}, _BARE, "only_trend", "the controller's input_noise"),
    # Without workers to read the residual, decomposition would only take detail from the trend layer.
    _adds(
        "decomposition", {"model.decomposition": True}, _WORKERS_ON, "only_workers",
        "splitting the window into moving average and residual",
    ),
    _adds("film", {"model.film": True}, _WORKERS_ON, "only_workers", "FiLM by a controller"),
    _adds("context", {"model.context": True}, _WORKERS_ON, "only_workers", "the controller's context vector"),
    *(
        _adds(name, {f"signals.{name}": "adaptive"}, _WORKERS_ON, "only_workers", f"the controller's {name}")
        for name in SIGNALS
        if name != "input_noise"
    ),
    # Bi-level training needs a controller that learns: FiLM is what it modulates by.
    _adds("bilevel", {"training.mode": "alternating"}, _FILM_ON, "only_film", "bi-level training"),
    Arm(
        "unrolled", "added to alternating training, letting the controller's gradient pass through the workers' step "
        "lowers the test error", {"training.mode": "unrolled"}, "",
        "the look through the workers' step", (ALTERNATING, LEARNS),
    ),
]  # fmt: skip

ARMS: dict[str, Arm] = {arm.name: arm for arm in (*_REMOVING, *_ADDING)}
