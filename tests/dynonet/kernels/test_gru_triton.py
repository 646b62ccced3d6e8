"""The GPU kernel against the float64 torch path, on a GPU where there is one, else in Triton's interpreter on the CPU.

The interpreter runs the kernel's own source with numpy: it checks indices, masks and formulas, not speed, and products
are float32 there where a GPU takes `tf32x3`.
"""

import importlib
import importlib.util
import os
from pathlib import Path
from types import ModuleType
from typing import Any

import numpy
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from torch import Tensor

from dynonet.network.gru import _torch_gru
from tests.dynonet.network.test_golden import FOLDER, cases
from tests.dynonet.network.test_golden import check as check_golden

ON_GPU = torch.cuda.is_available()
DEVICE = torch.device("cuda" if ON_GPU else "cpu")

# groups, steps, inputs, hidden, batch: each plan, with widths that fill it and widths that do not
SHAPES = [
    (1, 1, 1, 1, 1),
    (3, 5, 2, 3, 33),
    (2, 6, 5, 6, 31),
    (2, 7, 8, 8, 40),
    (2, 1, 2, 3, 290),  # ten shares of the weights' gradients: more than are added up at once
    (1, 4, 16, 16, 17),
    (2, 3, 17, 5, 18),
    (1, 4, 7, 12, 33),
    (1, 3, 32, 32, 20),
    (1, 20, 3, 24, 70),
    (1, 5, 1, 20, 16),
    (2, 3, 7, 49, 33),
    (1, 6, 7, 64, 16),
    (1, 3, 64, 64, 5),
    (1, 2, 5, 100, 3),
    (1, 2, 100, 128, 17),
]


def load() -> ModuleType:
    """The kernels' module; without a GPU under the interpreter, which must be asked for before triton is imported."""
    if importlib.util.find_spec("triton") is None:
        pytest.skip("triton is not installed (torch's CUDA builds bring it)", allow_module_level=True)
    if not ON_GPU:
        os.environ["TRITON_INTERPRET"] = "1"  # for good: triton imports more of itself at the first launch
    module = importlib.import_module("dynonet.kernels.gru_triton")
    functions = (module._forward, module._reduce, importlib.import_module("triton.language").sum)
    interpreted = (type(function).__name__ == "InterpretedFunction" for function in functions)
    if not ON_GPU and not all(interpreted):
        raise RuntimeError("triton was imported before this file asked for its interpreter; set TRITON_INTERPRET=1")
    return module


kernel = load()


def arguments(shape: tuple[int, ...], seed: int = 0, scale: float = 1.0) -> list[Tensor]:
    """x and the four weights, uniform in +-1/sqrt(D) as torch.nn.GRU's, times `scale`."""
    groups, steps, inputs, hidden, batch = shape
    random = torch.Generator().manual_seed(seed)
    sizes = [(groups, 3 * hidden, inputs), (groups, 3 * hidden, hidden), (groups, 3 * hidden), (groups, 3 * hidden)]
    x = torch.randn(groups, steps, inputs, batch, generator=random)
    weights = [scale * (2 * torch.rand(size, generator=random) - 1) / hidden**0.5 for size in sizes]
    return [tensor.to(DEVICE) for tensor in (x, *weights)]


def direction(output: Tensor) -> Tensor:
    """The gradient of the output: of both signs, none zero, one for each place of a group."""
    one = torch.linspace(-1, 1, output[0].numel(), dtype=torch.float64).sin() + 1e-3
    return one.view_as(output[0]).expand_as(output).to(output)


def run(tensors: list[Tensor], last_only: bool, needs_x: bool = True, needs_weights: bool = True) -> list:
    output, kept = kernel.forward(*tensors, last_only, True)
    gradients = kernel.backward(*tensors, kept, direction(output), last_only, needs_x, needs_weights)
    return [output, *gradients]


def truth(tensors: list[Tensor], last_only: bool) -> list[Tensor]:
    leaves = [tensor.double().requires_grad_() for tensor in tensors]
    output = _torch_gru(*leaves, last_only)
    output.backward(direction(output))
    return [output.detach(), *(leaf.grad for leaf in leaves)]


def check(tensors: list[Tensor], last_only: bool) -> None:
    names = ("output", "x", "weight_ih", "weight_hh", "bias_ih", "bias_hh")
    for name, got, expected in zip(names, run(tensors, last_only), truth(tensors, last_only), strict=True):
        assert got.shape == expected.shape, name
        error = (got.double() - expected).abs().max()
        assert error <= (1e-5 if name == "output" else 1e-4) * expected.abs().max() + 1e-12, name


