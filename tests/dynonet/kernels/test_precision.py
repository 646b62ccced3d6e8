"""The whole network and its training step: compiled in float32 against plain torch in float64.

What every kernel owes, relative to an array's scale (its largest number): 1e-5 forward, 1e-4 for gradients.
"""

from typing import Any

import pytest
import torch
from torch import Tensor

import dynonet.network.workers
from dynonet.learning.steps import STEPS, ModeGroup, TrainState
from dynonet.parts import OFF
from dynonet.reference.small import CPU, small_config
from lab.compute import kernels
from lab.compute.draws import uniform as drawn_uniform
from tests.dynonet.kernels.networks import (
    PHASES,
    case_of,
    errors,
    forecast_of,
    kernel,
    make_case,
    phase_gradients,
    without_close_calls,
    worst,
)
from tests.dynonet.network.test_golden import FOLDER, cases, check

FORWARD, GRADIENTS = 1e-5, 1e-4


@pytest.fixture
def coarse_draws(monkeypatch: pytest.MonkeyPatch) -> None:
    """Dropout's draws take eight values, so that few of millions lie next to their rate (see `without_close_calls`)."""

    def draws(keys: Any, shape: tuple[int, ...]) -> Tensor:
        return ((drawn_uniform(keys, shape) * 8).floor() + 0.5) / 8

    monkeypatch.setattr(dynonet.network.workers, "uniform", draws)


# -- compiled, in float32, against plain torch in float64 ----------------------------------------------------
def test_the_two_kernels_are_what_is_compared_here() -> None:
    for name in ("dynonet.kernels.gru_cpu", "lab.compute.draws_numba"):
        with kernel("compiled"):
            assert kernels.compiled(name) is not None
        with kernel("torch"):
            assert kernels.compiled(name) is None


@pytest.mark.parametrize("choice", ["compiled", "torch"])
@pytest.mark.parametrize("name", cases(FOLDER))
def test_every_kernel_passes_the_golden_vectors(name: str, choice: str) -> None:
    """`compiled` fails where it cannot be had; test_golden itself takes whichever there is."""
    with kernel(choice):
        check(FOLDER, name)


NETWORKS = range(24)


def check_network(seed: int, device: str) -> None:
    case = make_case(seed)
    for phase in PHASES:
        step, truth = without_close_calls(lambda step, phase=phase: phase_gradients(case, phase, step))
        with kernel("compiled"):
            found = errors(phase_gradients(case, phase, step, torch.float32, device), truth)
        assert found.pop("loss") <= FORWARD, (seed, phase)
        assert all(error <= GRADIENTS for error in found.values()), (seed, phase, found)
    for place, truth in (without_close_calls(lambda step: forecast_of(case, step)), (None, forecast_of(case, None))):
        with kernel("compiled"):
            found = errors(forecast_of(case, place, torch.float32, device), truth)
        assert found["forecast"] <= FORWARD, (seed, place)


@pytest.mark.usefixtures("coarse_draws")
@pytest.mark.parametrize("seed", NETWORKS)
def test_forecasts_and_gradients_of_any_network(seed: int) -> None:
    check_network(seed, "cpu")


@pytest.mark.skipif(not torch.cuda.is_available(), reason="needs a GPU")
@pytest.mark.usefixtures("coarse_draws")
def test_forecasts_and_gradients_of_any_network_on_a_gpu() -> None:
    for seed in NETWORKS:
        check_network(seed, "cuda")


def test_the_random_networks_meet_what_they_should() -> None:
    """Blocks with lanes to spare, narrow and wide GRUs, several layers, every switch on and off."""
    seen = [make_case(seed) for seed in NETWORKS]
    models = [case.configs[0].model for case in seen]
    assert {model.num_layers for model in models} == {1, 2, 3}
    assert {len(case.configs) for case in seen} == {1, 2, 3, 4}
    assert {1, 3, 24, 27} <= {model.worker_hidden for model in models}
    assert {1, 7, 33, 64} <= {model.control_hidden for model in models}
    assert {1, 17, 33, 64, 70} <= {case.batches[0][0].shape[-1] for case in seen}
    for name in OFF:
        assert {getattr(config.model, name) for case in seen for config in case.configs} == {True, False}, name


