"""gru() against torch.nn.GRU, and what it promises: same bits whatever the neighbours, the threads, the memory kept."""

import importlib
import os
import subprocess
import sys
import warnings
from pathlib import Path

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from dynonet.kernels import gru_cpu
from dynonet.network.gru import gru
from lab.compute import kernels
from lab.compute.kernels import set_threads

module = importlib.import_module("dynonet.network.gru")
ROOT = Path(__file__).parents[3]
NAMES = ("weight_ih", "weight_hh", "bias_ih", "bias_hh")

# groups, steps, inputs, hidden, batch: blocks have 16, 32 or 64 lanes
SHAPES = [
    (1, 1, 1, 1, 1),
    (3, 5, 2, 3, 33),
    (2, 7, 3, 4, 64),
    (2, 6, 5, 6, 31),
    (2, 9, 4, 7, 70),
    (7, 12, 8, 8, 64),
    (1, 4, 9, 10, 130),
    (2, 5, 17, 16, 65),
    (1, 5, 1, 32, 40),
    (1, 20, 7, 64, 96),
    (1, 3, 11, 100, 35),
    (1, 3, 128, 128, 32),
]


@pytest.fixture(autouse=True)
def _as_installed(monkeypatch):
    monkeypatch.delenv("DYNONET_KERNEL", raising=False)
    yield
    set_threads(1)


def arguments(shape, dtype=torch.float32, seed=0):
    """x and the four weights, uniform in +-1/sqrt(D) as torch.nn.GRU's."""
    groups, steps, inputs, hidden, batch = shape
    random = torch.Generator().manual_seed(seed)
    sizes = [(groups, 3 * hidden, inputs), (groups, 3 * hidden, hidden), (groups, 3 * hidden), (groups, 3 * hidden)]
    x = torch.randn(groups, steps, inputs, batch, generator=random, dtype=torch.float64)
    weights = [(2 * torch.rand(s, generator=random, dtype=torch.float64) - 1) / hidden**0.5 for s in sizes]
    return [tensor.to(dtype) for tensor in (x, *weights)]


def run(tensors, last_only=False, wanted=(True,) * 5, direction=None):
    """The output and the gradients of the wanted ones (None for the others) of sum(direction * output)."""
    leaves = [t.detach().clone().requires_grad_(want) for t, want in zip(tensors, wanted, strict=True)]
    output = gru(*leaves, last_only=last_only)
    if direction is None:
        direction = torch.linspace(-1, 1, output.numel(), dtype=output.dtype).view_as(output).sin()
    output.backward(direction)
    return [output.detach(), *(leaf.grad for leaf in leaves)]


def truth(tensors, last_only):
    """The same from one torch.nn.GRU for each group, in float64."""
    x = tensors[0].double().requires_grad_()
    hidden = tensors[2].shape[2]
    modules = []
    for group in range(len(x)):
        reference = torch.nn.GRU(x.shape[2], hidden, batch_first=True).double()
        for name, tensor in zip(NAMES, tensors[1:], strict=True):
            getattr(reference, f"{name}_l0").data.copy_(tensor[group])
        modules.append(reference)
    states = torch.stack([m(x[g].permute(2, 0, 1))[0].permute(1, 2, 0) for g, m in enumerate(modules)])
    output = states[:, -1] if last_only else states
    output.backward(torch.linspace(-1, 1, output.numel()).view_as(output).sin().double())
    grads = [torch.stack([getattr(m, f"{name}_l0").grad for m in modules]) for name in NAMES]
    return [output.detach(), x.grad, *grads]


def assert_close(got, expected, relative):
    assert got.shape == expected.shape
    assert (got.double() - expected).abs().max() <= relative * expected.abs().max() + 1e-12


def assert_same(first, second):
    for a, b in zip(first, second, strict=True):
        assert (a is None) == (b is None)
        assert a is None or torch.equal(a, b)


def check_against_torch(shape, last_only, seed=0):
    tensors = arguments(shape, seed=seed)
    got, expected = run(tensors, last_only), truth(tensors, last_only)
    assert_close(got[0], expected[0], 1e-5)
    for gradient, reference in zip(got[1:], expected[1:], strict=True):
        assert_close(gradient, reference, 1e-4)


def test_the_kernel_is_what_is_tested_here():
    x = torch.zeros(1, 1, 1, 1)
    assert module._kernel(x, 1).__name__ == "dynonet.kernels.gru_cpu"
    assert module._kernel(x.double(), 1) is None


