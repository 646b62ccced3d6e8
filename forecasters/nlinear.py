"""NLinear: a linear map of a window less its last value, shared by all channels.

Paper: Zeng, Chen, Zhang and Xu, Are Transformers Effective for Time Series Forecasting? (AAAI 2023). The authors' code
is under Apache-2.0; this one is written afresh from the paper.
"""

from typing import Any

import torch
from torch import Tensor, nn

from forecasters.layers.settings import DEFAULTS_THERE, RENAMED, SCRIPTS
from lab.training.module_stack import ModuleForecaster, Section, Switch


class Settings(Section):
    last_value: bool = True


class NLinear(nn.Module):
    def __init__(self, config: Any, channels: int):
        super().__init__()
        self.last_value = config.model.last_value
        self.linear = nn.Linear(config.data.seq_len, config.data.pred_len)

    def forward(self, window: Tensor) -> Tensor:
        """(B, S, C) -> (B, H, C), section 4: the last value is taken off before the map and put on again after it."""
        last = window[:, -1:] if self.last_value else torch.zeros_like(window[:, -1:])
        return self.linear((window - last).transpose(1, 2)).transpose(1, 2) + last


NLINEAR = ModuleForecaster(
    "nlinear", NLinear, Settings, title="NLinear",
    parts={
        "last_value": Switch(
            "the last value", "forecasting differences from the window's last value lowers the test error",
            "values are forecast",
        )
    },
    presets={
        "benchmark-defaults": SCRIPTS,
        # cure-lab/LTSF-Linear, scripts/EXP-LongForecasting/Linear/etth1.sh, one for Linear, NLinear and DLinear:
        # batches of 32, lr 0.005, halved. For exchange rates theirs has batches of 8 and lr 0.0005.
        "authors": {"data.seq_len": 336},
    },
    sources={
        None: "the authors' script for ETTh1, but S=96 of 336",
        "benchmark-defaults": DEFAULTS_THERE, "authors": "the authors' script for ETTh1",
    },
    renamed=RENAMED,
    defaults={"data.seq_len": 96, "training.lr": 5e-3, "training.schedule": "halving"},
)  # fmt: skip
