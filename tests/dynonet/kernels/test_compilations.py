"""What Triton compiles: once for a plan of the GRU's, whatever the sizes; and what a whole search comes to."""

import os
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path

import pytest
import torch
import yaml

from dynonet.kernels.gru_triton_plans import PRODUCTS, compilations
from tests.dynonet.kernels.test_gru_triton import ON_GPU, arguments, kernel, run


def proposals(count: int) -> list[tuple[int, int]]:
    """Widths of controller and workers, as a default search may propose them: the space's ends, then at random."""
    space = yaml.safe_load((Path(__file__).parents[3] / "dynonet/searches/etth1-h96.yaml").read_text())["space"]
    ranges = [space[f"model.{name}"]["int"] for name in ("control_hidden", "worker_hidden")]
    random = torch.Generator().manual_seed(0)

    def draw(low: int, high: int) -> int:
        return round(low * (high / low) ** torch.rand((), generator=random).item())

    return [*zip(*ranges, strict=True), *(tuple(draw(*ends) for ends in ranges) for _ in range(count))]


def train_once(control: int, hidden: int, precision: str = "float32") -> None:
    """The calls of a training with validation: a controller of 7 channels, and its workers' last and other layers."""
    for shape, x_needed in (((1, 2, 7, control, 3), False), ((2, 2, hidden, hidden, 3), True)):
        tensors = arguments(shape)
        for last_only in (True, False) if x_needed else (True,):
            kernel.forward(*tensors, last_only, False, precision)
            output, kept = kernel.forward(*tensors, last_only, True, precision)
            if x_needed:  # through the workers to the controller
                kernel.backward(*tensors, kept, output, last_only, True, False, precision)
            kernel.backward(*tensors, kept, output, last_only, x_needed, True, precision)


@pytest.fixture
def built(monkeypatch: pytest.MonkeyPatch) -> set[tuple]:
    """What is compiled by the calls of a test, which compute nothing."""
    found: set[tuple] = set()
    for name in ("_forward", "_backward", "_reduce"):

        class Recorded:
            def __getitem__(self, grid: tuple[int], name: str = name) -> Callable[..., None]:
                return lambda *told, **compiled_in: found.add((name, *sorted(compiled_in.items())))

        monkeypatch.setattr(kernel, name, Recorded())
    return found


def test_a_default_search_compiles_eight_kernels(built: set[tuple]) -> None:
    """20 random proposals and the space's ends; they are those that are listed without a launch."""
    listed = set()
    for control, hidden in proposals(20):
        train_once(control, hidden)
        each = [*compilations(control, 7, False), *compilations(hidden, hidden, True)]
        listed |= {(name, *sorted(options.items())) for name, options in each}
    assert 3 <= len(built) <= 8, sorted(map(str, built))
    assert built == listed


@pytest.mark.parametrize("precision", PRODUCTS)
def test_a_second_trial_compiles_nothing(precision: str, built: set[tuple]) -> None:
    """Nor the first, once a model of each of the space's plans has been trained, as before a search begins."""
    controls, workers = (range(low, high + 1) for low, high in zip(*proposals(0), strict=True))
    plans = {kernel.plan(k, 7): (k, 2) for k in controls} | {kernel.plan(d, d): (4, d) for d in workers}
    assert len(plans) == 3  # up to 8 units, to 16, to 32
    for control, hidden in plans.values():
        train_once(control, hidden, precision)
    prepared = set(built)
    assert 3 <= len(prepared) <= 8
    for control, hidden in proposals(20):
        train_once(control, hidden, precision)
    assert built == prepared


def test_no_number_of_a_call_is_compiled_in() -> None:
    """Triton knows what is told at run time as such; else it compiles for 1, for multiples of 16 and for the rest."""
    program = """
from dynonet.kernels import gru_triton_steps, gru_triton_weights, layers_triton, step_triton
for module in (gru_triton_steps, gru_triton_weights, layers_triton, step_triton):
    for name, function in vars(module).items():
        if getattr(function, "do_not_specialize", None):
            for p in function.params:
                print(name, p.name, p.is_constexpr, p.do_not_specialize)
"""
    plain = {name: value for name, value in os.environ.items() if name != "TRITON_INTERPRET"}
    said = subprocess.run([sys.executable, "-c", program], env=plain, capture_output=True, text=True, check=True).stdout
    rows = [line.split() for line in said.splitlines()]
    assert len({row[0] for row in rows}) == 3 + 8
    assert [row[:2] for row in rows if row[2] == row[3]] == []  # one or the other


@pytest.mark.skipif(not ON_GPU, reason="needs a GPU")
@pytest.mark.parametrize(("hidden", "others"), [(8, (1, 5)), (12, (9, 16)), (20, (17, 32)), (49, (33, 63))])
def test_another_size_compiles_nothing(hidden: int, others: tuple[int, ...]) -> None:
    def compiled() -> int:
        functions = (kernel._forward, kernel._backward, kernel._reduce)
        return sum(len(cache[0]) for f in functions for cache in f.device_caches.values())

    run(arguments((2, 4, 7, hidden, 40)), True)
    before = compiled()
    assert before >= 4
    for other in (hidden, *others):
        for groups, steps, batch in ((1, 1, 1), (3, 16, 16), (5, 7, 33), (16, 2, 512)):
            tensors = arguments((groups + 1, steps, 7, other, batch))
            run(tensors, True)
            run([tensor[1:] for tensor in tensors], True)  # at addresses that are not multiples of 16
    assert compiled() == before
