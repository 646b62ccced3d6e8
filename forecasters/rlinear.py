"""RLinear: a linear map of a window made even (RevIN), shared by all channels.

Paper: Li, Qi, Li and Xu, Revisiting Long-term Time Series Forecasting: An Investigation on Linear Mapping (arXiv
2305.10721). The authors' code states no licence; this one is written afresh from the paper.
"""

from typing import Annotated, Any

from torch import Tensor, nn

from forecasters.layers.settings import DEFAULTS_THERE, DROPOUT, RENAMED, REVIN, SCRIPTS
from forecasters.layers.windows import Scale
from lab.training.module_stack import PER_MODEL, Field, ModuleForecaster, Section


class Settings(Section):
    revin: bool = True
    dropout: Annotated[float, PER_MODEL] = Field(0.1, ge=0, lt=1)  # of the window's values


class RLinear(nn.Module):
    def __init__(self, config: Any, channels: int):
        super().__init__()
        self.revin = config.model.revin
        self.dropout = nn.Dropout(config.model.dropout)
        self.linear = nn.Linear(config.data.seq_len, config.data.pred_len)

    def forward(self, window: Tensor) -> Tensor:
        """(B, S, C) -> (B, H, C), section 3: the map between the two halves of RevIN, without its scale and shift."""
        scale = Scale.of(window, self.revin, unbiased=True)
        even = self.dropout(scale.off(window))
        return scale.back(self.linear(even.transpose(1, 2)).transpose(1, 2))


RLINEAR = ModuleForecaster(
    "rlinear", RLinear, Settings, title="RLinear",
    space=DROPOUT,
    parts={"revin": REVIN},
    presets={
        "benchmark-defaults": SCRIPTS,
        # plumprc/RTSF, script.md and the defaults of run.py: batches of 128, lr 0.005, halved. Theirs learns a scale
        # and a shift in RevIN, too, and its deviation has n below the root, ours n - 1. The figure they report is of a
        # searched lookback.
        "authors": {"data.seq_len": 336, "training.max_epochs": 15, "training.patience": 10},
    },
    sources={
        None: "the authors' script for ETTh1, but S=96 of 336 and 10 of its 15 epochs",
        "benchmark-defaults": DEFAULTS_THERE,
        "authors": "the authors' script for ETTh1, but for RevIN's learned scale and shift",
    },
    renamed=RENAMED,
    defaults={
        "data.seq_len": 96, "training.batch_size": 128, "training.lr": 5e-3, "training.schedule": "halving",
    },
)  # fmt: skip
