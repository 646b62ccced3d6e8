"""The large rivals at shapes and settings that no golden case has, and their formulas by hand."""

import math
from typing import Any

import pytest
import torch
from torch import Tensor, nn

from forecasters.autoformer import AutoCorrelation
from forecasters.fedformer import Attention, Block
from lab.errors import ConfigError
from lab.registry import forecaster
from lab.training.module_stack import ModuleForecaster
from lab.training.modules.members import seeded
from tests.forecasters.stacked import check_as_one

AS_ONE = ("autoformer", "crossformer", "fedformer", "itransformer", "patchtst")
LARGE = (*AS_ONE, "timesnet")
ODD = {"data.dataset": "synthetic", "data.synthetic.rows": 600, "data.seq_len": 51, "data.pred_len": 29}
WINDOW, CALENDAR = torch.randn(2, 51, 3, generator=torch.Generator().manual_seed(2)), torch.rand(2, 80, 4) - 0.5


def config_of(name: str, **settings: Any) -> Any:
    found = forecaster(name)
    return found.config.create({**found.small, **ODD, **{key.replace("__", "."): of for key, of in settings.items()}})


def built(name: str, **settings: Any) -> nn.Module:
    """In evaluation mode, of three channels."""
    found = forecaster(name)
    assert isinstance(found, ModuleForecaster)
    torch.manual_seed(1)
    module: nn.Module = found.module(config_of(name, **settings), 3).eval()
    return module


def forecast(name: str, module: nn.Module) -> Tensor:
    asked = forecaster(name).wants_calendar
    given: Tensor = module(WINDOW, CALENDAR) if asked else module(WINDOW)
    return given


@pytest.mark.parametrize("name", LARGE)
def test_odd_lengths_and_each_preset_and_part(name: str) -> None:
    """Of a shape that nothing divides; each part off; small settings of presets. What is effective has a gradient."""
    found = forecaster(name)
    presets = [
        {k: v for k, v in found.config.presets[p].items() if k.startswith("model.")} for p in found.config.presets
    ]
    for settings in [*presets, *(arm.overrides for arm in found.arms.values())]:
        kept = {key.replace(".", "__"): value for key, value in settings.items() if key not in found.small}
        module = built(name, **kept)
        given = forecast(name, module)
        assert given.shape == (2, 29, 3) and given.isfinite().all()
        torch.autograd.backward(given.square().mean())
        reached = sum(each.numel() for each in module.parameters() if each.grad is not None)
        assert found.size(config_of(name, **kept), 3).effective == reached


@pytest.mark.parametrize("name", AS_ONE)
def test_models_of_one_shape_are_computed_as_one(name: str) -> None:
    check_as_one(name, config_of(name, training__batch_size=8, model__e_layers=2))


def test_auto_correlation_by_loops() -> None:
    mix = AutoCorrelation(config_of("autoformer", model__factor=1).model)
    queries, keys, values = (
        torch.randn(2, length, 1, 4, generator=torch.Generator().manual_seed(5)) for length in (13, 9, 9)
    )
    found = mix(queries, keys, values)
    for window in range(2):
        moved = [torch.cat([each[window, :, 0], torch.zeros(4, 4)]) for each in (keys, values)]
        like = torch.stack([(queries[window, :, 0] * moved[0].roll(lag, 0)).sum(0).mean() for lag in range(13)])
        at = like.topk(int(math.log(13))).indices
        weights = torch.softmax(like[at], dim=0)
        expected = sum(weight * moved[1].roll(-int(lag), 0) for weight, lag in zip(weights, at, strict=True))
        torch.testing.assert_close(found[window, :, 0], expected)
    shared = AutoCorrelation(config_of("autoformer", model__lags="batch").model)
    assert not torch.equal(shared.train()(queries, keys, values), shared.eval()(queries, keys, values))


def frequencies(form: str, modes: int = 4) -> Any:
    return config_of("fedformer", model__form=form, model__modes=modes, model__d_model=6, model__n_heads=2).model


