"""The whole network and its training step: compiled in float32 against plain torch in float64, and against differences.

What every kernel owes, relative to an array's scale (its largest number): 1e-5 forward, 1e-4 for gradients.
"""

import random
import warnings
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass, replace
from typing import Any

import pytest
import torch
from torch import Tensor

import dynonet.network.model
import dynonet.network.workers
from dynonet.config import Config
from dynonet.learning.steps import STEPS, Batch, ModeGroup, TrainState, controller_step, joint_step, worker_step
from dynonet.network.layers import dropout as plain_dropout
from dynonet.network.parameters import BLOCKS, Parameters
from dynonet.parts import OFF, SIGNALS
from dynonet.reference.small import CPU, draws_of, make_batch, make_group, small_config
from dynonet.traits.trained import trained_groups
from lab.compute import kernels
from lab.compute.draws import AnyDraws
from lab.compute.draws import uniform as drawn_uniform
from tests.dynonet.network.test_golden import FOLDER, cases, check

FORWARD, GRADIENTS = 1e-5, 1e-4
PHASES = ("worker", "controller", "joint")
CLOSE_CALL = 3e-6  # a draw this near its rate may keep in one type what it drops in the other


@contextmanager
def kernel(choice: str) -> Iterator[None]:
    with pytest.MonkeyPatch.context() as patch, warnings.catch_warnings():
        warnings.simplefilter("ignore")  # torch is asked for, and says so
        patch.setenv("DYNONET_KERNEL", choice)
        yield


def double(tensor: Tensor) -> Tensor:
    """Numbers that both types hold exactly, in float64."""
    return tensor.float().double()


@pytest.fixture
def coarse_draws(monkeypatch: pytest.MonkeyPatch) -> None:
    """Dropout's draws take eight values, so that few of millions lie next to their rate (see `without_close_calls`)."""

    def draws(keys: Any, shape: tuple[int, ...]) -> Tensor:
        return ((drawn_uniform(keys, shape) * 8).floor() + 0.5) / 8

    monkeypatch.setattr(dynonet.network.workers, "uniform", draws)


@dataclass
class Case:
    configs: list[Config]
    channels: int
    params: Parameters  # float64, as the batches; each number fits into float32
    batches: list[Batch]

    def draws(self, step: int, device: str = "cpu") -> AnyDraws:
        draws = draws_of([c.training.seed for c in self.configs], 1, step)
        return replace(draws, keys=(draws.keys[0].to(device), draws.keys[1].to(device)))


def make_case(seed: int, shape: dict[str, Any] | None = None, batches: int = 1) -> Case:
    """Models of one random shape, each with switches and held signals of its own, moved off their start."""
    r = random.Random(seed)
    channels, models, batch = r.randint(1, 7), r.randint(1, 4), r.choice([1, 3, 17, 32, 33, 64, 70])
    shared: dict[str, Any] = {
        "data.seq_len": r.randint(2, 50), "data.pred_len": r.randint(1, 20),
        "model.control_hidden": r.choice([1, 2, 7, 16, 33, 64]), "model.worker_hidden": r.choice([1, 3, 5, 8, 24, 27]),
        "model.num_layers": r.randint(1, 3), "model.worker_seq_len": r.randint(1, 60),
        "model.moving_average": r.choice([1, 5, 25]), **(shape or {}),
    }  # fmt: skip
    configs = []
    for _ in range(models):
        own: dict[str, Any] = {f"model.{name}": r.random() < 0.85 for name in OFF}
        own["model.trend"] |= not own["model.workers"]
        own |= {"model.dropout": r.choice([0, 0.1, 0.6]), "training.train_revin": r.random() < 0.7}
        for name, signal in SIGNALS.items():
            own[f"signals.{name}"] = r.choice(["adaptive", "adaptive", "adaptive", r.uniform(signal.low, signal.high)])
        configs.append(Config.create({**shared, **own, "training.seed": r.randrange(2**40)}))
    return case_of(configs, channels, batch, seed, batches)


