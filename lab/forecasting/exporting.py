"""A forecast model as one program of torch's (`torch.export`), for those who serve it without this project.

    program = torch.export.load("mine.pt2").module()  # torch is all that is imported
    ahead = program(window)  # (batch, S, C) -> (batch, H, C), both in the channels' own units

`window` are the last S rows, float64 (of a channel at a million that moves by one, float32 keeps little), of any batch;
the channels in their order, S, H and the step are in the file's `extra_files`, as `forecast.json`. The forecast is
float64, the mean of the seeds. The scaler is inside, the band is not.

Any model is tried, and what was written is read back and compared with the model before it is given. Refused are models
that read more than the window (the calendar, the number of a row), and those whose operations torch cannot export.
"""

import io
import json
import warnings
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import numpy as np
import torch
from torch import Tensor, nn

from lab.console.folders import write_whole
from lab.console.printing import one_line
from lab.errors import ConfigError
from lab.forecasting.given import Reading
from lab.forecasting.members import Members, of_state

ABOUT = "forecast.json"  # of the program's extra files
NEAR = 1e-4  # of the channels' deviations; as written and as computed here differ by rounding, 1e-6 or so
CPU = torch.device("cpu")


def check(members: Members) -> None:
    """Raises ConfigError: models that read what a program of windows alone is not given."""
    read = {"the calendar": members.wants_calendar, "which row of the series a window begins at": members.wants_rows}
    if more := [name for name, wants in read.items() if wants]:
        raise ConfigError(
            f"{members.title} reads {' and '.join(more)}, and an exported program is given the window alone; serve it "
            "with ForecastModel.save and lab.load, or export a model that reads the window alone"
        )


class Program(nn.Module):
    """Own units in, own units out."""

    mean: Tensor
    std: Tensor

    def __init__(self, members: Members, mean: np.ndarray, std: np.ndarray):
        super().__init__()
        self.members = members
        self.register_buffer("mean", torch.tensor(mean))
        self.register_buffer("std", torch.tensor(std))

    def forward(self, window: Tensor) -> Tensor:
        return self.members.mean((window - self.mean) / self.std) * self.std + self.mean


def export(
    members: Members, reading: Reading, mean: np.ndarray, std: np.ndarray, said: Mapping[str, Any], path: Path
) -> Path:
    """Writes the program of a `ForecastModel` with these parts, which appears whole or not at all.

    Raises ConfigError: as `check`, operations that torch cannot export, or a path that cannot be written.
    """
    check(members)
    # A copy on the CPU: what is exported is nobody's to train, and shares no memory with the model.
    program = Program(of_state(members.state(), CPU), mean, std).eval()
    about = {
        "channels": list(reading.channels), "seq_len": reading.seq_len, "pred_len": reading.pred_len,
        "step": str(reading.step), "zone": reading.zone,
        "input": "(batch, seq_len, channels) float64, own units, the last rows in the order of time",
        "output": "(batch, pred_len, channels) float64, own units, the rows that come next",
        **{key: said[key] for key in ("text", "weights", "model", "runs")},
    }  # fmt: skip
    draws = np.random.default_rng(0).normal(size=(5, reading.seq_len, len(reading.channels)))
    windows = torch.tensor(draws * std + mean)
    try:
        with torch.no_grad(), warnings.catch_warnings():
            warnings.simplefilter("ignore")  # of torch's, about its own
            expected = program(windows)  # first of all: what a model works out once must not be traced
            sizes = ({0: torch.export.Dim("batch")},)
            exported = torch.export.export(program, (windows[:3],), dynamic_shapes=sizes, strict=False)
            _apart(exported)
            buffer = io.BytesIO()
            torch.export.save(exported, buffer, extra_files={ABOUT: json.dumps(about)})
            read = torch.export.load(io.BytesIO(buffer.getvalue())).module()
            parts = (windows, windows[:1])
            apart = np.max([float(((read(part) - expected[: len(part)]) / program.std).abs().max()) for part in parts])
    except Exception as error:  # whatever tracing makes of a model's code
        why = f"{type(error).__name__}: {one_line(str(error), 200)}"
        raise ConfigError(f"{members.title} cannot be exported by torch.export ({why})") from None
    if not apart < NEAR:
        raise ConfigError(
            f"{members.title} cannot be exported: the program forecasts otherwise than the model, by {apart:.2g} "
            "of a channel's deviation"
        )
    return write_whole(path, buffer.getvalue())


def _apart(exported: torch.export.ExportedProgram) -> None:
    """Weights that were views of one tensor become tensors of their own, so that a file holds each once."""
    for tensors in (exported.state_dict, exported.constants):
        for name, tensor in list(tensors.items()):
            if isinstance(tensor, Tensor):
                tensors[name] = tensor.detach().clone()