@pytest.mark.parametrize("last_only", [False, True])
@pytest.mark.parametrize("shape", SHAPES, ids=str)
def test_kernel_equals_torch(shape, last_only):
    check_against_torch(shape, last_only)


@settings(max_examples=30, deadline=None, derandomize=True)
@given(
    shape=st.tuples(st.integers(1, 3), st.integers(1, 9), st.integers(1, 20), st.integers(1, 40), st.integers(1, 140)),
    last_only=st.booleans(),
    seed=st.integers(0, 99),
)
def test_kernel_equals_torch_at_any_size(shape, last_only, seed):
    check_against_torch(shape, last_only, seed)


@pytest.mark.parametrize("last_only", [False, True])
def test_long_saturated_sequences(last_only):
    tensors = [3 * tensor for tensor in arguments((1, 300, 3, 16, 32))]
    got, expected = run(tensors, last_only), truth(tensors, last_only)
    assert_close(got[0], expected[0], 1e-5)
    for gradient, reference in zip(got[1:], expected[1:], strict=True):
        assert_close(gradient, reference, 1e-4)


@pytest.mark.parametrize("last_only", [False, True])
def test_torch_path_equals_torch(last_only, monkeypatch):
    monkeypatch.setenv("DYNONET_KERNEL", "torch")
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        check_against_torch((3, 6, 4, 5, 7), last_only)


@pytest.mark.parametrize("last_only", [False, True])
def test_torch_path_gradcheck(last_only):
    tensors = [tensor.requires_grad_() for tensor in arguments((2, 3, 2, 3, 2), torch.float64)]
    assert torch.autograd.gradcheck(lambda *a: gru(*a, last_only=last_only), tensors)
    assert torch.autograd.gradgradcheck(lambda *a: gru(*a, last_only=last_only), tensors)


@pytest.mark.parametrize("wanted", [(False, *[True] * 4), (True, *[False] * 4)], ids=["weights", "x"])
@pytest.mark.parametrize("hidden", [6, 26])
def test_gradients_that_nobody_wants_change_nothing(wanted, hidden):
    tensors = arguments((2, 5, 3, hidden, 40))
    everything, some = run(tensors), run(tensors, wanted=wanted)
    assert_same(some, [everything[0], *(g if want else None for g, want in zip(everything[1:], wanted, strict=True))])


@pytest.mark.parametrize("last_only", [False, True])
@pytest.mark.parametrize("hidden", [7, 24])
def test_a_group_does_not_see_its_neighbours(hidden, last_only):
    tensors = arguments((5, 6, 3, hidden, 70))
    direction = torch.randn(5, hidden, 70) if last_only else torch.randn(5, 6, hidden, 70)
    together = run(tensors, last_only, direction=direction)
    order = [3, 0]
    apart = run([t[order] for t in tensors], last_only, direction=direction[order])
    assert_same(apart, [t[order] for t in together])
    alone = run([t[4:] for t in tensors], last_only, direction=direction[4:])
    assert_same(alone, [t[4:] for t in together])


@pytest.mark.parametrize("threads", [2, 3, 16])
def test_threads_do_not_change_a_bit(threads):
    tensors = arguments((3, 6, 3, 26, 100))
    one = run(tensors)
    set_threads(threads)
    assert_same(run(tensors), one)


@pytest.mark.parametrize("threads", [0, -1])
def test_thread_count_is_positive(threads):
    with pytest.raises(ValueError, match="at least 1"):
        set_threads(threads)


@pytest.mark.parametrize("last_only", [False, True])
def test_two_forwards_before_either_backward(last_only):
    shape = (2, 6, 3, 26, 40)
    first, second = arguments(shape, seed=1), arguments(shape, seed=2)
    expected = [run(first, last_only), run(second, last_only)]
    leaves = [[t.clone().requires_grad_() for t in tensors] for tensors in (first, second)]
    outputs = [gru(*tensors, last_only=last_only) for tensors in leaves]
    direction = torch.linspace(-1, 1, outputs[0].numel()).view_as(outputs[0]).sin()
    for output in reversed(outputs):
        output.backward(direction)
    for output, tensors, reference in zip(outputs, leaves, expected, strict=True):
        assert_same([output.detach(), *(t.grad for t in tensors)], reference)


