"""SparseTSF: rows of one phase of the period forecast those of that phase, all phases by one small map.

Paper: Lin, Lin, Wu, Chen and Yang, SparseTSF: Modeling Long-term Time Series Forecasting with 1k Parameters (ICML
2024). The authors' code is under Apache-2.0; this one is written afresh from the paper.

Where S is no multiple of the period, its last whole periods are read; where H is none, the last one is cut.
"""

from typing import Annotated, Any, Literal

import torch
from torch import Tensor, nn

from forecasters.layers.settings import DEFAULTS_THERE, RENAMED, SCRIPTS
from lab.errors import ConfigError
from lab.settings.data import CountsWhen
from lab.training.module_stack import Field, ModuleForecaster, Section, Switch


class Settings(Section):
    period: int = Field(24, ge=2)  # rows
    sparse: bool = True
    smoothing: bool = True
    centring: bool = True
    kind: Literal["linear", "mlp"] = "linear"  # of the map
    hidden: Annotated[int, CountsWhen(lambda config: config.model.kind == "mlp")] = Field(128, ge=1)  # units


class SparseTSF(nn.Module):
    """
    Raises ConfigError: a window shorter than the period.
    """

    def __init__(self, config: Any, channels: int):
        super().__init__()
        model, (seq_len, self.pred_len) = config.model, (config.data.seq_len, config.data.pred_len)
        if seq_len < model.period:
            raise ConfigError(
                f"model.period={model.period}: a window holds data.seq_len={seq_len} rows, and a whole period at least "
                "is needed; set a longer window or the period of these rows"
            )
        self.centring = model.centring
        self.period = model.period if model.sparse else 1  # of one row: a map of all rows, as one phase
        self.before, self.after = seq_len // self.period, -(-self.pred_len // self.period)
        reach = 2 * (model.period // 2)
        self.smooth = nn.Conv1d(1, 1, reach + 1, padding=reach // 2, bias=False) if model.smoothing else None
        if model.kind == "linear":
            self.map: nn.Module = nn.Linear(self.before, self.after, bias=False)
        else:
            self.map = nn.Sequential(
                nn.Linear(self.before, model.hidden), nn.ReLU(), nn.Linear(model.hidden, self.after)
            )

    def forward(self, window: Tensor) -> Tensor:
        """(B, S, C) -> (B, H, C), section 3.2."""
        count, seq_len, channels = window.shape
        mean = window.mean(dim=1, keepdim=True) if self.centring else torch.zeros_like(window[:, :1])
        x = (window - mean).transpose(1, 2).reshape(-1, 1, seq_len)
        if self.smooth is not None:  # the sliding aggregation, equation 5
            x = x + self.smooth(x)
        read = self.before * self.period
        phases = x[..., seq_len - read :].view(-1, self.before, self.period).transpose(1, 2)
        found = self.map(phases).transpose(1, 2).reshape(count, channels, -1)  # (B, C, periods x rows of one)
        return found[..., : self.pred_len].transpose(1, 2) + mean


SPARSETSF = ModuleForecaster(
    "sparsetsf", SparseTSF, Settings, title="SparseTSF",
    space={
        "model.kind": {"choice": ["linear", "mlp"]},
        "model.hidden": {"int": [16, 256], "log": True, "when": {"model.kind": "mlp"}},
    },
    parts={
        "sparse": Switch(
            "forecasting phase by phase", "one map for all phases of the period lowers the test error, against one of "
            "all rows", "one map of all rows",
        ),
        "smoothing": Switch(
            "the sliding aggregation", "adding to each row a weighted sum of those about it lowers the test error"
        ),
        "centring": Switch(
            "the window's mean", "forecasting differences from the window's mean lowers the test error",
            "values are forecast",
        ),
    },
    presets={
        "benchmark-defaults": SCRIPTS,
        # lss-1138/SparseTSF, scripts/SparseTSF/linear/etth1.sh and mlp/etth1.sh; lr falls as utils/tools.py says.
        "authors": {"data.seq_len": 720, "training.schedule": "fast_decay"},
        "authors-mlp": {
            "data.seq_len": 720, "training.schedule": "fast_decay", "model.kind": "mlp", "model.hidden": 128,
            "training.lr": 2e-3,
        },
    },
    sources={
        None: "the authors' script for ETTh1, but S=96 of 720 and lr falling by a tenth, not a fifth",
        "benchmark-defaults": DEFAULTS_THERE,
        "authors": "the authors' script for ETTh1", "authors-mlp": "the authors' script for ETTh1",
    },
    renamed=RENAMED,
    # The authors' script, but for its longer windows, and its lr, which falls faster.
    defaults={
        "data.seq_len": 96, "training.batch_size": 256, "training.lr": 0.02, "training.max_epochs": 30,
        "training.patience": 5, "training.schedule": "decay",
    },
)  # fmt: skip
