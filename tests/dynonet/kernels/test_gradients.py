"""The gradients of a training step, against differences of the loss that its phase says it goes down on."""

from collections.abc import Callable
from typing import Any

import pytest
import torch
from torch import Tensor

import dynonet.network.model
import dynonet.network.workers
from dynonet.learning.steps import ModeGroup
from dynonet.network.parameters import BLOCKS, Parameters
from dynonet.reference.small import CPU, small_config
from dynonet.traits.trained import trained_groups
from lab.compute.draws import AnyDraws
from lab.compute.draws import uniform as drawn_uniform
from tests.dynonet.kernels.networks import PHASES, Case, case_of, phase_gradients

GRADCHECK: list[dict[str, Any]] = [
    {},
    {"model.revin": False, "model.decomposition": False, "signals.gate_masks": "off", "model.dropout": 0.0},
    {"model.trend": False, "model.context": False, "signals.dropout_rate": 0.4},
    {"model.mixer": False, "model.film": False, "signals.lr_scale": 2.0, "signals.input_noise": 0.3},
    {"model.workers": False},
]


@pytest.fixture
def fixed_masks(monkeypatch: pytest.MonkeyPatch) -> None:
    """Dropout keeps what it keeps whatever the rate, or a small step would flip masks: the loss would jump."""

    def draws(keys: Any, shape: tuple[int, ...]) -> Tensor:
        return torch.where(drawn_uniform(keys, shape) >= 0.2, 2.0, -1.0)

    monkeypatch.setattr(dynonet.network.workers, "uniform", draws)
    monkeypatch.setattr(dynonet.network.model, "uniform", draws)


def loss_function(case: Case, phase: str, draws: AnyDraws) -> Callable[[Parameters], Tensor]:
    """The loss (N,) that a phase says it goes down on, as a plain function of all parameters.

    worker: the signals are numbers, as the controller gives them now. controller: the plain squared error.
    joint: the signals act as they are, those that weigh the loss are numbers.
    """
    net = ModeGroup(case.configs, case.channels, CPU, torch.float64).net
    (x, y) = case.batches[0]
    with torch.no_grad():
        _, now = net.forward(case.params, x, draws, phase="controller" if phase == "controller" else "worker")
    weight = (now.lr_scale * now.loss_weight)[:, :, None]

    @torch.no_grad()
    def loss(params: Parameters) -> Tensor:
        with pytest.MonkeyPatch.context() as patch:
            if phase == "worker":
                patch.setattr(dynonet.network.model, "controller", lambda *_: now)
            forecast, _ = net.forward(params, x, draws, phase="controller" if phase == "controller" else "worker")
        square = (forecast - y).square()
        return (square if phase == "controller" else square * weight).mean(dim=(1, 2, 3))

    return loss


def slope(loss: Callable[[Parameters], Tensor], params: Parameters, block: str, direction: Tensor) -> Tensor:
    """Derivative (N,) along a direction in one block, by central differences of fourth order."""

    def at(step: float) -> Tensor:
        blocks = dict(params.blocks())
        return loss(Parameters(params.layout, **{**blocks, block: blocks[block] + step * direction}))

    h = 2e-4
    return (8 * (at(h) - at(-h)) - (at(2 * h) - at(-2 * h))) / (12 * h)


@pytest.mark.usefixtures("fixed_masks")
@pytest.mark.parametrize("phase", PHASES)
def test_gradients_are_those_of_the_loss(phase: str) -> None:
    """Every entry of every block that the phase learns, along random directions; each model has its own switches."""
    configs = [small_config({"model.num_layers": 2, **own}, seed=seed) for seed, own in enumerate(GRADCHECK)]
    case = case_of(configs, 2, 3, 5)
    layout, draws = case.params.layout, case.draws(0)
    loss = loss_function(case, phase, draws)
    given = phase_gradients(case, phase, 0)
    torch.testing.assert_close(given.pop("loss"), loss(case.params), rtol=1e-12, atol=0)
    blocks = {"worker": ("shared", "workers"), "controller": ("controller",), "joint": BLOCKS}
    assert {name.split(".")[0] for name in given} == set(blocks[phase])
    trained = [trained_groups(config) for config in configs]
    random = torch.Generator().manual_seed(3)
    for block in blocks[phase]:
        flat = getattr(case.params, block)
        for entry in layout.entries[block]:
            gradient = given[f"{block}.{entry.name}"].flatten(1)
            reached = [entry.group in groups[block] for groups in trained]
            assert gradient.any(1).tolist() == reached, f"{block}.{entry.name}"
            for _ in range(2):
                along = torch.randn(gradient.shape, generator=random, dtype=torch.float64)
                direction = torch.zeros_like(flat)
                place = layout.unpack(block, direction)[entry.name]
                place.copy_(along.view(place.shape))
                expected = slope(loss, case.params, block, direction)
                error = ((gradient * along).sum(1) - expected).abs()
                assert (error <= 1e-6 * gradient.norm(dim=1) + 1e-10).all(), f"{block}.{entry.name}: {error}"


@pytest.mark.usefixtures("fixed_masks")
@pytest.mark.parametrize("training", [False, True])
def test_gradcheck_of_the_whole_network(training: bool) -> None:
    """Every output of a forecast by every parameter, in torch's own words."""
    configs = [small_config({"model.num_layers": 2}, seed=1), small_config(seed=2).override({"model.num_layers": 2})]
    case = case_of(configs, 2, 2, 9)
    net = ModeGroup(configs, 2, CPU, torch.float64).net
    draws = case.draws(0) if training else None

    def forecast(*blocks: Tensor) -> Tensor:
        return net.forward(Parameters(case.params.layout, *blocks), case.batches[0][0], draws)[0]

    leaves = [flat.requires_grad_() for _, flat in case.params.blocks()]
    assert torch.autograd.gradcheck(forecast, leaves, fast_mode=True, atol=1e-8, rtol=1e-5)
