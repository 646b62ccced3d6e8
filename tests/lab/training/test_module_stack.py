"""Any torch module as a forecaster: alone and side by side, in turn and as one, stopped and gone on, and its name."""

from collections.abc import Sequence
from pathlib import Path
from typing import Any

import pytest
import torch
from torch import Tensor, nn
from torch.nn import functional

from lab import registry
from lab.compute.draws import Purpose, permutations, seed_keys, stream
from lab.compute.kernels import say_once
from lab.errors import ConfigError, DataError
from lab.forecaster import Inputs
from lab.series import load_series, window_starts
from lab.settings.config import Config
from lab.store.tables import Results
from lab.training.module_stack import Field, ModuleForecaster, Section, Switch
from lab.training.modules.stack import ModuleStack
from lab.training.stack_run import StackRun
from lab.training.trainer import StackTrainer
from tests.toy import TOY, Settings, Toy

CPU = torch.device("cpu")
SMALL = {"data.seq_len": 24, "data.pred_len": 8, "data.synthetic.rows": 500, "training.batch_size": 16}


class Plain(Section):
    width: int = Field(4, ge=1)


class Normed(nn.Module):
    """Running statistics, and a parameter that two layers share."""

    def __init__(self, config: Any, channels: int):
        super().__init__()
        self.norm = nn.BatchNorm1d(channels)
        self.one = nn.Linear(config.data.seq_len, config.data.seq_len)
        self.two = nn.Linear(config.data.seq_len, config.data.seq_len)
        self.two.weight = self.one.weight
        self.out = nn.Linear(config.data.seq_len, config.data.pred_len)

    def forward(self, window: Tensor) -> Tensor:
        x = self.norm(window.transpose(1, 2))
        return self.out(self.two(torch.relu(self.one(x)))).transpose(1, 2)


class Counting(Normed):
    """Counts its forwards in a buffer that it puts anew: `vmap` loses it."""

    def __init__(self, config: Any, channels: int):
        super().__init__(config, channels)
        self.register_buffer("count", torch.zeros(()))

    def forward(self, window: Tensor) -> Tensor:
        if self.training:
            self.count = self.count + 1
        return super().forward(window)


class Careless(nn.Module):
    """Draws from torch's own generator, and is recurrent."""

    def __init__(self, config: Any, channels: int):
        super().__init__()
        self.gru = nn.GRU(channels, 5, batch_first=True)
        self.out = nn.Linear(5, config.data.pred_len * channels)

    def forward(self, window: Tensor) -> Tensor:
        state = functional.dropout(self.gru(window)[0][:, -1], 0.3, self.training)
        return self.out(state).view(len(window), -1, window.shape[2])


class Periodic(Toy):
    """Reads its window to decide what to compute."""

    def forward(self, window: Tensor) -> Any:
        return super().forward(window * (1 + int(window.mean().item() > 0)))[0]


class Timed(nn.Module):
    """Says what it was told: the rows, and the calendar's sum over window and horizon."""

    def __init__(self, config: Any, channels: int):
        super().__init__()
        self.zero = nn.Parameter(torch.zeros(()))
        self.horizon = config.data.pred_len

    def forward(self, window: Tensor, calendar: Tensor, rows: Tensor) -> Tensor:
        told = rows[:, None].to(window.dtype).expand(-1, self.horizon)
        return torch.stack([told, calendar.sum((1, 2))[:, None].expand(-1, self.horizon)] * 3 + [told], 2) + self.zero


@pytest.fixture(autouse=True)
def _said_again() -> None:
    say_once.cache_clear()


def forecaster(module: Any, fused: bool | None = None, **more: Any) -> ModuleForecaster:
    return ModuleForecaster("tried", module, Plain, fused=fused, **more)


def toy(fused: bool) -> ModuleForecaster:
    return ModuleForecaster("toy", Toy, Settings, fused=fused, diagnostics=TOY.diagnostics)


