"""`lab.load`: what is in a place of results, as a table of runs or as a model that forecasts."""

import os
from pathlib import Path
from typing import TYPE_CHECKING, Any, TypeAlias, overload

from lab.errors import ConfigError, check_kind
from lab.store import frames

if TYPE_CHECKING:
    import pandas as pd

    from lab.forecasting.model import ForecastModel

Where: TypeAlias = str | os.PathLike[str]


@overload
def load(place: Where, out: Where = "results") -> Any: ...
@overload
def load(*, study: str, out: Where = "results") -> "pd.DataFrame": ...
@overload
def load(
    place: Where, *, study: str | None = None, run: str | None = None, arm: str | None = None,
    cell: str | None = None, bar: str | None = None, refit: bool = False, backtest: bool | None = None,
    device: str = "cpu",
) -> "ForecastModel": ...  # fmt: skip


def load(
    place: Where | None = None, out: Where = "results", *, study: str | None = None, run: str | None = None,
    arm: str | None = None, cell: str | None = None, bar: str | None = None, refit: bool = False,
    backtest: bool | None = None, device: str = "cpu",
) -> Any:  # fmt: skip
    """A model that forecasts, or what is on record of a study as a DataFrame.

        model = lab.load("results", study="mine")     # the final seeds of a search's best trial; or run=, arm=
        model = lab.load("results/train/ab12")        # a folder of lab.train
        model = lab.load("mine.forecast")             # what model.save wrote
        frame = lab.load("mine", out="results")       # the runs of a study, a row each (lab.store.frames.load)

    Args:
        bar: this bar (`best`: on validation) in the place of the runs, on their data.
        refit: fitted again on all rows of the data, for as many epochs as the choice took.
        backtest: the band comes from a walk over the test rows, which is a look on the ledger, and not from the
            validation windows. By default what is fitted again walks.
    Raises:
        ResultsError: no such study or run, with the nearest.
        DataError, ConfigError: what cannot be read, or its data or its model's code is not to be had, or is another.
    """
    named = study is not None or run is not None
    if place is None:
        if study is None:
            raise ConfigError(
                "load: a place is needed: results, a folder of lab.train, a saved model, or a study's name"
            )
        return frames.load(study, out)
    check_kind("place", place, (str, os.PathLike), "a path, or a study's name,")
    path = Path(place)
    if not named and path.is_file():
        if bar is not None or refit or backtest:
            raise ConfigError(
                f"{place}: a saved model is as it was saved: it takes no bar, is not fitted again and walks no rows"
            )
        from lab.forecasting.model import ForecastModel  # imports torch, which a table of runs does without

        return ForecastModel.load(path, device)
    if not named and not _trained_there(path):
        return frames.load(str(place), out)
    from lab.compute.device import pick_device
    from lab.forecasting.backtest import walked
    from lab.forecasting.band import DEFAULT_LEVEL
    from lab.forecasting.chosen import chosen_of
    from lab.forecasting.making import judged_of
    from lab.forecasting.refit import refit as fitted_again
    from lab.forecasting.refit import whole

    here = pick_device(device)
    judged = judged_of(chosen_of(place, study, run, arm, cell), bar, here)
    if refit:
        whole(judged, judged.whole())  # refused before test is looked at
    found, _ = walked(judged, DEFAULT_LEVEL, backtest, refit)
    return fitted_again(found, found.whole(), here) if refit else found.model


def _trained_there(folder: Path) -> bool:
    return ((folder.parent if folder.name.startswith("seed-") else folder) / "checkpoint.pt").is_file()