def error(got: Tensor, expected: Tensor) -> float:
    return ((got.double() - expected).abs().max() / expected.abs().max()).item()


def assert_same(first: list, second: list) -> None:
    for a, b in zip(first, second, strict=True):
        assert (a is None) == (b is None)
        assert a is None or torch.equal(a, b)


@pytest.mark.parametrize("last_only", [False, True])
@pytest.mark.parametrize("shape", SHAPES, ids=str)
def test_kernel_equals_torch(shape: tuple[int, ...], last_only: bool) -> None:
    check(arguments(shape), last_only)


@settings(max_examples=10, deadline=None, derandomize=True)
@given(
    shape=st.tuples(st.integers(1, 3), st.integers(1, 5), st.integers(1, 20), st.integers(1, 70), st.integers(1, 40)),
    last_only=st.booleans(),
    seed=st.integers(0, 99),
)
def test_kernel_equals_torch_at_any_size(shape: tuple[int, ...], last_only: bool, seed: int) -> None:
    check(arguments(shape, seed), last_only)


@pytest.mark.filterwarnings("ignore:overflow encountered in exp")  # numpy's; the gate is then 0 or 1, as it should
@pytest.mark.parametrize("hidden", [4, 12, 20])
def test_saturated_gates(hidden: int) -> None:
    x, *weights = arguments((1, 12, 3, hidden, 20), scale=3)
    check([100 * x, *weights], False)


@pytest.fixture
def bfloat16(monkeypatch: pytest.MonkeyPatch) -> None:
    """The interpreter multiplies the bits of bfloat16, which are the upper half of float32's, as whole numbers."""
    if ON_GPU:
        return
    builder = importlib.import_module("triton.runtime.interpreter").InterpreterBuilder
    plain = builder.create_dot

    float32 = importlib.import_module("triton.language").float32

    def widened(tile: Any) -> Any:
        if tile.data.dtype != numpy.uint16:
            return tile
        return type(tile)((tile.data.astype(numpy.uint32) << 16).view(numpy.float32), float32)

    monkeypatch.setattr(builder, "create_dot", lambda self, a, b, *more: plain(self, widened(a), widened(b), *more))


@pytest.mark.usefixtures("bfloat16")
@pytest.mark.parametrize(("precision", "most"), [("tf32", 2e-3), ("bf16", 2e-2)])
@pytest.mark.parametrize("hidden", [6, 20])
def test_coarser_products_are_as_coarse_as_they_say(hidden: int, precision: str, most: float) -> None:
    """Asked for, they round factors to 11 and 8 bits (on a GPU: the interpreter leaves TF32's as they are)."""
    tensors = arguments((2, 6, 7, hidden, 40))
    output, kept = kernel.forward(*tensors, False, True, precision)
    found = [output, *kernel.backward(*tensors, kept, direction(output), False, True, True, precision)]
    errors = [error(a, b) for a, b in zip(found, truth(tensors, False), strict=True)]
    assert all(each <= most for each in errors)
    if precision == "bf16":  # narrow GRUs go through time without tensor cores, so without rounding
        assert min(errors if hidden > 8 else errors[2:4]) >= 1e-4


@pytest.mark.parametrize("last_only", [False, True])
@pytest.mark.parametrize("hidden", [6, 12, 20, 40])
def test_gradients_that_nobody_wants_change_nothing(hidden: int, last_only: bool) -> None:
    tensors = arguments((2, 4, 3, hidden, 20))
    output, dx, *weights = run(tensors, last_only)
    assert_same(run(tensors, last_only, needs_weights=False), [output, dx, *[None] * 4])
    assert_same(run(tensors, last_only, needs_x=False), [output, None, *weights])


@pytest.mark.parametrize("last_only", [False, True])
@pytest.mark.parametrize("hidden", [7, 12, 20, 40])
def test_a_group_does_not_see_its_neighbours(hidden: int, last_only: bool) -> None:
    tensors = arguments((4, 4, 3, hidden, 35))
    together = run(tensors, last_only)
    for places in ([3, 0], [2]):
        assert_same(run([tensor[places] for tensor in tensors], last_only), [part[places] for part in together])