@pytest.mark.usefixtures("coarse_draws")
def test_two_hidden_units_are_as_precise_as_float32_allows() -> None:
    """Layer norm makes about -1 and +1 of any two units: what reaches the GRUs below is a difference of near equals.

    Plain torch in float32 is off by up to 1e-3 of such an entry, so its worst is the measure; all above holds as for
    any network.
    """
    plain, found = [], []
    for seed in range(6):
        case = make_case(100 + seed, {"model.worker_hidden": 2})
        for phase in PHASES:
            step, truth = without_close_calls(lambda step, case=case, phase=phase: phase_gradients(case, phase, step))
            with kernel("torch"):
                plain.append(errors(phase_gradients(case, phase, step, torch.float32), truth))
            with kernel("compiled"):
                found.append(errors(phase_gradients(case, phase, step, torch.float32), truth))
    allowed = max(GRADIENTS, 10 * max(error for each in plain for error in each.values()))
    above = ("shared.trend", "workers.output", "controller.context")
    for each in found:
        assert each.pop("loss") <= FORWARD
        assert all(error <= allowed for error in each.values()), (allowed, each)
        assert all(error <= GRADIENTS for name, error in each.items() if name.startswith(above)), each


# -- three steps of training ---------------------------------------------------------------------------------
THREE: list[dict[str, Any]] = [
    {},
    {"model.film": False, "signals.dropout_rate": 0.3},
    {"model.decomposition": False, "signals.grad_clip": 0.02},  # below every norm here, so that clipping is at work
]


@pytest.mark.usefixtures("coarse_draws")
@pytest.mark.parametrize("mode", ["alternating", "joint"])
def test_three_steps_of_three_models(mode: str) -> None:
    """Losses, AdamW's moments, and the parameters as far as their gradients stand out of the noise.

    An update is lr * mean / sqrt(square): where an element's gradients are no larger than float32's error (of the
    entry's scale), its direction is that of the noise, in any implementation. So an element may be off by lr times
    that error over its own root mean square, and by the whole of the updates at most.
    """
    steps, lr = 3, 1e-3
    shape = {"model.worker_hidden": 5, "model.num_layers": 2, "data.seq_len": 24, "model.worker_seq_len": 20}
    configs = [
        small_config({**shape, **own}, mode=mode, lr=lr, weight_decay=0.02, controller_lr_ratio=0.5, seed=seed)
        for seed, own in enumerate(THREE)
    ]
    case = case_of(configs, 3, 40, 7, 2 * steps)
    batches, held_out = case.batches[:steps], case.batches[steps:]

    def train(dtype: torch.dtype) -> tuple[TrainState, Tensor]:
        group = ModeGroup(configs, 3, CPU, dtype)
        state = TrainState.initial(case.params.to(dtype=dtype, copy=True))
        losses = []
        for step in range(steps):
            batch, later = (tuple(t.to(dtype) for t in pair[step]) for pair in (batches, held_out))
            factor = torch.full((len(configs),), 1 - 0.25 * step, dtype=dtype)
            losses += STEPS[mode](group, state, batch, lambda later=later: later, case.draws(step), factor)
        return state, torch.stack(losses).double()

    with kernel("torch"):
        truth, true_losses = train(torch.float64)
    with kernel("compiled"):
        ours, losses = train(torch.float32)
    torch.testing.assert_close(losses, true_losses, rtol=FORWARD, atol=0)
    layout = truth.params.layout
    clear = total = 0
    for block, flat in truth.params.blocks():
        assert torch.equal(ours.moments[block].steps, truth.moments[block].steps)
        rate = lr * (0.5 if block == "controller" else 1.0)
        moments = {"after": flat, "before": getattr(case.params, block), "ours": getattr(ours.params, block)}
        moments |= {"mean": truth.moments[block].mean, "rms": truth.moments[block].square.sqrt()}
        moments |= {"our_mean": ours.moments[block].mean, "our_rms": ours.moments[block].square.sqrt()}
        named = {key: layout.unpack(block, value) for key, value in moments.items()}
        for entry in layout.entries[block]:
            for model in range(len(configs)):
                t = {key: value[entry.name][model].double() for key, value in named.items()}
                place = f"model {model} {block}.{entry.name}"
                assert worst(t["our_mean"], t["mean"]) <= GRADIENTS, place
                assert worst(t["our_rms"], t["rms"]) <= GRADIENTS, place
                still = torch.equal(t["after"], t["before"])
                assert torch.equal(t["ours"], t["before"]) == still, place
                if still:
                    continue
                # Under a steady gradient an update is lr * 0.2 * mean / rms with mean / rms = 5 (after three steps), so
                # that an error of 1e-4 of the entry's scale in each shifts it by 2e-4 lr * largest rms / own rms.
                noise = 4 * GRADIENTS * t["rms"].max() / (t["rms"] + 1e-8)
                allowed = rate * steps * noise.clamp_max(2.0) + 3e-7 * t["before"].abs()
                assert ((t["ours"] - t["after"]).abs() <= allowed).all(), place
                clear += (noise < 0.02).sum().item()
                total += noise.numel()
    assert clear > 0.75 * total  # most elements are held to 2% of their update or less