def test_frequencies_are_kept_where_they_are_or_where_the_benchmark_puts_them() -> None:
    """A block of identities keeps the part of a series that its frequencies are; the benchmark's moves them down."""
    series = torch.randn(2, 20, 2, 3, generator=torch.Generator().manual_seed(4))
    for form in ("paper", "benchmark"):
        torch.manual_seed(3)
        block = Block(frequencies(form), 20)
        modes = block.modes.tolist()
        assert modes == sorted(set(modes)) and len(modes) == 4 and max(modes) < 10
        with torch.no_grad():
            block.real.copy_(torch.eye(3)[None, :, :, None].expand(2, 3, 3, 4))
            block.imaginary.zero_()
            found = block(series, series, series)
        spectrum = torch.fft.rfft(series, dim=1)
        kept = torch.zeros_like(spectrum)
        for place, mode in enumerate(modes):
            kept[:, mode if form == "paper" else place] = spectrum[:, mode]
        expected = torch.fft.irfft(kept, n=20, dim=1)
        if form == "benchmark":
            expected = expected.permute(0, 2, 3, 1).contiguous().view(2, 20, 2, 3)
        torch.testing.assert_close(found, expected)


def test_drawn_frequencies_are_the_seed_s_and_go_with_the_weights() -> None:
    name, found = "encoder.0.attention.mix.modes", forecaster("fedformer")
    assert isinstance(found, ModuleForecaster)
    configs = [config_of("fedformer", model__modes=5, training__seed=seed) for seed in (1, 1, 2)]
    one, same, other = (seeded(found.module, config, 3).state_dict()[name] for config in configs)
    assert torch.equal(one, same) and not torch.equal(one, other)
    lowest = built("fedformer", model__modes=5, model__random_modes=False).state_dict()
    assert lowest[name].tolist() == [0, 1, 2, 3, 4]


def test_what_a_decoder_of_the_benchmark_draws_past_its_last_frequency_is_nothing() -> None:
    """S // 2 + H = 54 steps are drawn for, 8 + 29 are there: 27 frequencies, of which 19 are."""
    module: Any = built("fedformer", model__form="benchmark", model__modes=32)
    for mix in (module.decoder[0].self_attention.mix, module.decoder[0].cross_attention.mix):
        assert isinstance(mix, Block | Attention) and mix.modes.tolist() == list(range(27))
        given = forecast("fedformer", module)
        with torch.no_grad():
            mix.real[..., 19:] += 1.0
        torch.testing.assert_close(forecast("fedformer", module), given)
        with torch.no_grad():
            mix.real[..., 18] += 1.0  # the last that is there
        assert (forecast("fedformer", module) - given).abs().max() > 1e-4


def test_what_a_window_cannot_hold_is_refused() -> None:
    with pytest.raises(ConfigError, match=r"model.label_len=60 is longer than a window, data.seq_len=51"):
        built("autoformer", model__label_len=60)
    with pytest.raises(ConfigError, match=r"model.patch_len=80 is longer than a window, data.seq_len=51"):
        built("patchtst", model__patch_len=80)
    with pytest.raises(ConfigError, match=r"model.top_k=50: 80 steps have 40 periods at most"):
        built("timesnet", model__top_k=50)


def test_segments_that_no_window_divides_are_merged_and_the_last_repeated() -> None:
    """51 steps are 13 segments of 4, then 7 of two of them each, then 4; a single one is merged with itself."""
    module: Any = built("crossformer", model__e_layers=3)
    assert [block.stage.router.shape[0] for block in module.encoder] == [13, 7, 4]
    merge = module.encoder[1].merge
    tokens = torch.randn(1, 1, 3, 8)
    whole = torch.cat([tokens, tokens[:, :, -1:]], dim=2)
    torch.testing.assert_close(merge(tokens), merge(whole))
    assert merge(tokens[:, :, :1]).shape == (1, 1, 1, 8)
