"""What one trial does where it is trained at several origins: a stack for each, side by side, epoch by epoch.

What it reports is the mean over the origins of what each stack reports (see StackRun), as `over_origins` takes it.
"""

from collections.abc import Mapping, Sequence
from typing import Any, TypeAlias

import torch

from lab.series import Series
from lab.settings.config import Config
from lab.store.outcomes import over_origins
from lab.store.tables import Results
from lab.training.run import Run
from lab.training.stack_run import Report, StackRun, TrialRun, carried

Stack: TypeAlias = tuple[Sequence[Config], Series]  # what one origin trains, on its data


class OriginsRun(TrialRun):
    """The stacks of one trial, one an origin, on their way into the results.

    Each has checkpoints of its own, so that a kill costs the epoch of one stack at most, and goes on from there; those
    of a stack that has come to its end stay until all have, for what it reported on the way.

    Args:
        most: models trained side by side at most, in each stack (see StackRun).
    Raises: as StackRun.
    """

    def __init__(
        self,
        results: Results,
        stacks: Sequence[Stack],
        device: str | torch.device = "cpu",
        provenance: Mapping[str, Any] | None = None,
        most: int | None = None,
    ):
        self.results = results
        self.stacks = [StackRun(results, c, device, provenance, series, most=most) for c, series in stacks]
        self.halvings = [text for stack in self.stacks for text in stack.halvings]
        for stack in self.stacks:
            stack.halvings = self.halvings

    def advance(self) -> None:
        """One epoch of every stack that still trains; those that are an epoch ahead, since a kill came between them,
        wait for the others."""
        last = min((stack.epoch for stack in self.stacks if stack.going), default=0)
        for stack in self.stacks:
            while not self._diverged() and stack.going and stack.epoch == last:
                stack.advance()

    @property
    def runs(self) -> list[Run]:
        return [run for stack in self.stacks for run in stack.runs]

    def _diverged(self) -> bool:
        return any(stack.report().state == "diverged" for stack in self.stacks)

    def report(self) -> Report:
        """Where the trial stands after the last epoch that all stacks have come to."""
        parts = [stack.report() for stack in self.stacks]
        states = [part.state for part in parts]
        state = next((state for state in ("diverged", "running") if state in states), "complete")
        behind = [part.epoch for part in parts if part.state != "complete"]
        epoch = min(behind, default=max(part.epoch for part in parts))
        columns = [carried(dict(part.reports), epoch) for part in parts]
        reports = []
        for number, values in enumerate(zip(*columns, strict=True), 1):
            present = [value for value in values if value is not None]
            if len(present) == len(values):
                reports.append((number, over_origins(present)))
        value = reports[-1][1] if reports else None
        return Report(epoch, value, state, reports, parts[0].parameters, sum(part.ended for part in parts))

    def close(self, status: str, error: str | None = None) -> None:
        """Ends every stack before its time (see StackRun)."""
        for stack in self.stacks:
            stack.close(status, error)

    def finish(self) -> None:
        """Drops the checkpoints of stacks that have all come to their end."""
        for stack in self.stacks:
            stack.finish()


def stacks_run(
    results: Results, stacks: Sequence[Stack], device: str | torch.device = "cpu",
    provenance: Mapping[str, Any] | None = None, most: int | None = None,
) -> StackRun | OriginsRun:  # fmt: skip
    """What trains a trial's stacks, of which most trials have one."""
    if len(stacks) > 1:
        return OriginsRun(results, stacks, device, provenance, most)
    ((configs, series),) = stacks
    return StackRun(results, configs, device, provenance, series, most=most)