def configs(of: ModuleForecaster, **own: Sequence[Any]) -> list[Config]:
    """Three models, unlike in all that models of a stack may be unlike in."""
    unlike = {"training.seed": (3, 1, 2), "training.lr": (1e-3, 3e-3, 1e-2), "training.weight_decay": (0.0, 0.1, 0.01)}
    unlike |= {"training.schedule": ("cosine", "constant", "cosine"), "training.max_epochs": (3, 4, 5)}
    unlike |= {key.replace("__", "."): values for key, values in own.items()}
    return [of.config.create({**SMALL, **{key: values[i] for key, values in unlike.items()}}) for i in range(3)]


def stack(of: ModuleForecaster, chosen: Sequence[Config], dtype: torch.dtype = torch.float32) -> ModuleStack:
    assert len({of.stack_key(config) for config in chosen}) == 1
    made = of.stack(chosen, load_series(chosen[0].data), CPU, dtype)
    assert isinstance(made, ModuleStack)
    return made


def train(made: ModuleStack, steps: int, epoch: int = 1) -> ModuleStack:
    made.begin_epoch(epoch)
    for number in range(steps):
        made.step(number)
    return made


def apart(one: dict[str, Tensor], other: dict[str, Tensor]) -> float:
    """The largest relative difference of two models' weights; NaN where any is."""
    assert one.keys() == other.keys()
    return float(torch.stack([(one[n] - other[n]).abs().max() / one[n].abs().max().clamp_min(1e-9) for n in one]).max())


def inputs(made: ModuleStack, config: Config, starts: Sequence[int]) -> Inputs:
    windows, _ = made._cut(torch.tensor([starts]))
    calendar = None if windows.calendar is None else windows.calendar.permute(0, 2, 3, 1)
    return Inputs(windows.window.permute(0, 2, 3, 1), windows.rows, calendar)


DROPOUT = {"model__dropout": (0.0, 0.2, 0.5)}


@pytest.mark.parametrize("fused", [False, True])
@pytest.mark.parametrize(("module", "own"), [("toy", DROPOUT), (Normed, {}), (Careless, {})])
@pytest.mark.parametrize(("dtype", "steps", "allowed"), [(torch.float32, 1, 1e-5), (torch.float64, 5, 1e-9)])
def test_alone_and_side_by_side_agree(
    module: Any, own: dict[str, Any], fused: bool, dtype: torch.dtype, steps: int, allowed: float
) -> None:
    of = toy(fused) if module == "toy" else forecaster(module, fused)
    chosen = configs(of, **own)
    if module is Careless and fused:
        with pytest.warns(RuntimeWarning, match="in turn, not as one: it draws from torch's own generator"):
            together = stack(of, chosen, dtype)
        assert together.kernel.startswith("torch, in turn: it draws")
    else:
        together = stack(of, chosen, dtype)
        assert together.kernel == ("torch, stacked" if fused else "torch")
    at_first = together.weights(range(3))
    train(together, steps)
    torch.manual_seed(7)  # what others did to torch's own generator is nothing to it
    for place, config in enumerate(chosen):
        alone = stack(toy(False) if module == "toy" else forecaster(module, False), [config], dtype)
        assert apart(alone.weights([0])[0], at_first[place]) == 0
        train(alone, steps)
        mine = together.weights([place])[0]
        assert apart(alone.weights([0])[0], mine) < allowed
        assert apart(at_first[place], mine) > 1e-4  # it did train
        torch.testing.assert_close(together.losses[0, place], alone.losses[0, 0], rtol=allowed, atol=0)


