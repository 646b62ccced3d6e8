"""Promises of how a forecaster trains and forecasts."""

import io
import json
import tempfile
from pathlib import Path
from typing import Any

import numpy as np
import torch

from lab.contract.report import expect
from lab.contract.subject import CPU, Subject, apart, train, with_rows
from lab.series import Series, window_starts
from lab.settings.config import Config
from lab.training.checkpoint import join_states, split_state
from lab.training.run import Run
from lab.training.trainer import StackTrainer, evaluate_weights

ROUNDING = {torch.float32: 1e-5, torch.float64: 1e-9}  # relative, after one step and after five
STEPS = {torch.float32: 1, torch.float64: 5}


def loss_goes_down(subject: Subject) -> str:
    """On the synthetic series, in a few epochs; training and validation are finite."""
    run = subject.trainer([subject.base]).train()[0]
    expect(run.status == "complete", f"the run is {run.status} after {run.epochs} epochs, expected complete")
    losses = [row["train_loss"] for row in run.history]
    shown = " > ".join(f"{loss:.4f}" for loss in losses)
    expect(losses[-1] < losses[0], f"training loss went {shown}, expected a lower one at the end")
    return f"training {losses[0]:.4f} to {losses[-1]:.4f} in {len(losses)} epochs, validation {run.best['mse']:.4f}"


def alone_as_stacked(subject: Subject) -> str:
    """Weights, losses and forecasts agree up to rounding, whatever others do to torch's own generator."""
    worst: dict[torch.dtype, float] = {}
    configs = subject.unlike()
    for dtype, steps in STEPS.items():
        together = subject.stack(configs, dtype=dtype)
        at_first = together.weights(range(len(configs)))
        train(together, min(steps, together.steps))
        inputs, _ = subject.windows(configs[0], dtype=dtype).inputs(torch.arange(3)[None])
        stacked, _ = together.forecast(inputs)
        for place, config in enumerate(configs):
            torch.manual_seed(place + 7)
            alone = subject.stack([config], dtype=dtype)
            mine = f"model {place + 1} of {len(configs)}, {dtype}".replace("torch.", "")
            far = apart(alone.weights([0])[0], at_first[place])
            expect(far == 0, f"{mine}: initial weights differ by {far:.1e} alone and stacked, expected none")
            train(alone, min(steps, alone.steps))
            after = together.weights([place])[0]
            expect(apart(at_first[place], after) > 0, f"{mine}: no weight has moved after {steps} steps")
            named = {"loss": alone.losses[:, 0]}, {"loss": together.losses[:, place]}
            forecast = {"forecast": alone.forecast(inputs)[0][0]}, {"forecast": stacked[place]}
            pairs = {"weights": (alone.weights([0])[0], after), "losses": named, "forecasts": forecast}
            for what, (one, other) in pairs.items():
                far = apart(one, other, floor=config.training.lr)
                worst[dtype] = max(worst.get(dtype, 0.0), far)
                expect(
                    far <= ROUNDING[dtype],
                    f"{mine}: {what} differ by {far:.1e} (relative) alone and stacked after {steps} steps, expected at "
                    f"most {ROUNDING[dtype]:g}",
                )
    return (
        f"{len(configs)} unlike models within {worst[torch.float32]:.0e} after a step of float32, "
        f"{worst[torch.float64]:.0e} after five of float64"
    )


def resumes_exactly(subject: Subject) -> str:
    """From a checkpoint at an epoch's end, cut into models and joined again, the same numbers to the bit."""
    configs = [config.override({"training.max_epochs": 3, "training.patience": 9}) for config in subject.unlike()[:3]]
    through, stopped = subject.trainer(configs), subject.trainer(configs)
    for trainer in (through, stopped):
        trainer.run_epoch()
    kept = _saved(stopped.state_dict())
    for name, tensor in kept["stack"].items():
        expect(len(tensor) == len(configs), f"state: {name} has {len(tensor)} entries first, expected one a model")
    joined = join_states(list(split_state(kept).values()))
    for trainer in (through, stopped):
        trainer.run_epoch()  # what goes on changes no checkpoint
    again = subject.trainer(configs)
    again.load_state_dict(joined)
    again.run_epoch()
    _same(stopped, again, "a checkpoint of epoch 1")
    for trainer in (through, again):
        trainer.run_epoch()
    _same(through, again, "a checkpoint of epoch 1 and two further epochs")
    return f"{len(configs)} models, cut and joined at epoch 1, are the same to the bit at epochs 2 and 3"


