"""Models of one shape computed as one, against the same models in turn."""

from typing import Any

import torch

from lab.registry import forecaster
from lab.series import load_series, window_starts
from lab.series.windows import Windows
from lab.training.module_stack import ModuleForecaster
from lab.training.modules.stack import ModuleStack

STEPS = 2  # the first step of Adam has the gradient's sign alone


def check_as_one(name: str, config: Any) -> None:
    """Two models, seeds apart, trained a few steps: the same losses and forecasts either way, unlike one another."""
    found, cpu = forecaster(name), torch.device("cpu")
    assert isinstance(found, ModuleForecaster)
    series = load_series(config.data)
    starts = torch.as_tensor(window_starts(series, config.data, "train").copy())
    inputs, _ = Windows.of(series, config.data, cpu, torch.float64, found.wants_calendar).inputs(starts[None, :4])
    forecasts, losses = {}, {}
    for fused in (True, False):
        configs = [config, config.with_seed(config.training.seed + 1)]
        stack = ModuleStack(found.module, configs, series, starts, cpu, torch.float64, found.wants, fused)
        assert (stack.kernel == "torch, stacked") == fused
        stack.begin_epoch(1)
        for step in range(STEPS):
            stack.step(step)
        forecasts[fused], _ = stack.forecast(inputs)
        losses[fused] = stack.losses.clone()
    torch.testing.assert_close(forecasts[True], forecasts[False])
    torch.testing.assert_close(losses[True], losses[False])
    assert (forecasts[True][0] - forecasts[True][1]).abs().max() > 1e-6