@pytest.mark.parametrize("module", [Normed, Careless])
def test_a_step_is_what_anyone_would_write(module: Any) -> None:
    """Against torch's own AdamW and a module of one's own, from the same seed."""
    of = forecaster(module)
    config = configs(of)[2]
    made = train(stack(of, [config], torch.float64), 4, epoch=2)
    series = load_series(config.data)
    starts = torch.as_tensor(window_starts(series, config.data, "train").copy())
    keys = seed_keys(torch.tensor([config.training.seed]))
    order = starts[permutations(stream(keys, Purpose.BATCHES, 2), len(starts))[0]]
    torch.manual_seed(config.training.seed)
    ours = module(config, 7).double()
    lr = config.training.lr
    adamw = torch.optim.AdamW(ours.parameters(), lr, weight_decay=config.training.weight_decay)
    values = torch.as_tensor(series.scaled.copy())
    total = len(starts) // 16 * config.training.max_epochs
    for number in range(4):
        share = (1 + torch.cos(torch.tensor(torch.pi * (total / 5 + number) / total, dtype=torch.float64))) / 2
        adamw.param_groups[0]["lr"] = lr * (0.01 + 0.99 * float(share))
        block = torch.stack([values[s : s + 32] for s in order[16 * number : 16 * (number + 1)]])
        if module is Careless:
            low, high = (int(word) & 0xFFFFFFFF for word in stream(keys, Purpose.TORCH, 2, number))
            torch.manual_seed(high >> 1 << 32 | low)
        loss = functional.mse_loss(ours(block[:, :24]), block[:, 24:])
        adamw.zero_grad()
        loss.backward()
        adamw.step()
    theirs = {name: tensor for name, tensor in ours.state_dict().items() if name != "two.weight"}
    assert apart(made.weights([0])[0], theirs) < 1e-12


def test_dropout_drops_at_each_models_rate_and_never_in_a_forecast() -> None:
    class Ones(nn.Module):
        def __init__(self, config: Any, channels: int):
            super().__init__()
            self.dropout = nn.Dropout(config.model.dropout)
            self.zero = nn.Parameter(torch.zeros(()))

        def forward(self, window: Tensor) -> Tensor:
            one = torch.ones_like(window[:, :8])
            return torch.cat([self.dropout(one)[:, :4], self.dropout(one)[:, :4]], 1) + self.zero  # unlike masks

    for fused in (False, True):
        of = ModuleForecaster("ones", Ones, Settings, fused=fused)
        made = stack(of, configs(of, model__dropout=(0.0, 0.25, 0.5)))
        made.begin_epoch(1)
        seen = []
        for member, masks in zip(made._members.modules, made._members.masks, strict=True):
            masks.enter(made._words[len(seen), 0])  # type: ignore[index]
            seen.append(member(torch.zeros(400, 24, 7)).detach())
        shares = [float((drawn == 0).float().mean()) for drawn in seen]
        assert (
            shares[0] == 0 and shares[1] == pytest.approx(0.25, abs=0.01) and shares[2] == pytest.approx(0.5, abs=0.01)
        )
        assert seen[1].max() == pytest.approx(1 / 0.75) and not torch.equal(seen[2][:, :4], seen[2][:, 4:])
        forecast, _ = made.forecast(inputs(made, of.config(), [0, 1, 2]))
        assert forecast.shape == (3, 7, 8, 3) and (forecast == 1).all()


@pytest.mark.parametrize("fused", [False, True])
@pytest.mark.parametrize("module", ["toy", Normed])
def test_a_resumed_stack_goes_on_exactly(module: Any, fused: bool) -> None:
    of = toy(fused) if module == "toy" else forecaster(module, fused)
    through, stopped = (train(stack(of, configs(of)), 5) for _ in range(2))
    state = stopped.state()
    assert all(len(tensor) == 3 for tensor in state.values())
    train(stopped, 2, epoch=2)  # changes no state that was handed out
    again = stack(of, configs(of))
    again.restore(state)
    for made in (through, again):
        train(made, 5, epoch=2)
    for name, tensor in through.state().items():
        assert tensor.equal(again.state()[name]), name
    assert again.rates() == through.rates()
    fewer = stack(of, configs(of)[:2])
    fewer.restore({name: tensor[:2] for name, tensor in state.items()})  # as the lab cuts checkpoints
    with pytest.raises(DataError, match="the checkpoint is of another module"):
        fewer.restore(state)


