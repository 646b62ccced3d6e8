"""TiDE: dense residual blocks that read a window and the calendar of window and horizon, beside a linear map.

Paper: Das, Kong, Leach, Mathur, Sen and Yu, Long-term Forecasting with TiDE: Time-series Dense Encoder (TMLR 2023). The
authors' code is under Apache-2.0, that of the usual benchmark under MIT; this one is written afresh from the paper.

A finding, and a departure: paper and both codes end every residual block in a layer norm, also the last one, whose
output is one number. A norm over one number is its shift whatever comes in, so that as published the encoder, the
decoder and the calendar have no part in the forecast, which is the linear map and a constant. Here `head_norm` is off
by default; presets `scripts` and `authors` have it as published, and `size` counts what is left as effective. So, too,
a norm over the two numbers of a row's calendar (`encoded`) leaves which of them is larger and little more.

Of the authors' inputs, holidays and what is learned of each series by its number are not read.
"""

from typing import Annotated, Any

import torch
from pydantic import model_validator
from torch import Tensor, nn

from forecasters.layers.settings import BENCHMARK, REVIN
from forecasters.layers.windows import Reversible
from lab.series.calendar import FEATURES
from lab.settings.data import CountsWhen
from lab.training.module_stack import PER_MODEL, Field, ModuleForecaster, Section, Switch

_DENSE = CountsWhen(lambda config: config.model.dense)
_CALENDAR = CountsWhen(lambda config: config.model.dense and config.model.calendar)


class Settings(Section):
    hidden: Annotated[int, _DENSE] = Field(256, ge=1)  # of all blocks but the head, and what they hand on
    head_hidden: Annotated[int, _DENSE] = Field(256, ge=1)  # of the head
    decoded: Annotated[int, _DENSE] = Field(8, ge=1)  # numbers that the decoder gives for each step of the horizon
    encoded: Annotated[int, _CALENDAR] = Field(2, ge=1)  # numbers that the calendar of a row is brought down to
    encoder_layers: Annotated[int, _DENSE] = Field(2, ge=1)  # blocks
    decoder_layers: Annotated[int, _DENSE] = Field(2, ge=1)  # blocks
    dropout: Annotated[float, PER_MODEL] = Field(0.3, ge=0, lt=1)  # share of numbers left out in training
    dense: bool = True
    calendar: Annotated[bool, _DENSE] = True
    residual: bool = True
    layer_norm: Annotated[bool, _DENSE] = True
    head_norm: Annotated[bool, CountsWhen(lambda config: config.model.dense and config.model.layer_norm)] = False
    revin: bool = True
    revin_affine: Annotated[bool, CountsWhen(lambda config: config.model.revin)] = False  # with a scale that is trained

    @model_validator(mode="after")
    def _something_learns(self) -> "Settings":
        if not (self.dense or self.residual):
            raise ValueError("dense=false and residual=false leave nothing that forecasts; leave one of them on")
        return self


class Block(nn.Module):
    """A perceptron of one hidden layer beside a linear map, then a layer norm (figure 1, right)."""

    def __init__(self, read: int, hidden: int, given: int, dropout: float, norm: bool):
        super().__init__()
        self.inner, self.outer = nn.Linear(read, hidden), nn.Linear(hidden, given)
        self.skip = nn.Linear(read, given)
        self.dropout = nn.Dropout(dropout)
        self.norm = nn.LayerNorm(given) if norm else None

    def forward(self, x: Tensor) -> Tensor:
        x = self.dropout(self.outer(torch.relu(self.inner(x)))) + self.skip(x)
        return x if self.norm is None else self.norm(x)


class Dense(nn.Module):
    """Encoder, decoder and head, sections 4.1 and 4.2, for each channel alone."""

    def __init__(self, model: Settings, seq_len: int, pred_len: int):
        super().__init__()
        self.seq_len, self.pred_len, hidden = seq_len, pred_len, model.hidden
        encoded = model.encoded if model.calendar else 0
        more = model.dropout, model.layer_norm
        self.features = Block(len(FEATURES), hidden, encoded, *more) if model.calendar else None
        read = seq_len + (seq_len + pred_len) * encoded
        widths = [read, *[hidden] * model.encoder_layers]
        self.encoder = nn.Sequential(*(Block(one, hidden, hidden, *more) for one in widths[:-1]))
        widths = [*[hidden] * (model.decoder_layers - 1), model.decoded * pred_len]
        self.decoder = nn.Sequential(*(Block(hidden, hidden, one, *more) for one in widths))
        head_norm = model.layer_norm and model.head_norm
        self.head = Block(model.decoded + encoded, model.head_hidden, 1, model.dropout, head_norm)

    def forward(self, x: Tensor, calendar: Tensor) -> Tensor:
        """(B, C, S), (B, S + H, F) -> (B, C, H)."""
        count, channels, _ = x.shape
        features = None if self.features is None else self.features(calendar)[:, None].expand(-1, channels, -1, -1)
        if features is not None:
            x = torch.cat([x, features.reshape(count, channels, -1)], dim=-1)
        steps = self.decoder(self.encoder(x)).view(count, channels, self.pred_len, -1)
        if features is not None:
            steps = torch.cat([steps, features[:, :, self.seq_len :]], dim=-1)
        found: Tensor = self.head(steps)
        return found[..., 0]