@pytest.mark.parametrize("hidden", [6, 12, 20, 40])
def test_same_output_with_nothing_kept(hidden: int) -> None:
    tensors = arguments((2, 5, 3, hidden, 20))
    states, kept = kernel.forward(*tensors, False, False)
    assert kept == ()
    for last_only in (False, True):
        for keep in (False, True):
            output, kept = kernel.forward(*tensors, last_only, keep)
            assert torch.equal(output, states[:, -1] if last_only else states)
            assert bool(kept) == keep


@pytest.mark.parametrize("hidden", [3, 12, 20, 40])
def test_a_gradient_that_underflows_ends_the_way_back(hidden: int) -> None:
    """z is near 0, so each step back costs a factor of 1e-7: the last few steps have all of the gradient."""
    tensors = arguments((2, 30, 2, hidden, 20))
    for bias in tensors[3:]:
        bias[:, hidden : 2 * hidden] = -8
    tensors[2][:, 2 * hidden :] *= 1e-6
    tensors[2][:, : 2 * hidden] *= 1e-6
    got, expected = run(tensors, True), truth(tensors, True)
    assert (got[1][:, :8] == 0).all()  # not left as the memory was found
    assert (got[1][:, -1] != 0).any()
    for gradient, reference in zip(got, expected, strict=True):
        assert (gradient.double() - reference).abs().max() <= 1e-4 * reference.abs().max()


@pytest.mark.parametrize("hidden", [3, 12, 20, 40])
def test_after_the_end_of_the_way_back_nothing_is_read(hidden: int, monkeypatch: pytest.MonkeyPatch) -> None:
    """NaN in what it need not reach stays there, also for the weights' gradients: so it did stop, and where it should.

    The second block has a gradient and goes all the way: its neighbour's end must not be taken for its own.
    """
    tensors = arguments((1, 30, 2, hidden, 35))
    for bias in tensors[3:]:
        bias[:, hidden : 2 * hidden] = 3  # z near 1: the gradient stays
    output, kept = kernel.forward(*tensors, True, True)
    grad = direction(output)
    grad[..., :16] = 0
    here = [tensor.clone() for tensor in tensors]
    here[0][..., :16], clean = 0, [tensor.clone() for tensor in kept]
    expected = kernel.backward(*here, clean, grad, True, True, True)
    tensors[0][:, :23, :, :16] = float("nan")
    kept[0][:, :16, :, :16] = float("nan")
    for gates in kept[1:]:
        (gates[:, 0, :17] if kernel.plan(hidden, 2).UNITS_LAST else gates[:, :17, ..., :16]).fill_(float("nan"))
    empty = kernel._empty_gates
    monkeypatch.setattr(kernel, "_empty_gates", lambda *sizes: empty(*sizes).fill_(float("nan")))
    dx, *weights = kernel.backward(*tensors, kept, grad, True, True, True)
    assert (dx[..., :16] == 0).all()
    assert (dx[:, 0, :, 16:] != 0).any()
    assert_same([dx[..., 16:], *weights], [expected[0][..., 16:], *expected[1:]])


@pytest.mark.parametrize("hidden", [6, 12, 40])
def test_gates_that_were_overwritten_are_not_taken_for_gates(hidden: int) -> None:
    """A second way back gives the same where the gates are computed again, and is refused where they were kept."""
    tensors = arguments((1, 4, 3, hidden, 5))
    leaves = [tensor.requires_grad_() for tensor in tensors]
    loss = _Gru.apply(*leaves, False).square().sum()
    first = torch.autograd.grad(loss, leaves, retain_graph=True)
    if kernel.plan(hidden, 3).KEPT:
        with pytest.raises(RuntimeError, match="modified by an inplace operation"):
            torch.autograd.grad(loss, leaves)
    else:
        assert_same(list(torch.autograd.grad(loss, leaves)), list(first))


@pytest.mark.parametrize("hidden", [3, 12, 20, 40])
def test_what_is_not_a_number_stays_visible_and_at_home(hidden: int) -> None:
    tensors = arguments((2, 4, 3, hidden, 20))
    expected, _ = kernel.forward(*tensors, False, False)
    tensors[0][1, 2, 0, 7] = float("nan")
    output, _ = kernel.forward(*tensors, False, False)
    assert output[1, 2:, :, 7].isnan().all()
    expected[1, 2:, :, 7] = output[1, 2:, :, 7] = 0
    assert torch.equal(output, expected)
    gradients = run(tensors, True)[1:]
    assert all(gradient[1].isnan().any() for gradient in gradients)
    assert all(gradient[0].isfinite().all() for gradient in gradients)


