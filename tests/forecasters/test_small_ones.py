"""The small rivals at shapes and settings that no golden case has."""

from typing import Any

import pytest
import torch
from torch import Tensor, nn

from forecasters import FORECASTERS
from lab.errors import ConfigError
from lab.registry import forecaster
from lab.training.module_stack import ModuleForecaster
from tests.forecasters.stacked import check_as_one

SMALL = ("cyclenet", "dlinear", "nlinear", "rlinear", "sparsetsf", "tide", "tsmixer")
ODD = {"data.dataset": "synthetic", "data.synthetic.rows": 600, "data.seq_len": 50, "data.pred_len": 29}


def built(name: str, channels: int = 3, **settings: Any) -> nn.Module:
    """In evaluation mode, every parameter drawn, so that none begins at nothing."""
    found = forecaster(name)
    assert isinstance(found, ModuleForecaster)
    config = found.config.create({**ODD, **found.small, **{key.replace("__", "."): of for key, of in settings.items()}})
    torch.manual_seed(1)
    module: nn.Module = found.module(config, channels).eval()
    for parameter in module.parameters():
        nn.init.normal_(parameter, 0.5, 0.2)
    return module


WINDOW, CALENDAR = torch.randn(2, 50, 3, generator=torch.Generator().manual_seed(2)), torch.rand(2, 79, 4) - 0.5


@pytest.mark.parametrize("name", SMALL)
def test_models_of_one_shape_are_computed_as_one(name: str) -> None:
    found = forecaster(name)
    check_as_one(name, found.config.create({**ODD, **found.small, "training.batch_size": 8}))


def test_a_period_that_divides_nothing_and_one_longer_than_the_window() -> None:
    """Of 50 rows the last 48 are read; a forecast is what those a whole period before it say, and the window's mean."""
    module: Any = built("sparsetsf", model__smoothing=False, model__centring=False)
    with torch.no_grad():
        forecast, weights = module(WINDOW), module.map.weight  # (2 periods, 2 periods)
    for step in (0, 23, 24, 28):
        phase = [2 + step % 24, 26 + step % 24]
        expected = torch.einsum("p,bpc->bc", weights[step // 24], WINDOW[:, phase])
        torch.testing.assert_close(forecast[:, step], expected)
    with pytest.raises(ConfigError, match=r"model.period=60: a window holds data.seq_len=50 rows"):
        built("sparsetsf", model__period=60)


@pytest.mark.parametrize("rows", [6, 25, 80])
def test_a_moving_average_of_any_length(rows: int) -> None:
    module: Any = built("dlinear", model__moving_average=rows)
    held = torch.cat([WINDOW[:, :1].expand(-1, (rows - 1) // 2, -1), WINDOW, WINDOW[:, -1:].expand(-1, rows, -1)], 1)
    trend = torch.stack([held[:, at : at + rows].mean(1) for at in range(50)], 1)
    with torch.no_grad():
        expected = module.rest((WINDOW - trend).transpose(1, 2)) + module.trend(trend.transpose(1, 2))
        torch.testing.assert_close(module(WINDOW), expected.transpose(1, 2), rtol=1e-4, atol=1e-4)


def test_a_cycle_knows_its_phase() -> None:
    module: Any = built("cyclenet", model__revin=False)
    with torch.no_grad():
        nn.init.zeros_(module.map.weight)
        nn.init.zeros_(module.map.bias)
        forecast = module(WINDOW, torch.tensor([0, 1000]))
        for window, first in enumerate((0, 1000)):  # the cycle alone, going on where the window ends
            phase = [(first + 50 + step) % 24 for step in range(29)]
            torch.testing.assert_close(forecast[window], module.cycle[phase])


def reads_calendar(module: nn.Module) -> bool:
    with torch.no_grad():
        given: list[Tensor] = [module(WINDOW, calendar) for calendar in (CALENDAR, -CALENDAR)]
    return float((given[0] - given[1]).abs().max()) > 1e-3


def test_a_norm_of_one_number_leaves_the_dense_part_no_say() -> None:
    """As published; by default the head is not normalised."""
    tide = forecaster("tide")
    assert reads_calendar(built("tide", model__layer_norm=False)) and reads_calendar(built("tide", model__encoded=4))
    assert not reads_calendar(built("tide", model__head_norm=True))
    for preset in ("scripts", "authors"):
        config: Any = tide.config.create(preset=preset)
        affine = 2 * 7 if config.model.revin_affine else 0
        linear = config.data.seq_len * 96 + 96
        assert tide.size(config, 7).effective == linear + affine + 1 < tide.size(config, 7).parameters / 10
    with pytest.raises(ConfigError, match="leave nothing that forecasts"):
        tide.config.create({"model.dense": False, "model.residual": False})


def test_the_dense_part_is_what_the_paper_says() -> None:
    """By hand, with loops: a channel's window and the calendar's features through encoder, decoder and head."""
    module: Any = built("tide", model__residual=False, model__revin=False, model__layer_norm=False)
    dense, expected = module.dense, torch.zeros(2, 29, 3)

    def block(one: Any, x: Tensor) -> Tensor:
        hidden = torch.relu(one.inner.weight @ x + one.inner.bias)
        return one.outer.weight @ hidden + one.outer.bias + one.skip.weight @ x + one.skip.bias

    with torch.no_grad():
        for window in range(2):
            features = torch.stack([block(dense.features, row) for row in CALENDAR[window]])  # (S + H, 2)
            for channel in range(3):
                x = torch.cat([WINDOW[window, :, channel], features.flatten()])
                for one in [*dense.encoder, *dense.decoder]:
                    x = block(one, x)
                for step in range(29):
                    decoded = x[step * 8 : step * 8 + 8]
                    expected[window, step, channel] = block(dense.head, torch.cat([decoded, features[50 + step]]))[0]
        torch.testing.assert_close(module(WINDOW, CALENDAR), expected, rtol=1e-4, atol=1e-4)


def test_every_setting_by_name_says_whose_it_is() -> None:
    """And what the usual benchmark has no script for is not called one, though the older name is taken."""
    for name in FORECASTERS:
        presets = forecaster(name).config.presets
        known = [None, *presets] if name != "dynonet" else ["h96", "tuned-etth1-h96"]
        assert all(presets.source(preset) for preset in known), name
    for name in ("nlinear", "rlinear", "sparsetsf", "cyclenet"):
        config = forecaster(name).config
        assert "scripts" not in list(config.presets) and "no script" in config.presets.source("scripts")
        assert config.create(preset="scripts") == config.create(preset="benchmark-defaults")
    patchtst: Any = forecaster("patchtst").config
    assert "model.head_dropout" not in patchtst.create().canonical(), "ids of before there was such a setting"
    layers = [sum(isinstance(each, nn.Dropout) for each in built("patchtst", **more).modules())
              for more in ({}, {"model__head_dropout": 0.0})]  # fmt: skip
    assert layers[1] == layers[0] + 1, "and draws of before: a layer of its own only where it has a rate of its own"
    assert patchtst.create(preset="authors").canonical()["model.head_dropout"] == 0
