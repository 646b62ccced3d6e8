"""Stack invariance: a model alone and among others gives the same draws to the bit and the same numbers."""

import itertools
import math
import random
from collections.abc import Iterator
from typing import Any

import pytest
import torch
from torch import Tensor

import dynonet.learning.steps
import dynonet.learning.update
import dynonet.network.model
import dynonet.network.workers
import lab.series.windows
from dynonet.config import Config
from dynonet.learning.steps import alternating_step
from dynonet.parts import OFF, SIGNALS
from dynonet.reference.small import draws_of, make_batch, make_group, make_series, off_setting, small_config
from lab.compute.draws import Key
from lab.errors import ConfigError
from lab.training.run import Run
from lab.training.trainer import StackTrainer

STEPS = 5


def random_stack(seed: int) -> tuple[list[Config], int, int]:
    """Configs of one random shape that differ in all that may differ, the channels, and rows for five steps."""
    r = random.Random(seed)
    batch, seq_len, pred_len = r.randint(3, 9), r.randint(6, 30), r.randint(1, 9)
    channels = r.randint(1, 5)
    shared: dict[str, Any] = {
        "data.seq_len": seq_len, "data.pred_len": pred_len, "training.batch_size": batch,
        "model.control_hidden": r.randint(1, 9), "model.worker_hidden": r.randint(1, 6),
        "model.num_layers": r.randint(1, 3), "model.worker_seq_len": r.randint(1, 35),
        "model.moving_average": r.choice([1, 5, 25]),
        "data.worker_rows": "train", "data.controller_rows": r.choice(["meta", "validation"]),
        "data.meta_fraction": 0.6, "training.controller_order": r.choice(["shuffled", "in_order"]),
        "training.max_epochs": 3,
    }  # fmt: skip
    both = r.random() < 0.2  # joint over worker and meta rows: then the whole stack is joint
    configs = []
    for _ in range(r.randint(2, 5)):
        own: dict[str, Any] = {
            "training.mode": "joint" if both else r.choice(["alternating", "joint", "unrolled"]),
            "training.unroll_every": r.choice([1, 2]), "training.lr_scale_on": r.choice(["loss", "step"]),
            "data.joint_rows": "worker_and_meta" if both else "worker",
            "training.seed": r.choice([r.randrange(2**63), 5]),
            "training.lr": 10 ** r.uniform(-4, -1), "training.weight_decay": r.choice([0, 1e-4, 0.3]),
            "training.controller_lr_ratio": r.choice([0, 0.05, 1]), "training.train_revin": r.random() < 0.5,
            "training.schedule": r.choice(["cosine", "constant"]),
            "training.stopping": r.choice(["patience", "published"]), "model.dropout": r.choice([0, 0.1, 0.6]),
            **{f"model.{name}": r.random() < 0.75 for name in OFF},
        }  # fmt: skip
        if not (own["model.trend"] or own["model.workers"]):
            own["model.trend"] = True
        for name, signal in SIGNALS.items():
            held = r.uniform(signal.low, signal.high) if name != "freeze_prob" else 0.4
            own[f"signals.{name}"] = r.choice(["adaptive", "adaptive", "off", held])
        configs.append(Config.create({**shared, **own}))
    windows = STEPS * batch + r.randint(0, batch - 1)
    train = max(windows + seq_len + pred_len - 1, math.ceil((seq_len + pred_len) / 0.5))
    return configs, channels, math.ceil(train / 0.6)


class Recorder:
    """Every draw of a training by its key, which names seed, purpose and place."""

    def __init__(self, patch: pytest.MonkeyPatch):
        self.seen: dict[tuple[int, int, tuple], Tensor] = {}
        for module, name in (
            (dynonet.network.workers, "uniform"), (dynonet.network.model, "uniform"),
            (dynonet.learning.update, "uniform"),
            (lab.series.windows, "permutations"),
        ):  # fmt: skip
            patch.setattr(module, name, self.recording(getattr(module, name)))

    def recording(self, draw: Any) -> Any:
        def wrapped(keys: Key, shape: Any) -> Tensor:
            drawn = draw(keys, shape)
            for first, second, values in zip(keys[0].tolist(), keys[1].tolist(), drawn, strict=True):
                self.seen[first, second, tuple(values.shape)] = values
            return drawn

        return wrapped

    def take(self) -> dict[tuple[int, int, tuple], Tensor]:
        seen, self.seen = self.seen, {}
        return seen


