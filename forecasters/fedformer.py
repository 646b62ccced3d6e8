"""FEDformer: a Transformer whose tokens are mixed as a few frequencies, and a trend taken out between its layers.

Paper: Zhou, Ma, Wen, Wang, Sun and Jin, "FEDformer: frequency enhanced decomposed Transformer for long-term series
forecasting", ICML 2022 (arXiv 2201.12740): the Fourier form, with one moving average. The authors' code is MIT; this is
written afresh from the paper.

Frequencies are drawn at random as a network is built, from the seed of its run, and kept with its weights.

The authors' code and the usual benchmark's depart from the paper, and `form` says which is meant (preset `scripts` has
`benchmark`): the frequency enhanced block puts what it has mixed at the lowest frequencies, not at those that it took;
attention reads keys where the paper has values; what both hand on, channels before steps, is read as steps before
channels; and a decoder's frequencies are drawn as if it began with half the window, whatever `label_len` is, where one
that its tokens do not have is nothing. In both forms maps whose output nothing reads stay (`Size.effective` leaves them
out), and all layers of the encoder share one block.
"""

from typing import Annotated, Any, Literal

import torch
from torch import Tensor, nn
from torch.nn.functional import pad

from forecasters.layers.attention import Softmax
from forecasters.layers.decomposed import (
    DECOMPOSED_PARTS,
    DECOMPOSED_SPACE,
    SMALL,
    Decomposed,
    DecomposedSettings,
    Mixes,
)
from forecasters.layers.settings import BENCHMARK, HEADS, SPACE, TRAINING, Transformer
from lab.settings.data import CountsWhen
from lab.training.module_stack import Field, ModuleForecaster, Switch

_FREQUENCIES = CountsWhen(lambda config: config.model.frequencies)


class Settings(DecomposedSettings, Transformer):
    modes: Annotated[int, _FREQUENCIES] = Field(32, ge=1)  # frequencies at most, of the L // 2 lowest of L steps
    frequencies: bool = True
    random_modes: Annotated[bool, _FREQUENCIES] = True
    form: Annotated[Literal["paper", "benchmark"], _FREQUENCIES] = "paper"  # whose formula


