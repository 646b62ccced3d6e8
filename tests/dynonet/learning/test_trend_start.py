"""The closed-form start of the trend layer: solved by brute force here, and the baseline's own forecast there."""

import numpy as np
import pytest
import torch

from dynonet.config import BAR_STARTS, Config
from dynonet.learning.closed_form import fit_trend
from dynonet.network.layers import decompose
from dynonet.reference.small import make_series, small_config
from dynonet.traits.stacking import worker_role
from lab.errors import ConfigError
from lab.series import load_series, window_starts
from lab.series.bars import BARS, fit_bar, fit_linear
from lab.series.bars.ridge import PENALTIES
from lab.training.trainer import StackTrainer

SERIES = make_series(channels=3, rows=400)
START = {"model.trend_start": "closed_form"}


def what_the_layer_reads(config: Config, role: str) -> tuple[np.ndarray, np.ndarray]:
    """Windows as rows (windows * channels, S), and their targets (windows * channels, H)."""
    length, steps = config.data.seq_len, config.data.pred_len
    rows, targets = [], []
    for start in window_starts(SERIES, config.data, role):
        for channel in range(SERIES.num_channels):
            window = SERIES.scaled[start : start + length, channel]
            target = SERIES.scaled[start + length : start + length + steps, channel]
            level = window.mean() if config.model.revin else 0.0
            read = torch.tensor(window - level)[None, :, None]
            if config.model.decomposition:
                read, _ = decompose(read, config.model.moving_average)
            rows.append(read[0, :, 0].numpy())
            targets.append(target - level)
    return np.array(rows), np.array(targets)


def brute_force(config: Config) -> np.ndarray:
    x, y = what_the_layer_reads(config, worker_role(config))
    held_out, wanted = what_the_layer_reads(config, "validation")
    weights = [np.linalg.solve(x.T @ x + penalty * np.eye(x.shape[1]), x.T @ y) for penalty in PENALTIES]
    return min(weights, key=lambda weight: float(np.square(held_out @ weight - wanted).mean())).T


@pytest.mark.parametrize("revin", [True, False])
@pytest.mark.parametrize("decomposition", [True, False])
@pytest.mark.parametrize("rows", ["worker", "worker_and_meta"])
def test_it_is_the_ridge_solution_of_what_the_layer_reads(revin: bool, decomposition: bool, rows: str) -> None:
    config = small_config(
        {**START, "model.revin": revin, "model.decomposition": decomposition, "data.joint_rows": rows}, mode="joint"
    )
    trainer = StackTrainer([config], SERIES, dtype=torch.float64)
    (found,) = trainer.stack.weights([0])
    np.testing.assert_allclose(found["shared.trend.weight"].numpy(), brute_force(config), rtol=1e-6, atol=1e-8)
    assert not found["shared.trend.bias"].any()


def test_training_starts_from_the_forecast_of_the_linear_baseline() -> None:
    config = small_config({**START, "model.decomposition": False, "data.joint_rows": "worker_and_meta"}, mode="joint")
    trainer = StackTrainer([config], SERIES, dtype=torch.float64)
    found = trainer.validate()
    baseline = fit_linear(SERIES, config.data).validation
    # RevIN divides by its weight + 1e-10.
    np.testing.assert_allclose(found.mse_channels[0].numpy(), baseline.mse_channels, rtol=1e-7)
    np.testing.assert_allclose(found.mae_channels[0].numpy(), baseline.mae_channels, rtol=1e-7)


def test_a_stack_of_both_starts_trains_each_as_alone() -> None:
    configs = [small_config(START, seed=3), small_config(seed=3), small_config({**START, "model.trend": False}, seed=3)]
    stack = StackTrainer(configs, SERIES)
    alone = [StackTrainer([config], SERIES) for config in configs]
    for trainer in (stack, *alone):
        trainer.run_epoch()
    for run, single in zip(stack.runs, alone, strict=True):
        assert run.history[0]["val_mse"] == pytest.approx(single.runs[0].history[0]["val_mse"], rel=1e-5)
    assert stack.runs[0].history[0]["val_mse"] < stack.runs[1].history[0]["val_mse"]


def test_what_no_trend_layer_reads_is_in_no_content_id() -> None:
    plain = small_config()
    assert small_config(START).run_id("a") != plain.run_id("a")
    off = small_config({"model.trend": False})
    assert small_config({**START, "model.trend": False}).run_id("a") == off.run_id("a")


def test_it_is_fitted_once_for_the_same_data() -> None:
    data = small_config().data
    assert fit_trend(SERIES, data, "train", 5, True) is fit_trend(SERIES, data, "train", 5, True)
    other = load_series(data)
    assert fit_trend(other, data, "train", 5, True) is not fit_trend(SERIES, data, "train", 5, True)


NAMED = {"last": "last_value", "smoothed": "smoothed", "folded": "folded", "mean": "mean_of_ridges"}


@pytest.mark.parametrize("start", NAMED)
@pytest.mark.parametrize("revin", [True, False])
def test_training_starts_from_the_forecast_of_the_bar(start: str, revin: bool) -> None:
    assert NAMED.keys() == BAR_STARTS.keys()
    reads = {"model.trend_start": start, "model.trend_reads": "window", "model.revin": revin, "data.period": 8}
    config = small_config({**reads, "data.joint_rows": "worker_and_meta"}, mode="joint")
    assert config.model.decomposition
    found = StackTrainer([config], SERIES, dtype=torch.float64).validate()
    bar = fit_bar(SERIES, config.data, BARS[NAMED[start]]).validation
    # RevIN divides by its weight + 1e-10.
    np.testing.assert_allclose(found.mse_channels[0].numpy(), bar.mse_channels, rtol=1e-7)
    np.testing.assert_allclose(found.mae_channels[0].numpy(), bar.mae_channels, rtol=1e-7)


def test_a_layer_on_the_window_stands_beside_one_on_its_average() -> None:
    reads = [{}, {"model.trend_reads": "window"}, {"model.decomposition": False}]
    reads.append({"model.trend_reads": "window", "model.trend_start": "folded"})
    configs = [small_config({**each, "model.workers": False, "data.period": 8}, seed=3) for each in reads]
    stack = StackTrainer(configs, SERIES, dtype=torch.float64)
    alone = [StackTrainer([config], SERIES, dtype=torch.float64) for config in configs]
    for trainer in (stack, *alone):
        trainer.run_epoch()
    errors = [run.history[0]["val_mse"] for run in stack.runs]
    assert errors == pytest.approx([each.runs[0].history[0]["val_mse"] for each in alone], rel=1e-9)
    # Without workers, what the decomposition takes apart is read by nobody but the trend layer.
    assert errors[1] == pytest.approx(errors[2], rel=1e-12)
    assert abs(errors[0] / errors[1] - 1) > 1e-4


def test_a_bar_is_no_start_for_a_layer_on_the_average() -> None:
    with pytest.raises(ConfigError, match=r"set model\.trend_reads=window"):
        small_config({"model.trend_start": "folded"})
    ids = {small_config({**START, **each}).run_id("a") for each in ({}, {"model.trend_reads": "window"})}
    assert len(ids) == 2
    without = {"model.decomposition": False}
    assert small_config(without).run_id("a") == small_config({**without, "model.trend_reads": "window"}).run_id("a")
    folded = {"model.trend_start": "folded", "model.trend_reads": "window"}
    periods = [{}, {"data.period": 8}]
    assert len({small_config({**folded, **each}).run_id("a") for each in periods}) == 2  # where it decides the start
    assert len({small_config({**START, **each}).run_id("a") for each in periods}) == 1
