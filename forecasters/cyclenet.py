"""CycleNet: what recurs in each period is learned outright, and a map forecasts what is left of the window.

Paper: Lin, Lin, Hu, Wu, Mo and Zhong, CycleNet: Enhancing Time Series Forecasting through Modeling Periodic Patterns
(NeurIPS 2024). The authors' code is under Apache-2.0; this one is written afresh from the paper.

A row's phase is its place in the series modulo the period (lab's `rows`), so rows must be of equal steps. The authors
count it from another row of the window, which only turns the learned cycle round.
"""

from typing import Annotated, Any, Literal

import torch
from torch import Tensor, nn

from forecasters.layers.settings import DEFAULTS_THERE, RENAMED, REVIN, SCRIPTS
from forecasters.layers.windows import Scale
from lab.settings.data import CountsWhen
from lab.training.module_stack import Field, ModuleForecaster, Section, Switch


class Settings(Section):
    period: Annotated[int, CountsWhen(lambda config: config.model.cycle)] = Field(24, ge=2)  # rows
    cycle: bool = True
    revin: bool = True
    kind: Literal["linear", "mlp"] = "linear"  # of the map
    hidden: Annotated[int, CountsWhen(lambda config: config.model.kind == "mlp")] = Field(512, ge=1)  # units


class CycleNet(nn.Module):
    def __init__(self, config: Any, channels: int):
        super().__init__()
        model, (self.seq_len, self.pred_len) = config.model, (config.data.seq_len, config.data.pred_len)
        self.revin = model.revin
        self.cycle = nn.Parameter(torch.zeros(model.period, channels)) if model.cycle else None
        if model.kind == "linear":
            self.map: nn.Module = nn.Linear(self.seq_len, self.pred_len)
        else:
            self.map = nn.Sequential(
                nn.Linear(self.seq_len, model.hidden), nn.ReLU(), nn.Linear(model.hidden, self.pred_len)
            )

    def forward(self, window: Tensor, rows: Tensor) -> Tensor:
        """(B, S, C) -> (B, H, C), section 3: x less its cycle Q, forecast, plus the horizon's cycle."""
        scale = Scale.of(window, self.revin, unbiased=True)
        even = scale.off(window)
        if self.cycle is None:
            return scale.back(self._mapped(even))
        steps = torch.arange(self.seq_len + self.pred_len, device=rows.device)
        recurring = self.cycle[(rows[:, None] + steps) % len(self.cycle)]  # (B, S + H, C)
        forecast = self._mapped(even - recurring[:, : self.seq_len]) + recurring[:, self.seq_len :]
        return scale.back(forecast)

    def _mapped(self, x: Tensor) -> Tensor:
        found: Tensor = self.map(x.transpose(1, 2)).transpose(1, 2)
        return found


CYCLENET = ModuleForecaster(
    "cyclenet", CycleNet, Settings, title="CycleNet",
    space={
        "model.kind": {"choice": ["linear", "mlp"]},
        "model.hidden": {"int": [32, 1024], "log": True, "when": {"model.kind": "mlp"}},
    },
    parts={
        "cycle": Switch(
            "the learned cycle", "learning what recurs in each period, apart from the map, lowers the test error",
            "the map forecasts the whole window",
        ),
        "revin": REVIN,
    },
    presets={
        "benchmark-defaults": SCRIPTS,
        # ACAT-SCUT/CycleNet, scripts/CycleNet/Linear-Input-336/etth1.sh and MLP-Input-336/etth1.sh; lr falls as
        # utils/tools.py says. Their script for S=96 has lr 0.01.
        "authors": {"data.seq_len": 336, "training.schedule": "fast_decay"},
        "authors-mlp": {
            "data.seq_len": 336, "training.schedule": "fast_decay", "model.kind": "mlp", "training.lr": 2e-3,
        },
    },
    sources={
        None: "the authors' script for ETTh1 at S=336, but S=96 and lr falling by a tenth, not a fifth",
        "benchmark-defaults": DEFAULTS_THERE,
        "authors": "the authors' script for ETTh1", "authors-mlp": "the authors' script for ETTh1",
    },
    renamed=RENAMED,
    # The authors' script at S=336, but for its longer windows, and its lr, which falls faster.
    defaults={
        "data.seq_len": 96, "training.batch_size": 256, "training.lr": 5e-3, "training.max_epochs": 30,
        "training.patience": 5, "training.schedule": "decay",
    },
)  # fmt: skip