def test_an_empty_batch() -> None:
    output, *gradients = run(arguments((2, 4, 3, 5, 0)), False)
    assert output.shape == (2, 4, 5, 0)
    assert all((gradient == 0).all() for gradient in gradients)


def test_layouts_that_are_not_contiguous() -> None:
    tensors = arguments((2, 4, 3, 5, 20))
    strange = [tensor.transpose(0, -1).contiguous().transpose(0, -1) for tensor in tensors]
    assert not any(tensor.is_contiguous() for tensor in strange)
    assert_same(run(strange, False), run(tensors, False))


def test_a_size_that_does_not_fit_is_refused() -> None:
    with pytest.raises(ValueError, match="got 129 hidden units and 3 inputs, at most 128 each"):
        kernel.forward(*arguments((1, 2, 3, 129, 2)), True, False)


def test_the_plan_depends_on_sizes_alone_and_fits_the_machine() -> None:
    for hidden in range(1, kernel.LARGEST + 1):
        for inputs in (1, 7, 8, 9, 16, 17, 32, 33, 128):
            plans = kernel.plan(hidden, inputs)
            reduction = plans.reduction
            for plan in plans[:2]:
                assert hidden <= plan.D_PAD and inputs <= plan.F_PAD
                assert 1 <= plan.warps <= 8
                if plan.LANES_LAST:
                    assert 32 * plan.warps == plan.D_PAD * plan.LANES  # one unit of one window for each thread
                    assert not plans.UNITS_LAST
                else:
                    assert min(plan.D_PAD, plan.F_PAD, plan.LANES) >= 16
            assert hidden <= reduction.H_COLUMNS and inputs <= reduction.X_COLUMNS
            assert reduction.WINDOWS % plans.backward.LANES == 0
            assert not plans.UNITS_LAST or plans.forward.LANES == plans.backward.LANES


# -- in the network ------------------------------------------------------------------------------------------
class _Gru(torch.autograd.Function):
    @staticmethod
    def forward(ctx, x, weight_ih, weight_hh, bias_ih, bias_hh, last_only):
        inputs = tuple(t.detach().to(DEVICE) for t in (x, weight_ih, weight_hh, bias_ih, bias_hh))
        output, kept = kernel.forward(*inputs, last_only, True)
        ctx.save_for_backward(*inputs, *kept)
        ctx.last_only = last_only
        return output.to(x.device)

    @staticmethod
    def backward(ctx, grad):
        inputs, kept, needs = ctx.saved_tensors[:5], ctx.saved_tensors[5:], ctx.needs_input_grad
        gradients = kernel.backward(*inputs, kept, grad.to(DEVICE), ctx.last_only, needs[0], any(needs[1:5]))
        return *(None if g is None else g.to(grad.device) for g in gradients), None


@pytest.mark.parametrize(
    "name", [pytest.param(n, marks=pytest.mark.slow if n.startswith("train") else ()) for n in cases(FOLDER)]
)
def test_golden_vectors(name: str, golden_dir: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """The published network's vectors, forward and three training steps, with every GRU computed by the kernel."""
    calls = []

    def gru(*tensors: Tensor, last_only: bool = False) -> Tensor:
        calls.append(last_only)
        return _Gru.apply(*tensors, last_only)

    monkeypatch.setattr("dynonet.network.workers.gru", gru)
    monkeypatch.setattr("dynonet.network.controller.gru", gru)
    check_golden(golden_dir, name)
    assert len(calls) >= 2


@pytest.mark.skipif(not ON_GPU, reason="needs a GPU")
@pytest.mark.parametrize("shape", [(7, 96, 8, 8, 512), (2, 512, 7, 64, 512), (4, 96, 16, 16, 512)], ids=str)
@pytest.mark.parametrize("last_only", [False, True])
def test_kernel_equals_torch_at_the_published_sizes(shape: tuple[int, ...], last_only: bool) -> None:
    check(arguments(shape), last_only)


@pytest.mark.skipif(not ON_GPU, reason="needs a GPU")
@pytest.mark.parametrize("hidden", [8, 64])
def test_the_same_bits_every_time(hidden: int) -> None:
    tensors = arguments((8, 50, 8, hidden, 512))
    first = run(tensors, False)
    for _ in range(5):
        assert_same(run(tensors, False), first)
