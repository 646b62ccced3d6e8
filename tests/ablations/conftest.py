"""What every test here starts with."""

import pytest
import torch


@pytest.fixture(autouse=True)
def _denormals_kept() -> None:
    """Training flushes them for the rest of the process, and Hypothesis refuses to draw floats there."""
    torch.set_flush_denormal(False)
