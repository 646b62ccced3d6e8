"""TSMixer: perceptrons over time and over channels in turn, and a linear map of what they leave.

Paper: Chen, Li, Yoder, Arik and Pfister, TSMixer: An All-MLP Architecture for Time Series Forecasting (TMLR 2023). The
authors' code is under Apache-2.0, that of the usual benchmark under MIT; this one is written afresh from the paper.

The two differ, and `form` says which is meant: the benchmark mixes over time by a perceptron with a hidden layer and
normalises nothing; the paper does by one map and a ReLU, drops within the perceptron over channels too, and normalises
before each (`norm`; over time and channels at once, where the authors' script takes the mean over the batch, too).
"""

from typing import Annotated, Any, Literal

from torch import Tensor, nn

from forecasters.layers.settings import BENCHMARK, REVIN, SCRIPTS, TRAINING
from forecasters.layers.windows import Reversible
from lab.training.module_stack import PER_MODEL, Field, ModuleForecaster, Section, Switch


class Settings(Section):
    hidden: int = Field(512, ge=1)  # of the perceptrons
    num_layers: int = Field(2, ge=1)  # mixing blocks
    dropout: Annotated[float, PER_MODEL] = Field(0.1, ge=0, lt=1)  # share of numbers left out in training
    time_mixing: bool = True
    channel_mixing: bool = True
    norm: bool = False
    revin: bool = False
    form: Literal["benchmark", "paper"] = "benchmark"  # whose layers


class Mixing(nn.Module):
    """One layer, section 4.1: a residual perceptron over the rows of each channel, and one over those of each row."""

    def __init__(self, model: Settings, seq_len: int, channels: int):
        super().__init__()
        paper = model.form == "paper"
        self.time = self.channels = self.time_norm = self.channel_norm = None
        if model.time_mixing:
            self.time_norm = nn.LayerNorm((seq_len, channels)) if model.norm else None
            inner = [] if paper else [nn.Linear(model.hidden, seq_len)]
            width = seq_len if paper else model.hidden
            self.time = nn.Sequential(nn.Linear(seq_len, width), nn.ReLU(), *inner, nn.Dropout(model.dropout))
        if model.channel_mixing:
            self.channel_norm = nn.LayerNorm((seq_len, channels)) if model.norm else None
            within = [nn.Dropout(model.dropout)] if paper else []
            first, last = nn.Linear(channels, model.hidden), nn.Linear(model.hidden, channels)
            self.channels = nn.Sequential(first, nn.ReLU(), *within, last, nn.Dropout(model.dropout))

    def forward(self, x: Tensor) -> Tensor:
        """(B, S, C) -> (B, S, C)."""
        if self.time is not None:
            even = x if self.time_norm is None else self.time_norm(x)
            x = x + self.time(even.transpose(1, 2)).transpose(1, 2)
        if self.channels is not None:
            even = x if self.channel_norm is None else self.channel_norm(x)
            x = x + self.channels(even)
        return x


class TSMixer(nn.Module):
    def __init__(self, config: Any, channels: int):
        super().__init__()
        seq_len, model = config.data.seq_len, config.model
        self.norm = Reversible(channels, model.revin)
        self.head = nn.Linear(seq_len, config.data.pred_len)  # first, so that arms begin at the same one
        self.layers = nn.Sequential(*(Mixing(model, seq_len, channels) for _ in range(model.num_layers)))

    def forward(self, window: Tensor) -> Tensor:
        """(B, S, C) -> (B, H, C), figure 1."""
        even, taken = self.norm.off(window)
        return self.norm.back(self.head(self.layers(even).transpose(1, 2)).transpose(1, 2), taken)


TSMIXER = ModuleForecaster(
    "tsmixer", TSMixer, Settings, title="TSMixer", width="model.hidden",
    space={
        "model.hidden": {"int": [16, 512], "log": True},
        "model.num_layers": {"int": [1, 6]},
        "model.dropout": {"float": [0.0, 0.9]},
        "model.revin": {"choice": [False, True]},
    },
    parts={
        "time_mixing": Switch("mixing over time", "a perceptron over the rows of each channel lowers the test error"),
        "channel_mixing": Switch(
            "mixing over channels", "a perceptron over the channels of each row lowers the test error"
        ),
        "norm": Switch("the layer norms", "normalising before each perceptron lowers the test error"),
        "revin": REVIN,
    },
    presets={
        "scripts": SCRIPTS,
        # What the authors tuned on ETTm2, the one series of ETT whose settings are with their code.
        "authors": {
            "data.seq_len": 512, "model.form": "paper", "model.norm": True, "model.revin": True, "model.hidden": 64,
            "model.dropout": 0.9, "training.lr": 1e-3, "training.schedule": "constant",
            "training.max_epochs": 100, "training.patience": 5,
        },
    },
    sources={None: BENCHMARK, "scripts": BENCHMARK, "authors": "the authors' script, for ETTm2"},
    defaults=TRAINING, small={"model.hidden": 8},
)  # fmt: skip
