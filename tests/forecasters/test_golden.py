"""The rivals compute what the usual code computes: forecasts, losses and gradients of golden cases, and their sizes."""

from pathlib import Path

import numpy as np
import pytest
import torch

from lab.registry import forecaster
from tests.forecasters.golden import MODELS, Case, cases

SCALE, RELATIVE = 1e-5, 1e-4


@pytest.mark.parametrize("path", cases(), ids=lambda path: path.stem)
def test_a_golden_case(path: Path) -> None:
    case = Case(path)
    module, arrays = case.build(), case.arrays
    forecast = case.forecast(module)
    off = float((forecast.detach() - arrays["prediction"]).abs().max() / arrays["prediction"].abs().max())
    loss = torch.mean((forecast - arrays["y"]) ** 2)
    torch.autograd.backward(loss)
    wanted = {case.ours(name): norm for name, norm in case.content["gradient_norms"].items()}
    norms = {name: float(each.grad.norm()) for name, each in module.named_parameters() if each.grad is not None}
    nothing = case.model.nothing * max(wanted.values())
    there = [name for name, norm in wanted.items() if not max(norms[name], norm) <= nothing]
    worst = np.max([abs(norms[name] / wanted[name] - 1) for name in there])
    lost = abs(float(loss.detach()) / case.content["loss"] - 1)
    print(f"{path.stem}: forecast {off:.1e} of its scale, loss {lost:.1e}, gradient norms {worst:.1e}")  # pytest -s
    assert off <= SCALE and lost <= RELATIVE and worst <= RELATIVE
    assert {name for name, norm in norms.items() if norm} <= wanted.keys()
    size = forecaster(case.name).size(case.config, arrays["x"].shape[-1])
    assert size.parameters == case.content["parameters"]


@pytest.mark.parametrize(
    ("name", "lengths", "parameters"),
    [(name, lengths, count) for name, row in MODELS.items() for lengths, count in row.sizes.items()],
)
def test_its_size_at_the_settings_of_the_scripts(name: str, lengths: tuple[int, int], parameters: int) -> None:
    found = forecaster(name)
    config = found.config.create({"data.seq_len": lengths[0], "data.pred_len": lengths[1]})
    assert found.size(config, 7).parameters == parameters
