"""The runs that train now, as a tracker is shown them: in the thread of `lab.tracking.tracker` alone."""

from collections.abc import Collection, Iterable, Mapping
from dataclasses import dataclass, field
from typing import Any

from lab.machines.trial import TrialSpec
from lab.settings.config import Config
from lab.store.schema import PARAMS, run_params
from lab.tracking.epochs import MOST, Told
from lab.tracking.runs import PROVENANCE, RUNNING, Member, TrackedRun

BEST = "best_val_mse"  # in an epoch's row: the validation MSE that the run would be recorded with now


@dataclass
class _Training:
    """What is known of a run that trains: all epochs, not the new ones alone. A tracker that was begun anew has what
    arrived there and goes on from that, so that no epoch is left out in between."""

    row: Mapping[str, Any]  # as table `runs` will have it
    places: list[Member] = field(default_factory=list)
    epochs: dict[int, Mapping[str, float]] = field(default_factory=dict)


class LiveRuns:
    """Which runs train, in what places of the study, and every epoch that they have told of.

    There are `most` at once: what begins when there is no room is shown when it is on record.
    """

    def __init__(self, most: int = MOST):
        self.most = most
        self.news: dict[Member, None] = {}  # those with something that was not shown, the longest first
        self._runs: dict[str, _Training] = {}

    def begin(self, spec: TrialSpec, members: Iterable[Member], over: Collection[str] = ()) -> None:
        """A trial has begun, or has been begun again. `over`: those of its runs that have come to their end before."""
        rows = {run: (config, identity) for run, config, identity in _runs(spec) if run not in over}
        room = self.most - sum(len(training.places) for training in self._runs.values())
        for member in members:
            if member.run in rows:
                training = self._runs.get(member.run) or _Training(_row(spec, member.run, *rows[member.run]))
                if room > 0 and member not in training.places:
                    room -= 1
                    self._runs[member.run] = training
                    training.places.append(member)
                    self.news[member] = None

    def take(self, told: Iterable[Told]) -> None:
        """Epochs of runs."""
        for run, row in told:
            values = {name: value for name, value in row.items() if name != "epoch"}
            if values and (training := self._runs.get(run)):  # a run that diverged has an epoch of nothing
                training.epochs[int(row["epoch"])] = values
                self.news |= dict.fromkeys(training.places)

    def end(self, members: Iterable[Member]) -> None:
        """These are on record, or are not to be shown before they are."""
        for run in {member.run for member in members}:
            if training := self._runs.pop(run, None):
                for place in training.places:
                    self.news.pop(place, None)

    def run(self, member: Member) -> TrackedRun:
        """A run as it stands, with all its epochs."""
        training = self._runs[member.run]
        history = sorted(training.epochs.items())
        last, values = history[-1] if history else (None, {})
        return TrackedRun(member, {**training.row, "epochs": last, "val_mse": values.get(BEST)}, {}, history)


def _runs(spec: TrialSpec) -> list[tuple[str, Config, str]]:
    return [(config.run_id(identity), config, identity) for identity, configs in spec.stacks() for config in configs]


def _row(spec: TrialSpec, run: str, config: Config, identity: str) -> dict[str, Any]:
    known = {name: value for name, value in run_params(config).items() if not name.startswith(PARAMS)}
    unknown = ("channels", "val_mse_channels", "val_mae_channels", "attempt")
    return {
        **dict.fromkeys(unknown), **{name: spec.provenance.get(name) for name in ("versions", *PROVENANCE)}, **known,
        "run": run, "status": RUNNING, "model": config.forecaster, "data_sha256": identity,
    }  # fmt: skip