def test_a_retained_graph_keeps_its_states():
    tensors = arguments((1, 6, 3, 26, 40))
    expected = run(tensors, last_only=True, direction=torch.ones(1, 26, 40))
    leaves = [t.clone().requires_grad_() for t in tensors]
    total = gru(*leaves, last_only=True).sum()  # its gradient is one number, expanded
    first = torch.autograd.grad(total, leaves, retain_graph=True)
    run(arguments((1, 6, 3, 26, 40), seed=5), last_only=True)  # would overwrite states given back too early
    assert_same(torch.autograd.grad(total, leaves), first)
    assert_same(first, expected[1:])


@pytest.mark.parametrize("last_only", [False, True])
def test_without_gradient_same_numbers_and_nothing_kept(last_only):
    tensors = arguments((2, 6, 3, 26, 40))
    expected = run(tensors, last_only)[0]
    assert gru(*[t.requires_grad_() for t in tensors], last_only=last_only).grad_fn is not None
    assert gru_cpu.forward(*(t.detach() for t in tensors), last_only, keep=False)[1] == ()
    tensors = arguments((2, 6, 3, 26, 40))
    assert torch.equal(gru(*tensors, last_only=last_only), expected)
    with torch.no_grad():
        assert torch.equal(gru(*[t.requires_grad_() for t in tensors], last_only=last_only), expected)


def test_last_is_the_last_of_all():
    tensors = arguments((2, 6, 3, 26, 40))
    assert torch.equal(gru(*tensors, last_only=True), gru(*tensors)[:, -1])


def test_layouts_that_are_not_contiguous():
    x, *weights = arguments((2, 6, 3, 5, 40))
    strange = [t.transpose(0, -1).contiguous().transpose(0, -1) for t in (x, *weights)]
    assert not any(t.is_contiguous() for t in strange)
    assert_same(run(strange), run([x, *weights]))


def test_an_empty_batch():
    output, *gradients = run(arguments((2, 6, 3, 5, 0)))
    assert output.shape == (2, 6, 5, 0)
    assert all((gradient == 0).all() for gradient in gradients)


@pytest.mark.parametrize("shape", [(2, 700, 3, 5, 70), (1, 600, 7, 24, 64)], ids=str)
def test_a_gradient_that_underflows_ends_early(shape, monkeypatch):
    """Backward stops where nothing is left of it; what it did not come to is zero, not whatever memory held."""
    empty_like = torch.empty_like
    monkeypatch.setattr(torch, "empty_like", lambda tensor: empty_like(tensor).fill_(torch.nan))
    tensors = arguments(shape)
    hidden = shape[3]
    tensors[3][:, hidden : 2 * hidden] = -2.0  # the update gates forget
    got, expected = run(tensors, last_only=True), truth(tensors, last_only=True)
    for gradient, reference in zip(got[1:], expected[1:], strict=True):
        assert_close(gradient, reference, 1e-4)
    assert got[1][:, :200].count_nonzero() == 0
    assert got[1][:, -50:].count_nonzero() > 0


@pytest.mark.parametrize("value", [float("nan"), float("inf")])
def test_what_is_not_a_number_stays_visible_and_at_home(value):
    tensors = arguments((2, 6, 3, 5, 40))
    expected = gru(*tensors)
    tensors[0][1, 2, 0, 7] = float("nan")
    tensors[0][1, 2, 0, 9] = value
    output = gru(*tensors)
    assert output[1, 2:, :, 7].isnan().all()
    expected[1, :, :, [7, 9]] = output[1, :, :, [7, 9]] = 0
    assert torch.equal(output, expected)


def test_the_callers_denormals_are_left_alone():
    torch.set_flush_denormal(False)  # an earlier test's trainer may have left it on, and `tiny` is denormal
    tiny = torch.tensor(1e-38)
    for mode in (False, True):
        torch.set_flush_denormal(mode)
        run(arguments((1, 3, 2, 3, 4)))
        assert (tiny * 0.01 == 0) == mode
    torch.set_flush_denormal(False)


def test_the_second_derivative_of_the_kernel_is_refused():
    tensors = [t.requires_grad_() for t in arguments((1, 3, 2, 3, 4))]
    (gradient,) = torch.autograd.grad(gru(*tensors).square().sum(), tensors[:1], create_graph=True)
    with pytest.raises(RuntimeError, match="once_differentiable"):
        gradient.sum().backward()


