"""What an ablation shows while it trains: a line that redraws itself on a terminal, bounded lines in a log."""

from collections.abc import Mapping
from typing import Any, TextIO

from lab.machines.progress import LiveLines, duration
from lab.machines.trial import TrialSpec


class StudyProgress(LiveLines):
    """Runs that are done, stacks that are training. `close` must be called at the end."""

    def __init__(self, study: str, runs_of: Mapping[int, int], stream: TextIO | None = None):
        """`runs_of`: how many runs each stack holds, by its number."""
        self.study, self.runs_of = study, dict(runs_of)
        self._ended: dict[int, int] = dict.fromkeys(runs_of, 0)  # runs of each stack that are done
        self._epochs: dict[int, int] = {}  # of the stacks that are training
        self._finished = 0
        super().__init__(stream)

    def lines(self) -> list[str]:
        done, every = sum(self._ended.values()), sum(self.runs_of.values())
        elapsed = self.elapsed()
        text = f"{self.study}: {done} of {every} runs done, {self._finished} of {len(self.runs_of)} stacks"
        if self._epochs:
            text += f", training at epoch {', '.join(str(epoch) for _, epoch in sorted(self._epochs.items()))}"
        return [f"{text}  |  elapsed {duration(elapsed)}"]

    def on_trial_result(
        self, iteration: int, trials: list[Any], trial: Any, result: dict[str, Any], **info: Any
    ) -> None:
        stack = TrialSpec.of(trial).stack or 0
        self._epochs[stack], self._ended[stack] = result["epoch"], result["ended"]

    def on_trial_complete(self, iteration: int, trials: list[Any], trial: Any, **info: Any) -> None:
        stack = TrialSpec.of(trial).stack or 0
        if self._ended[stack] == self.runs_of[stack]:  # else it was stopped
            self._finished += 1
        self._epochs.pop(stack, None)

    def on_trial_error(self, iteration: int, trials: list[Any], trial: Any, **info: Any) -> None:
        self._epochs.pop(TrialSpec.of(trial).stack or 0, None)
