"""Epochs, early stopping, schedule, the controller's batches, checkpoint and resume of a stack."""

import io
import math
from typing import Any

import pytest
import torch
from torch import Tensor

import dynonet.learning.stack
import lab.training.trainer
from dynonet.config import Config
from dynonet.learning.stack import TrainingStack
from dynonet.network.parameters import Layout, Parameters
from dynonet.reference.small import dynonets, make_series, small_config
from lab.errors import ConfigError, DataError
from lab.series import window_starts
from lab.series.windows import Evaluation
from lab.training.checkpoint import join_states, split_state
from lab.training.run import Run
from lab.training.trainer import StackTrainer, evaluate_weights

SERIES = make_series(2)
LEARNERS = TrainingStack.learners


def stored(state: dict[str, Any]) -> dict[str, Any]:
    """A checkpoint through a file."""
    file = io.BytesIO()
    torch.save(state, file)
    file.seek(0)
    return torch.load(file, weights_only=True)


def assert_equal(a: Any, b: Any, where: str = "") -> None:
    """Equal to the bit, whatever nests in what; times aside."""
    assert type(a) is type(b), where
    if isinstance(a, Tensor):
        assert a.dtype == b.dtype, where
        assert torch.equal(a.nan_to_num(7.0), b.nan_to_num(7.0)), where
    elif isinstance(a, dict):
        assert a.keys() == b.keys(), where
        for key in a:
            if not key.endswith("_seconds"):
                assert_equal(a[key], b[key], f"{where}.{key}")
    elif isinstance(a, list):
        assert len(a) == len(b), where
        for i, (x, y) in enumerate(zip(a, b, strict=True)):
            assert_equal(x, y, f"{where}[{i}]")
    else:
        assert a == b or (isinstance(a, float) and math.isnan(a) and math.isnan(b)), where


# Modes out of order, one that leaves after two epochs, one that diverges, RevIN trained and not.
STACK = [
    small_config(seed=1, mode="joint"),
    small_config({"model.num_layers": 1}, seed=2, train_revin=True, max_epochs=2),
    small_config(seed=3, lr=1e30),
    small_config({"signals.freeze_prob": 0.3}, seed=4, train_revin=False, schedule="constant"),
]


def test_resume_is_exact_from_every_epoch() -> None:
    states: list[dict[str, Any]] = []
    whole = StackTrainer(STACK, SERIES)
    first = stored(whole.state_dict())
    whole.train(lambda trainer: states.append(stored(trainer.state_dict())))
    assert [run.status for run in whole.runs] == ["complete", "complete", "diverged", "complete"]
    assert [len(state["active"]) for state in states] == [3, 2, 2, 0]
    for epoch, state in enumerate([first, *states]):
        resumed = StackTrainer(STACK, SERIES)
        resumed.load_state_dict(state)
        assert resumed.epoch == epoch
        after = [stored(resumed.state_dict())]
        resumed.train(lambda trainer, after=after: after.append(stored(trainer.state_dict())))
        assert_equal(after, [first, *states][epoch:])
        assert [run.config for run in resumed.runs] == STACK


def test_a_diverged_model_leaves_at_once_and_changes_no_neighbour(monkeypatch: pytest.MonkeyPatch) -> None:
    """Its share of the work is free within the epoch: later steps gather no batch for it."""
    good = [small_config(seed=seed, max_epochs=2) for seed in (1, 2)]
    stack = StackTrainer([good[0], small_config(seed=3, lr=1e300), good[1]], SERIES, dtype=torch.float64)
    models: list[int] = []
    windows = dynonets(stack)._windows
    gather = windows.gather

    def spied(starts: Tensor) -> tuple[Tensor, Tensor]:
        models.append(len(starts))
        return gather(starts)

    monkeypatch.setattr(windows, "gather", spied)
    stack.run_epoch()
    assert models[0] == 3 and models[-1] == 2 and len(models) == 2 * stack.steps
    stack.train()
    assert stack.runs[1].history == [{"epoch": 1}] and stack.runs[1].cpu_seconds > 0
    alone = StackTrainer(good, SERIES, dtype=torch.float64).train()
    for run, other in zip((stack.runs[0], stack.runs[2]), alone, strict=True):
        for mine, theirs in zip(run.history, other.history, strict=True):
            assert mine == pytest.approx(theirs, rel=1e-9)


def test_an_epoch_in_which_all_diverge() -> None:
    trainer = StackTrainer([small_config(seed=seed, lr=1e30) for seed in (1, 2)], SERIES)
    trainer.train()
    assert [(run.status, run.epochs, run.best) for run in trainer.runs] == [("diverged", 1, {})] * 2


