"""The plain file of `own_files`, read."""

from pathlib import Path

import pytest

from lab.series import Series
from tests.lab.series.own_files import PLAIN, read


@pytest.fixture
def plain(tmp_path: Path) -> Series:
    return read(tmp_path, PLAIN)
