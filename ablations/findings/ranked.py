"""From the records of a study of models to its ranking."""

import math
from collections import defaultdict
from collections.abc import Iterator, Mapping, Sequence

import numpy as np

from ablations.findings.findings import PRIMARY, ArmRuns, CellData
from ablations.findings.league import Beside, Entrant, Kind, League
from ablations.findings.runs import Recorded
from ablations.judging.ranking import Sample, rank
from ablations.study.models import MODELS, sourced
from lab.arms import FULL
from lab.pages.formats import decimal
from lab.references.forecasts import Forecasts, forecasts_of_run
from lab.references.standing import BarErrors, starts_of
from lab.references.titles import START_TITLE
from lab.registry import names, reports
from lab.settings.presets import SEARCHED
from lab.store.schema import START
from lab.store.tables import Results
from lab.training.window_errors import window_errors

VALIDATION = "val_mse"


def league_of(
    results: Results, recorded: Recorded, cells: Sequence[CellData], arms: Sequence[ArmRuns]
) -> League | None:
    """None where the study is none of models."""
    if recorded.study.kind != MODELS:
        return None
    found = _Ranked(results, recorded, [cell for cell in cells if not cell.invalid], arms)
    return found.league({cell.name: f"cell {cell.name}: {cell.invalid}" for cell in cells if cell.invalid})