def test_revin_moves_only_where_it_is_trained() -> None:
    runs = StackTrainer(STACK, SERIES).train()
    trained = [run.weights is not None and bool(run.weights["shared.revin.weight"].ne(1).any()) for run in runs]
    assert trained == [True, True, False, False]


def test_a_checkpoint_is_a_copy() -> None:
    """Training on changes no checkpoint that was taken, and going on from one twice gives the same twice."""
    configs = [small_config(seed=seed, max_epochs=3) for seed in (1, 2)]
    trainer = StackTrainer(configs, SERIES)
    trainer.run_epoch()
    taken, kept = trainer.state_dict(), stored(trainer.state_dict())
    trainer.train()
    assert_equal(taken, kept)
    final = stored(trainer.state_dict())
    for _ in range(2):
        other = StackTrainer(configs, SERIES)
        other.load_state_dict(taken)
        other.train()
        assert_equal(stored(other.state_dict()), final)
    assert_equal(taken, kept)


def test_models_go_on_in_another_stack() -> None:
    configs = [small_config(seed=seed, max_epochs=3) for seed in (1, 2, 3)]
    trainer = StackTrainer(configs, SERIES, dtype=torch.float64)
    trainer.run_epoch()
    parts = split_state(trainer.state_dict())
    trainer.train()
    chosen = [2, 0]
    other = StackTrainer([configs[i] for i in chosen], SERIES, dtype=torch.float64)
    other.load_state_dict(join_states([parts[trainer.runs[i].run] for i in chosen]))
    other.train()
    for run, i in zip(other.runs, chosen, strict=True):
        for mine, theirs in zip(run.history, trainer.runs[i].history, strict=True):
            assert mine == pytest.approx(theirs, rel=1e-9)


def test_other_checkpoints_are_refused() -> None:
    trainer = StackTrainer([small_config(seed=1)], SERIES)
    state = trainer.state_dict()
    with pytest.raises(DataError, match="checkpoint version 99; this code reads 2"):
        trainer.load_state_dict({**state, "version": 99})
    for configs, series in (
        ([small_config(seed=2)], SERIES),
        ([small_config(seed=1, lr=0.1)], SERIES),
        ([small_config(seed=1), small_config(seed=2)], SERIES),
        ([small_config(seed=1)], make_series(2, seed=1)),
    ):
        other = StackTrainer(configs, series)
        with pytest.raises(DataError, match=f"of other runs: got .*{trainer.runs[0].run}"):
            other.load_state_dict(state)
    with pytest.raises(DataError, match=r"float32.*float64"):
        StackTrainer([small_config(seed=1)], SERIES, dtype=torch.float64).load_state_dict(state)


def evaluation(mse: float, batch_mean: float) -> Evaluation:
    one, two = torch.tensor([mse], dtype=torch.float64), torch.full((1, 2), mse, dtype=torch.float64)
    windows = torch.full((1, 3), mse)
    return Evaluation(one, one, two, two, torch.tensor([batch_mean], dtype=torch.float64), {}, {}, windows)


def stops_after(config: Config, mse: list[float], batch_mean: list[float] | None = None) -> Run:
    """Feeds a run the validation errors of one epoch after the other until it ends."""
    run = Run(config, "id")
    for epoch, (value, mean) in enumerate(zip(mse, batch_mean or mse, strict=True), 1):
        row = {"train_loss": 1.0, "controller_loss": 1.0, "val_mse": value}
        better = run.record(epoch, row, evaluation(value, mean), 0, LEARNERS)
        assert better == (run.best_epoch == epoch)
        if run.status != "running":
            return run
    return run


def test_early_stopping() -> None:
    def outcome(mse: list[float], means: list[float] | None = None, **training: Any) -> tuple[str, int, int | None]:
        run = stops_after(small_config(**{"max_epochs": 50, "patience": 2, **training}), mse, means)
        return run.status, run.epochs, run.best_epoch

    assert outcome([3, 2, 2.5, 2.1, 1]) == ("complete", 4, 2)
    assert outcome([3, 2, 2, 2, 1]) == ("complete", 4, 2)  # equal is not better
    assert outcome([3, 2, 2.5, 1.9, 2, 2]) == ("complete", 6, 4)
    assert outcome([3, 2, 2.5]) == ("running", 3, 2)
    assert outcome([3, 2, 1], max_epochs=3) == ("complete", 3, 3)
    assert outcome([3, 4, 5], patience=1) == ("complete", 2, 1)
    worse = [1.0, *[2.0] * 30]
    assert outcome(worse, patience=20) == ("complete", 21, 1)
    assert outcome(worse, patience=20, stopping="published") == ("complete", 6, 1)  # the hidden rule
    assert outcome(worse, patience=3, stopping="published") == ("complete", 4, 1)
    # The published criterion is the mean over batches, ours the mean over windows.
    assert outcome([3, 2, 4, 4], [3, 4, 2, 4], patience=9) == ("running", 4, 2)
    assert outcome([3, 2, 4, 4], [3, 4, 2, 4], patience=9, stopping="published") == ("running", 4, 3)
    assert outcome([3, 2, math.nan, 1]) == ("diverged", 3, 2)
    assert outcome([math.inf]) == ("diverged", 1, None)


