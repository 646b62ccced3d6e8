"""iTransformer: a token for each channel, its whole window, so that attention is between channels.

Paper: Liu, Hu, Zhang, Wu, Wang, Ma and Long, "iTransformer: inverted Transformers are effective for time series
forecasting", ICLR 2024 (arXiv 2310.06625). The authors' code is MIT; this is written afresh from the paper.
"""

from typing import Annotated, Any

import torch
from torch import Tensor, nn

from forecasters.layers.attention import EncoderLayer
from forecasters.layers.settings import CALENDAR, HEADS, HEADS_COUNT, NORM, SMALL, SPACE, TRAINING, Transformer
from forecasters.layers.windows import Scale
from lab.series.calendar import FEATURES
from lab.training.module_stack import Field, ModuleForecaster, Switch


class Settings(Transformer):
    d_model: int = Field(256, ge=2)
    d_ff: int = Field(256, ge=1)
    n_heads: Annotated[int, HEADS_COUNT] = Field(8, ge=1)  # of attention; they share d_model
    norm: bool = True
    inverted: bool = True
    attention: bool = True
    calendar: bool = True


class ITransformer(nn.Module):
    def __init__(self, config: Any, channels: int):
        super().__init__()
        model, seq_len, pred_len = config.model, config.data.seq_len, config.data.pred_len
        self.norm_windows, self.reads_calendar, self.inverted = model.norm, model.calendar, model.inverted
        numbers = channels + (len(FEATURES) if model.calendar else 0)
        # Inverted, a token is a channel of S steps; else a step of all channels, as in a plain Transformer.
        self.embedding = nn.Linear(seq_len if model.inverted else numbers, model.d_model)
        self.dropout = nn.Dropout(model.dropout)
        layer = model.d_model, model.n_heads, model.d_ff, model.dropout
        self.encoder = nn.Sequential(*(EncoderLayer(*layer, attention=model.attention) for _ in range(model.e_layers)))
        self.norm = nn.LayerNorm(model.d_model)
        self.head = nn.Linear(model.d_model, pred_len if model.inverted else channels)
        self.steps = None if model.inverted else nn.Linear(seq_len, pred_len)

    def forward(self, window: Tensor, calendar: Tensor) -> Tensor:
        """(B, S, C), (B, S + H, 4) -> (B, H, C)."""
        scale = Scale.of(window, self.norm_windows)
        series = scale.off(window)
        if self.reads_calendar:
            series = torch.cat([series, calendar[:, : window.shape[1]]], dim=-1)
        tokens = self.embedding(series.transpose(1, 2) if self.inverted else series)
        features = self.norm(self.encoder(self.dropout(tokens)))
        if self.steps is None:
            forecast = self.head(features[:, : window.shape[-1]]).transpose(1, 2)  # tokens of the calendar end here
        else:
            forecast = self.head(self.steps(features.transpose(1, 2)).transpose(1, 2))
        return scale.back(forecast)


ITRANSFORMER = ModuleForecaster(
    "itransformer", ITransformer, Settings, title="iTransformer",
    space={**SPACE, **HEADS},
    parts={
        "norm": NORM,
        "inverted": Switch(
            "inverted tokens", "reading each channel as one token lowers the test error",
            "each step is a token of all channels",
        ),
        "attention": Switch(
            "attention", "letting channels read each other lowers the test error", "each is forecast by itself"
        ),
        "calendar": CALENDAR,
    },
    presets={"scripts": TRAINING},
    sources=dict.fromkeys((None, "scripts"), "the authors' script for ETTh1"),
    defaults=TRAINING, small=SMALL, width="model.d_model",
)  # fmt: skip
