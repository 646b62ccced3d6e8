"""A Transformer that takes the trend out of its tokens after each step, as Autoformer and FEDformer have it (Wu et al.,
NeurIPS 2021, section 3.1 and eq. 2 to 4; Zhou et al., ICML 2022, section 3.1 and eq. 1 and 2)."""

from collections.abc import Callable
from dataclasses import dataclass
from typing import Annotated, Any

import torch
from torch import Tensor, nn
from torch.nn.functional import pad

from forecasters.layers.attention import Feed, Heads
from forecasters.layers.embedding import StepEmbedding
from forecasters.layers.settings import CALENDAR, SHORT, SMALL_SIZES, Sizes
from forecasters.layers.windows import Decomposition
from lab.errors import ConfigError
from lab.series.calendar import FEATURES
from lab.settings.data import CountsWhen
from lab.training.module_stack import Field, Switch


class DecomposedSettings(Sizes):
    label_len: int = Field(48, ge=0)  # last steps of the window that the decoder begins with
    d_layers: int = Field(1, ge=1)  # of the decoder
    moving_average: Annotated[int, CountsWhen(lambda config: config.model.decomposition)] = Field(25, ge=2)  # steps
    decomposition: bool = True
    calendar: bool = True


SMALL: dict[str, Any] = {
    **SMALL_SIZES, **SHORT, "model.label_len": 8, "model.moving_average": 5, "training.lr": 1e-3,
}  # fmt: skip
DECOMPOSED_SPACE: dict[str, Any] = {"model.moving_average": {"int": [13, 49]}}
DECOMPOSED_PARTS: dict[str, Switch] = {
    "decomposition": Switch(
        "the decomposition", "taking the trend out between layers lowers the test error", "the series is read whole"
    ),
    "calendar": CALENDAR,
}


class Split(nn.Module):
    """Rest and trend of a series (B, L, D); without decomposition, all of it and none."""

    def __init__(self, model: DecomposedSettings):
        super().__init__()
        self.parts = Decomposition(model.moving_average) if model.decomposition else None

    def forward(self, series: Tensor) -> tuple[Tensor, Tensor]:
        return (series, torch.zeros_like(series)) if self.parts is None else self.parts(series)


class SeasonalNorm(nn.LayerNorm):
    """A layer norm whose mean over steps is taken off, so that what is left has no level."""

    def forward(self, tokens: Tensor) -> Tensor:
        """(B, L, D) -> (B, L, D)."""
        normed = super().forward(tokens)
        return normed - normed.mean(dim=1, keepdim=True)


class EncoderLayer(nn.Module):
    """What tokens read of each other, then `Feed`, each added to what it reads; only the rest goes on (eq. 3)."""

    def __init__(self, model: DecomposedSettings, attention: Heads):
        super().__init__()
        self.attention, self.split = attention, Split(model)
        self.feed, self.dropout = Feed(model.d_model, model.d_ff, model.dropout, False), nn.Dropout(model.dropout)

    def forward(self, tokens: Tensor) -> Tensor:
        tokens, _ = self.split(tokens + self.dropout(self.attention(tokens, tokens)))
        return self.split(tokens + self.feed(tokens))[0]


class DecoderLayer(nn.Module):
    """The same, with tokens of the encoder read between the two; the trends become one of the channels (eq. 4)."""

    def __init__(self, model: DecomposedSettings, self_attention: Heads, cross_attention: Heads, channels: int):
        super().__init__()
        self.self_attention, self.cross_attention = self_attention, cross_attention
        self.split, self.dropout = Split(model), nn.Dropout(model.dropout)
        self.feed = Feed(model.d_model, model.d_ff, model.dropout, False)
        self.trend = None
        if model.decomposition:  # closed to a ring, as `StepEmbedding`
            self.trend = nn.Conv1d(model.d_model, channels, 3, padding=1, padding_mode="circular", bias=False)

    def forward(self, tokens: Tensor, encoded: Tensor) -> tuple[Tensor, Tensor | None]:
        """(B, L, D), (B, S, D) -> the rest (B, L, D), and the trend (B, L, C), if it is taken out."""
        tokens, first = self.split(tokens + self.dropout(self.self_attention(tokens, tokens)))
        tokens, second = self.split(tokens + self.dropout(self.cross_attention(tokens, encoded)))
        tokens, third = self.split(tokens + self.feed(tokens))
        if self.trend is None:
            return tokens, None
        return tokens, self.trend((first + second + third).transpose(1, 2)).transpose(1, 2)


@dataclass(frozen=True)
class Mixes:
    """What makes new tokens of queries, keys and values: each makes one of `attention.Heads`."""

    encoder: Callable[[], nn.Module]
    decoder: Callable[[], nn.Module]  # of the decoder's tokens among themselves
    cross: Callable[[], nn.Module]  # of the decoder's with the encoder's


class Decomposed(nn.Module):
    """An encoder of the window, and a decoder of its last steps and the horizon.

    Args:
        heads: that queries, keys and values are cut into.
        positions: whether tokens are told their place.
    """

    def __init__(self, config: Any, channels: int, mixes: Mixes, heads: int, positions: bool):
        super().__init__()
        model, seq_len, pred_len = config.model, config.data.seq_len, config.data.pred_len
        if model.label_len > seq_len:
            raise ConfigError(
                f"model.label_len={model.label_len} is longer than a window, data.seq_len={seq_len}; at most that many"
            )
        self.seq_len, self.pred_len, self.label_len = seq_len, pred_len, model.label_len
        self.split = Split(model)

        def read(mix: Callable[[], nn.Module]) -> Heads:
            return Heads(model.d_model, heads, mix())

        def embedded(length: int) -> StepEmbedding:
            calendar = len(FEATURES) if model.calendar else 0
            return StepEmbedding(channels, model.d_model, model.dropout, length if positions else None, calendar)

        self.embedding, self.decoder_embedding = embedded(seq_len), embedded(model.label_len + pred_len)
        self.encoder = nn.Sequential(*(EncoderLayer(model, read(mixes.encoder)) for _ in range(model.e_layers)))
        self.encoder_norm, self.decoder_norm = SeasonalNorm(model.d_model), SeasonalNorm(model.d_model)
        self.decoder = nn.ModuleList(
            DecoderLayer(model, read(mixes.decoder), read(mixes.cross), channels) for _ in range(model.d_layers)
        )
        self.head = nn.Linear(model.d_model, channels)

    def forward(self, window: Tensor, calendar: Tensor) -> Tensor:
        """(B, S, C), (B, S + H, 4) -> (B, H, C)."""
        encoded = self.encoder_norm(self.encoder(self.embedding(window, calendar[:, : self.seq_len])))
        rest, trend = self.split(window)
        first = self.seq_len - self.label_len
        # The horizon begins as nothing, its trend as the window's mean (eq. 2).
        tokens = self.decoder_embedding(pad(rest[:, first:], (0, 0, 0, self.pred_len)), calendar[:, first:])
        level = window.mean(dim=1, keepdim=True).expand(-1, self.pred_len, -1)
        trend = torch.cat([trend[:, first:], level], dim=1)
        for layer in self.decoder:
            tokens, more = layer(tokens, encoded)
            trend = trend if more is None else trend + more
        return (trend + self.head(self.decoder_norm(tokens)))[:, self.label_len :]
