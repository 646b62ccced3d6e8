"""Crossformer: segments of each channel as tokens, which read each other over time and then over channels, on scales
that grow from layer to layer.

Paper: Zhang and Yan, "Crossformer: Transformer utilizing cross-dimension dependency for multivariate time series
forecasting", ICLR 2023. The authors' code is Apache-2.0, that of the usual benchmark MIT; this is written afresh from
the paper, in the form that the benchmark measures: sinusoids are added to the places that are learned, a window is
filled to whole segments after its last step, and of a horizon in whole segments the last steps are the forecast.
"""

from typing import Annotated, Any

import torch
from torch import Tensor, nn
from torch.nn.functional import pad

from forecasters.layers.attention import Feed, Heads, Softmax
from forecasters.layers.embedding import Positions
from forecasters.layers.settings import BENCHMARK, HEADS, SHORT, SMALL, SPACE, TRAINING, Transformer
from lab.settings.data import CountsWhen
from lab.training.module_stack import Field, ModuleForecaster, Switch

_CHANNELS = CountsWhen(lambda config: config.model.channel_stage)
_ROUTER = CountsWhen(lambda config: config.model.channel_stage and config.model.router)


class Settings(Transformer):
    segment: int = Field(12, ge=1)  # steps of a token
    window: Annotated[int, CountsWhen(lambda config: config.model.merging)] = Field(2, ge=2)  # tokens merged to one
    factor: Annotated[int, _ROUTER] = Field(3, ge=1)  # routers at each place
    channel_stage: bool = True
    router: Annotated[bool, _CHANNELS] = True
    merging: bool = True


class TwoStage(nn.Module):
    """Tokens of a channel read each other, then those of a place (section 3.2). Between channels a few routers, learned
    for each place, read all and are read by all, so that the cost grows with the number of channels, not its square.

    Args:
        places: L, tokens of a channel.
    """

    def __init__(self, model: Settings, places: int):
        super().__init__()

        def heads() -> Heads:
            return Heads(model.d_model, model.n_heads, Softmax(model.dropout))

        def norms(count: int) -> nn.ModuleList:
            return nn.ModuleList(nn.LayerNorm(model.d_model) for _ in range(count))

        self.dropout = nn.Dropout(model.dropout)
        self.time, self.time_feed, self.time_norms = heads(), Feed(model.d_model, model.d_ff), norms(2)
        self.router = self.send = self.receive = None
        if model.channel_stage:
            self.receive, self.feed, self.norms = heads(), Feed(model.d_model, model.d_ff), norms(2)
            if model.router:
                self.router, self.send = nn.Parameter(torch.randn(places, model.factor, model.d_model)), heads()

    def forward(self, tokens: Tensor) -> Tensor:
        """(B, C, L, D) -> (B, C, L, D)."""
        shape = tokens.shape
        series = tokens.flatten(0, 1)
        series = self.time_norms[0](series + self.dropout(self.time(series, series)))
        series = self.time_norms[1](series + self.dropout(self.time_feed(series)))
        if self.receive is None:
            return series.unflatten(0, shape[:2])
        channels = series.unflatten(0, shape[:2]).transpose(1, 2).flatten(0, 1)  # (B * L, C, D)
        read = channels
        if self.router is not None and self.send is not None:
            routers = self.router.expand(shape[0], -1, -1, -1).flatten(0, 1)  # (B * L, factor, D)
            read = self.send(routers, channels)
        channels = self.norms[0](channels + self.dropout(self.receive(channels, read)))
        channels = self.norms[1](channels + self.dropout(self.feed(channels)))
        return channels.unflatten(0, (shape[0], shape[2])).transpose(1, 2)


class Merge(nn.Module):
    """As many neighbouring tokens as a window holds become one (eq. 6); the last are repeated to fill the last one."""

    def __init__(self, d_model: int, window: int):
        super().__init__()
        self.window = window
        self.norm, self.map = nn.LayerNorm(window * d_model), nn.Linear(window * d_model, d_model)

    def forward(self, tokens: Tensor) -> Tensor:
        """(B, C, L, D) -> (B, C, ceil(L / window), D)."""
        places = tokens.shape[2]
        more = torch.arange(places - -places % self.window, places, device=tokens.device).clamp_min(0)
        whole = torch.cat([tokens, tokens.index_select(2, more)], dim=2)
        return self.map(self.norm(whole.unflatten(2, (-1, self.window)).flatten(3)))


