"""Autoformer: attention to lags at which the series is like itself, and a trend taken out between its layers.

Paper: Wu, Xu, Wang and Long, "Autoformer: decomposition Transformers with auto-correlation for long-term series
forecasting", NeurIPS 2021 (arXiv 2106.13008). The authors' code is MIT; this is written afresh from the paper.

By equation 6 each window has the lags of its own correlation (`lags: window`). In training the authors' code takes
those of the batch's mean correlation (`lags: batch`, preset `scripts`); in evaluation each window's own. Correlations
are averaged over heads before lags are chosen, so that the number of heads changes nothing: there is none here.
"""

import math
from typing import Annotated, Any, Literal

import torch
from torch import Tensor, nn

from forecasters.layers.attention import Softmax
from forecasters.layers.decomposed import (
    DECOMPOSED_PARTS,
    DECOMPOSED_SPACE,
    SMALL,
    Decomposed,
    DecomposedSettings,
    Mixes,
)
from forecasters.layers.settings import BENCHMARK, SPACE, TRAINING
from lab.settings.data import CountsWhen
from lab.training.module_stack import Field, ModuleForecaster, Switch

_CORRELATION = CountsWhen(lambda config: config.model.correlation)


class Settings(DecomposedSettings):
    factor: Annotated[int, _CORRELATION] = Field(3, ge=1)  # of log L lags
    lags: Annotated[Literal["window", "batch"], _CORRELATION] = "window"  # whose correlation chooses them in training
    correlation: bool = True


class AutoCorrelation(nn.Module):
    """The values, moved by the lags at which queries are most like keys and weighed by how much (eq. 5 and 6)."""

    def __init__(self, model: Settings):
        super().__init__()
        self.factor, self.of_batch = model.factor, model.lags == "batch"

    def forward(self, queries: Tensor, keys: Tensor, values: Tensor) -> Tensor:
        """Queries (B, L, heads, E), keys and values (B, M, heads, E), which are cut or zero from M to L on."""
        length = queries.shape[1]
        lags = max(1, min(length, int(self.factor * math.log(length))))
        # The correlation at all lags is a product of spectra (eq. 8), linear, so that its mean is taken there.
        spectra = torch.fft.rfft(queries, dim=1) * torch.fft.rfft(keys, n=length, dim=1).conj()
        like = torch.fft.irfft(spectra.mean(dim=(2, 3)), n=length, dim=1)  # (B, L)
        chosen = like.mean(dim=0, keepdim=True) if self.of_batch and self.training else like
        at = chosen.topk(lags, dim=1).indices.expand(len(like), -1)
        weights = torch.zeros_like(like).scatter(1, at, torch.softmax(like.gather(1, at), dim=1))
        # The sum of values moved back by each lag, times its weight, is a correlation with the weights.
        moved = torch.fft.rfft(values, n=length, dim=1) * torch.fft.rfft(weights, dim=1).conj()[:, :, None, None]
        return torch.fft.irfft(moved, n=length, dim=1)


class Autoformer(Decomposed):
    def __init__(self, config: Any, channels: int):
        model = config.model

        def mix() -> nn.Module:
            return AutoCorrelation(model) if model.correlation else Softmax(model.dropout)

        super().__init__(config, channels, Mixes(mix, mix, mix), heads=1, positions=False)


AUTOFORMER = ModuleForecaster(
    "autoformer", Autoformer, Settings, title="Autoformer",
    space={**SPACE, **DECOMPOSED_SPACE, "model.factor": {"int": [1, 5]}},
    parts={
        **DECOMPOSED_PARTS,
        "correlation": Switch(
            "auto-correlation", "reading the series at lags, not steps, lowers the test error", "attention reads steps"
        ),
    },
    presets={
        "scripts": {**TRAINING, "model.lags": "batch"},
        "authors": {**TRAINING, "model.lags": "batch", "model.dropout": 0.05},
    },
    sources={
        None: f"{BENCHMARK}, but for lags of each window", "scripts": BENCHMARK,
        "authors": "the authors' script for ETTh1",
    },
    defaults=TRAINING, small=SMALL, width="model.d_model",
)  # fmt: skip
