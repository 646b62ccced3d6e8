"""Does an arm change what it should? A few full training steps against its baseline arm.

Both arms train with the same seed on one series, in float64, in small batches. An arm whose shared parameters and whose
predictions all stay within 1e-9 (relative) of its baseline arm's is inert: training it would be training the baseline
again. Where its forecaster knows why it changes nothing, within 1e-6: AdamW divides by the size of a gradient, so that
where that is nothing but rounding, rounding moves the parameter. What acts only between epochs (the schedule, the rule
of stopping) is compared over the whole run.

The steps are stretched, so that what bounds gradients shows. Whether that ever acts in training is not asked here: an
arm that is alive and comes to the same is found by its runs.
"""

from collections import defaultdict
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor

from lab.arms import Arm, difference
from lab.registry import forecaster_of
from lab.series import Series
from lab.settings.config import Config
from lab.training.schedule import schedule
from lab.training.trainer import StackTrainer, stack_key

STEPS = 4  # zero-initialised heads pass nothing on at the first, and what they learn shows at the third
BATCH = 8  # windows of a step
TOLERANCE = 1e-9
ROUNDING = 1e-6  # of what is known to change nothing
# Targets are stretched by this, so that workers' gradients are longer than what clipping leaves of them (at published
# only ones in which a bound of gradients can show.
STRETCH = 50.0
MOST_EPOCHS = 2000  # at which a schedule is looked at: of longer ones, so many of them
# They act between epochs, and are compared as they do over the whole run.
BETWEEN_EPOCHS = ("training.patience", "training.stopping", "training.max_epochs", "training.schedule")
# They change what a step is; the batch is set anew for these steps.
SHAPES = ("data.seq_len", "data.pred_len", "training.batch_size")


@dataclass(frozen=True)
class Liveness:
    """How one arm differs from its baseline arm after a few steps."""

    arm: str
    against: str
    cell: str
    parameters: float | None  # largest relative difference of a shared parameter; None where there is none
    predictions: float | None  # largest relative difference of a prediction; None if they are of other shapes
    note: str = ""  # why it is inert, or alive without having shown it

    @property
    def inert(self) -> bool:
        """False also where nothing could be compared."""
        seen = [value for value in (self.parameters, self.predictions) if value is not None]
        within = ROUNDING if self.note else TOLERANCE
        return not self.note.startswith("alive") and bool(seen) and max(seen) <= within

    def text(self) -> str:
        name = f"{self.arm} (cell {self.cell})"
        if self.inert:
            return f"{name}: inert against {self.against}: {self.note or 'the reason is not known; look into it'}"
        if self.parameters is None and self.predictions is None:
            return f"{name}: {self.note}"
        parts = {"parameters": self.parameters, "predictions": self.predictions}
        shown = ", ".join(f"{part} by up to {value:.1e}" for part, value in parts.items() if value is not None)
        return f"{name}: alive against {self.against}: {shown} (relative)" + (f"; {self.note}" if self.note else "")


@dataclass(frozen=True)
class Probe:
    """One arm after a few steps."""

    parameters: Mapping[str, Tensor]  # by name, float64
    predictions: Tensor  # (C, H, windows), on a few validation windows


def probe(configs: Sequence[Config], series: Series, steps: int = STEPS, batch: int = BATCH) -> list[Probe]:
    """Trains each config for a few steps with its own seed, those of one shape side by side.

    Raises:
        DataError: a split holds no window.
    """
    small = [config.override({"training.batch_size": batch}) for config in configs]
    groups: dict[Any, list[int]] = defaultdict(list)
    for place, config in enumerate(small):
        groups[stack_key(config)].append(place)
    probes: dict[int, Probe] = {}
    for places in groups.values():
        trainer = StackTrainer([small[place] for place in places], series.stretched(STRETCH), dtype=torch.float64)
        # What the rarest step has taught shows at the next ones.
        rarest = max(trainer.forecaster.rarest(small[place]) for place in places)
        probes |= zip((places[i] for i in trainer.active), _steps(trainer, steps + rarest - 1), strict=True)
    return [probes[place] for place in range(len(configs))]