def entries(trainer: StackTrainer, run: int) -> dict[str, Tensor]:
    place = [r.run for r in trainer.running].index(trainer.runs[run].run)
    return trainer.stack.weights([place])[0]


def assert_near(ours: dict[str, Tensor], theirs: dict[str, Tensor], tolerance: float) -> None:
    """Each entry within the tolerance of its own scale."""
    for name, expected in theirs.items():
        assert torch.equal(torch.isfinite(ours[name]), torch.isfinite(expected)), name
        finite = torch.isfinite(expected)
        a, b = ours[name][finite].double(), expected[finite].double()
        if len(b):
            assert (a - b).abs().max() <= tolerance * max(b.abs().max().item(), 1e-30), name


def assert_same_record(ours: Run, theirs: Run, tolerance: float = 1e-9) -> None:
    assert (ours.status, ours.epochs, ours.best_epoch) == (theirs.status, theirs.epochs, theirs.best_epoch)
    assert len(ours.history) == len(theirs.history)
    for mine, other in zip(ours.history, theirs.history, strict=True):
        assert mine == pytest.approx(other, rel=tolerance, abs=1e-12)
    assert (ours.weights is None) == (theirs.weights is None)
    if ours.weights is not None and theirs.weights is not None:
        assert_near(ours.weights, theirs.weights, tolerance)
        assert ours.best["mse"] == pytest.approx(theirs.best["mse"], rel=tolerance)


@pytest.mark.parametrize("seed", range(10))
def test_alone_equals_stacked(seed: int, monkeypatch: pytest.MonkeyPatch) -> None:
    configs, channels, rows = random_stack(seed)
    series = make_series(channels, rows, seed)
    recorder = Recorder(monkeypatch)
    stack = StackTrainer(configs, series, dtype=torch.float64)
    assert stack.steps >= STEPS
    initial = [entries(stack, i) for i in range(len(configs))]
    stack.run_epoch()
    drawn = recorder.take()
    order = list(range(len(configs)))
    random.Random(seed).shuffle(order)  # another place for everyone
    other = StackTrainer([configs[i] for i in order], series, dtype=torch.float64)
    other.run_epoch()
    recorder.take()
    for i, config in enumerate(configs):
        alone = StackTrainer([config], series, dtype=torch.float64)
        for name, value in entries(alone, 0).items():
            assert torch.equal(value, initial[i][name]), f"initial {name}"
        alone.run_epoch()
        for key, values in recorder.take().items():
            assert torch.equal(values, drawn[key])
        # A look ahead divides by a small step, which makes rounding larger.
        tolerance = 1e-6 if config.training.mode == "unrolled" else 1e-9
        assert_same_record(stack.runs[i], alone.runs[0], tolerance)
        assert_same_record(other.runs[order.index(i)], alone.runs[0], tolerance)
        if alone.runs[0].status == "running":
            assert_near(entries(stack, i), entries(alone, 0), tolerance)
            assert_near(entries(other, order.index(i)), entries(alone, 0), tolerance)


@pytest.mark.parametrize("seed", range(4))
def test_alone_equals_stacked_in_float32_over_one_step(seed: int) -> None:
    configs, channels, rows = random_stack(100 + seed)
    configs = [c.override({"training.batch_size": STEPS * c.training.batch_size}) for c in configs]
    series = make_series(channels, rows, seed)
    stack = StackTrainer(configs, series)
    stack.run_epoch()
    assert stack.steps == 1 or configs[0].data.joint_rows != "worker"
    for i, config in enumerate(configs):
        alone = StackTrainer([config], series)
        alone.run_epoch()
        assert_same_record(stack.runs[i], alone.runs[0], 1e-5)


def switch_combinations() -> Iterator[dict[str, Any]]:
    for states in itertools.product((True, False), repeat=len(OFF)):
        switches = dict(zip(OFF, states, strict=True))
        if switches["trend"] or switches["workers"]:
            yield {f"model.{name}": on for name, on in switches.items()}