def test_a_diverged_run_keeps_its_last_finite_metrics() -> None:
    run = stops_after(small_config(max_epochs=9), [3.0, 2.0, math.nan])
    assert run.best["mse"] == 2.0
    assert [row.get("val_mse") for row in run.history] == [3.0, 2.0, None]  # missing is missing, never 0
    row = {"train_loss": math.inf, "controller_loss": 1.0, "val_mse": 1.0}
    other = Run(small_config(), "id")
    assert not other.record(1, row, evaluation(1.0, 1.0), 0, LEARNERS)
    assert (other.status, other.best) == ("diverged", {})


@pytest.mark.parametrize("stopping", ["patience", "published"])
def test_best_weights_are_those_of_the_best_epoch(stopping: str) -> None:
    config = small_config(seed=1, lr=0.3, max_epochs=6, patience=4, schedule="constant", stopping=stopping)
    current: list[dict[str, Tensor]] = []
    trainer = StackTrainer([config], SERIES)
    during = lambda t: current.append(dynonets(t).parameters().named(0)) if t.running else None  # noqa: E731
    (run,) = trainer.train(during)
    assert run.best_epoch is not None
    assert run.best_epoch < 6
    assert_equal(run.weights, current[run.best_epoch - 1])
    column = "val_mse" if stopping == "patience" else "val_loss"
    values = [row[column] for row in run.history]
    assert run.best_epoch == 1 + values.index(min(values))
    again = evaluate_weights(config, run.weights, SERIES, "validation")  # type: ignore[arg-type]
    for name in ("mse", "mae", "mse_channels", "mae_channels"):
        assert getattr(again, name)[0].tolist() == run.best[name]
    assert run.best["mse"] == run.history[run.best_epoch - 1]["val_mse"]


def test_evaluation_by_hand() -> None:
    """Every window counts once, the short last batch too; the published criterion weighs batches alike."""
    config = small_config(batch_size=7)
    trainer = StackTrainer([config], SERIES)
    weights = dynonets(trainer).parameters().named(0)
    got = evaluate_weights(config, weights, SERIES, "test")
    starts = window_starts(SERIES, config.data, "test")
    assert len(starts) % 7
    errors = []
    for start in starts:  # one window at a time
        window = torch.as_tensor(SERIES.scaled[start : start + 16].copy(), dtype=torch.float32)[None, :, :, None]
        target = torch.as_tensor(SERIES.scaled[start + 16 : start + 20].copy())
        with torch.no_grad():
            forecast, _ = dynonets(trainer).net.forward(dynonets(trainer).parameters(), window)
        errors.append(forecast[0, :, :, 0].T.double() - target)
    error = torch.stack(errors)
    assert got.mse.item() == pytest.approx(error.square().mean().item(), rel=1e-5)
    assert got.mae.item() == pytest.approx(error.abs().mean().item(), rel=1e-5)
    assert got.mae_channels[0].tolist() == pytest.approx(error.abs().mean((0, 1)).tolist(), rel=1e-5)
    means = [part.square().mean().item() for part in error.split(7)]
    assert got.batch_mean_mse.item() == pytest.approx(sum(means) / len(means), rel=1e-5)


class Spy:
    """Which windows each phase reads, in order, of the first model."""

    def __init__(self, trainer: StackTrainer, patch: pytest.MonkeyPatch):
        self.worker: list[list[int]] = []
        self.controller: list[list[int]] = []
        windows, calls = dynonets(trainer)._windows, [0]
        gather = windows.gather

        def spied(starts: Tensor) -> tuple[Tensor, Tensor]:
            (self.controller if calls[0] % 2 else self.worker).append(starts[0].tolist())
            calls[0] += 1
            return gather(starts)

        patch.setattr(windows, "gather", spied)


