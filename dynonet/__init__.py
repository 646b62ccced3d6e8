"""DynoNet: a small adaptive forecasting network, many of which train side by side.

`Config` and `StackTrainer` are the core; `DynoNet`, `Trainer` and `get_ett_dataloaders` are the published face. `dir`
shows them; each is imported when it is first asked for.
"""

from typing import TYPE_CHECKING

from lab import lazy

if TYPE_CHECKING:
    from dynonet.config import Config
    from dynonet.published.interface import DynoNet, Trainer, get_ett_dataloaders
    from lab.errors import ConfigError, DataError
    from lab.training.trainer import StackTrainer

__all__ = ["Config", "ConfigError", "DataError", "DynoNet", "StackTrainer", "Trainer", "get_ett_dataloaders"]

__getattr__, __dir__ = lazy(
    __name__,
    {
        "Config": "dynonet.config", "ConfigError": "lab.errors", "DataError": "lab.errors",
        "DynoNet": "dynonet.published.interface", "Trainer": "dynonet.published.interface",
        "get_ett_dataloaders": "dynonet.published.interface", "StackTrainer": "lab.training.trainer",
    },
)  # fmt: skip
