"""PatchTST: each channel by itself, cut into patches that a Transformer's encoder reads as tokens.

Paper: Nie, Nguyen, Sinthong and Kalagnanam, "A time series is worth 64 words", ICLR 2023 (arXiv 2211.14730). The
authors' code is Apache-2.0, that of the usual benchmark MIT; this is written afresh from the paper, in the form that
the benchmark measures: positions are sinusoids, and only the encoder's end is normalised over the batch.
"""

from typing import Annotated, Any

from torch import Tensor, nn
from torch.nn.functional import pad

from forecasters.layers.attention import EncoderLayer
from forecasters.layers.embedding import Positions
from forecasters.layers.settings import BENCHMARK, HEADS, HEADS_COUNT, NORM, SMALL, SPACE, TRAINING, Transformer
from forecasters.layers.windows import Scale
from lab.errors import ConfigError
from lab.settings.data import CountsWhen
from lab.training.module_stack import Field, ModuleForecaster, Switch

_OWN_HEAD = CountsWhen(lambda config: config.model.head_dropout is not None)
_PATCHING = CountsWhen(lambda config: config.model.patching)


class Settings(Transformer):
    e_layers: int = Field(1, ge=1)
    n_heads: Annotated[int, HEADS_COUNT] = Field(2, ge=1)  # of attention; they share d_model
    patch_len: Annotated[int, _PATCHING] = Field(16, ge=1)  # steps
    # Steps from a patch to the next; as many are held at the window's end.
    stride: Annotated[int, _PATCHING] = Field(8, ge=1)
    head_dropout: Annotated[float | None, _OWN_HEAD] = Field(None, ge=0, lt=1)  # None: as dropout
    norm: bool = True
    patching: bool = True
    attention: bool = True
    positions: bool = True


class PatchTST(nn.Module):
    def __init__(self, config: Any, channels: int):
        super().__init__()
        model, seq_len, pred_len = config.model, config.data.seq_len, config.data.pred_len
        self.norm_windows = model.norm
        self.patch_len = int(model.patch_len) if model.patching else 1
        self.stride = int(model.stride) if model.patching else 1
        self.held = self.stride if model.patching else 0
        if self.patch_len > seq_len:
            raise ConfigError(
                f"model.patch_len={self.patch_len} is longer than a window, data.seq_len={seq_len}; at most that many"
            )
        tokens = (seq_len + self.held - self.patch_len) // self.stride + 1
        self.embedding = nn.Linear(self.patch_len, model.d_model, bias=False)
        self.positions = Positions(tokens, model.d_model) if model.positions else nn.Identity()
        self.dropout = nn.Dropout(model.dropout)
        layer = model.d_model, model.n_heads, model.d_ff, model.dropout
        self.encoder = nn.Sequential(*(EncoderLayer(*layer, attention=model.attention) for _ in range(model.e_layers)))
        self.norm = nn.BatchNorm1d(model.d_model)  # over tokens and windows (section 3.1)
        self.head = nn.Linear(model.d_model * tokens, pred_len)
        self.head_dropout = None if model.head_dropout is None else nn.Dropout(model.head_dropout)

    def forward(self, window: Tensor) -> Tensor:
        """(B, S, C) -> (B, H, C)."""
        scale = Scale.of(window, self.norm_windows)
        series = scale.off(window).transpose(1, 2)  # (B, C, S)
        if self.held:
            series = pad(series, (0, self.held), "replicate")
        patches = series.unfold(-1, self.patch_len, self.stride)  # (B, C, L, patch_len)
        tokens = self.encoder(self.dropout(self.positions(self.embedding(patches.flatten(0, 1)))))
        features = self.norm(tokens.transpose(1, 2)).flatten(1)  # (B * C, D * L)
        # Without a rate of its own it draws as the layer before the encoder does: masks follow from the layer.
        drop = self.dropout if self.head_dropout is None else self.head_dropout
        forecast = drop(self.head(features)).unflatten(0, series.shape[:2])
        return scale.back(forecast.transpose(1, 2))


PATCHTST = ModuleForecaster(
    "patchtst", PatchTST, Settings, title="PatchTST",
    space={
        **SPACE,
        **HEADS,
        "model.patch_len": {"choice": [8, 16, 24]},
        "model.stride": {"choice": [4, 8]},
    },
    parts={
        "norm": NORM,
        "patching": Switch(
            "patching", "reading patches instead of single steps lowers the test error", "each step is a token"
        ),
        "attention": Switch(
            "attention", "letting patches read each other lowers the test error",
            "each is mapped by itself before the head",
        ),
        "positions": Switch("positions", "telling each patch its place lowers the test error"),
    },
    presets={
        "scripts": TRAINING,
        # The smaller sizes that they give ETTh1 and ETTh2: yuqinie98/PatchTST,
        # PatchTST_supervised/scripts/PatchTST/etth1.sh, and the defaults of run_longExp.py. Theirs learns its positions
        # and normalises over the batch in every layer.
        "authors": {
            "data.seq_len": 336, "training.lr": 1e-4, "training.batch_size": 128, "training.schedule": "decay",
            "training.max_epochs": 100, "training.patience": 100, "model.e_layers": 3, "model.n_heads": 4,
            "model.d_model": 16, "model.d_ff": 128, "model.dropout": 0.3, "model.head_dropout": 0.0,
        },
    },
    sources={
        None: BENCHMARK, "scripts": BENCHMARK,
        "authors": "the authors' script for ETTh1, in the usual benchmark's form of the network",
    },
    defaults=TRAINING, small=SMALL, width="model.d_model",
)  # fmt: skip
