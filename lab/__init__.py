"""The ground floor: it knows no model and no method, only series, stacks in training, records, machines and pages.

`dir(lab)` shows what a user may touch; each name is imported when it is first asked for.
"""

import importlib
from collections.abc import Callable, Mapping
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from lab.arms import Arm
    from lab.errors import ConfigError, DataError
    from lab.forecaster import Forecaster
    from lab.forecasting.model import ForecastModel
    from lab.forecasting.opening import load
    from lab.series import Series, load_series
    from lab.settings.config import Config
    from lab.store.frames import bars, history, joined, open_results
    from lab.store.schema import ResultsError
    from lab.store.tables import Results
    from lab.training.trainer import StackTrainer

__all__ = [
    "Arm", "Config", "ConfigError", "DataError", "ForecastModel", "Forecaster", "Results", "ResultsError", "Series",
    "StackTrainer", "bars", "history", "joined", "load", "load_series", "open_results",
]  # fmt: skip


def lazy(package: str, places: Mapping[str, str]) -> tuple[Callable[[str], Any], Callable[[], list[str]]]:
    """A package's `__getattr__` and `__dir__`: its public names by the module where each is, imported when asked for.

    What needs torch or Ray waits so: reading results does without them.
    """

    def get(name: str) -> Any:
        if name not in places:
            raise AttributeError(f"module '{package}' has no attribute '{name}'")
        return getattr(importlib.import_module(places[name]), name)

    return get, lambda: sorted(places)


__getattr__, __dir__ = lazy(
    __name__,
    {
        "Arm": "lab.arms", "Config": "lab.settings.config", "ConfigError": "lab.errors", "DataError": "lab.errors",
        "ForecastModel": "lab.forecasting.model", "Forecaster": "lab.forecaster", "Results": "lab.store.tables",
        "ResultsError": "lab.store.schema",
        "Series": "lab.series", "StackTrainer": "lab.training.trainer", "bars": "lab.store.frames",
        "history": "lab.store.frames", "joined": "lab.store.frames",
        "load": "lab.forecasting.opening", "load_series": "lab.series", "open_results": "lab.store.frames",
    },
)  # fmt: skip
