"""What every test shares: one thread, the golden folder, real data where there is some."""

import os
import signal
from collections.abc import Callable
from pathlib import Path

import pytest
import torch

from dynonet.config import DataConfig
from lab.errors import DataError
from lab.series import Series, load_series

pytest_plugins = ["tests.stores"]

torch.set_num_threads(1)
os.environ.setdefault("OMP_NUM_THREADS", "1")  # for the subprocesses

# A script's background jobs ignore Ctrl-C and hand that on; the drivers that tests interrupt must not.
if signal.getsignal(signal.SIGINT) == signal.SIG_IGN:
    signal.signal(signal.SIGINT, signal.default_int_handler)


@pytest.fixture(autouse=True)
def _denormals_kept() -> None:
    """Training flushes them for the rest of the process, and Hypothesis refuses to draw floats there."""
    torch.set_flush_denormal(False)


@pytest.fixture(autouse=True)
def _own_ledger(tmp_path_factory: pytest.TempPathFactory, monkeypatch: pytest.MonkeyPatch) -> None:
    """Looks at test go to a ledger of the test's own, not to that of who runs it."""
    monkeypatch.setenv("DYNONET_LEDGER_DIR", str(tmp_path_factory.mktemp("ledger") / "own"))


@pytest.fixture(scope="session")
def golden_dir() -> Path:
    """The folder of the golden vectors: DYNONET_GOLDEN_DIR, or the project's own."""
    return Path(os.environ.get("DYNONET_GOLDEN_DIR") or Path(__file__).parent / "golden")


@pytest.fixture(scope="session")
def ett() -> Callable[[str], Series]:
    """Loads a real ETT series, or skips the test where it can neither be found nor downloaded."""

    def load(name: str) -> Series:
        try:
            return load_series(DataConfig(dataset=name))
        except DataError as error:
            pytest.skip(f"no real data (set DYNONET_DATA_DIR to a folder that holds {name}.csv): {error}")

    return load
