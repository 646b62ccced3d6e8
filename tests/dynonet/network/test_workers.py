"""Workers of other kinds: the LSTM cell, and one worker for all channels."""

from typing import Any

import pytest
import torch

from dynonet.learning.steps import ModeGroup, TrainState, alternating_step
from dynonet.network.lstm import lstm
from dynonet.network.parameters import Layout, Parameters
from dynonet.published.checkpoints import published_state_dict
from dynonet.reference.small import CPU, all_tensors, draws_of, make_batch, make_group, make_series, small_config
from lab.errors import DataError
from lab.training.trainer import StackTrainer, stack_key


@pytest.mark.parametrize("last_only", [False, True])
def test_lstm_equals_torch(last_only: bool) -> None:
    groups, steps, inputs, hidden, batch = 3, 11, 2, 5, 7
    x = torch.randn(groups, steps, inputs, batch, dtype=torch.float64)
    modules = [torch.nn.LSTM(inputs, hidden, batch_first=True).double() for _ in range(groups)]
    names = ("weight_ih", "weight_hh", "bias_ih", "bias_hh")
    weights = [torch.stack([getattr(m, f"{name}_l0").detach() for m in modules]).requires_grad_() for name in names]
    states = torch.stack([m(x[g].permute(2, 0, 1))[0].permute(1, 2, 0) for g, m in enumerate(modules)])
    expected = states[:, -1] if last_only else states
    got = lstm(x, *weights, last_only=last_only)
    torch.testing.assert_close(got, expected)
    direction = torch.randn_like(expected)
    expected.backward(direction)
    got.backward(direction)
    for name, weight in zip(names, weights, strict=True):
        torch.testing.assert_close(weight.grad, torch.stack([getattr(m, f"{name}_l0").grad for m in modules]))


def step(settings: dict[str, Any]) -> TrainState:
    """What one alternating step of one model leaves, in float64."""
    config = small_config(settings, seed=3)
    group, state = make_group([config], 3)
    batch = make_batch(config, 3)
    alternating_step(group, state, batch, lambda: batch, draws_of([3]), torch.ones(1, dtype=torch.float64))
    return state


def test_the_workers_of_a_kind_are_as_many_as_they_should() -> None:
    count = {}
    for cell in ("gru", "lstm"):
        for scope in ("channel", "all"):
            config = small_config({"model.worker_cell": cell, "model.worker_scope": scope})
            count[cell, scope] = Layout.of(config, 3).count()["workers"]
    hidden = 3
    cells = {"gru": 3, "lstm": 4}
    for cell, gates in cells.items():
        assert count[cell, "channel"] == 3 * count[cell, "all"]
        assert count["gru", "all"] - count[cell, "all"] == (3 - gates) * hidden * (2 * hidden + 2)


def test_a_worker_for_all_is_many_alike_whose_gradients_add_up() -> None:
    """One step of it, against workers that start alike, each steered by the mean signals: their mean gradient."""
    held: dict[str, Any] = {"model.film": False, "model.context": False}
    held |= {f"signals.{name}": 1.0 for name in ("wd_scale", "lr_scale", "loss_weight", "gate_masks")}
    held |= {"signals.grad_clip": 1e6, "signals.dropout_rate": 0.0, "signals.freeze_prob": 0.0}
    one = small_config({**held, "model.worker_scope": "all"}, seed=3)
    group, state = make_group([one], 3)
    batch = make_batch(one, 3)
    many = small_config(held, seed=3)
    group_many = ModeGroup([many], 3, CPU, torch.float64)
    start = Parameters(group_many.layout, state.params.controller, state.params.shared, state.params.workers.clone())
    start.workers = start.workers.expand(-1, 3, -1).clone()
    start.controller, start.shared = start.controller.clone(), start.shared.clone()
    state_many = TrainState.initial(start)
    for g, s in ((group, state), (group_many, state_many)):
        alternating_step(g, s, batch, lambda: batch, draws_of([3]), torch.ones(1, dtype=torch.float64))
    scale = 1 - 0.9  # of AdamW's first moment after one step
    mine, theirs = state.moments["workers"].mean / scale, state_many.moments["workers"].mean / scale
    l2 = one.training.weight_decay * make_group([one], 3)[1].params.workers  # comes once for each worker
    torch.testing.assert_close(mine - l2, (theirs - l2).sum(1, keepdim=True), rtol=1e-9, atol=1e-12)


@pytest.mark.parametrize("kind", [{"model.worker_cell": "lstm"}, {"model.worker_scope": "all"}])
def test_every_part_of_another_kind_learns(kind: dict[str, Any]) -> None:
    settings = {**kind, "model.num_layers": 2, "signals.freeze_prob": 0.0}
    group, before = make_group([small_config(settings, seed=3)], 3)
    after = step(settings)
    named_before, named_after = all_tensors(before), all_tensors(after)
    assert set(group.layout.groups("workers")) == {"worker"}
    for block in ("controller", "shared", "workers"):
        assert not torch.equal(named_before[block], named_after[block])
    for name, tensor in after.params.named().items():
        if name.startswith("workers.") and "position" not in name:
            assert not torch.equal(tensor, before.params.named()[name]), name


def test_models_of_unlike_shape_start_alike_where_they_agree() -> None:
    base = small_config({"model.num_layers": 1}, seed=5)
    params = {}
    for name, settings in {
        "full": {},
        "lstm": {"model.worker_cell": "lstm"},
        "deep": {"model.num_layers": 2},
        "long": {"data.seq_len": 18},
    }.items():
        layout = Layout.of(base.override(settings), 3)
        params[name] = Parameters.initial(layout, [5]).named()
    for name, named in params.items():
        agree = [key for key in params["full"] if key in named and named[key].shape == params["full"][key].shape]
        if name == "long":  # its bias starts smaller, as torch's own would
            agree.remove("shared.trend.bias")
        assert len(agree) >= len(params["full"]) - 4, name
        for key in agree:
            assert torch.equal(named[key], params["full"][key]), (name, key)


def test_kinds_do_not_share_a_stack_and_have_no_published_checkpoint() -> None:
    keys = {
        stack_key(small_config(kind)) for kind in ({}, {"model.worker_cell": "lstm"}, {"model.worker_scope": "all"})
    }
    assert len(keys) == 3
    for kind in ({"model.worker_cell": "lstm"}, {"model.worker_scope": "all"}):
        with pytest.raises(DataError, match="no checkpoint of its kind"):
            published_state_dict(Parameters.initial(Layout.of(small_config(kind), 2), [1]))


@pytest.mark.parametrize("kind", [{"model.worker_cell": "lstm"}, {"model.worker_scope": "all"}])
def test_they_train_and_go_on(kind: dict[str, Any]) -> None:
    series = make_series(2)
    whole = StackTrainer([small_config({**kind, "signals.freeze_prob": 0.3}, seed=1, max_epochs=2)], series)
    whole.run_epoch()
    state = whole.state_dict()
    (run,) = whole.train()
    other = StackTrainer([run.config], series)
    other.load_state_dict(state)
    assert other.train()[0].history[-1]["val_mse"] == run.history[-1]["val_mse"]
