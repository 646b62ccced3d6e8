"""TimesNet: the series folded at its strongest periods into images, which convolutions of several sizes read.

Paper: Wu, Hu, Liu, Zhou, Wang and Long, "TimesNet: temporal 2D-variation modeling for general time series analysis",
ICLR 2023 (arXiv 2210.02186). The authors' code is MIT; this is written afresh from the paper.

By equation 1 each window has the periods of its own spectrum (`periods: window`). The authors' code takes those of the
batch's mean spectrum (`periods: batch`, preset `scripts`): a forecast then depends on the windows it is made beside,
and two evaluations agree only where their batches do.
"""

from typing import Annotated, Any, Literal

import torch
from torch import Tensor, nn
from torch.nn.functional import conv2d, gelu, pad

from forecasters.layers.embedding import StepEmbedding
from forecasters.layers.settings import BENCHMARK, CALENDAR, NORM, SHORT, SMALL_SIZES, SPACE, TRAINING, Sizes
from forecasters.layers.windows import Scale
from lab.errors import ConfigError
from lab.series.calendar import FEATURES
from lab.settings.data import CountsWhen
from lab.training.module_stack import Field, ModuleForecaster, Switch

_FOLDING = CountsWhen(lambda config: config.model.folding)
_SEVERAL = CountsWhen(lambda config: config.model.several_kernels)


class Settings(Sizes):
    d_model: int = Field(16, ge=2)
    d_ff: int = Field(32, ge=1)
    top_k: Annotated[int, _FOLDING] = Field(5, ge=1)  # periods
    num_kernels: Annotated[int, _SEVERAL] = Field(6, ge=1)  # of 1, 3, 5, ... steps and periods
    periods: Annotated[Literal["window", "batch"], _FOLDING] = "window"  # whose spectrum says them
    norm: bool = True
    folding: bool = True
    several_kernels: bool = True
    weighted: Annotated[bool, _FOLDING] = True
    calendar: bool = True


class Inception(nn.Module):
    """The mean of convolutions of several sizes (section 3.2). They are linear, so it is computed as the one of their
    mean kernel.

    Args:
        reaches: how far each sees to every side.
    """

    def __init__(self, read: int, made: int, reaches: tuple[int, ...]):
        super().__init__()
        self.kernels = nn.ModuleList(nn.Conv2d(read, made, 2 * reach + 1) for reach in reaches)
        for kernel in self.kernels:
            assert isinstance(kernel, nn.Conv2d) and kernel.bias is not None
            nn.init.kaiming_normal_(kernel.weight, mode="fan_out", nonlinearity="relu")
            nn.init.zeros_(kernel.bias)
        self.reaches = reaches

    def forward(self, image: Tensor) -> Tensor:
        """(B, read, rows, columns) -> (B, made, rows, columns)."""
        most = max(self.reaches)
        wide = [pad(k.weight, [most - r] * 4) for k, r in zip(self.kernels, self.reaches, strict=True)]  # type: ignore[arg-type]
        bias = torch.stack([kernel.bias for kernel in self.kernels]).mean(dim=0)  # type: ignore[misc]
        return conv2d(image, torch.stack(wide).mean(dim=0), bias, padding=most)


