"""A file of one's own, and a study of two seeds on it."""

from pathlib import Path

import numpy as np
import pandas as pd
from torch import Tensor, nn

from lab.settings.config import Config
from lab.store.tables import Results
from lab.training.module_stack import ModuleForecaster, Section
from lab.training.stack_run import StackRun

S, H, ROWS = 16, 4, 300


def own_file(folder: Path, rows: int = ROWS) -> Path:
    hours = np.arange(rows)
    noise = np.random.default_rng(1).normal(size=(rows, 2))  # more rows begin alike
    frame = pd.DataFrame({"date": pd.date_range("2024-01-01", periods=rows, freq="h")})
    frame["load"] = 500 + 80 * np.sin(2 * np.pi * hours / 24) + 10 * noise[:, 0]
    frame["price"] = 3 + np.cos(2 * np.pi * hours / 12) + 0.2 * noise[:, 1]
    path = folder / "mine.csv"
    frame.to_csv(path, index=False)
    return path


def study_of(store: Results, config: Config, finals: bool = True) -> list[str]:
    """Two seeds on record as a study `mine`, the best of which they are."""
    ids = stack_of(store, config)
    roles = ("search", "final") if finals else ("search",)
    members = [{"study": "mine", "trial": "t0", "role": role, "run": run} for role in roles for run in ids]
    store.add("members", members)
    return ids


def stack_of(store: Results, config: Config) -> list[str]:
    """Two seeds on record."""
    stack = StackRun(store, [config.with_seed(seed) for seed in (1, 2)])
    while stack.step().state == "running":
        pass
    return stack.ids


class Dated(nn.Module):
    """A linear map that is told the calendar of window and horizon, and where the window stands."""

    def __init__(self, config: Config, channels: int):
        super().__init__()
        self.map = nn.Linear(config.data.seq_len, config.data.pred_len)
        self.ahead = config.data.pred_len

    def forward(self, window: Tensor, calendar: Tensor, rows: Tensor) -> Tensor:
        said = self.map(window.transpose(1, 2)).transpose(1, 2)
        return said + calendar[:, -self.ahead :, :1] + (rows % 7)[:, None, None]


DATED = ModuleForecaster("dated", Dated, Section)
