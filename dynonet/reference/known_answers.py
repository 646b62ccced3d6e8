"""Problems in which it is known beforehand what a controller that learns how to train should say of two channels.

Noise: two clean waves and a channel of white noise, each with a worker of its own that could learn the training windows
by heart, which pays on the waves and harms on the noise. So of the noise's worker, against the mean of the waves':

- its loss weighs less (lr_scale, loss_weight), its step is smaller (lr_scale on the step), its gradient is cut shorter
  (grad_clip), its update is skipped more often (freeze_prob), its weights decay more (wd_scale);
- its input gets through less (gate_masks, from where the gates start), more of its units are dropped (dropout_rate).

Shift (input_noise): two channels that forget, whose level moves after the workers' rows, up in one and down in the
other. What the workers learned draws forecasts back to the old level, so windows should be shifted the way it moved.

In each, one signal alone is adaptive, FiLM and context are off, and nothing but workers forecasts.
"""

from dataclasses import dataclass

import numpy as np
import torch
from torch import Tensor

from dynonet.config import Config
from dynonet.parts import SIGNALS
from dynonet.reference.small import dynonets
from lab.series import Series
from lab.training.trainer import StackTrainer

SEEDS, EPOCHS, ROWS = 10, 8, 400
SETTINGS = {
    "data.seq_len": 16, "data.pred_len": 4, "data.meta_fraction": 0.5, "model.control_hidden": 8,
    "model.worker_hidden": 8, "model.worker_seq_len": 16, "model.moving_average": 5, "model.trend": False,
    "model.mixer": False, "model.decomposition": False, "model.revin": False, "model.film": False,
    "model.context": False, "training.mode": "unrolled", "training.batch_size": 16, "training.lr": 0.005,
    "training.weight_decay": 0.01, "training.schedule": "constant", "training.controller_lr_ratio": 0.5,
    "training.steering_lr_ratio": 1.0, "training.max_epochs": 100, **{f"signals.{name}": "off" for name in SIGNALS},
}  # fmt: skip


@dataclass(frozen=True)
class Case:
    name: str
    signal: str
    more: bool  # the answer: whether the first of the two (the noise; the channel that moves up) has more of it
    settings: tuple[tuple[str, object], ...] = ()


NOISE = [
    Case("lr_scale", "lr_scale", False),
    Case("lr_scale on the step", "lr_scale", False, (("training.lr_scale_on", "step"),)),
    Case("loss_weight", "loss_weight", False),
    Case("wd_scale", "wd_scale", True),
    # A hundredfold loss, so that gradients are longer than the bounds.
    Case("grad_clip", "grad_clip", False, (("signals.lr_scale", 100.0),)),
    Case("freeze_prob", "freeze_prob", True),
    Case("gate_masks", "gate_masks", False),
    Case("dropout_rate", "dropout_rate", True),
]
SHIFT = [Case("input_noise", "input_noise", True)]


@dataclass(frozen=True)
class Answer:
    case: Case
    first: Tensor  # (seeds,), what the controller says of the first of the two, from where it started
    second: Tensor

    @property
    def right(self) -> int:
        """Seeds in which the answer is the known one; a shift must have the sign of its own channel's."""
        gap = self.first - self.second if self.case.more else self.second - self.first
        good = gap > 0
        if self.case in SHIFT:
            good &= (self.first > 0) & (self.second < 0)
        return int(good.sum())


def answers(seeds: int = SEEDS, epochs: int = EPOCHS) -> list[Answer]:
    """What the controller says after some epochs: all seeds of every case side by side."""
    noise, shift = (_learned(*problem, seeds, epochs) for problem in ((NOISE, noise_series()), (SHIFT, shift_series())))
    found = [Answer(case, says[:, 2], says[:, :2].mean(1)) for case, says in noise]
    return found + [Answer(case, says[:, 0], says[:, 1]) for case, says in shift]


def noise_series() -> Series:
    random, hours = np.random.default_rng(0), np.arange(ROWS)
    waves = np.stack([np.sin(2 * np.pi * hours / 12), np.sin(2 * np.pi * hours / 8 + 1)], 1)
    waves += 0.1 * random.standard_normal(waves.shape)
    return _series("noise", ("wave", "other wave", "noise"), np.hstack([waves, random.standard_normal((ROWS, 1))]))


def shift_series() -> Series:
    random, memory = np.random.default_rng(0), 0.9
    values = np.zeros((ROWS, 2))
    for row in range(1, ROWS):
        values[row] = memory * values[row - 1] + np.sqrt(1 - memory**2) * random.standard_normal(2)
    workers = round(0.6 * ROWS * (1 - SETTINGS["data.meta_fraction"]))  # type: ignore[operator]
    values[workers:] += (1.5, -1.5)
    return _series("shift", ("up", "down"), values)


def _series(name: str, channels: tuple[str, ...], values: np.ndarray) -> Series:
    first, second = int(0.6 * ROWS), int(0.8 * ROWS)
    return Series(name, values, channels, (0, first), (first, second), (second, ROWS), name, "made")


def _learned(cases: list[Case], series: Series, seeds: int, epochs: int) -> list[tuple[Case, Tensor]]:
    """Of each case, what its signal has moved by (seeds, C), the mean over validation windows."""
    configs = [
        Config.create({**SETTINGS, **{f"signals.{case.signal}": "adaptive"}, **dict(case.settings), "training.seed": s})
        for case in cases
        for s in range(seeds)
    ]
    trainer = StackTrainer(configs, series)
    before = _says(trainer, cases, seeds)
    for _ in range(epochs):
        trainer.run_epoch()
    after = _says(trainer, cases, seeds)
    return [(case, now - start) for case, now, start in zip(cases, after, before, strict=True)]


def _says(trainer: StackTrainer, cases: list[Case], seeds: int) -> list[Tensor]:
    window, _ = trainer.windows.gather(trainer.validation[None])
    stack = dynonets(trainer)
    with torch.no_grad():
        signals = stack.net.signals(stack.parameters(), window)
    values = [getattr(signals, case.signal).flatten(2).mean(2) for case in cases]
    return [value[place * seeds : (place + 1) * seeds] for place, value in enumerate(values)]
