"""DynoNet: a small adaptive forecasting network, many of which train side by side.

`Config` and `StackTrainer` are the core; `DynoNet`, `Trainer` and `get_ett_dataloaders` are the published face.
"""

from dynonet.config import Config
from dynonet.errors import ConfigError, DataError
from dynonet.face import DynoNet, Trainer, get_ett_dataloaders
from dynonet.trainer import StackTrainer

__all__ = ["Config", "ConfigError", "DataError", "DynoNet", "StackTrainer", "Trainer", "get_ett_dataloaders"]
