"""Stacks of planned runs as Ray trials: the queue that Tune asks, what happens to one that fails, what one costs."""

from collections.abc import Iterable, Mapping
from typing import Any

from ray import tune as ray_tune
from ray.tune.search import Searcher

from lab.machines.faults import FaultWatch
from lab.machines.progress import trial_error
from lab.machines.queue import DriverOnly
from lab.machines.trial import TrialSpec
from lab.series import Series
from lab.store.tables import Results
from lab.training.stack_run import StackRun


class StackSearcher(DriverOnly, Searcher):
    """Gives Tune one stack after the other. What became of each is in the records, so it keeps nothing."""

    def __init__(self, specs: Iterable[TrialSpec]):
        """`specs`: the first to be trained first."""
        super().__init__()
        self._waiting = list(specs)

    def suggest(self, trial_id: str) -> Any:
        return self._waiting.pop(0).to_dict() if self._waiting else Searcher.FINISHED

    def on_trial_complete(self, trial_id: str, result: dict[str, Any] | None = None, error: bool = False) -> None:
        """Nothing: the trial has put its runs on record."""

    def save(self, checkpoint_path: str) -> None:
        """Nothing: the records are the state."""

    def restore(self, checkpoint_path: str) -> None:
        """Nothing: see `save`."""


class StackFailures(DriverOnly, ray_tune.Callback):
    """Puts the runs of a stack that raised once too often on record as failed, with the error."""

    def __init__(self, results: Results, series: Mapping[str, Series], watch: FaultWatch):
        self.results, self.series, self.watch = results, series, watch
        self.runs = 0  # that are not done because of it
        self.messages: list[str] = []

    def on_trial_error(self, iteration: int, trials: list[Any], trial: Any, **info: Any) -> None:
        if self.watch.forgives(trial):
            return
        error, spec = trial_error(trial), TrialSpec.of(trial)
        configs = spec.runs()
        self.messages.append(f"{spec.name} ({len(configs)} runs) failed: {error.splitlines()[-1]}")
        series = self.series[spec.data_sha256]
        try:
            stack = StackRun(self.results, configs, series=series)
            self.runs += len(stack.ids) - len(self.results.done(stack.ids))
            stack.close("failed", error)
        except Exception as problem:  # the stack cannot even be built: nothing of it is on record
            self.messages.append(f"its runs could not be recorded as failed: {problem}")
            self.runs += len(configs)