@pytest.mark.parametrize("fused", [False, True])
def test_those_who_stay_in_the_middle_of_an_epoch_go_on_as_if_alone(fused: bool) -> None:
    of = toy(fused)
    chosen = configs(of, model__dropout=(0.0, 0.2, 0.5))
    made = train(stack(of, chosen, torch.float64), 3)
    made.keep([2, 0])
    for number in (3, 4):
        made.step(number)
    for place, config in enumerate((chosen[2], chosen[0])):
        alone = train(stack(of, [config], torch.float64), 5)
        assert apart(alone.weights([0])[0], made.weights([place])[0]) < 1e-9
        torch.testing.assert_close(made.losses[0, place], alone.losses[0, 0], rtol=1e-9, atol=0)
        assert made.rates()[place] == alone.rates()[0]


@pytest.mark.parametrize("fused", [False, True])
def test_a_neighbour_that_diverges_changes_nothing(fused: bool) -> None:
    of = toy(fused)
    chosen = configs(of, training__lr=(1e-3, 1e30, 1e-2))
    made = train(stack(of, chosen), 4)
    assert made.losses.isfinite().tolist() == [[True, False, True]]
    for place in (0, 2):
        alone = train(stack(of, [chosen[place]]), 4)
        assert apart(alone.weights([0])[0], made.weights([place])[0]) < 1e-4