class _Ranked:
    def __init__(self, results: Results, recorded: Recorded, cells: Sequence[CellData], arms: Sequence[ArmRuns]):
        self.results, self.study, self.cells, self.recorded = results, recorded.study, cells, recorded
        self.runs = {(runs.arm, runs.cell): runs for runs in arms}
        self.samples: dict[str, dict[str, Sample]] = {}
        self.entrants: dict[str, Entrant] = {}
        self.left_out: dict[str, str] = {}
        self.forecasts: dict[str, dict[str, Forecasts]] = {cell.name: {} for cell in cells}

    def league(self, invalid: Mapping[str, str]) -> League:
        self.left_out |= invalid
        for arm in dict.fromkeys((FULL, *self.study.table)):
            self._enter_arm(arm)
        self._enter_starts()
        bars = dict.fromkeys(bar.name for cell in self.cells for bar in cell.standing.rows)
        for bar in bars:
            self._enter_bar(bar)
        best = {
            cell.name: cell.standing.best.name
            for cell in self.cells
            if cell.standing.best is not None and cell.standing.best.name in self.samples
        }
        ranking = None
        if len(self.samples) > 1 and self.cells:
            configs = {cell.name: self.study.config(cell.name).data for cell in self.cells}
            memory = {name: data.seq_len + data.pred_len for name, data in configs.items()}
            ranking = rank(self.samples, {cell.name: cell.series for cell in self.cells}, memory, best)
        order = [place.name for place in ranking.places] if ranking else list(self.entrants)
        return League(
            tuple(self.entrants[name] for name in order),
            ranking,
            best,
            tuple(self._beside()),
            self.left_out,
            tuple(sorted(names().keys() - set(self.study.forecasters))),
            {cell: of_the_same_rows(found) for cell, found in self.forecasts.items()},
        )

    def title(self, arm: str) -> str:
        """As pages call an arm."""
        base = self.study.table[arm].untuned if arm in self.study.table else arm
        entry = self.study.models.get(base)
        title = self.study.forecaster.title if entry is None else entry.title
        return f"{title}, tuned" if base != arm else title

    def _enter_arm(self, arm: str) -> None:
        rows = [self.runs.get((arm, cell.name)) for cell in self.cells]
        if any(row is None or row.failed for row in rows):
            self.left_out[self.title(arm)] = "runs are missing"
            return
        whole = {row.cell: row for row in rows if row is not None}
        self.samples[arm] = {cell: self._sample(row) for cell, row in whole.items()}
        for cell in whole:
            run = self.recorded.first(arm, cell).get("run")
            shown = None if run is None else forecasts_of_run(self.results, run)
            if shown is not None:
                self.forecasts[cell][arm] = shown
        self.entrants[arm] = Entrant(
            arm, self.title(arm), "model", {cell: row.effective for cell, row in whole.items()},
            {cell: row.device_seconds / max(len(row.runs), 1) for cell, row in whole.items()},
            {cell: math.nan if (mse := row.mean(VALIDATION)) is None else mse for cell, row in whole.items()},
            {cell: step for cell, row in whole.items() if (step := self._step(row)) is not None},
            {cell: self.study.config(cell, arm).data.seq_len for cell in whole},
            {cell: self._epochs(row) for cell, row in whole.items()}, self._source(arm),
        )  # fmt: skip

    def _source(self, arm: str) -> str:
        base = self.study.table[arm].untuned if arm in self.study.table else arm
        retune = self.study.retune
        if base != arm and retune is not None:
            return f"{SEARCHED} a search by validation in its cell, {retune.text}"
        entry = self.study.models.get(base)
        return sourced(self.study.forecaster, self.study.preset) if entry is None else entry.source

    def _epochs(self, row: ArmRuns) -> tuple[float, int]:
        """Those that were trained, the mean of its seeds, and how many it has at most."""
        trained = [self.recorded.row(row.arm, row.cell, seed).get("epochs") for seed in row.seeds]
        known = [float(count) for count in trained if count is not None]
        return float(np.mean(known)) if known else math.nan, self.study.config(row.cell, row.arm).training.max_epochs

    def _step(self, row: ArmRuns) -> float | None:
        """Device seconds of a step. None: it is not on record how many an epoch has."""
        shown = self.forecasts[row.cell].get(row.arm)
        epochs = sum(self.recorded.row(row.arm, row.cell, seed).get("epochs") or 0 for seed in row.seeds)
        return row.device_seconds / (epochs * shown.steps) if shown is not None and epochs and shown.steps else None

    def _sample(self, row: ArmRuns) -> Sample:
        return Sample(np.array(row.errors[PRIMARY], float), self._windows(self._complete(row)))

    def _complete(self, row: ArmRuns) -> list[str]:
        return [run for run, status in zip(row.runs, row.statuses, strict=True) if status == "complete"]

    def _windows(self, runs: Sequence[str]) -> np.ndarray | None:
        kept = [errors for run in runs if (errors := window_errors(self.results, run)) is not None]
        if not kept or len(kept) < len(runs) or len({len(errors) for errors in kept}) > 1:
            return None
        return np.asarray(np.mean(np.asarray(kept, float), axis=0))

    def _enter_starts(self) -> None:
        """Of models beside the baseline, whose own start is a row of the cells' standing."""
        trained = {
            (arm, cell.name): self._complete(self.runs[arm, cell.name])
            for arm in self.entrants
            for cell in self.cells
            if arm != FULL
        }
        found: dict[str, dict[str, BarErrors]] = defaultdict(dict)
        for (arm, cell), start in starts_of(self.results, trained).items():
            found[arm][cell] = start
        for arm, by_cell in found.items():
            if len(by_cell) == len(self.cells):
                self._enter_reference(f"{START} of {arm}", f"{self.title(arm)} {START_TITLE}", "start", by_cell)

    def _enter_bar(self, name: str) -> None:
        found: dict[str, BarErrors] = {
            cell.name: bar for cell in self.cells for bar in cell.standing.rows if bar.name == name
        }
        first = next(iter(found.values()))
        start = name == START
        title = f"{self.study.forecaster.title} {first.title}" if start else first.title
        if lacking := [cell.name for cell in self.cells if cell.name not in found]:
            self.left_out[title] = f"it is not to be had in cell {', '.join(lacking)}"
            return
        self._enter_reference(name, title, "start" if start else "bar", found)

    def _enter_reference(self, name: str, title: str, kind: Kind, found: Mapping[str, BarErrors]) -> None:
        self.samples[name] = {cell: self._bar_sample(bar, kind == "start") for cell, bar in found.items()}
        numbers = {cell: bar.parameters or 0 for cell, bar in found.items()}
        validation = {cell: bar.errors[VALIDATION] for cell, bar in found.items()}
        lookback = {cell: bar.lookback for cell, bar in found.items() if bar.lookback is not None}
        self.entrants[name] = Entrant(name, title, kind, numbers, {}, validation, lookback=lookback)

    def _bar_sample(self, bar: BarErrors, start: bool) -> Sample:
        """Of a start there is one a seed, whose errors are the means of its windows."""
        apart = [window_errors(self.results, run) for run in bar.runs] if start else []
        known = [float(np.mean(errors, dtype=float)) for errors in apart if errors is not None]
        seeds = np.array(known if known and len(known) == len(apart) else [bar.errors[PRIMARY]])
        return Sample(seeds, self._windows(bar.runs))

    def _beside(self) -> Iterator[Beside]:
        for (arm, cell), row in self.runs.items():
            mse, mae = row.mean(PRIMARY), row.mean("test_mae")
            if mse is None or arm not in self.entrants:
                continue
            config, searched = self.study.config(cell, arm), self._source(arm).startswith(SEARCHED)
            for report in reports(config):
                why = ["its settings were searched here"] if searched else []
                why += filter(None, [report.differs(config, row.complete)])
                yield Beside(
                    self.title(arm), cell, report.text(), f"{decimal(mse)} / {decimal(mae)}", mse - report.mse,
                    "; ".join(why), report.farther(config), searched,
                )  # fmt: skip


def of_the_same_rows(found: Mapping[str, Forecasts]) -> dict[str, Forecasts]:
    """Those of the rows that the first is of: in one figure stands one truth."""
    first = next(iter(found.values()), None)
    return {
        name: each
        for name, each in found.items()
        if first is not None and (each.rows, each.channel) == (first.rows, first.channel)
        and each.truth.shape == first.truth.shape
    }  # fmt: skip