def test_controller_batches_in_order(monkeypatch: pytest.MonkeyPatch) -> None:
    """The published order: the held-out windows from the first on, a short last batch, again from the start."""
    config = small_config(protocol="published", max_epochs=2, batch_size=6)
    trainer = StackTrainer([config], SERIES)
    spy = Spy(trainer, monkeypatch)
    trainer.train()
    starts = window_starts(SERIES, config.data, "validation").tolist()
    batches = [starts[i : i + 6] for i in range(0, len(starts), 6)]
    assert len(batches[-1]) < 6
    assert trainer.steps > len(batches)  # so that it cycles
    expected = [batches[step % len(batches)] for step in range(trainer.steps)]
    assert spy.controller == expected * 2  # each epoch starts anew


def test_shuffled_batches_cover_and_never_repeat_within_a_pass(monkeypatch: pytest.MonkeyPatch) -> None:
    config = small_config({"data.meta_fraction": 0.45, "data.worker_rows": "train"}, max_epochs=2, batch_size=6)
    trainer = StackTrainer([config], SERIES)
    spy = Spy(trainer, monkeypatch)
    trainer.train()
    for seen, role in ((spy.worker, "worker"), (spy.controller, "controller")):
        starts = window_starts(SERIES, config.data, role).tolist()
        each = len(starts) // 6
        passes = []
        for epoch in (0, 1):
            batches = seen[epoch * trainer.steps : (epoch + 1) * trainer.steps]
            assert all(len(batch) == 6 for batch in batches)
            for start in range(0, len(batches) - each + 1, each):
                windows = [window for batch in batches[start : start + each] for window in batch]
                assert len(set(windows)) == len(windows) == 6 * each
                assert set(windows) <= set(starts)
                passes.append(windows)
        assert len({tuple(windows) for windows in passes}) == len(passes) > 1
        assert all(windows != sorted(windows) for windows in passes)
    assert len(spy.controller) > 2 * (len(window_starts(SERIES, config.data, "controller")) // 6)


def test_joint_reads_the_rows_it_is_told() -> None:
    base = small_config(mode="joint")
    for rows, role in (("worker", "before_meta"), ("worker_and_meta", "train")):
        config = base.override({"data.joint_rows": rows})
        trainer = StackTrainer([config], SERIES)
        assert dynonets(trainer)._worker.tolist() == window_starts(SERIES, config.data, role).tolist()


def test_start_from_given_weights() -> None:
    """Weights of the same shape serve whatever the switches and rates of the model they come from."""
    config = small_config({"model.dropout": 0.3, "model.film": False}, max_epochs=1)
    other = Layout.of(small_config(), 2)
    params = Parameters.initial(other, [77])
    trainer = StackTrainer([config, config.override({"training.seed": 5})], SERIES)
    dynonets(trainer).start_from(params)
    for place in (0, 1):
        assert_equal(dynonets(trainer).parameters().named(place), params.named(0))
    trainer.run_epoch()
    assert_equal(params.named(0), Parameters.initial(other, [77]).named(0))  # copied, not trained in place
    with pytest.raises(ConfigError, match="before the first epoch"):
        dynonets(trainer).start_from(params)
    with pytest.raises(ConfigError, match="another shape"):
        dynonets(StackTrainer([config], SERIES)).start_from(Parameters.initial(Layout.of(small_config(), 3), [1]))
    with pytest.raises(ConfigError, match="another shape"):
        wide = small_config({"model.worker_hidden": 4})
        dynonets(StackTrainer([config], SERIES)).start_from(Parameters.initial(Layout.of(wide, 2), [1]))


def test_a_batch_larger_than_the_windows_is_all_of_them() -> None:
    trainer = StackTrainer([small_config(batch_size=10_000, max_epochs=1)], SERIES)
    assert trainer.steps == 1
    (run,) = trainer.train()
    assert run.status == "complete"


def test_costs_are_shared_by_the_stack() -> None:
    runs = StackTrainer([small_config(seed=seed, max_epochs=1) for seed in (1, 2)], SERIES).train()
    assert runs[0].cpu_seconds == runs[1].cpu_seconds > 0
    assert runs[0].gpu_seconds == 0


def test_test_windows_are_never_read_in_training(monkeypatch: pytest.MonkeyPatch) -> None:
    asked: list[str] = []
    for module in (lab.training.trainer, dynonet.learning.stack):
        real = module.window_starts
        monkeypatch.setattr(
            module, "window_starts", lambda s, d, role, real=real: asked.append(role) or real(s, d, role)
        )
    StackTrainer([small_config(max_epochs=1)], SERIES).train()
    assert {"worker", "controller", "validation"} == set(asked)
