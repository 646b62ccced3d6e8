"""A search that races over seeds, as Ray Tune meets it: a trial of ours is one of Tune's at each number of seeds.

The first, of one seed, goes through ASHA's rungs, where trials are compared on that seed alone. One that comes to its
end is judged by `rule`: it is raced out, or its next seeds are trained, to their own end, as a trial of Tune's that
goes before new proposals. What it trains then are the runs of all its seeds so far, and those on record are not trained
again. Each verdict is on record before anything follows from it, so that a driver that takes over asks none anew.
"""

from collections import deque
from collections.abc import Callable
from typing import Any

from ray.tune.schedulers import TrialScheduler
from ray.tune.search import Searcher

from lab.machines.trial import TrialSpec
from tune.proposals import Proposal, Proposals
from tune.racing.rule import Race, looks
from tune.searcher import ProposalSearcher, RecordedASHA

WHY_STOPPED = {"running": "stopped early, by its first seed", "diverged": "a run of it diverged"}  # by its last report


class RacingSearcher(ProposalSearcher):
    """Gives Tune the study's proposals a few seeds at a time."""

    def __init__(
        self, proposals: Proposals, spec: TrialSpec, on_stopped: Callable[[Proposal], Any],
        over: Callable[[], bool] = lambda: False,
    ):  # fmt: skip
        super().__init__(proposals, spec, on_stopped, over)
        self._left = 0  # proposals that may still be given
        self._raced_on: deque[Proposal] = deque()  # wait for their next seeds
        self._live: set[str] = set()  # were given and have no outcome yet
        self.race = Race(proposals.replicates)
        for proposal in proposals.outcomes:
            self._count(proposal)

    def _count(self, proposal: Proposal) -> None:
        if proposal.state == "complete" and len(proposal.losses) == self.proposals.replicates:
            self.race.add(proposal.trial, proposal.losses)

    def begin(self, trials: int) -> int:
        self._left = trials
        return trials * len(looks(self.proposals.replicates))

    def _choose(self) -> Proposal | str | None:
        if self._raced_on:
            return self._raced_on.popleft()
        proposal = self.proposals.propose() if self._left else None
        if proposal is not None:
            self._left -= 1
            self._live.add(proposal.trial)
            return proposal
        self._left = 0
        self._live = {trial for trial in self._live if self.proposals.all[trial].state is None}
        return None if self._live else Searcher.FINISHED  # what lives may come to need more seeds

    def on_trial_complete(self, trial_id: str, result: dict[str, Any] | None = None, error: bool = False) -> None:
        super().on_trial_complete(trial_id, result, error)
        if not error:
            proposal = self.proposals.all[self._trials[trial_id]]
            if proposal.state is not None or proposal not in self._raced_on:
                self._live.discard(proposal.trial)

    def _ended(self, proposal: Proposal, state: str, values: list[float], result: dict[str, Any]) -> None:
        trial, replicates, reports = proposal.trial, self.proposals.replicates, result["reports"]
        if state != "complete":
            self.proposals.finish(trial, state, values, reports, reason=WHY_STOPPED.get(result["state"]))
            return
        losses = result["losses"]
        if len(losses) == replicates:
            self.proposals.finish(trial, state, values, reports, losses=losses, reason=f"has all {replicates} seeds")
            self._count(proposal)
            return
        judged = self.race.judge(losses)
        if judged.excluded:
            self.proposals.finish(trial, "stopped", values, reports, losses=losses, reason=judged.text)
        else:
            seeds = next(count for count in looks(replicates) if count > len(losses))
            self.proposals.race_on(trial, seeds, losses, reports, judged.text)
            self._raced_on.append(proposal)


class RacingASHA(RecordedASHA):
    """Compares trials on their first seed alone, whatever comes after it."""

    @staticmethod
    def _is_first(trial: Any) -> bool:
        return len(TrialSpec.of(trial).configs) == 1

    def on_trial_add(self, tune_controller: Any, trial: Any) -> None:
        if self._is_first(trial):
            super().on_trial_add(tune_controller, trial)

    def on_trial_result(self, tune_controller: Any, trial: Any, result: dict[str, Any]) -> str:
        if self._is_first(trial):
            return super().on_trial_result(tune_controller, trial, result)
        return TrialScheduler.CONTINUE

    def on_trial_complete(self, tune_controller: Any, trial: Any, result: dict[str, Any]) -> None:
        if self._is_first(trial):
            super().on_trial_complete(tune_controller, trial, result)

    def on_trial_remove(self, tune_controller: Any, trial: Any) -> None:
        if self._is_first(trial):
            super().on_trial_remove(tune_controller, trial)
