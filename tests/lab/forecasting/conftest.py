"""Settings of a tiny network on a file of one's own."""

from pathlib import Path

import pytest

from dynonet.config import Config
from tests.lab.forecasting.studies import own_file


@pytest.fixture
def base(tmp_path: Path, tiny: Config) -> Config:
    return tiny.override({"data.dataset": "csv", "data.path": str(own_file(tmp_path)), "training.max_epochs": 3})