class TiDE(nn.Module):
    def __init__(self, config: Any, channels: int):
        super().__init__()
        model, sizes = config.model, (config.data.seq_len, config.data.pred_len)
        self.norm = Reversible(channels, model.revin, model.revin_affine)
        # Built first, so that arms without the other begin at the same weights.
        self.residual = nn.Linear(*sizes) if model.residual else None
        self.dense = Dense(model, *sizes) if model.dense else None

    def forward(self, window: Tensor, calendar: Tensor) -> Tensor:
        """(B, S, C), (B, S + H, F) -> (B, H, C)."""
        even, taken = self.norm.off(window)
        x = even.transpose(1, 2)
        found = [] if self.dense is None else [self.dense(x, calendar)]
        found += [] if self.residual is None else [self.residual(x)]
        return self.norm.back(sum(found[1:], found[0]).transpose(1, 2), taken)


def effective(config: Any, channels: int) -> int:
    """Parameters that the forecast reads: where the head's one number is normalised, its shift is all of the dense
    part."""
    with torch.device("meta"):
        module = TiDE(config, channels)
    count = sum(each.numel() for each in module.parameters())
    if module.dense is None or module.dense.head.norm is None:
        return count
    return count - sum(each.numel() for each in module.dense.parameters()) + 1


TIDE = ModuleForecaster(
    "tide", TiDE, Settings, title="TiDE", width="model.hidden", effective=effective,
    space={
        "model.hidden": {"int": [16, 512], "log": True},
        "model.head_hidden": {"int": [16, 128], "log": True},
        "model.decoded": {"int": [4, 32], "log": True},
        "model.encoder_layers": {"int": [1, 3]},
        "model.decoder_layers": {"int": [1, 3]},
        "model.dropout": {"float": [0.0, 0.5]},
        "model.layer_norm": {"choice": [False, True]},
    },
    parts={
        "dense": Switch(
            "the dense encoder and decoder", "reading the window by residual perceptrons lowers the test error",
            "the linear map alone",
        ),
        "calendar": Switch("the calendar", "reading the calendar of window and horizon lowers the test error"),
        "residual": Switch("the linear map", "a linear map of the window beside the blocks lowers the test error"),
        "layer_norm": Switch("the layer norms", "normalising what each block gives lowers the test error"),
        "head_norm": Switch(
            "the norm of the head", "normalising the one number of each step, which makes it a constant, lowers the "
            "test error",
        ),
        "revin": REVIN,
    },
    presets={
        "scripts": {
            "model.head_norm": True, "data.seq_len": 96, "training.batch_size": 512, "training.lr": 0.1,
            "training.schedule": "halving", "training.patience": 5,
        },
        # google-research/tide, scripts/etth1.sh. Departures: a batch is of 512 windows, theirs of one (all channels
        # at once); lr falls over max_epochs, theirs over a time of its own; patience is 20 epochs from the first,
        # theirs 40 after 20; the perceptron of the calendar has `hidden` units, theirs 64; holidays are not read, nor
        # is which channel it is.
        "authors": {
            "model.head_norm": True, "data.seq_len": 720, "model.hidden": 512, "model.head_hidden": 16,
            "model.decoded": 32, "model.encoded": 4, "model.encoder_layers": 1, "model.decoder_layers": 1,
            "model.dropout": 0.5, "model.revin_affine": True,
            "training.lr": 9.85e-4, "training.max_epochs": 100, "training.patience": 20,
        },
    },
    sources={
        None: "the usual benchmark's script for ETTh1, but for its lr, its schedule and the norm of the head",
        "scripts": BENCHMARK,
        "authors": "the authors' script for ETTh1, but for batches, schedule, patience and what it reads of holidays",
    },
    defaults={"data.seq_len": 96, "training.batch_size": 512, "training.lr": 1e-3, "training.patience": 5},
    small={"model.hidden": 8, "model.head_hidden": 4},
)  # fmt: skip
