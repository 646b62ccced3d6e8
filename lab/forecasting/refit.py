"""The choice fitted again on all rows up to the last: the same settings and seeds, for as many epochs as it took.

Nothing is chosen here, so nothing validates: a network is trained for the epochs at which validation found its best,
under the schedule that it had; a bar, and a network's start in closed form, keep the penalties and kernels that
validation chose on the judged rows (`Series.chosen_on`). Scaling, and every share of the training rows, are those of
all rows. The band stays that of the judged weights' past errors.
"""

from collections.abc import Callable
from dataclasses import replace

import numpy as np
import torch

from lab.errors import DataError
from lab.forecasting.given import Given
from lab.forecasting.making import Judged
from lab.forecasting.members import BarMap, Members, Weights, networks
from lab.forecasting.model import ForecastModel
from lab.series import Series
from lab.series.bars import BARS, Problem
from lab.series.origins import Splits
from lab.series.own import Understood
from lab.series.reading.dates import Dates, shown_date
from lab.training.trainer import StackTrainer

Told = Callable[[str], None]


def refit(judged: Judged, given: Given, device: torch.device, tell: Told = lambda line: None) -> ForecastModel:
    """The model fitted on all of the rows given. `tell`: is told of each epoch.

    Raises DataError: as `whole`, or rows on which a seed diverges.
    """
    model, learner, series = judged.model, _learner(judged), whole(judged, given)
    model.known.read_as_inputs(given, len(given.values), "fitted again", model.place.results, model.place.study)
    members: Members
    if judged.chosen is None:
        members = _bar(judged, series)
        how = "with what validation had chosen"
    else:
        members, how = _trained(judged, series, device, tell), _epochs(judged.chosen.epochs)
    assert given.stamps is not None
    rows = f"{len(given.values):,} rows, {shown_date(given.stamps[0])} to {shown_date(given.stamps[-1])}"
    held = series.validation[1] - series.validation[0]
    apart = "" if learner is None else f" ({learner[0]} on the last {held:,}, the rest on those before)"
    about = {**model.about, "weights": f"fitted again on all {rows}{apart}, {how}", "refit": True}
    band = replace(model.band, reach=model.band.reach * (model.std / series.std).astype(np.float32))  # in own units
    return replace(model, members=members, mean=series.mean, std=series.std, band=band, about=about)


def _epochs(epochs: tuple[int, ...]) -> str:
    if len(set(epochs)) == 1:
        return (
            f"for the {epochs[0]} epochs that the choice took" if epochs[0] > 1 else "for one epoch, as the choice took"
        )
    return f"each seed for the epochs that its choice took ({', '.join(map(str, epochs))})"


def _learner(judged: Judged) -> tuple[str, str] | None:
    """Who learns from validation rows, if somebody does."""
    return None if judged.chosen is None else judged.chosen.configs[0].validation_learner


def whole(judged: Judged, given: Given) -> Series:
    """The rows as a series that trains on all of them; on all but the last where somebody learns from validation rows.
    What validation chose stays chosen.

    Raises DataError: rows without dates, too few for a window to train on, or fewer than the judged weights had.
    """
    series, rows, horizon = judged.series, len(given.values), judged.data.pred_len
    # A trainer asks for validation rows: the last horizon, which nobody looks at. Who learns from such rows gets as
    # many as it had, which no one else trains on.
    apart = _learner(judged) is not None
    held = series.validation[1] - series.validation[0] if apart else horizon
    if given.stamps is None:
        raise DataError(f"{given.name}: to be fitted again, rows need dates; give a DataFrame or a file, or do without")
    train = rows - held if apart else rows
    if train < judged.data.seq_len + horizon:
        raise DataError(
            f"{given.name}: {rows} rows are too few to fit again on: a window takes S + H = {judged.data.seq_len} + "
            f"{horizon}{f', and {held} are kept apart, from which a part learns' if apart else ''}; give more of them, "
            "or keep the weights that were judged (--no-refit)"
        )
    before = series.train[1] - series.train[0]
    if train < before:
        raise DataError(
            f"{given.name}: {train} rows to fit again on are fewer than the {before} that the judged weights learned "
            "from: give the whole file, or keep those weights (--no-refit)"
        )
    last = (rows - held, rows)
    understood = Understood(series.channels, given.values, Dates(given.stamps, series.zone), series.step, given.notes)
    splits = Splits((0, train), last, last, own=False)
    found = Series.checked(series.name, understood, splits, None, f"all rows of {given.name}")
    return replace(found, chosen_on=series)


def _trained(judged: Judged, series: Series, device: torch.device, tell: Told) -> Members:
    chosen = judged.chosen
    assert chosen is not None
    if not all(chosen.epochs):
        raise DataError(
            f"{chosen.text}: the epochs that the choice took are not on record; --no-refit keeps its weights"
        )
    trainer = StackTrainer(chosen.configs, series, device)
    found: dict[int, Weights] = {}
    last = max(chosen.epochs)
    while trainer.epoch < last:
        trainer.train_epoch()
        finite = trainer.stack.losses.isfinite().all(0).tolist() if trainer.active else []
        kept = {run for run, good in zip(trainer.active, finite, strict=True) if good}
        if lost := set(range(len(chosen.configs))) - kept - set(found):
            seeds = ", ".join(str(chosen.configs[run].training.seed) for run in sorted(lost))
            raise DataError(f"fitted again on all rows, seed {seeds} diverged; --no-refit keeps the weights judged")
        done = [place for place, run in enumerate(trainer.active) if chosen.epochs[run] == trainer.epoch]
        for place, weights in zip(done, trainer.stack.weights(done) if done else [], strict=True):
            found[trainer.active[place]] = weights
        tell(f"fitting again: epoch {trainer.epoch} of {last}")
    return networks(chosen.configs, [found[run] for run in range(len(found))], series.num_channels, device)


def _bar(judged: Judged, series: Series) -> BarMap:
    name = judged.model.about["model"]
    return BarMap(name, Problem(series, judged.data).solution(BARS[name]).weight)
