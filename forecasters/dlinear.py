"""DLinear: a linear map of the moving average and one of what is left of it, shared by all channels.

Paper: Zeng, Chen, Zhang and Xu, Are Transformers Effective for Time Series Forecasting? (AAAI 2023). The authors' code
is under Apache-2.0, that of the usual benchmark under MIT; this one is written afresh from the paper.
"""

from typing import Annotated, Any, Literal

from torch import Tensor, nn

from forecasters.layers.settings import BENCHMARK, SCRIPTS, TRAINING
from forecasters.layers.windows import Decomposition
from lab.settings.data import CountsWhen
from lab.training.module_stack import Field, ModuleForecaster, Section, Switch


class Settings(Section):
    moving_average: Annotated[int, CountsWhen(lambda config: config.model.decomposition)] = Field(25, ge=2)  # rows
    decomposition: bool = True
    # even: each map begins as the mean of the window, as the benchmark's does; random: as torch's layers do.
    start: Literal["even", "random"] = "even"


class DLinear(nn.Module):
    def __init__(self, config: Any, channels: int):
        super().__init__()
        seq_len, pred_len = config.data.seq_len, config.data.pred_len
        self.parts = Decomposition(config.model.moving_average)
        self.rest = nn.Linear(seq_len, pred_len)
        self.trend = nn.Linear(seq_len, pred_len) if config.model.decomposition else None
        if config.model.start == "even":
            for linear in (self.rest, self.trend):
                if linear is not None:
                    nn.init.constant_(linear.weight, 1 / seq_len)

    def forward(self, window: Tensor) -> Tensor:
        """(B, S, C) -> (B, H, C), section 4: X = X_t + X_s, each forecast as W x."""
        if self.trend is None:
            return self.rest(window.transpose(1, 2)).transpose(1, 2)
        rest, trend = (part.transpose(1, 2) for part in self.parts(window))
        return (self.rest(rest) + self.trend(trend)).transpose(1, 2)


DLINEAR = ModuleForecaster(
    "dlinear", DLinear, Settings, title="DLinear",
    space={"model.moving_average": {"int": [3, 49]}},
    parts={
        "decomposition": Switch(
            "the decomposition", "a map of its own for the moving average lowers the test error",
            "one linear map of the window",
        )
    },
    presets={
        "scripts": SCRIPTS,
        # cure-lab/LTSF-Linear, scripts/EXP-LongForecasting/Linear/etth1.sh. For exchange rates theirs has batches of 8
        # and lr 0.0005.
        "authors": {"data.seq_len": 336, "model.start": "random", "training.lr": 5e-3},
    },
    sources={None: BENCHMARK, "scripts": BENCHMARK, "authors": "the authors' script for ETTh1"},
    defaults=TRAINING,
)  # fmt: skip