def _saved(state: dict[str, Any]) -> dict[str, Any]:
    """A checkpoint as it comes back from a file."""
    buffer = io.BytesIO()
    torch.save(state, buffer)
    buffer.seek(0)
    loaded: dict[str, Any] = torch.load(buffer, weights_only=True)
    return loaded


def _same(one: StackTrainer, other: StackTrainer, after: str) -> None:
    for mine, theirs in zip(_by_id(one), _by_id(other), strict=True):
        for row, again in zip(mine.history, theirs.history, strict=True):
            unlike = [key for key in row if row[key] != again.get(key)]
            expect(not unlike, f"{', '.join(unlike)} of epoch {row['epoch']:g} differ after {after}, expected none")
        assert mine.weights is not None and theirs.weights is not None
        far = apart(mine.weights, theirs.weights)
        expect(far == 0, f"best weights differ by {far:.1e} after {after}, expected none")


def _by_id(trainer: StackTrainer) -> list[Run]:
    return sorted(trainer.runs, key=lambda run: run.run)


def neighbours_change_nothing(subject: Subject) -> str:
    """Some are taken out in the middle of an epoch, one diverges: the others go on as they would alone."""
    dtype, configs = torch.float64, subject.unlike()[:3]
    steps = min(4, subject.stack(configs[:1], dtype=dtype).steps)
    together = train(subject.stack(configs, dtype=dtype), steps // 2)
    stay = [place for place in range(len(configs)) if place != 1]
    together.keep(stay)
    train(together, steps, first=steps // 2)
    worst = 0.0
    for place, who in enumerate(stay):
        alone = train(subject.stack([configs[who]], dtype=dtype), steps)
        far = apart(alone.weights([0])[0], together.weights([place])[0], floor=configs[who].training.lr)
        lost = apart({"loss": alone.losses[:, 0]}, {"loss": together.losses[:, place]})
        off = float(np.max([far, lost]))
        worst = max(worst, off)
        expect(
            off <= 10 * ROUNDING[dtype],
            f"a model whose neighbour was taken out after {steps // 2} steps is {off:.1e} (relative) from "
            f"itself alone at step {steps}, expected at most {10 * ROUNDING[dtype]:g}",
        )
    good = subject.base.override({"training.max_epochs": 2})
    wild = good.override({"training.seed": 77, "training.lr": 1e300})
    beside = subject.trainer([wild, good], dtype=dtype)
    beside.train()
    by_itself = subject.trainer([good], dtype=dtype)
    by_itself.train()
    became = beside.runs[0].status
    mine, theirs = by_itself.runs[0], beside.runs[1]
    expect(theirs.status == "complete", f"beside a model that {became} another is {theirs.status}, expected complete")
    off_by = [
        abs(row[key] - again[key]) / max(abs(row[key]), 1e-9)
        for row, again in zip(mine.history, theirs.history, strict=True)
        for key in row
    ]
    far = float(np.max(off_by))
    expect(far <= 1e-6, f"beside a model that {became} another's numbers differ by {far:.1e}, expected at most 1e-06")
    return f"one taken out of {len(configs)}: {worst:.0e} (relative); beside one that {became}: {far:.0e}"


def reads_its_windows_alone(subject: Subject) -> str:
    """Rows outside the windows of its learners, and then of validation, are no numbers, and nothing is any other."""
    config = subject.base.override({"training.max_epochs": 2})
    series, learners = subject.series, subject.forecaster.learners(config)
    roles = dict.fromkeys(learners.values())
    plain = train(subject.stack([config]), steps := min(20, subject.stack([config]).steps))
    poisoned = train(subject.stack([config], _only(series, config, roles)), steps)
    far = apart(plain.weights([0])[0], poisoned.weights([0])[0])
    expect(
        far == 0,
        f"weights differ by {far:.1e} after {steps} steps where only rows of {', '.join(roles)} are numbers, expected "
        "none: training reads other rows",
    )
    known = _only(series, config, [*roles, "validation"])
    one, other = subject.trainer([config]), subject.trainer([config], known)
    for trainer in (one, other):
        trainer.train()
    _same(one, other, "rows outside training and validation were made no numbers")
    for key, values in subject.ends().items():
        if "choice" in subject.forecaster.space[key] and not key.startswith("data."):
            for value in values:
                chosen = subject.varied({**subject.conditions(key), key: value})
                made = train(subject.stack([chosen], _only(subject.series_of(chosen), chosen, [
                    *subject.forecaster.learners(chosen).values(), "validation"])), 1)  # fmt: skip
                expect(made.losses.isfinite().all(), f"{key}={value} reads rows outside training and validation")
    hidden = int(np.isnan(known.scaled[:, 0]).sum())
    return f"{', '.join(roles)} and validation alone, {hidden} other rows without numbers"


def _only(series: Series, config: Config, roles: Any) -> Series:
    """The series with numbers in the windows of these roles alone."""
    scaled = np.full_like(series.scaled, np.nan)
    for role in roles:
        for start in window_starts(series, config.data, role):
            rows = slice(start, start + config.data.seq_len + config.data.pred_len)
            scaled[rows] = series.scaled[rows]
    return with_rows(series, scaled)


def sees_no_future(subject: Subject) -> str:
    """A forecast is the same whatever comes after its window, and whichever other windows it is made with."""
    config, series = subject.base, subject.series
    stack = train(subject.stack([config], dtype=torch.float64), 3)
    starts = torch.as_tensor(window_starts(series, config.data, "validation")[:4].copy())
    inputs, _ = subject.windows(config, dtype=torch.float64).inputs(starts[:1][None])
    before, _ = stack.forecast(inputs)
    later = series.scaled.copy()
    later[int(starts[0]) + config.data.seq_len :] += 100.0
    other = subject.stack([config], with_rows(series, later), dtype=torch.float64)
    other.restore(stack.state())
    after, _ = other.forecast(inputs)
    far = apart({"forecast": before}, {"forecast": after})
    expect(far == 0, f"a forecast differs by {far:.1e} where the rows after its window do, expected none")
    many, _ = subject.windows(config, dtype=torch.float64).inputs(starts[None])
    beside, _ = stack.forecast(many)
    far = apart({"forecast": before}, {"forecast": beside[..., :1]})
    expect(far <= ROUNDING[torch.float64], f"a forecast differs by {far:.1e} where other windows are forecast with it")
    return f"the rows after a window change nothing; other windows of a batch {far:.0e}"


def forecasts_from_weights(subject: Subject) -> str:
    """`network` of the best weights forecasts as the stack did, from a file too, and has the recorded error."""
    configs, channels = subject.unlike()[:2], subject.series.num_channels
    trainer = subject.trainer([config.override({"training.max_epochs": 2}) for config in configs])
    trainer.train_epoch()
    weights = trainer.stack.weights(range(len(trainer.active)))
    expect(
        all(tensor.device == CPU and not tensor.requires_grad for tensor in weights[0].values()),
        "weights are on another device or want gradients, expected copies on the CPU",
    )
    inputs, _ = trainer.windows.inputs(torch.as_tensor(trainer.validation[:5])[None])
    stacked = trainer.stack.forecast(inputs)[0]
    ordered = [run.config for run in trainer.running]
    network = subject.forecaster.network(ordered, [_saved(each) for each in weights], channels, CPU)
    far = apart({"forecast": stacked}, {"forecast": network.forecast(inputs)[0]})
    expect(far <= ROUNDING[torch.float32], f"network forecasts {far:.1e} (relative) from its stack, expected the same")
    trainer.validate()  # the epoch's own end, which this trainer has not come to
    run = subject.trainer([subject.base.override({"training.max_epochs": 2})]).train()[0]
    assert run.weights is not None
    again = evaluate_weights(run.config, run.weights, subject.series, "validation").mse[0]
    off = abs(float(again) - run.best["mse"]) / run.best["mse"]
    expect(off <= 1e-5, f"best weights have a validation MSE {off:.1e} (relative) from the recorded one")
    with tempfile.TemporaryDirectory() as folder:
        path = Path(folder) / "best.pt"
        about = {"epoch": run.best_epoch, "metrics": json.loads("{}"), "config": run.config.to_json()}
        subject.forecaster.save(run.config, run.weights, channels, path, about)
        expect(path.is_file() and path.stat().st_size, "save wrote no file")
    return f"within {far:.0e} of the stack, validation MSE within {off:.0e} of the recorded one"