class TimesBlock(nn.Module):
    """The series read at its strongest periods, each reading weighed by its amplitude (equations 1 to 6)."""

    def __init__(self, model: Any):
        super().__init__()
        self.top_k, self.of_batch = model.top_k, model.periods == "batch"
        self.folding, self.weighted = model.folding, model.weighted
        reaches = tuple(range(model.num_kernels)) if model.several_kernels else (1,)
        self.rise = Inception(model.d_model, model.d_ff, reaches)
        self.fall = Inception(model.d_ff, model.d_model, reaches)

    def forward(self, series: Tensor) -> Tensor:
        """(B, L, D) -> (B, L, D)."""
        if not self.folding:
            return series + self.read(series, series.shape[1])
        length = series.shape[1]
        amplitude = torch.fft.rfft(series, dim=1).abs().mean(dim=-1)  # (B, 1 + L // 2)
        spectrum = amplitude.mean(dim=0, keepdim=True) if self.of_batch else amplitude
        top = spectrum[:, 1:].topk(self.top_k, dim=1).indices + 1  # without the mean
        top = top.expand(len(series), -1)  # (B, k)
        periods = length // top
        # All readings of one period at a time, of whichever windows and places.
        at = [(periods == period).nonzero(as_tuple=True) for period in periods.unique().tolist()]
        read = [self.read(series[w], int(periods[w[0], p[0]])) for w, p in at]
        order = torch.cat([w * self.top_k + p for w, p in at]).argsort()
        every = torch.cat(read)[order].unflatten(0, (len(series), self.top_k))  # (B, k, L, D)
        if not self.weighted:
            return series + every.mean(dim=1)
        weights = torch.softmax(amplitude.gather(1, top), dim=1)
        return series + torch.einsum("bk,bkld->bld", weights, every)

    def read(self, series: Tensor, period: int) -> Tensor:
        """Folded into rows of a period, and flat again."""
        length = series.shape[1]
        whole = pad(series.transpose(1, 2), (0, -length % period))
        image = self.fall(gelu(self.rise(whole.unflatten(-1, (-1, period)))))
        return image.flatten(2).transpose(1, 2)[:, :length]


class TimesNet(nn.Module):
    def __init__(self, config: Any, channels: int):
        super().__init__()
        model, seq_len, self.pred_len = config.model, config.data.seq_len, config.data.pred_len
        length = seq_len + self.pred_len
        if model.folding and model.top_k > length // 2:
            raise ConfigError(f"model.top_k={model.top_k}: {length} steps have {length // 2} periods at most")
        self.norm_windows = model.norm
        calendar = len(FEATURES) if model.calendar else 0
        self.embedding = StepEmbedding(channels, model.d_model, model.dropout, seq_len, calendar)
        self.extend = nn.Linear(seq_len, length)
        self.blocks = nn.ModuleList(TimesBlock(model) for _ in range(model.e_layers))
        self.norm = nn.LayerNorm(model.d_model)
        self.head = nn.Linear(model.d_model, channels)

    def forward(self, window: Tensor, calendar: Tensor) -> Tensor:
        """(B, S, C), (B, S + H, 4) -> (B, H, C)."""
        scale = Scale.of(window, self.norm_windows)
        tokens = self.embedding(scale.off(window), calendar[:, : window.shape[1]])
        series = self.extend(tokens.transpose(1, 2)).transpose(1, 2)  # (B, S + H, D)
        for block in self.blocks:
            series = self.norm(block(series))
        return scale.back(self.head(series[:, -self.pred_len :]))


TIMESNET = ModuleForecaster(
    "timesnet", TimesNet, Settings, title="TimesNet",
    space={
        **SPACE,
        "model.d_model": {"choice": [8, 16, 32]},
        "model.d_ff": {"choice": [16, 32, 64]},
        "model.top_k": {"int": [1, 5]},
        "model.num_kernels": {"int": [2, 6]},
    },
    parts={
        "norm": NORM,
        "folding": Switch(
            "folding", "reading the series folded at its periods lowers the test error", "it is read as one row"
        ),
        "several_kernels": Switch(
            "kernels of several sizes", "convolutions of several sizes lower the test error", "one of 3 x 3 reads it"
        ),
        "weighted": Switch(
            "weights by amplitude", "weighing periods by their amplitudes lowers the test error", "all weigh the same"
        ),
        "calendar": CALENDAR,
    },
    presets={"scripts": {**TRAINING, "model.periods": "batch"}},
    sources={None: f"{BENCHMARK}, but for periods of each window", "scripts": BENCHMARK},
    defaults=TRAINING, small={**SMALL_SIZES, **SHORT, "model.top_k": 2, "model.num_kernels": 2}, width="model.d_model",
    fused=False,  # periods are read off the data
)  # fmt: skip
