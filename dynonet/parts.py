"""Every part and every signal of the network, and what each is when it is off. The one table of switches.

A new part of the network is one row here and one branch in the forward pass (`network/model.py`, which asks
`parts["name"]`); a new signal one row here and one place that reads `signals["name"]`. Settings, arms, sentences of
reports, head of the controller, records and the check of inert arms are made from the row. With `later` set, every run
on record keeps its id, its weights and its checkpoint.
"""

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any, Literal

from lab.arms import Need

WORKERS = Need("the workers, through which it acts (model.workers)", lambda c: c.model.workers)
TREND = Need("the trend layer, or nothing is left that forecasts (model.trend)", lambda c: c.model.trend)
NOISE_ENTERS = Need(
    "a place where noise enters the forecast (model.trend, or model.decomposition off)",
    lambda c: c.model.trend or not c.model.decomposition,
)


@dataclass(frozen=True)
class Part:
    """A switch `model.<name>`."""

    name: str
    noun: str  # in a sentence
    off: str  # what the network does where it is off
    claim: str  # that an ablation tests
    needs: tuple[Need, ...] = ()  # of a network that it is taken out of
    later: bool = False  # came when there were runs on record: off by default, and then in no id


@dataclass(frozen=True)
class Signal:
    """One number per window and channel (or per hidden unit too) that the controller can set: `signals.<name>`."""

    name: str
    claim: str  # that an ablation tests
    neutral: float  # held at this number, the signal is off
    low: float  # adaptive range: low + (high - low) * sigmoid(linear)
    high: float
    held: tuple[float, float]  # numbers it may be held at
    acts_on: Literal["forward", "loss", "update"]  # forward: enters the prediction; the others weigh workers' training
    needs: tuple[Need, ...] = (WORKERS,)  # of a network that it is taken out of
    felt: Callable[[Any], Any] = WORKERS.met  # of a config: whether it acts on something, and so can learn
    unfelt: Callable[[Any], str] = lambda config: ""  # why it does not, unless that the workers are off
    per_unit: bool = False  # one number per hidden unit of a channel's worker
    odd: bool = False  # high * tanh(linear), low being -high: a head that starts at 0 starts it at 0
    starts_neutral: bool = True  # at its neutral number for every window, before it has learned anything
    unrolled_start: float | None = None  # in mode unrolled, where its neutral number would be a dead end
    later: bool = False  # came when there were runs on record: off by default, and then in no id and without a head


_PARTS = (
    Part(
        "revin", "RevIN", "the window is used as it is: nothing is subtracted or divided, before or after",
        "normalising each window by its own mean and deviation (RevIN) lowers the test error",
    ),
    Part(
        "film", "FiLM", "gamma 1, beta 0",
        "modulating the workers' hidden units by the controller (FiLM) lowers the test error", (WORKERS,),
    ),
    Part(
        "decomposition", "the decomposition", "trend layer and workers both read the whole normalised window",
        "splitting the window into a moving average and a residual lowers the test error",
    ),
    Part(
        "trend", "the trend layer", "the trend layer adds 0",
        "the shared linear trend layer lowers the test error of a network that has workers", (WORKERS,),
    ),
    Part(
        "workers", "the recurrent workers", "the workers add 0",
        "the recurrent workers lower the test error of a network that has a linear trend layer", (TREND,),
    ),
    Part(
        "mixer", "the channel mixer", "no channel sees another: the mixer adds 0",
        "mixing channels at the end lowers the test error",
    ),
    Part(
        "context", "the context vector",
        "the controller's context vector is 0 where the workers' output layer reads it",
        "giving the workers the controller's context vector lowers the test error", (WORKERS,),
    ),
)  # fmt: skip

# Where freeze_prob starts in mode unrolled: at the published 0 its logit is minus infinity, which no gradient moves.
FREEZE_START = 0.05
# The order is that of the controller's heads. freeze_prob's neutral 0 is its bound, so its head's bias is minus
# infinity; gate_masks has no neutral start (a default linear layer under a sigmoid).
_SIGNALS = (
    Signal(
        "lr_scale", "weighing each worker's loss by the controller's lr_scale lowers the test error, against 1",
        1.0, 0.01, 5.0, (0.0, 100.0), "loss",
        felt=lambda c: c.training.lr_scale_on == "loss" or c.model.workers,
    ),
    Signal(
        "wd_scale",
        "letting the controller scale each worker's L2 term lowers the test error, against a scale of 1",
        1.0, 0.1, 10.0, (0.0, 1000.0), "update",
        felt=lambda c: c.model.workers and c.training.weight_decay > 0,
        unfelt=lambda c: "" if c.training.weight_decay else "scales a weight decay of 0",
    ),
    Signal(
        "dropout_rate",
        "letting the controller set workers' dropout rates lowers the test error, against a rate of 0.1",
        0.1, 0.0, 0.7, (0.0, 0.99), "forward",
    ),
    Signal(
        "grad_clip",
        "letting the controller set workers' largest gradient norms lowers the test error, against 1",
        1.0, 0.1, 2.0, (1e-6, 1e6), "update",
    ),
    Signal(
        "loss_weight", "weighing each worker's loss by the controller's loss_weight lowers the test error, against 1",
        1.0, 0.5, 1.5, (0.0, 100.0), "loss", felt=lambda c: True,
    ),
    Signal(
        "freeze_prob",
        "letting the controller skip workers' updates lowers the test error, against skipping none",
        0.0, 0.0, 1.0, (0.0, 1.0), "update", unrolled_start=FREEZE_START,
    ),
    Signal(
        "input_noise",
        "shifting windows in training by the controller's input_noise lowers the test error, against none",
        # Decomposition leaves no noise in what the workers read (see DynoNetStack._workers).
        0.0, -0.5, 0.5, (-10.0, 10.0), "forward", (NOISE_ENTERS,), felt=NOISE_ENTERS.met, odd=True,
        unfelt=lambda c: "" if NOISE_ENTERS.met(c) else (
            "is constant in time, and decomposition leaves nothing of it in what the workers read"
        ),
    ),
    Signal(
        "gate_masks",
        "gating each worker's hidden units by the window lowers the test error, against gates held open",
        1.0, 0.0, 1.0, (0.0, 100.0), "forward", per_unit=True, starts_neutral=False,
    ),
)  # fmt: skip

PARTS: dict[str, Part] = {part.name: part for part in _PARTS}
SIGNALS: dict[str, Signal] = {signal.name: signal for signal in _SIGNALS}
OFF: dict[str, str] = {part.name: part.off for part in _PARTS}  # what the network does where a part is off


def later_heads(config: Any) -> tuple[str, ...]:
    """The signals of these settings that came later and have a head."""
    return tuple(s.name for s in SIGNALS.values() if s.later and getattr(config.signals, s.name) == "adaptive")
