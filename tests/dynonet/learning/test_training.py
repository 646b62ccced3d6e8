"""Training steps against the oracle, and what each step may and may not change."""

from functools import lru_cache
from typing import Any

import pytest
import torch
from torch import Tensor

from dynonet.config import Config
from dynonet.learning.steps import (
    ModeGroup,
    TrainState,
    alternating_step,
    controller_step,
    joint_step,
    worker_step,
)
from dynonet.network.parameters import HEADS
from dynonet.network.purposes import MASKS, Purpose
from dynonet.parts import OFF, SIGNALS
from dynonet.published.checkpoints import load_published, published_state_dict
from dynonet.reference.oracle import Oracle, OracleTrainer, randomise
from dynonet.reference.small import CPU, all_tensors, copied, draws_of, make_batch, make_group, small_config
from lab.compute.draws import Draws, substream, uniform

WEIGHING = ("lr_scale", "wd_scale", "grad_clip", "loss_weight", "freeze_prob")


def test_weighing_signals_are_those_that_never_enter_the_forecast() -> None:
    assert {name for name, signal in SIGNALS.items() if signal.acts_on != "forward"} == set(WEIGHING)


def oracle_of(config: Config, channels: int) -> Oracle:
    """The oracle of a config's shape and switches, in float64, every parameter moved off its start."""
    torch.manual_seed(0)
    model, data = config.model, config.data
    held = {name: value for name in SIGNALS if (value := getattr(config.signals, name)) != "adaptive"}
    net = Oracle(
        channels, model.control_hidden, model.worker_hidden, model.num_layers, data.seq_len, data.pred_len,
        model.worker_seq_len, off=[name for name in OFF if not getattr(model, name)], held=held,
        kernel=model.moving_average,
    )  # fmt: skip
    net = net.double()
    randomise(net, config.training.seed)
    return net


def ours_of(config: Config, net: Oracle) -> tuple[ModeGroup, TrainState]:
    params = load_published(net.state_dict(), config.model.worker_seq_len)
    group = ModeGroup([config], params.layout.channels, CPU, torch.float64)
    return group, TrainState.initial(params)


def masks(config: Config, channels: int, batch: int, draws: Draws, phase: str) -> dict[str, Any]:
    """The uniform numbers that our masks come from, as the oracle takes them."""
    model, data = config.model, config.data
    last = min(model.worker_seq_len, data.seq_len)
    layers: list[Tensor] = []
    for layer in range(model.num_layers):
        steps = 1 if layer == model.num_layers - 1 else last
        keys = substream(draws.stream(MASKS[phase][0]), layer)
        layers.append(uniform(keys, (channels, steps, model.worker_hidden, batch))[0].permute(0, 3, 1, 2))
    mixer = uniform(draws.stream(MASKS[phase][1]), (4 * channels, data.pred_len * batch))
    return {
        "worker_uniforms": [[layer[i] for layer in layers] for i in range(channels)],
        "mixer_uniforms": mixer.view(4 * channels, data.pred_len, batch).permute(2, 1, 0),
        "mixer_rate": model.dropout,
    }


def batch_first(batch: tuple[Tensor, Tensor]) -> tuple[Tensor, Tensor]:
    return batch[0][0].permute(2, 0, 1), batch[1][0].permute(2, 1, 0)


@lru_cache
def compare(config: Config, channels: int, steps: int) -> tuple[list[bool], dict[str, Tensor]]:
    """Trains ours and the oracle side by side; every loss and parameter must agree. Returns who was ever frozen."""
    net, batch = oracle_of(config, channels), 6
    group, state = ours_of(config, net)
    trainer = OracleTrainer(net, config.training.lr, config.training.weight_decay, config.training.train_revin)
    ever: list[bool] = []
    for step in range(steps):
        draws = draws_of([config.training.seed], 1, step)
        freeze = uniform(draws.stream(Purpose.FREEZE), (channels,))[0].double()
        train = make_batch(config, channels, batch=batch, seed=2 * step)
        held_out = make_batch(config, channels, batch=batch, seed=2 * step + 1)
        given = masks(config, channels, batch, draws, "worker")
        if config.training.mode == "joint":
            worker, controller = joint_step(group, state, train, lambda b=held_out: b, draws, torch.ones(1).double())
            theirs, frozen = trainer.worker_step(*batch_first(train), freeze, joint=True, **given)
            expected = theirs
        else:
            step_of = alternating_step
            worker, controller = step_of(group, state, train, lambda b=held_out: b, draws, torch.ones(1).double())
            theirs, frozen = trainer.worker_step(*batch_first(train), freeze, **given)
            given = masks(config, channels, batch, draws, "controller")
            expected = trainer.controller_step(*batch_first(held_out), **given)
        ever += frozen
        assert worker.item() == pytest.approx(theirs, rel=1e-9)
        assert controller.item() == pytest.approx(expected, rel=1e-9)
        ours = published_state_dict(state.params)
        for key, value in net.state_dict().items():
            torch.testing.assert_close(ours[key], value, rtol=1e-8, atol=1e-8, msg=lambda m, k=key: f"{k}: {m}")
    return ever, published_state_dict(state.params)