def test_stacks_that_do_not_fit_are_halved_and_their_best_weights_kept(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    step = ModuleStack.step

    def greedy(self: ModuleStack, number: int) -> None:
        if len(self._members) > 1 and self._taken[0] > 30:  # in the second epoch
            raise torch.OutOfMemoryError("no more")
        step(self, number)

    of = registry.forecaster("tests.toy:TOY")
    assert isinstance(of, ModuleForecaster)
    chosen = configs(of, training__lr=(0.3, 0.03, 0.01))
    alone = [StackTrainer([config]).train()[0] for config in chosen]
    monkeypatch.setattr(ModuleStack, "step", greedy)
    results = Results(tmp_path)
    run = StackRun(results, chosen)
    while run.report().state == "running":
        run.advance()
    assert len(run.halvings) == 2
    for mine, other in zip(run.runs, alone, strict=True):
        assert mine.status == "complete" and mine.best_epoch == other.best_epoch
        assert mine.weights is not None and other.weights is not None
        assert apart(mine.weights, other.weights) == 0  # in turn, alone is to the bit as side by side
    assert {row["kernel"] for row in results.runs(run.ids).values()} == {"torch"}
    assert min(each.best_epoch or 0 for each in alone) < max(each.epochs for each in alone)


def test_what_as_one_would_compute_wrongly_is_computed_in_turn_and_said() -> None:
    of = forecaster(Counting, fused=True)
    with pytest.warns(RuntimeWarning, match="Counting: models are trained in turn, not as one: .*buffers"):
        made = train(stack(of, configs(of)), 3)
    assert made.kernel.startswith("torch, in turn: as one, its buffers become others")
    assert [float(weights["count"]) for weights in made.weights(range(3))] == [3, 3, 3]  # none of them the trial's
    assert float(made.weights([0])[0]["norm.num_batches_tracked"]) == 3
    reads = ModuleForecaster("reads", Periodic, Settings, fused=True)
    for chosen in (configs(reads), configs(reads)[:1]):
        with pytest.warns(RuntimeWarning, match=r"Periodic: models are trained in turn, not as one: .*\.item\(\)"):
            say_once.cache_clear()
            made = train(stack(reads, chosen), 2)
        assert made.losses.isfinite().all()


@pytest.mark.parametrize("fused", [False, True])
def test_the_calendar_and_the_rows_are_those_of_the_windows(fused: bool) -> None:
    of = forecaster(Timed, fused)
    assert of.wants_calendar
    made = stack(of, configs(of))
    made.begin_epoch(1)
    made.step(0)
    series, config = load_series(configs(of)[0].data), configs(of)[0]
    asked = inputs(made, config, [5, 100])
    for network in (made, of.network(configs(of), made.weights(range(3)), 7, CPU)):
        forecast, _ = network.forecast(asked)
        forecast = (
            forecast
            - forecast.new_tensor([float(each["zero"]) for each in made.weights(range(3))])[:, None, None, None]
        )
        assert forecast.shape == (3, 7, 8, 2)
        for place, row in enumerate((5, 100)):
            assert forecast[0, 0, 3, place] == pytest.approx(row, abs=1e-3)
            assert forecast[2, 1, 3, place] == pytest.approx(series.calendar[row : row + 32].sum(), abs=1e-3)


def test_trained_weights_forecast_as_the_stack_did() -> None:
    for of in (toy(False), forecaster(Normed)):
        chosen = configs(of)
        made = train(stack(of, chosen), 3)
        asked = inputs(made, chosen[0], [0, 7, 9])
        forecast, besides = made.forecast(asked)
        network = of.network(chosen, made.weights(range(3)), 7, CPU)
        again, besides_again = network.forecast(asked)
        assert torch.equal(forecast, again) and besides.keys() == besides_again.keys()
        assert all(len(value) == 3 for value in besides.values())
    with pytest.raises(DataError, match=r"another module than Normed: .*in one of them alone"):
        forecaster(Normed).network(chosen, [{"a": torch.zeros(1)}] * 3, 7, CPU)


class Short(Toy):
    def forward(self, window: Tensor) -> Any:
        return super().forward(window)[0][:, 1:]


class Broken(Toy):
    def forward(self, window: Tensor) -> Any:
        return self.inner(window)


class Untold(Toy):
    def forward(self, window: Tensor) -> Any:
        return super().forward(window)[0], {"toy.hiden": window}


@pytest.mark.parametrize(
    ("module", "says"),
    [
        (Short, r"its forward gave shape \(2, 7, 7\); a forecast \(B, H, C\), here \(2, 8, 7\), is needed"),
        (Broken, r"Broken: its forward failed on windows of shape \(2, 24, 7\) \(RuntimeError: mat1 and mat2"),
        (Untold, "unknown diagnostic of Untold 'toy.hiden'; did you mean 'toy.hidden'"),
    ],
)
def test_a_module_that_cannot_be_trained_is_refused_before_a_step(module: Any, says: str) -> None:
    of = ModuleForecaster("tried", module, Settings, diagnostics=TOY.diagnostics)
    with pytest.raises(ConfigError, match=says):
        stack(of, configs(of))


def test_what_a_user_writes_makes_settings_arms_and_sizes() -> None:
    config = TOY.config.create({"model.hidden": 4}, overrides=["model.level=off"])
    assert (config.data.seq_len, config.training.batch_size) == (24, 32)
    assert TOY.size(config, 7).parameters == 24 * 4 + 4 + 4 * 8 + 8 == TOY.size(config, 7).effective
    arm = TOY.arms["no_level"]
    assert arm.apply(TOY.config()).model.level is False and arm.noun == "the level"
    with pytest.raises(ConfigError, match=r"unknown key 'model.hiden'; did you mean 'model.hidden'\?"):
        TOY.config.create({"model.hiden": 4})
    with pytest.raises(ConfigError, match=r"data\.seq_len: got 1;"):  # another default, the same limits
        TOY.config.create({"data.seq_len": 1})
    with pytest.raises(ConfigError, match="part 'hidden' is a setting of type"):
        ModuleForecaster("toy", Toy, Settings, parts={"hidden": Switch("width", "it helps")})
    with pytest.raises(ConfigError, match=r"models 1 and 2 of a stack differ in shape \(inner.weight"):
        TOY.stack([config, TOY.config.create({"model.hidden": 5})], load_series(config.data), CPU, torch.float32)
