"""DynoNet: a small adaptive forecasting network, many of which train side by side.

`Config` and `StackTrainer` are the core; `DynoNet`, `Trainer` and `get_ett_dataloaders` are the published face.
"""

from typing import TYPE_CHECKING, Any

from dynonet.config import Config
from lab.errors import ConfigError, DataError

if TYPE_CHECKING:
    from dynonet.published.interface import DynoNet, Trainer, get_ett_dataloaders
    from lab.training.trainer import StackTrainer

__all__ = ["Config", "ConfigError", "DataError", "DynoNet", "StackTrainer", "Trainer", "get_ett_dataloaders"]

_LATER = {
    "DynoNet": "dynonet.published.interface",
    "Trainer": "dynonet.published.interface",
    "get_ett_dataloaders": "dynonet.published.interface",
    "StackTrainer": "lab.training.trainer",
}


def __getattr__(name: str) -> Any:
    """Imports what needs torch only when it is asked for: reading results does without it."""
    if name not in _LATER:
        raise AttributeError(f"module 'dynonet' has no attribute '{name}'")
    import importlib

    return getattr(importlib.import_module(_LATER[name]), name)
