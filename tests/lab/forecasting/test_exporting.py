"""An exported program forecasts as the model does, in a process that has torch and none of this project."""

import subprocess
import sys
from dataclasses import replace
from pathlib import Path

import numpy as np
import pandas as pd
import pytest
import torch

from dynonet.config import Config
from lab.errors import ConfigError
from lab.forecasting.making import judged_bar
from lab.forecasting.members import networks
from lab.forecasting.model import ForecastModel
from lab.registry import forecaster
from lab.series import load_series
from tests.lab.forecasting.studies import H, S

SERVE = """
import json, pathlib, sys, torch
for path in sorted(pathlib.Path(sys.argv[1]).glob("*.pt2")):
    extra = {"forecast.json": ""}
    program = torch.export.load(str(path), extra_files=extra).module()
    about = json.loads(extra["forecast.json"])
    given = torch.load(path.with_suffix(".windows"))
    assert about["seq_len"] == given.shape[1] and about["channels"] == ["load", "price"], about
    torch.save([program(given), program(given[:1])], path.with_suffix(".found"))
assert not {"lab", "dynonet", "forecasters", "numpy.testing"} & sys.modules.keys()
"""


def _model(name: str, base: Config) -> ForecastModel:
    """Two networks with drawn numbers in every weight, on the data of `base`."""
    model = judged_bar("linear", base).model
    if name == "linear":
        return model
    owner, cpu = forecaster(name), torch.device("cpu")
    settings = {
        **owner.small,
        "data.dataset": "csv",
        "data.path": base.data.path,
        "data.seq_len": S,
        "data.pred_len": H,
    }
    config = base if name == "dynonet" else owner.config.create(settings)
    configs = [config.with_seed(seed) for seed in (1, 2)]
    drawn = torch.Generator().manual_seed(3)
    each = owner.stack(configs, load_series(config.data), cpu, torch.float32).weights([0, 1])

    def other(weight: torch.Tensor) -> torch.Tensor:
        return weight + 0.2 * torch.randn(weight.shape, generator=drawn) if weight.is_floating_point() else weight

    weights = [{key: other(weight) for key, weight in mine.items()} for mine in each]
    return replace(model, members=networks(configs, weights, 2, cpu))


def test_it_forecasts_the_same_where_torch_alone_is(base: Config, tmp_path: Path) -> None:
    frame = pd.read_csv(str(base.data.path))
    parts = [frame.iloc[end - S : end] for end in (100, 200, 300)]
    expected = {}
    for name in ("dynonet", "dlinear", "patchtst", "linear"):
        model = _model(name, base)
        assert model.export(tmp_path / f"{name}.pt2") == tmp_path / f"{name}.pt2"
        windows = torch.tensor(np.stack([part[["load", "price"]].to_numpy() for part in parts]))
        torch.save(windows, tmp_path / f"{name}.windows")
        expected[name] = np.stack([model.predict(part)["forecast"].to_numpy().reshape(H, 2) for part in parts])
    subprocess.run([sys.executable, "-I", "-c", SERVE, str(tmp_path)], check=True, timeout=300, cwd=tmp_path)
    for name, here in expected.items():
        every, one = torch.load(tmp_path / f"{name}.found")
        assert every.dtype == torch.float64 and np.allclose(every, here, rtol=1e-5), name
        assert np.allclose(one, here[:1], rtol=1e-5), "of any batch"


@pytest.mark.parametrize("name, why", [("tide", "the calendar"), ("cyclenet", "which row of the series")])
def test_what_reads_more_than_the_window_is_refused(name: str, why: str, base: Config, tmp_path: Path) -> None:
    with pytest.raises(ConfigError, match=f"reads {why}.*ForecastModel.save"):
        _model(name, base).export(tmp_path / "one.pt2")
    assert not list(tmp_path.glob("*.pt2"))