@pytest.mark.parametrize("mode", ["alternating", "joint"])
@pytest.mark.parametrize(("channels", "layers", "dropout"), [(1, 1, 0.0), (4, 1, 0.3), (3, 2, 0.2), (2, 3, 0.0)])
def test_steps_equal_the_oracle(channels: int, layers: int, dropout: float, mode: str) -> None:
    settings = {"model.num_layers": layers, "model.dropout": dropout, "data.seq_len": 20}
    config = small_config(
        {**settings, "model.worker_seq_len": 40, "model.moving_average": 25},
        mode=mode, lr=0.01, weight_decay=0.02, seed=7 + channels,
    )  # fmt: skip
    ever, _ = compare(config, channels, 6)
    assert len(ever) == 6 * channels
    assert any(ever)
    assert not all(ever)


@pytest.mark.parametrize("mode", ["alternating", "joint"])
@pytest.mark.parametrize(
    "row", [*((name, "off") for name in (*OFF, *SIGNALS)), ("grad_clip", 0.02), ("lr_scale", 2.5), ("wd_scale", 7.0),
            ("dropout_rate", 0.0), ("freeze_prob", 0.5), ("input_noise", 0.4), ("gate_masks", 0.3)]
)  # fmt: skip
def test_every_switch_equals_the_oracle(row: tuple[str, Any], mode: str) -> None:
    """Off, or held at a number, each part and signal does what the table of switches says; and it matters."""
    name, value = row
    key = f"signals.{name}" if name in SIGNALS else f"model.{name}"
    base = small_config({"model.num_layers": 2}, mode=mode, lr=0.01, weight_decay=0.02, seed=3)
    off = base.override({key: value if name in SIGNALS else False})
    _, without = compare(off, 2, 3)
    _, full = compare(base, 2, 3)
    moved = [name for name in full if not torch.allclose(full[name], without[name], rtol=0, atol=1e-7)]
    assert moved, f"{name} changes nothing"


def test_a_small_affine_weight_is_divided_by_as_published() -> None:
    """What RevIN adds to its weight shows only where the weight is tiny."""
    config = small_config()
    net = oracle_of(config, 2)
    with torch.no_grad():
        net.revin.affine_weight.copy_(torch.tensor([1e-9, -3e-10]))
    group, state = ours_of(config, net)
    x, _ = make_batch(config, 2)
    with torch.no_grad():
        expected, _ = net(x[0].permute(2, 0, 1))
        forecast, _ = group.net.forward(state.params, x)
    torch.testing.assert_close(forecast[0].permute(2, 1, 0), expected, rtol=1e-6, atol=0)


def test_off_without_trend_or_workers_equals_the_oracle() -> None:
    """Combinations where a part's absence takes the reason for another's away."""
    for off in (["trend", "decomposition"], ["trend", "context", "film"], ["workers", "mixer"], ["trend", "revin"]):
        config = small_config({f"model.{name}": False for name in off}, lr=0.01, weight_decay=0.02)
        compare(config, 3, 3)


def steps_of(group: ModeGroup, state: TrainState, block: str) -> dict[str, int]:
    return dict(zip(group.layout.groups(block), state.moments[block].steps[0].tolist(), strict=True))


