"""What a search shows while it runs: a table that redraws itself on a terminal, bounded lines in a log."""

from collections.abc import Mapping
from typing import Any, TextIO

from lab.machines.progress import WIDTH, LiveLines, duration
from lab.machines.trial import TrialSpec
from lab.settings.config import Config
from lab.store.outcomes import STATES
from tune.proposals import Proposal, Proposals
from tune.space.categories import shown

SETTLED = 4  # trials that must have ended before the time left can be guessed
SHOWN_TRIALS = 8  # running trials in the table


def params_text(params: Mapping[str, Any], settings: type[Config]) -> str:
    """`hidden=8 lr=0.002`: short names are enough beside each other."""
    parts = []
    for path, value in params.items():
        text = f"{value:.3g}" if isinstance(value, float) else shown(path, value, settings)
        parts.append(f"{path.rsplit('.', 1)[-1]}={text}")
    return " ".join(parts)


class Progress(LiveLines):
    """The table of a search."""

    def __init__(self, proposals: Proposals, target: int, stream: TextIO | None = None):
        self.proposals, self.target = proposals, target
        self._at_start = len(proposals.outcomes)
        self._said = len(proposals.ended)
        self._now: dict[str, dict[str, Any]] = {}  # last result of each running trial
        count = len(proposals.origins)
        self._loss = "val MSE" if count == 1 else f"val MSE over {count} origins"
        super().__init__(stream)

    def counts(self) -> dict[str, int]:
        counts = dict.fromkeys(STATES, 0)
        for proposal in self.proposals.outcomes:
            counts[proposal.state or "failed"] += 1
        counts["running"] = len(self._now)
        left = 0 if self.proposals.exhausted else self.target - len(self.proposals.outcomes) - counts["running"]
        counts["to come"] = max(0, left)
        return counts

    def lines(self) -> list[str]:
        """The table, its lines of bounded width too."""
        counts = self.counts()
        elapsed = self.elapsed()
        done = len(self.proposals.outcomes) - self._at_start
        left = counts["running"] + counts["to come"]
        remaining = f", about {duration(elapsed / done * left)} left" if done >= SETTLED else ""
        states = "  ".join(f"{state} {count}" for state, count in counts.items())
        out = [f"{self.proposals.study}: {states}  |  elapsed {duration(elapsed)}{remaining}"]
        best = self.proposals.best()
        if best is not None:
            out.append(f"best so far {best.values[0]:.4f}  {best.trial}  {params_text(best.params, type(best.config))}")
        for trial, result in sorted(self._now.items())[:SHOWN_TRIALS]:
            value = f"{result['value']:.4f}" if "value" in result else "-"
            epoch = result.get("epoch", 0)
            proposal = self.proposals.all[trial]
            params = params_text(proposal.params, type(proposal.config))
            out.append(f"  {trial}  epoch {epoch:>3}  {self._loss} {value}  {params}")
        if len(self._now) > SHOWN_TRIALS:
            out.append(f"  and {len(self._now) - SHOWN_TRIALS} more running")
        return [line[:WIDTH] for line in out]

    def _outcome(self, proposal: Proposal) -> str:
        found = f"{self._loss} {proposal.values[0]:.4f}" if proposal.values else f"{self._loss} -"
        if proposal.error:
            found = proposal.error.strip().splitlines()[-1]
        state = "raced out" if proposal.raced_out else proposal.state
        return f"{proposal.trial}  {state:9s}  {found}  {params_text(proposal.params, type(proposal.config))}"[:WIDTH]

    @property
    def log_lines(self) -> int:
        return 1 if self.proposals.best() is None else 2

    def news(self) -> list[str]:
        new = self.proposals.ended[self._said :]  # and no look at all the others: this is asked at every step
        self._said += len(new)
        for proposal in new:
            self._now.pop(proposal.trial, None)
        return [self._outcome(proposal) for proposal in new]

    def close(self) -> None:
        self._now.clear()
        super().close()

    # Ray Tune's hooks.
    def on_trial_start(self, iteration: int, trials: list[Any], trial: Any, **info: Any) -> None:
        self._now.setdefault(TrialSpec.of(trial).name, {})

    def on_trial_result(
        self, iteration: int, trials: list[Any], trial: Any, result: dict[str, Any], **info: Any
    ) -> None:
        self._now[TrialSpec.of(trial).name] = result

    def on_trial_error(self, iteration: int, trials: list[Any], trial: Any, **info: Any) -> None:
        self._now.pop(TrialSpec.of(trial).name, None)