def case_of(configs: list[Config], channels: int, batch: int, seed: int, batches: int = 1) -> Case:
    # A tenth off its start: far enough to make everything matter, near enough that no GRU is chaotic.
    _, state = make_group(configs, channels, scale=0.1)
    params = Parameters(state.params.layout, *(double(flat) for _, flat in state.params.blocks()))
    made = [make_batch(configs[0], channels, len(configs), batch, 100 * seed + i) for i in range(batches)]
    return Case(configs, channels, params, [(double(x), double(y)) for x, y in made])


class Watched(ModeGroup):
    """Keeps the gradients that a step hands to its optimisers, and updates nothing."""

    def __init__(self, *args: Any):
        super().__init__(*args)
        self.given: dict[str, Tensor] = {}

    def update_workers(self, state: Any, grads: Any, signals: Any, draws: Any, factor: Any) -> None:
        self.given |= {b: g for b, g in zip(("shared", "workers"), grads, strict=True) if g is not None}

    def update_controller(self, state: Any, grad: Any, *, ahead: bool = False) -> None:
        self.given |= {} if grad is None else {"controller": grad}


def phase_gradients(
    case: Case, phase: str, step: int, dtype: torch.dtype = torch.float64, device: str = "cpu"
) -> dict[str, Tensor]:
    """The loss of a phase (N,) and what its optimisers are given, by entry: (N, ...) or (N, C, ...)."""
    group = Watched(case.configs, case.channels, torch.device(device), dtype)
    state = TrainState.initial(case.params.to(dtype=dtype, device=device))
    batch = (case.batches[0][0].to(device, dtype), case.batches[0][1].to(device, dtype))
    draws, ones = case.draws(step, device), torch.ones(len(case.configs), dtype=dtype, device=device)
    if phase == "worker":
        loss = worker_step(group, state, batch, draws, ones)
    elif phase == "controller":
        loss = controller_step(group, state, batch, draws)
    else:
        loss, _ = joint_step(group, state, batch, lambda: batch, draws, ones)
    found = {"loss": loss.cpu()}
    for block, flat in group.given.items():
        found |= {f"{block}.{name}": value.cpu() for name, value in group.layout.unpack(block, flat).items()}
    return found


def forecast_of(
    case: Case, step: int | None, dtype: torch.dtype = torch.float64, device: str = "cpu"
) -> dict[str, Tensor]:
    """In training at a step, or with None in evaluation."""
    group = ModeGroup(case.configs, case.channels, torch.device(device), dtype)
    draws = None if step is None else case.draws(step, device)
    with torch.no_grad():
        params = case.params.to(dtype=dtype, device=device)
        return {"forecast": group.net.forward(params, case.batches[0][0].to(device, dtype), draws)[0].cpu()}


def worst(ours: Tensor, truth: Tensor) -> float:
    """The largest error of one model's array, relative to its scale; 0 is met by 0 alone."""
    error, scale = (ours.double() - truth).abs().max().item(), truth.abs().max().item()
    return 0.0 if error == 0 else error / scale if scale > 0 else float("inf")


def errors(ours: dict[str, Tensor], truth: dict[str, Tensor]) -> dict[str, float]:
    """By entry, the worst over the models."""
    assert set(ours) == set(truth)
    return {n: max(worst(a, b) for a, b in zip(ours[n], truth[n], strict=True)) for n in truth}


def without_close_calls(at: Callable[[int], dict[str, Tensor]]) -> tuple[int, dict[str, Tensor]]:
    """The first step of training whose draws are all clear of their rates, and `at` of it in plain float64.

    Draws are the same in every type, a rate is not to its last digit.
    """
    for step in range(50):
        margins = [1.0]

        def watching(x: Tensor, rate: Tensor, uniform: Tensor, eps: float, margins: list[float] = margins) -> Tensor:
            margins.append((uniform - rate).abs().min().item())
            return plain_dropout(x, rate, uniform, eps)

        with kernel("torch"), pytest.MonkeyPatch.context() as patch:
            patch.setattr(dynonet.network.workers, "dropout", watching)
            value = at(step)
        if min(margins) > CLOSE_CALL:
            return step, value
    raise AssertionError("every step has a close call")


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


# -- gradients against differences of the loss ---------------------------------------------------------------
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