def chosen(length: int, model: Settings) -> Tensor:
    """Which frequencies of a series of so many steps, in order: drawn, or the lowest."""
    every = max(1, length // 2)
    count = min(model.modes, every)
    if not model.random_modes:
        return torch.arange(count)
    return torch.randperm(every)[:count].sort().values


class Weights(nn.Module):
    """A complex matrix for each head and frequency, small and positive at first."""

    def __init__(self, model: Settings, frequencies: int):
        super().__init__()
        each = model.d_model // model.n_heads
        self.scale, self.benchmark = 1 / model.d_model**2, model.form == "benchmark"
        self.real = nn.Parameter(self.scale * torch.rand(model.n_heads, each, each, frequencies))
        self.imaginary = nn.Parameter(self.scale * torch.rand(model.n_heads, each, each, frequencies))

    def mixed(self, kept: Tensor) -> Tensor:
        """(B, modes, heads, E) -> (B, modes, heads, E)."""
        return torch.einsum("bmhi,hiom->bmho", kept, torch.complex(self.real, self.imaginary))

    def series(self, spectrum: Tensor, length: int) -> Tensor:
        """The series (B, L, heads, E) of a spectrum, whose frequencies past the last of L steps are left out."""
        series = torch.fft.irfft(spectrum, n=length, dim=1)
        return series.permute(0, 2, 3, 1).reshape(series.shape) if self.benchmark else series


class Block(Weights):
    """The frequency enhanced block: some frequencies of the queries, each mapped by its matrix (eq. 3 and 4)."""

    modes: Tensor

    def __init__(self, model: Settings, length: int):
        modes = chosen(length, model)
        super().__init__(model, len(modes))
        self.length = length
        self.register_buffer("modes", modes)

    def forward(self, queries: Tensor, keys: Tensor, values: Tensor) -> Tensor:
        """(B, L, heads, E) -> (B, L, heads, E); keys and values are not read."""
        spectrum = spectrum_of(queries, self.length)
        made = self.mixed(spectrum.index_select(1, self.modes))
        at = torch.arange(made.shape[1], device=made.device) if self.benchmark else self.modes
        return self.series(torch.zeros_like(spectrum).index_copy(1, at, made), queries.shape[1])


class Attention(Weights):
    """Frequency enhanced attention: frequencies of the queries read those of the keys (eq. 6 and 7)."""

    modes: Tensor
    modes_read: Tensor

    def __init__(self, model: Settings, length: int, read: int):
        modes, modes_read = chosen(length, model), chosen(read, model)
        super().__init__(model, len(modes))
        self.length = length
        self.register_buffer("modes", modes)
        self.register_buffer("modes_read", modes_read)

    def forward(self, queries: Tensor, keys: Tensor, values: Tensor) -> Tensor:
        """Queries (B, L, heads, E), keys and values (B, M, heads, E) -> (B, L, heads, E)."""
        spectrum = spectrum_of(queries, self.length)
        asked = spectrum.index_select(1, self.modes)
        told = torch.fft.rfft(keys, dim=1).index_select(1, self.modes_read)
        given = told if self.benchmark else torch.fft.rfft(values, dim=1).index_select(1, self.modes_read)
        scores = torch.einsum("bqhe,bkhe->bhqk", asked, told)
        scores = torch.complex(torch.tanh(scores.real), torch.tanh(scores.imag))
        made = self.mixed(torch.einsum("bhqk,bkhe->bqhe", scores, given)) * self.scale
        return self.series(torch.zeros_like(spectrum).index_copy(1, self.modes, made), queries.shape[1])


def spectrum_of(series: Tensor, length: int) -> Tensor:
    """(B, L, heads, E) -> (B, L // 2 + 1, heads, E), or as many frequencies as `length` steps have, if those are more:
    the further ones are nothing."""
    spectrum = torch.fft.rfft(series, dim=1)
    return pad(spectrum, (0, 0, 0, 0, 0, max(0, length // 2 - series.shape[1] // 2)))


class FEDformer(Decomposed):
    def __init__(self, config: Any, channels: int):
        model, seq_len = config.model, config.data.seq_len
        length = (seq_len // 2 if model.form == "benchmark" else model.label_len) + config.data.pred_len
        if model.frequencies:  # made once, whatever the number of layers
            block, own, cross = Block(model, seq_len), Block(model, length), Attention(model, length, seq_len)
            mixes = Mixes(lambda: block, lambda: own, lambda: cross)
        else:
            mixes = Mixes(*[lambda: Softmax(model.dropout)] * 3)
        super().__init__(config, channels, mixes, model.n_heads, positions=True)


def effective(config: Any, channels: int) -> int:
    """Without the maps to keys and values that no frequency is taken of."""
    model = config.model
    with torch.device("meta"):
        count = sum(each.numel() for each in FEDformer(config, channels).parameters())
    unread = 2 * (model.e_layers + model.d_layers) + (model.d_layers if model.form == "benchmark" else 0)
    return count - (unread * (model.d_model + 1) * model.d_model if model.frequencies else 0)


FEDFORMER = ModuleForecaster(
    "fedformer", FEDformer, Settings, title="FEDformer",
    space={**SPACE, **HEADS, **DECOMPOSED_SPACE, "model.modes": {"choice": [8, 16, 32, 64]}},
    parts={
        **DECOMPOSED_PARTS,
        "frequencies": Switch(
            "frequency enhancement", "mixing tokens as frequencies lowers the test error", "attention reads steps"
        ),
        "random_modes": Switch(
            "drawn frequencies", "frequencies drawn at random, not the lowest, lower the test error",
            "the lowest are kept",
        ),
    },
    presets={
        "scripts": {**TRAINING, "model.form": "benchmark"},
        "authors": {
            **TRAINING, "model.form": "benchmark", "model.modes": 64, "model.dropout": 0.05, "model.moving_average": 24,
        },
    },
    sources={
        None: f"{BENCHMARK}, in the paper's form", "scripts": BENCHMARK, "authors": "the defaults of the authors' code",
    },
    defaults=TRAINING, small={**SMALL, "model.n_heads": 2, "model.modes": 2}, width="model.d_model",
    effective=effective,
)  # fmt: skip
