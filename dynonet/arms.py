"""The arms of DynoNet: what each takes out of the network or adds to it. Parts and signals are rows of `parts`."""

from collections.abc import Mapping
from typing import Any

from dynonet.parts import PARTS, SIGNALS, WORKERS
from dynonet.traits.trained import trained_groups
from lab.arms import BASELINE, Arm, Need
from lab.errors import unknown

BILEVEL = Need("bi-level training (training.mode: alternating or unrolled)", lambda c: c.training.mode != "joint")
ALTERNATING = Need("alternating training (training.mode)", lambda c: c.training.mode == "alternating")
LEARNS = Need("a controller that learns something", lambda c: bool(trained_groups(c)["controller"]))
CLOSED_FORM = Need(
    "a trend layer that starts at a closed form (model.trend_start)",
    lambda c: c.model.trend and c.model.trend_start != "uniform",
)
META = Need("a controller that learns from meta rows", lambda c: c.data.controller_rows == "meta")


def arm_named(name: str) -> Arm:
    """The registered arm. Raises ConfigError with the nearest name."""
    if name not in ARMS:
        raise unknown("arm", name, ARMS)
    return ARMS[name]


# Arms that remove ----------------------------------------------------------------------------------------------------

_COUNTS = ("no", "one", "two", "three", "four", "five", "six", "seven", "eight", "nine", "ten", "eleven", "twelve")
_SIGNALS_OFF = {f"signals.{name}": "off" for name in SIGNALS}
_CONTROLLER_OFF = {"model.film": False, "model.context": False, **_SIGNALS_OFF}
_JOINT = {"training.mode": "joint", "data.joint_rows": "worker"}
_JOINT_ALL = {"training.mode": "joint", "data.joint_rows": "worker_and_meta"}


def _removes(
    name: str,
    claim: str,
    overrides: Mapping[str, Any],
    noun: str,
    aside: str,
    needs: tuple[Need, ...] = (),
    mark: str = ":",
    attributable: bool = True,
) -> Arm:
    """An arm without what `noun` says; `aside` says what stands in its place."""
    removes = f"{noun}{mark} {aside}"
    return Arm(name, claim, overrides, removes, "", needs, attributable=attributable, noun=noun, aside=aside)


_REMOVING = [
    BASELINE,
    *(
        Arm(
            f"no_{part.name}", part.claim, {f"model.{part.name}": False}, f"{part.name}: {part.off}", "", part.needs,
            noun=part.noun,
        )
        for part in PARTS.values()
    ),
    *(
        _removes(
            f"no_{signal.name}", signal.claim, {f"signals.{signal.name}": "off"}, f"the controller's {signal.name}",
            f"which is held at {signal.neutral:g}", signal.needs, ",",
        )
        for signal in SIGNALS.values()
    ),
    _removes(
        "no_signals",
        f"the {_COUNTS[len(SIGNALS)]} signals together lower the test error, against all of them held at neutral",
        _SIGNALS_OFF, "all signals", "which are held at their neutral numbers; FiLM and context stay", (LEARNS,), ",",
    ),
    _removes(
        "no_controller", "a controller that modulates the workers lowers the test error, against plain workers that "
        "learn from the same rows",
        _CONTROLLER_OFF, "everything the controller does", "no part takes over rows that it alone learned from",
        (LEARNS,), ";",
    ),
    _removes(
        "no_controller_all_rows", "a controller is a better use of the meta rows than training plain workers on them",
        {**_CONTROLLER_OFF, **_JOINT_ALL},
        "everything the controller does", "the workers learn from the meta rows too", (LEARNS, BILEVEL), ";",
    ),
    _removes(
        "no_bilevel", "training the controller on held-out rows lowers the test error, against training it with the "
        "workers on the workers' rows",
        _JOINT, "bi-level training", "the controller learns with the workers, from their windows", (BILEVEL, LEARNS),
    ),
    _removes(
        "no_bilevel_all_rows", "holding the meta rows out for the controller lowers the test error, against training "
        "everything jointly on all training rows",
        _JOINT_ALL, "bi-level training", "controller and workers learn from the meta rows too", (BILEVEL, LEARNS), ";",
    ),
    _removes(
        "lstm_workers", "GRU workers have a lower test error than LSTM workers of the same width",
        {"model.worker_cell": "lstm"}, "the workers' GRU cells", "which become LSTM cells", (WORKERS,), ",",
    ),
    _removes(
        "shared_worker", "a worker for each channel has a lower test error than one worker shared by all channels",
        {"model.worker_scope": "all"}, "the channels' own workers",
        "one serves all, its clip, freezing and decay averaged over channels", (WORKERS,),
    ),
    _removes(
        "no_closed_form", "starting at a closed form lowers the test error, against drawn initial weights",
        {"model.trend_start": "uniform"}, "the closed-form start", "trend and workers' output layers are drawn",
        (CLOSED_FORM,),
    ),
    _removes(
        "controller_on_validation", "training the controller on rows apart from those that pick epochs lowers the test "
        "error, against training it on those",
        {"data.controller_rows": "validation"},
        "the separation of the controller's rows from those that pick epochs", "the workers' rows stay",
        (BILEVEL, LEARNS, META), ";",
    ),
    _removes(
        "published_protocol", "the clean protocol has a lower test error than the published one",
        {"training.protocol": "published"},
        "the clean protocol", "rows, schedule, stopping rule, order and RevIN's training change together",
        attributable=False,
    ),
]  # fmt: skip


# Arms that add, from the bare linear trend up ------------------------------------------------------------------------

_BARE: dict[str, Any] = {**{f"model.{part}": part == "trend" for part in PARTS}, **_SIGNALS_OFF, **_JOINT}
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
    *(
        _adds(name, {f"signals.{name}": "adaptive"}, _BARE, "only_trend", f"the controller's {name}")
        for name, signal in SIGNALS.items()
        if WORKERS not in signal.needs
    ),
    # Without workers to read the residual, decomposition would only take detail from the trend layer.
    _adds(
        "decomposition", {"model.decomposition": True}, _WORKERS_ON, "only_workers",
        "splitting the window into moving average and residual",
    ),
    _adds("film", {"model.film": True}, _WORKERS_ON, "only_workers", "FiLM by a controller"),
    _adds("context", {"model.context": True}, _WORKERS_ON, "only_workers", "the controller's context vector"),
    *(
        _adds(name, {f"signals.{name}": "adaptive"}, _WORKERS_ON, "only_workers", f"the controller's {name}")
        for name, signal in SIGNALS.items()
        if WORKERS in signal.needs
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
