"""A forecaster that is small in every way: a perceptron beside the last value, with dropout, a part, a diagnostic."""

from typing import Annotated, Any

import torch
from torch import Tensor, nn

from lab.training.module_stack import PER_MODEL, Diagnostic, Field, ModuleForecaster, Section, Switch


class Settings(Section):
    hidden: int = Field(8, ge=1)
    dropout: Annotated[float, PER_MODEL] = Field(0.1, ge=0, lt=1)
    level: bool = True


class Toy(nn.Module):
    def __init__(self, config: Any, channels: int):
        super().__init__()
        self.level = config.model.level
        self.inner = nn.Linear(config.data.seq_len, config.model.hidden)
        self.outer = nn.Linear(config.model.hidden, config.data.pred_len)
        self.dropout = nn.Dropout(config.model.dropout)

    def forward(self, window: Tensor) -> tuple[Tensor, dict[str, Tensor]]:
        last = window[:, -1:] if self.level else torch.zeros_like(window[:, -1:])
        hidden = self.dropout(torch.relu(self.inner(self.dropout((window - last).transpose(1, 2)))))
        return self.outer(hidden).transpose(1, 2) + last, {"toy.hidden": hidden.mean(dim=(1, 2))}


TOY = ModuleForecaster(
    "toy", Toy, Settings,
    space={"model.hidden": {"int": [2, 16], "log": True}, "model.dropout": {"float": [0.0, 0.4]}},
    parts={
        "level": Switch(
            "the level", "forecasting differences from the last value lowers the test error", "values are forecast"
        )
    },
    diagnostics={"toy.hidden": Diagnostic("the mean of the hidden units")},
    defaults={"data.seq_len": 24, "data.pred_len": 8},
    width="model.hidden",
)  # fmt: skip
