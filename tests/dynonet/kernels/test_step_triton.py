"""The GPU's kernels of a step's formulas against the same in torch and float64, as `test_gru_triton.py` does the GRU's:
in Triton's interpreter where there is no GPU."""

import importlib
from collections.abc import Callable, Sequence
from pathlib import Path

import pytest
import torch
from torch import Tensor
from torch.nn.functional import gelu

import dynonet.kernels
from dynonet.learning import optimiser
from dynonet.learning.optimiser import Moments
from dynonet.network.layers import dropout, layer_norm
from tests.dynonet.kernels.networks import case_of, errors, make_case, phase_gradients, without_close_calls
from tests.dynonet.kernels.test_gru_triton import DEVICE
from tests.dynonet.network.test_golden import FOLDER, cases
from tests.dynonet.network.test_golden import check as check_golden

kernel = importlib.import_module("dynonet.kernels.step_triton")  # after the other test has asked for the interpreter
Formula = Callable[..., Tensor]


def draw(*shape: int, seed: int) -> Tensor:
    return torch.rand(*shape, dtype=torch.float64, generator=torch.Generator().manual_seed(seed)).float().double()


def check(ours: Formula, formula: Formula, inputs: Sequence[Tensor], constants: Sequence[Tensor] = ()) -> None:
    """Value and gradients, by a float64 formula of the same numbers; errors are relative to an array's largest."""
    found = []
    for call, dtype, device in ((ours, torch.float32, DEVICE), (formula, torch.float64, torch.device("cpu"))):
        leaves = [t.to(device, dtype).requires_grad_() for t in inputs]
        value = call(*leaves, *(t.to(device, dtype) for t in constants))
        towards = torch.linspace(-1, 1, value.numel(), dtype=torch.float64).sin().view(value.shape) + 0.3
        grads = torch.autograd.grad(value, leaves, towards.to(device, dtype), allow_unused=True)
        found.append([value.detach(), *grads])
    for place, (a, b) in enumerate(zip(*found, strict=True)):
        assert (a is None) == (b is None), place
        if a is not None:
            assert a.shape == b.shape, place
            worst = (a.cpu().double() - b).abs().max()
            assert worst <= (1e-5 if place == 0 else 1e-4) * b.abs().max(), (place, worst, b.abs().max())


# models, channels, steps, units, windows: more and fewer than a program takes
SHAPES = [(1, 1, 1, 1, 1), (2, 2, 3, 3, 6), (1, 1, 9, 3, 130)]


def input_formula(residual: Tensor, weight: Tensor, bias: Tensor, position: Tensor, gates: Tensor) -> Tensor:
    lanes = residual.permute(0, 2, 1, 3).unsqueeze(3)
    x = weight[:, :, None, :, None] * lanes + (bias[:, :, None] + position)[..., None]
    return (x * gates[:, :, None]).flatten(0, 1)


@pytest.mark.parametrize("shape", SHAPES, ids=str)
def test_workers_input(shape: tuple[int, ...]) -> None:
    n, c, w, d, b = shape
    sizes = (n, w, c, b), (n, c, d), (n, c, d), (n, c, w, d), (n, c, d, b)
    check(kernel.workers_input, input_formula, [2 * draw(*size, seed=i) - 1 for i, size in enumerate(sizes)])


def test_workers_that_share_their_weights_and_gates_that_are_held() -> None:
    """Strides of 0, of rows that are cut from longer ones, and no gradient for what needs none."""
    n, c, w, d, b = 2, 3, 9, 4, 20
    row = 2 * draw(n, 1, 2 * d + 3 + (w + 3) * d, seed=1) - 1
    residual, gate = 2 * draw(n, w + 2, c, b, seed=2) - 1, draw(n, seed=3)

    def given(call: Formula) -> Formula:
        def run(row: Tensor, residual: Tensor, gate: Tensor) -> Tensor:
            every = row.expand(-1, c, -1)
            weight, bias, _, position = every.split([d, d, 3, (w + 3) * d], dim=2)
            held = gate.view(n, 1, 1, 1).expand(n, c, d, b)
            return call(residual[:, -w:], weight, bias.contiguous(), position.unflatten(2, (-1, d))[:, :, :w], held)

        return run

    check(given(kernel.workers_input), given(input_formula), [row], [residual, gate])
    check(given(kernel.workers_input), given(input_formula), [row, residual, gate])