@pytest.mark.parametrize(
    ("change", "message"),
    [
        (lambda a: a.__setitem__(0, a[0][0]), r"x has shape \(3, 2, 4\), expected \(G, T, I, B\)"),
        (lambda a: a.__setitem__(0, a[0][:, :0]), "T >= 1"),
        (lambda a: a.__setitem__(1, a[1][:, :, :1]), r"weight_ih has shape \(2, 9, 1\), .* = \(2, 9, 2\)"),
        (lambda a: a.__setitem__(2, a[2][:, 1:]), r"weight_hh has shape \(2, 8, 3\), .* = \(2, 9, 3\)"),
        (lambda a: a.__setitem__(2, a[2][0]), r"weight_hh has shape \(9, 3\), expected \(G, 3D, D\)"),
        (lambda a: a.__setitem__(4, a[4][:1]), r"bias_hh has shape \(1, 9\), .* = \(2, 9\)"),
        (lambda a: a.__setitem__(3, a[3].double()), "bias_ih is torch.float64 on cpu, expected torch.float32"),
    ],
)
def test_what_does_not_fit_is_named(change, message):
    tensors = arguments((2, 3, 2, 3, 4))
    change(tensors)
    with pytest.raises(ValueError, match=message):
        gru(*tensors)


def test_the_torch_path_says_so_once(monkeypatch):
    monkeypatch.setenv("DYNONET_KERNEL", "torch")
    kernels.say_once.cache_clear()
    with pytest.warns(RuntimeWarning, match="DYNONET_KERNEL=torch") as caught:
        for _ in range(3):
            gru(*arguments((2, 3, 2, 3, 4)))
    assert len(caught) == 1
    assert caught[0].filename == __file__
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        kernels.say_once.cache_clear()
        gru(*arguments((2, 3, 2, 3, 4), torch.float64))  # the kernel would not have run anyway


def test_a_kernel_that_cannot_be_had(monkeypatch):
    monkeypatch.setattr(kernels, "load", lambda name: ImportError("No module named 'numba'"))
    kernels.say_once.cache_clear()
    tensors = arguments((2, 3, 2, 3, 4))
    with pytest.warns(RuntimeWarning, match="No module named 'numba'"):
        gru(*tensors)
    monkeypatch.setenv("DYNONET_KERNEL", "compiled")
    with pytest.raises(RuntimeError, match="DYNONET_KERNEL=compiled"):
        gru(*tensors)


def test_an_unknown_kernel_is_refused(monkeypatch):
    monkeypatch.setenv("DYNONET_KERNEL", "compield")
    with pytest.raises(ValueError, match=r"'compield'; did you mean 'compiled'\?; allowed: auto, compiled, torch"):
        gru(*arguments((2, 3, 2, 3, 4)))
    monkeypatch.setenv("DYNONET_KERNEL", "fast")
    with pytest.raises(ValueError, match="allowed: auto, compiled, torch"):
        gru(*arguments((2, 3, 2, 3, 4), torch.float64))


@pytest.mark.slow
def test_many_processes_start_at_once(tmp_path):
    """Three share an empty cache; a fourth may cache nowhere, says so, and runs all the same."""
    code = (
        "import torch; from dynonet.network.gru import gru; a = [torch.ones(2, 3, 2, 4), *[torch.ones(2, *s) for s in "
    )
    code += "((9, 2), (9, 3), (9,), (9,))]]; print(gru(*a).sum().item())"
    environment = {**os.environ, "PYTHONPATH": str(ROOT), "DYNONET_KERNEL": "compiled", "OMP_NUM_THREADS": "1"}
    shared = {**environment, "NUMBA_CACHE_DIR": str(tmp_path)}
    nowhere = {
        **environment,
        "NUMBA_CACHE_DIR": f"{os.devnull}/no",
        "NUMBA_CACHE_LOCATOR_CLASSES": "UserProvidedCacheLocator",
    }
    command = [sys.executable, "-c", code]
    pipes = {"stdout": subprocess.PIPE, "stderr": subprocess.PIPE, "text": True, "cwd": tmp_path}
    started = [subprocess.Popen(command, env=env, **pipes) for env in (shared, shared, shared, nowhere)]
    ended = [(*process.communicate(timeout=300), process.returncode) for process in started]
    assert [code for _, _, code in ended] == [0] * 4, ended
    assert len({output for output, _, _ in ended}) == 1
    assert ["cannot be cached" in errors for _, errors, _ in ended] == [False, False, False, True]
    assert len(list(tmp_path.rglob("*.nbi"))) == len(list(tmp_path.rglob("*.nbc"))) == 2