def _steps(trainer: StackTrainer, steps: int) -> list[Probe]:
    """Probes in the order of the stack's places."""
    for step in range(steps):
        if step % trainer.steps == 0:  # a short series has epochs of fewer steps
            trainer.begin_epoch()
        trainer.step(step % trainer.steps)
    weights = trainer.stack.weights(range(len(trainer.active)))
    forecast = trainer.forecast(trainer.validation[:: max(1, len(trainer.validation) // BATCH)][:BATCH])
    return [Probe(named, forecast[place].clone()) for place, named in enumerate(weights)]


def compare(arm: Arm, against: str, cell: str, configs: tuple[Config, Config], probes: tuple[Probe, Probe]) -> Liveness:
    """What the steps of an arm and its baseline arm say about it."""
    config, base = configs
    changed = difference(config, base)
    one, other = probes
    shared = [n for n, t in one.parameters.items() if n in other.parameters and t.shape == other.parameters[n].shape]
    # AdamW moves an entry by about lr a step, so that where all are smaller the learning rate is the scale.
    floor = base.training.lr
    apart = [_relative(one.parameters[name], other.parameters[name], floor) for name in shared]
    parameters = max(apart, default=None)
    predictions = None
    if one.predictions.shape == other.predictions.shape:
        predictions = _relative(one.predictions, other.predictions, 0.0)
    note, moved = "", max(value for value in (parameters, predictions, 0.0) if value is not None)
    if moved <= TOLERANCE:
        if acts := _between_epochs(config, base):
            keys = sorted(set(changed) & set(BETWEEN_EPOCHS)) or sorted(changed)
            note = f"alive: {', '.join(keys)} {acts}, which no step shows"
        elif shown := sorted(set(changed) & set(SHAPES)):
            note = f"alive: it changes {', '.join(shown)}, and steps were taken with the same for both"
        else:
            note = forecaster_of(base).why_inert(arm, base, config) or _never_ends(config, base)
    elif moved <= ROUNDING:
        note = forecaster_of(base).why_inert(arm, base, config) or ""
    return Liveness(arm.name, against, cell, parameters, predictions, note)


def _between_epochs(config: Config, base: Config) -> str:
    """What differs in what acts only between epochs, over the whole run; "" where nothing does.

    A few steps of a long epoch cannot show a schedule: theirs differ by less than rounding does.
    """
    if _stopping(config) != _stopping(base):
        return "decides when training ends"
    ours, theirs = _rates(config), _rates(base)  # of as many epochs
    apart = ((ours - theirs).abs() / torch.maximum(ours, theirs)).max().item()
    return f"changes the learning rate from epoch to epoch, by up to {apart:.0%}" if apart > TOLERANCE else ""


def _stopping(config: Config) -> tuple[int, int, bool]:
    """The rule by which a run ends: a patience that outlasts the run never does (see `Run.record`)."""
    rule, epochs = config.stopping, config.training.max_epochs
    return epochs, min(rule.patience, epochs), rule.batch_mean


def _never_ends(config: Config, base: Config) -> str:
    patience = [each.training.patience for each in (config, base)]
    if patience[0] == patience[1] or min(patience) < config.training.max_epochs:
        return ""
    return f"no patience of {min(patience)} epochs or more ends a run of {config.training.max_epochs}"


def _rates(config: Config) -> Tensor:
    """(epochs, 2): the learning rate at the beginning and in the middle of every epoch that a run may have."""
    epochs = config.training.max_epochs
    chosen = torch.linspace(1, epochs, min(epochs, MOST_EPOCHS)).round().int().tolist()
    return config.training.lr * torch.stack([schedule([config.training], epoch, 2)[:, 0] for epoch in chosen])


def _relative(one: Tensor, other: Tensor, floor: float) -> float:
    """The largest difference, relative to the largest entry (or `floor`); equal infinities don't differ."""
    apart = torch.where(one == other, torch.zeros_like(one), (one - other).abs())
    size = torch.cat([one.flatten(), other.flatten()]).abs()
    scale = max(size[size.isfinite()].max().item() if size.isfinite().any() else 0.0, floor)
    largest = apart.max().item() if apart.numel() else 0.0
    return 0.0 if largest == 0 else largest / scale if scale > 0 else float("inf")