def modulated_formula(
    x: Tensor, gamma: Tensor, beta: Tensor, weight: Tensor, bias: Tensor, rate: Tensor, draws: Tensor | None
) -> Tensor:
    out = gamma[:, :, None] * x + beta[:, :, None]
    out = layer_norm(out, weight[:, :, None, :, None], bias[:, :, None, :, None])
    return out if draws is None else dropout(out, rate[:, :, None, None], draws, 1e-8)


@pytest.mark.parametrize("drops", [True, False])
@pytest.mark.parametrize("shape", [(1, 1, 1, 3, 1), *SHAPES[1:]], ids=str)
def test_modulated(shape: tuple[int, ...], drops: bool) -> None:
    n, c, w, d, b = shape
    sizes = (n, c, w, d, b), (n, c, d, b), (n, c, d, b), (n, c, d), (n, c, d), (n, c, b)
    inputs = [2 * draw(*size, seed=i) - 1 for i, size in enumerate(sizes[:-1])]
    inputs.append(((0.7 * draw(*sizes[-1], seed=9) * 64).floor() + 0.5) / 64)
    draws = draw(n, c, w, d, b, seed=7).mul(64).floor() / 64
    inputs[5][..., 0] = draws[..., 0] = 0  # without dropout the least draw is kept, too
    constants = [draws] if drops else []
    check(
        lambda *t: kernel.modulated(*t[:6], t[6] if drops else None, 1e-8),
        lambda *t: modulated_formula(*t[:6], t[6] if drops else None),
        inputs if drops else inputs[:5],
        constants if drops else [inputs[5]],
    )


def test_modulated_by_numbers_that_are_expanded() -> None:
    n, c, w, d, b = 2, 2, 3, 4, 5
    x, draws = 2 * draw(n, c, w, d, b, seed=1) - 1, draw(n, c, w, d, b, seed=2)
    numbers, weight = draw(2, n, seed=3), draw(n, 1, d, seed=4)

    def given(call: Formula) -> Formula:
        def run(x: Tensor, weight: Tensor, numbers: Tensor, draws: Tensor) -> Tensor:
            gamma, rate = numbers[0].view(n, 1, 1, 1), numbers[1].view(n, 1, 1)
            expanded = gamma.expand(n, c, d, b), weight.expand(n, c, d), (0.5 * rate).expand(n, c, b)
            return call(x, expanded[0], -expanded[0], expanded[1], 2 * expanded[1], expanded[2], draws)

        return run

    ours = given(lambda *t: kernel.modulated(*t, 1e-8))
    check(ours, given(modulated_formula), [x, weight, numbers], [draws])
    check(ours, given(modulated_formula), [x.transpose(3, 4).contiguous().transpose(3, 4)], [weight, numbers, draws])


@pytest.mark.parametrize("shape", [(1, 2, 30), (2, 3, 700)], ids=str)
def test_gelu_dropout(shape: tuple[int, ...]) -> None:
    x, rate, draws = 8 * draw(*shape, seed=1) - 4, draw(shape[0], seed=2) / 2, draw(*shape, seed=3)
    rate[0] = draws[:, 0, 0] = 0  # without dropout the least draw is kept, too
    check(kernel.gelu_dropout, lambda x, r, u: dropout(gelu(x), r[:, None, None], u), [x], [rate, draws])


