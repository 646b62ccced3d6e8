"""Any model of neuralforecast as a forecaster: `--model nf:NHITS` (pip install '.[neuralforecast]').

The library is Nixtla's (Apache-2.0); nothing of it is copied here, and of it only the networks are used: windows,
scaling, training, search and judging are the lab's. Settings are the arguments of a model that are numbers, switches or
words; its lists (of layers, say) and what concerns its own trainer keep their defaults.

Most of its models are univariate: they forecast each channel from its own past, with weights that all share (channels
are folded into the batch), and are called so on pages. What it trains with other data is no part of this: no exogenous
variable is read.
"""

import inspect
import logging
from functools import cache
from importlib.metadata import version
from typing import Any

import torch
from pydantic import Field, create_model
from torch import Tensor, nn

from lab.errors import ConfigError, unknown
from lab.training.module_stack import ModuleForecaster, Section

# Of its own trainer, its data and what the lab decides; those of its base class beside them.
NOT_SETTINGS = {"self", "h", "input_size", "n_series", "loss", "valid_loss", "recurrent", "inference_input_size"}


class Univariate(nn.Module):
    """Of each channel by itself."""

    network: Any  # its class in the library

    def __init__(self, config: Any, channels: int):
        super().__init__()
        from neuralforecast.losses.pytorch import MSE

        logging.getLogger("lightning.fabric.utilities.seed").setLevel(logging.ERROR)
        logging.getLogger("lightning_fabric.utilities.seed").setLevel(logging.ERROR)
        self.net = self.network(
            h=config.data.pred_len, input_size=config.data.seq_len, loss=MSE(), max_steps=1,
            # It seeds torch anew as it is built: with what the run's seed has begun.
            random_seed=torch.initial_seed() % 2**32,
            **self.sizes(channels), **config.model.model_dump(),
        )  # fmt: skip

    def sizes(self, channels: int) -> dict[str, int]:
        return {}

    def forward(self, window: Tensor) -> Tensor:
        """(B, S, C) -> (B, H, C)."""
        count, steps, channels = window.shape
        found = self.read(window.transpose(1, 2).reshape(count * channels, steps, 1))
        return found.reshape(count, channels, -1).transpose(1, 2)

    def read(self, x: Tensor) -> Tensor:
        output: Tensor = self.net({
            "insample_y": x, "insample_mask": torch.ones_like(x), "hist_exog": None, "futr_exog": None,
            "stat_exog": None,
        })  # fmt: skip
        return output


class Multivariate(Univariate):
    """Of all channels from all."""

    def sizes(self, channels: int) -> dict[str, int]:
        return {"n_series": channels}

    def forward(self, window: Tensor) -> Tensor:
        """(B, S, C) -> (B, H, C)."""
        found = self.read(window)
        return found.reshape(window.shape[0], -1, window.shape[2])


def __getattr__(name: str) -> ModuleForecaster:
    """The forecaster of a model's name, as the registry asks for it."""
    if name.startswith("_"):
        raise AttributeError(name)
    return of(name)


@cache
def of(name: str) -> ModuleForecaster:
    """Raises ConfigError: the library is not installed, or has no such model; names the nearest."""
    try:
        from neuralforecast import models
    except ImportError as error:
        raise ConfigError(
            f"model 'nf:{name}' needs neuralforecast ({error}): pip install '.[neuralforecast]'"
        ) from None
    if name not in models.__all__:
        raise unknown("model of neuralforecast", name, models.__all__)
    network = getattr(models, name)
    asked = inspect.signature(network.__init__).parameters
    several = "n_series" in asked and bool(getattr(network, "MULTIVARIATE", True))
    kind = Multivariate if several else Univariate
    made: Any = type(name, (kind,), {"network": network, "__module__": __name__, "__doc__": network.__doc__})
    settings = create_model(f"{name}Settings", __base__=Section, __module__=__name__, **_settings(network))
    title = f"{name} (neuralforecast{'' if several else ', each channel by itself'})"
    found = ModuleForecaster(name.lower(), made, settings, title=title)
    found.config.identity = {
        **found.config.identity,
        "model": f"nf:{name}",
        "neuralforecast": version("neuralforecast"),
    }
    return found


def _settings(network: Any) -> dict[str, Any]:
    """Arguments of its own with a default that is a number, a switch or a word."""
    base = {key for parent in network.__mro__[1:] for key in inspect.signature(parent.__init__).parameters}
    return {
        key: (type(argument.default), Field(argument.default))
        for key, argument in inspect.signature(network.__init__).parameters.items()
        if key not in base | NOT_SETTINGS and isinstance(argument.default, bool | int | float | str)
    }