@pytest.mark.parametrize("mode", ["alternating", "joint", "unrolled"])
def test_every_combination_of_switches_trains_in_one_stack(mode: str) -> None:
    """All 96 combinations, and each signal off beside them: finite losses, and each as it is alone."""
    combinations = [*switch_combinations(), *(off_setting(name) for name in SIGNALS)]
    assert len(combinations) == 96 + len(SIGNALS)
    configs = [small_config(settings, mode=mode, seed=1) for settings in combinations]
    group, state = make_group(configs, 2)
    x, y = make_batch(configs[0], 2)
    batch = (x.expand(len(configs), -1, -1, -1), y.expand(len(configs), -1, -1, -1))
    step_of = dynonet.learning.steps.STEPS[mode]
    losses = step_of(
        group, state, batch, lambda: batch, draws_of([1] * len(configs)), torch.ones(len(configs)).double()
    )
    assert torch.isfinite(torch.stack(losses)).all()
    for i in range(0, len(configs), 5):
        lone, own = make_group([configs[i]], 2)
        step_of(lone, own, (x, y), lambda: (x, y), draws_of([1]), torch.ones(1).double())
        # A look ahead divides by a small step, which makes rounding larger.
        assert_near(state.params.named(i), own.params.named(0), 1e-7 if mode == "unrolled" else 1e-9)


def test_trend_and_workers_both_off_is_refused() -> None:
    with pytest.raises(ConfigError, match="trend and workers are both off"):
        small_config({"model.trend": False, "model.workers": False})


def test_a_neighbour_that_diverges_or_stops_changes_nothing() -> None:
    series = make_series(3, 200)
    kept = [
        small_config(seed=3, max_epochs=4, lr=0.01, mode="alternating"),
        small_config({"model.film": False}, seed=4, max_epochs=3, lr=0.02, mode="joint"),
    ]
    explodes = small_config(seed=5, max_epochs=4, lr=1e30)
    stops = small_config(seed=6, max_epochs=2)
    explodes_jointly = small_config(seed=7, max_epochs=4, lr=1e30, mode="joint")
    stack = StackTrainer([explodes, kept[0], stops, explodes_jointly, kept[1]], series, dtype=torch.float64)
    runs = stack.train()
    assert [run.status for run in runs] == ["diverged", "complete", "complete", "diverged", "complete"]
    assert runs[0].epochs == runs[3].epochs == 1
    assert runs[0].weights is None
    assert runs[2].epochs == 2
    for config, run in zip(kept, (runs[1], runs[4]), strict=True):
        assert_same_record(run, StackTrainer([config], series, dtype=torch.float64).train()[0])


def test_a_model_with_numbers_gone_bad_harms_no_other() -> None:
    """NaN in all that one model owns: the others' step is the same to the bit."""
    configs = [small_config(off_setting(name), seed=i) for i, name in enumerate(("revin", "trend", "mixer", "film"))]
    x, y = make_batch(configs[0], 2, len(configs))
    ones, draws = torch.ones(len(configs)).double(), draws_of(list(range(len(configs))))
    group, healthy = make_group(configs, 2)
    alternating_step(group, healthy, (x, y), lambda: (x, y), draws, ones)
    group, sick = make_group(configs, 2)
    for _, flat in sick.params.blocks():
        flat[1] = torch.nan
    alternating_step(group, sick, (x, y), lambda: (x, y), draws, ones)
    others = [0, 2, 3]
    for (name, ours), (_, theirs) in zip(sick.params.blocks(), healthy.params.blocks(), strict=True):
        assert torch.equal(ours[others], theirs[others]), name
        assert torch.isnan(ours[1]).any(), name


def test_what_cannot_share_a_stack_is_refused() -> None:
    first, series = small_config(), make_series(2)
    for key, value in (
        ("data.seq_len", 20), ("model.worker_hidden", 4), ("training.batch_size", 4),
        ("data.controller_rows", "validation"), ("training.controller_order", "in_order"),
    ):  # fmt: skip
        with pytest.raises(ConfigError, match=f"configs 1 and 3 cannot share a stack; they differ in {key}: "):
            StackTrainer([first, first, first.override({key: value})], series)
    with pytest.raises(ConfigError, match="cannot share a stack"):
        both = first.override({"training.mode": "joint", "data.joint_rows": "worker_and_meta"})
        StackTrainer([first, both], series)
    with pytest.raises(ConfigError, match="at least one config"):
        StackTrainer([], series)