class Block(nn.Module):
    """A layer of the encoder: tokens are merged, but in the first, and read each other."""

    def __init__(self, model: Settings, places: int, window: int):
        super().__init__()
        self.merge = Merge(model.d_model, window) if window > 1 else nn.Identity()
        self.stage = TwoStage(model, -(-places // window))

    def forward(self, tokens: Tensor) -> Tensor:
        return self.stage(self.merge(tokens))


class DecoderLayer(nn.Module):
    """Tokens of the horizon read each other and those of one scale, and forecast their segments (eq. 7 and 8)."""

    def __init__(self, model: Settings, places: int):
        super().__init__()
        self.stage, self.dropout = TwoStage(model, places), nn.Dropout(model.dropout)
        self.read = Heads(model.d_model, model.n_heads, Softmax(model.dropout))
        self.feed = Feed(model.d_model, model.d_model)
        self.norm_read, self.norm_feed = nn.LayerNorm(model.d_model), nn.LayerNorm(model.d_model)
        self.head = nn.Linear(model.d_model, model.segment)

    def forward(self, tokens: Tensor, encoded: Tensor) -> tuple[Tensor, Tensor]:
        """(B, C, L, D), (B, C, M, D) -> (B, C, L, D) and forecasts (B, C, L * segment)."""
        shape = tokens.shape
        mine = self.stage(tokens).flatten(0, 1)
        mine = self.norm_read(mine + self.dropout(self.read(mine, encoded.flatten(0, 1))))
        mine = self.norm_feed(mine + self.feed(mine)).unflatten(0, shape[:2])
        return mine, self.head(mine).flatten(2)


class Crossformer(nn.Module):
    def __init__(self, config: Any, channels: int):
        super().__init__()
        model, seq_len, self.pred_len = config.model, config.data.seq_len, config.data.pred_len
        self.segment, self.held = model.segment, -seq_len % model.segment
        places, ahead = -(-seq_len // model.segment), -(-self.pred_len // model.segment)
        self.embedding = nn.Linear(model.segment, model.d_model, bias=False)
        self.sinusoids = Positions(places, model.d_model)
        self.places = nn.Parameter(torch.randn(1, channels, places, model.d_model))
        self.places_ahead = nn.Parameter(torch.randn(1, channels, ahead, model.d_model))
        self.norm = nn.LayerNorm(model.d_model)
        self.encoder = nn.ModuleList()
        for layer in range(model.e_layers):
            window = model.window if model.merging and layer else 1
            self.encoder.append(Block(model, places, window))
            places = -(-places // window)
        self.decoder = nn.ModuleList(DecoderLayer(model, ahead) for _ in range(model.e_layers + 1))

    def forward(self, window: Tensor) -> Tensor:
        """(B, S, C) -> (B, H, C): the sum of the forecasts from all scales, first that of the segments themselves."""
        series = pad(window.transpose(1, 2), (0, self.held), "replicate").unflatten(-1, (-1, self.segment))
        scales = [self.norm(self.sinusoids(self.embedding(series)) + self.places)]
        for block in self.encoder:
            scales.append(block(scales[-1]))
        tokens = self.places_ahead.expand(len(window), -1, -1, -1)
        forecasts = []
        for layer, encoded in zip(self.decoder, scales, strict=True):
            tokens, forecast = layer(tokens, encoded)
            forecasts.append(forecast)
        return torch.stack(forecasts).sum(dim=0)[..., -self.pred_len :].transpose(1, 2)


CROSSFORMER = ModuleForecaster(
    "crossformer", Crossformer, Settings, title="Crossformer",
    space={**SPACE, **HEADS, "model.segment": {"choice": [6, 12, 24]}, "model.factor": {"int": [1, 10]}},
    parts={
        "channel_stage": Switch(
            "the stage between channels", "letting channels read each other lowers the test error",
            "each is read by itself",
        ),
        "router": Switch(
            "the routers", "channels that read each other by a few routers have a lower test error",
            "each reads all others",
        ),
        "merging": Switch(
            "growing scales", "merging segments from layer to layer lowers the test error", "all layers read segments"
        ),
    },
    presets={
        "scripts": TRAINING,
        # For horizons of 24 and 48 of ETTh1 (Thinklab-SJTU/Crossformer, scripts/ETTh1.sh); they give none for 96.
        "authors": {
            **TRAINING, "data.seq_len": 168, "training.max_epochs": 20, "model.segment": 6, "model.factor": 10,
            "model.d_model": 256, "model.d_ff": 512, "model.n_heads": 4, "model.e_layers": 3, "model.dropout": 0.2,
        },
    },
    sources={None: BENCHMARK, "scripts": BENCHMARK, "authors": "the authors' script for ETTh1, at their H=48"},
    defaults=TRAINING, small={**SMALL, **SHORT, "model.segment": 4, "model.e_layers": 2}, width="model.d_model",
)  # fmt: skip