@pytest.mark.parametrize("shape", [(1, 1, 1, 1), (2, 3, 11, 130)], ids=str)
def test_squared_error(shape: tuple[int, ...]) -> None:
    x, y = 2 * draw(*shape, seed=1) - 1, 2 * draw(*shape, seed=2) - 1
    turned = y.transpose(1, 2).contiguous().transpose(1, 2)
    weight = draw(*shape[:2], shape[3], seed=3)
    check(lambda x, w, y: kernel.squared_error(x, y) * w, lambda x, w, y: (x - y).square().sum(2) * w, [x, weight], [y])
    check(kernel.squared_error, lambda x, y: (x - y).square().sum(2), [x], [turned])
    check(kernel.squared_error, lambda x, y: (x - y).square().sum(2), [x.transpose(2, 3)], [y.transpose(2, 3)])


@pytest.mark.parametrize("rows", [0, 3])
def test_adamw(rows: int, monkeypatch: pytest.MonkeyPatch) -> None:
    """Five steps, of groups that rest now and then, beside the same in float64."""
    models, size = 2, 1500
    shape, groups = (models, rows, size) if rows else (models, size), rows or 3
    index = None if rows else torch.arange(size) % 3
    flats = {d: (2 * draw(*shape, seed=1) - 1).to(DEVICE, d) for d in (torch.float32, torch.float64)}
    moments = {dtype: Moments.zeros(flat, groups) for dtype, flat in flats.items()}
    rates, decay = draw(models, groups, seed=2) / 100, draw(models, 1, seed=3).expand(models, groups)
    for step in range(5):
        active = (torch.arange(models * groups).view(models, groups) + step) % 3 > 0
        grad = draw(*shape, seed=4 + step) - 0.3
        for dtype, flat in flats.items():
            monkeypatch.setattr(dynonet.kernels, "fused", lambda like, t=dtype: kernel if t is torch.float32 else None)
            told = (t.to(DEVICE, dtype) for t in (rates, decay))
            place = None if index is None else index.to(DEVICE)
            optimiser.adamw_(flat, grad.to(DEVICE, dtype), moments[dtype], active.to(DEVICE), *told, place)
    ours, exact = torch.float32, torch.float64
    assert torch.equal(moments[ours].steps, moments[exact].steps)
    for name in ("mean", "square"):
        found, expected = (getattr(moments[dtype], name).double() for dtype in (ours, exact))
        torch.testing.assert_close(found, expected, rtol=1e-5, atol=1e-8)
    torch.testing.assert_close(flats[ours].double(), flats[exact], rtol=0, atol=6e-7)


# -- in the network ------------------------------------------------------------------------------------------
@pytest.fixture
def used(monkeypatch: pytest.MonkeyPatch) -> list[Tensor]:
    """A step's formulas are computed by the kernels, in float32, on this machine's device."""
    asked: list[Tensor] = []

    def fused(like: Tensor) -> object:
        if like.dtype != torch.float32:
            return None
        asked.append(like)
        return kernel

    monkeypatch.setattr(dynonet.kernels, "fused", fused)
    return asked


@pytest.mark.parametrize("name", [pytest.param(n, marks=pytest.mark.slow) for n in cases(FOLDER)])
def test_golden_vectors(name: str, golden_dir: Path, used: list[Tensor]) -> None:
    check_golden(golden_dir, name)
    assert used


@pytest.mark.parametrize("phase", ["controller", "joint"])
def test_gradients_of_a_network(phase: str, used: list[Tensor]) -> None:
    """Two layers, models that differ in what is on, as far as float32 allows."""
    shape = {"model.num_layers": 2, "model.worker_hidden": 3, "data.seq_len": 12, "model.worker_seq_len": 9}
    case = case_of(make_case(4, shape).configs[:2], 2, 5, 4)
    step, truth = without_close_calls(lambda step: phase_gradients(case, phase, step))
    found = errors(phase_gradients(case, phase, step, torch.float32, DEVICE.type), truth)
    assert len(used) >= 3
    assert found.pop("loss") <= 1e-5
    assert all(error <= 1e-4 for error in found.values()), found
