"""DynoNet: a small adaptive forecasting network, many of which train side by side.

`Config` and `StackTrainer` are the core; `DynoNet`, `Trainer` and `get_ett_dataloaders` are the published face.
"""

from typing import TYPE_CHECKING, Any

from dynonet.config import Config
from dynonet.errors import ConfigError, DataError

if TYPE_CHECKING:
    from dynonet.face import DynoNet, Trainer, get_ett_dataloaders
    from dynonet.trainer import StackTrainer

__all__ = ["Config", "ConfigError", "DataError", "DynoNet", "StackTrainer", "Trainer", "get_ett_dataloaders"]

_LATER = {
    "DynoNet": "dynonet.face",
    "Trainer": "dynonet.face",
    "get_ett_dataloaders": "dynonet.face",
    "StackTrainer": "dynonet.trainer",
}


def __getattr__(name: str) -> Any:
    """Imports what needs torch only when it is asked for: reading results does without it."""
    if name not in _LATER:
        raise AttributeError(f"module 'dynonet' has no attribute '{name}'")
    import importlib

    return getattr(importlib.import_module(_LATER[name]), name)