@pytest.mark.parametrize("mode", ["alternating", "joint"])
@pytest.mark.parametrize(
    ("settings", "silent"),
    [
        ({}, set()),
        ({"model.film": False}, {"film"}),
        ({"model.context": False}, {"context"}),
        ({"signals.gate_masks": 0.5, "signals.input_noise": "off"}, {"gate_masks", "input_noise"}),
        ({"signals.dropout_rate": 0.3}, {"dropout_rate"}),
        ({"model.trend": False}, {"input_noise"}),  # the decomposition takes all of it out of the residual
        ({"model.trend": False, "model.decomposition": False}, set()),
        ({"model.workers": False}, {"film", "context", "gate_masks", "dropout_rate"}),
        ({"model.workers": False, "signals.input_noise": "off"}, {*HEADS, "gru"}),
    ],
)
def test_a_head_without_gradient_is_left_alone(settings: dict[str, Any], silent: set[str], mode: str) -> None:
    """Parameters, moments and step count; the published heads that never get a gradient among them."""
    channels, steps = 2, 3
    config = small_config(settings, mode=mode, weight_decay=0.5)
    group, state = make_group([config], channels)
    before = {k: v.clone() for k, v in group.layout.unpack("controller", state.params.controller).items()}
    train_some(group, state, config, channels, steps)
    silent = silent | set(WEIGHING)
    after = group.layout.unpack("controller", state.params.controller)
    counts = steps_of(group, state, "controller")
    for name, value in after.items():
        head = name.rsplit(".", 1)[0]
        assert torch.equal(value, before[name]) == (head in silent), name
        assert counts[head] == (0 if head in silent else steps), name
    for part in ("mean", "square"):
        moments = group.layout.unpack("controller", getattr(state.moments["controller"], part))
        assert {n.rsplit(".", 1)[0] for n, v in moments.items() if not v.any()} == silent


def train_some(group: ModeGroup, state: TrainState, config: Config, channels: int, steps: int) -> None:
    models = len(state.params.shared)
    step_of = {"alternating": alternating_step, "joint": joint_step}[config.training.mode]
    for step in range(steps):
        draws = draws_of([config.training.seed] * models, 1, step)
        held_out = make_batch(config, channels, models, seed=100 + step)
        batch = make_batch(config, channels, models, seed=step)
        step_of(group, state, batch, lambda b=held_out: b, draws, torch.ones(models).double())


def test_shared_parts_that_are_off_or_not_trained_are_left_alone() -> None:
    for settings, still in (
        ({}, set()),
        ({"model.trend": False}, {"trend"}),
        ({"model.mixer": False}, {"mixer"}),
        ({"training.train_revin": False}, {"revin"}),
        ({"model.revin": False}, {"revin"}),
    ):
        config = small_config(settings, weight_decay=0.5)
        group, state = make_group([config], 2)
        before = state.params.shared.clone()
        train_some(group, state, config, 2, 2)
        for name, value in group.layout.unpack("shared", state.params.shared).items():
            same = torch.equal(value, group.layout.unpack("shared", before)[name])
            assert same == (name.split(".")[0] in still), name
        assert steps_of(group, state, "shared") == {g: 0 if g in still else 2 for g in ("trend", "mixer", "revin")}


def test_revin_is_not_decayed() -> None:
    config = small_config(weight_decay=50.0, lr=0.01)
    group, state = make_group([config], 2)
    group.update_workers(
        state, (torch.zeros_like(state.params.shared), None), *_signals(group, state, config), torch.ones(1).double()
    )
    pair = group.layout.unpack("shared", state.params.shared)
    fresh, _ = make_group([config], 2)[1], None
    first = group.layout.unpack("shared", fresh.params.shared)
    assert torch.equal(pair["revin.weight"], first["revin.weight"])
    torch.testing.assert_close(pair["trend.weight"], first["trend.weight"] * (1 - 0.01 * 50.0))


def _signals(group: ModeGroup, state: TrainState, config: Config) -> tuple[Any, Draws]:
    draws = draws_of([config.training.seed])
    return group.net.forward(state.params, make_batch(config, 2)[0], draws)[1], draws


def test_a_frozen_worker_is_left_alone() -> None:
    config = small_config({"signals.freeze_prob": 1}, weight_decay=0.5)
    group, state = make_group([config], 3)
    before = all_tensors(state)
    train_some(group, state, config, 3, 3)
    after = all_tensors(state)
    for name in ("workers", "workers.mean", "workers.square", "workers.steps"):
        assert torch.equal(before[name], after[name]), name
    assert not torch.equal(before["shared"], after["shared"])
    assert not torch.equal(before["controller"], after["controller"])


