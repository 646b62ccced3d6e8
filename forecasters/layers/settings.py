"""Settings that several of the rivals share, and how their authors' scripts train them."""

from typing import Annotated, Any

from pydantic import model_validator

from lab.settings.data import CountsWhen
from lab.training.module_stack import PER_MODEL, Field, Section, Switch

# Of the usual benchmark scripts; batches of 32, at most 10 epochs and a patience of 3 are the lab's own.
TRAINING: dict[str, Any] = {"data.seq_len": 96, "training.lr": 1e-4, "training.schedule": "halving"}
SPACE: dict[str, Any] = {
    "model.d_model": {"choice": [16, 32, 64, 128]},
    "model.d_ff": {"choice": [32, 64, 128, 256]},
    "model.e_layers": {"int": [1, 3]},
    "model.dropout": {"float": [0.0, 0.5]},
}
HEADS_COUNT = CountsWhen(lambda config: config.model.attention)  # of models that have attention as a part
HEADS: dict[str, Any] = {"model.n_heads": {"choice": [2, 4, 8]}}
# What a table says of settings that come from there.
BENCHMARK = "the usual benchmark's script for ETTh1"
# Of a model that the usual benchmark has no script for.
DEFAULTS_THERE = "the usual benchmark's defaults; it has no script for this model"
RENAMED = {"scripts": "benchmark-defaults"}  # of those models
# The same, said whole, where a model's defaults are others.
SCRIPTS: dict[str, Any] = {
    **TRAINING, "training.batch_size": 32, "training.max_epochs": 10, "training.patience": 3,
}  # fmt: skip
DROPOUT: dict[str, Any] = {"model.dropout": {"float": [0.0, 0.5]}}
REVIN = Switch(
    "RevIN",
    "reading windows of mean 0 and deviation 1, and turning forecasts back, lowers the test error",
    "windows stay as they are",
)


class Sizes(Section):
    """Of layers that keep tokens of one width. A model may have other defaults."""

    d_model: int = Field(512, ge=2)  # D, numbers of a token
    d_ff: int = Field(2048, ge=1)  # hidden units of the two maps of a layer
    e_layers: int = Field(2, ge=1)  # of the encoder
    dropout: Annotated[float, PER_MODEL] = Field(0.1, ge=0, lt=1)  # share of numbers left out in training


class Transformer(Sizes):
    """Of a Transformer."""

    n_heads: int = Field(8, ge=1)  # of attention; they share d_model

    @model_validator(mode="after")
    def _whole_heads(self) -> "Transformer":
        if self.d_model % self.n_heads:
            raise ValueError(f"n_heads must divide d_model, got {self.n_heads} and {self.d_model}")
        return self


SMALL_SIZES: dict[str, Any] = {"model.d_model": 8, "model.d_ff": 8}
SHORT: dict[str, Any] = {"data.seq_len": 24, "data.pred_len": 8, "data.synthetic.rows": 400, "model.e_layers": 1}
SMALL: dict[str, Any] = {**SMALL_SIZES, "model.n_heads": 2}
# Parts that several have.
NORM = Switch(
    "the windows' normalisation", "forecasting windows by their own mean and deviation lowers the test error",
    "windows stay as they are",
)  # fmt: skip
CALENDAR = Switch("the calendar", "reading the hour, the weekday and the day lowers the test error", "it is not read")
