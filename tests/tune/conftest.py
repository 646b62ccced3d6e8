"""What the tests of the search share: tiny configs and a store."""

from pathlib import Path
from typing import Any

import pytest

from dynonet.config import Config
from dynonet.data import load_series
from tune.results import Results

TINY: dict[str, Any] = {
    "data.seq_len": 16,
    "data.pred_len": 4,
    "data.synthetic.rows": 300,
    "model.worker_seq_len": 8,
    "model.control_hidden": 4,
    "model.worker_hidden": 2,
    "model.moving_average": 5,
    "training.batch_size": 32,
    "training.max_epochs": 6,
}


@pytest.fixture
def tiny() -> Config:
    """A config that trains an epoch in a fraction of a second."""
    return Config.create(TINY)


@pytest.fixture
def sha(tiny: Config) -> str:
    return load_series(tiny.data).sha256


@pytest.fixture
def store(tmp_path: Path) -> Results:
    return Results(tmp_path / "out")