def test_freezing_is_drawn_per_channel() -> None:
    config = small_config({"signals.freeze_prob": 0.5}, weight_decay=0.5, seed=21)
    group, state = make_group([config], 4)
    expected = torch.zeros(4, dtype=torch.int64)
    for step in range(8):
        draws = draws_of([21], 1, step)
        before = state.params.workers.clone()
        worker_step(group, state, make_batch(config, 4, seed=step), draws, torch.ones(1).double())
        awake = uniform(draws.stream(Purpose.FREEZE), (4,))[0] >= 0.5
        expected += awake
        moved = (state.params.workers != before).any(-1)[0]
        assert torch.equal(moved, awake)
    assert torch.equal(state.moments["workers"].steps[0], expected)
    assert len(set(expected.tolist())) > 1
    assert steps_of(group, state, "shared")["trend"] == 8


def test_each_phase_moves_its_own_blocks() -> None:
    config = small_config(mode="alternating")
    group, first = make_group([config], 2)
    draws, one = draws_of([config.training.seed]), torch.ones(1).double()
    batch = make_batch(config, 2)

    def changed(state: TrainState) -> set[str]:
        before, after = all_tensors(first), all_tensors(state)
        return {name for name in before if not torch.equal(before[name], after[name])}

    parts = ("", ".mean", ".square", ".steps")
    workers = {f"{block}{part}" for block in ("shared", "workers") for part in parts}
    controller = {f"controller{part}" for part in parts}
    state = copied(first)
    worker_step(group, state, batch, draws, one)
    assert changed(state) == workers
    state = copied(first)
    controller_step(group, state, batch, draws)
    assert changed(state) == controller
    state = copied(first)
    joint_step(group, state, batch, lambda: pytest.fail("joint reads no held-out batch"), draws, one)
    assert changed(state) == workers | controller


def test_joint_takes_the_weighing_signals_as_constants() -> None:
    """The loss has a gradient to those heads; the joint step does not follow it."""
    config = small_config(mode="joint")
    group, state = make_group([config], 2)
    params = state.params.models(slice(0, 1))
    params.controller = params.controller.clone().requires_grad_()
    batch, draws = make_batch(config, 2), draws_of([config.training.seed])
    forecast, signals = group.net.forward(params, batch[0], draws)
    for constant, reached in ((False, {"lr_scale", "loss_weight"}), (True, set())):
        used = signals.weights_detached() if constant else signals
        loss = group.worker_loss(forecast, batch[1], used).sum()
        (grad,) = torch.autograd.grad(loss, params.controller, retain_graph=True)
        heads = {n.rsplit(".", 1)[0] for n, v in group.layout.unpack("controller", grad).items() if v.any()}
        assert heads & set(WEIGHING) == reached
        assert {"film", "context", "gate_masks", "dropout_rate", "input_noise"} <= heads


def test_worker_loss_by_hand() -> None:
    config = small_config({"signals.lr_scale": 3.0, "signals.loss_weight": 0.5})
    group, state = make_group([config], 2)
    batch = make_batch(config, 2)
    forecast, signals = group.net.forward(state.params, batch[0])
    plain = (forecast - batch[1]).square().mean()
    torch.testing.assert_close(group.worker_loss(forecast, batch[1], signals), 1.5 * plain[None])


def test_rates_and_the_schedule_reach_their_own_optimiser() -> None:
    """One step of AdamW from rest moves each number by about the learning rate, whatever the gradient."""
    config = small_config(lr=1e-3, weight_decay=0.0, controller_lr_ratio=0.2)
    group, state = make_group([config], 2)
    before = copied(state)
    batch, draws = make_batch(config, 2), draws_of([config.training.seed])
    alternating_step(group, state, batch, lambda: batch, draws, torch.full((1,), 0.5).double())
    moved = {name: (flat - getattr(before.params, name)).abs().max().item() for name, flat in state.params.blocks()}
    expected = {"controller": 2e-4, "shared": 5e-4, "workers": 5e-4}  # the schedule is the workers' alone
    assert moved == pytest.approx(expected, rel=1e-3)
