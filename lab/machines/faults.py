"""What goes wrong while trials run, as the driver sees it: said, put on record, and not counted against the trial."""

import time
from collections import Counter
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

from ray import cloudpickle
from ray import tune as ray_tune
from ray.exceptions import RayActorError, RayTaskError

from lab.machines.memory import KernelKills, MemoryGate, Shortage, shortage
from lab.machines.nodes import Node, NodeLeaves, leaving, living_nodes
from lab.machines.queue import DriverOnly
from lab.machines.trial import TrialSpec
from lab.store.beside.writer import Writer
from lab.store.events import record_event, record_outages, wait_for_events
from lab.store.tables import Results

LOOK_SECONDS = 2.0  # between two looks at the cluster
MOST_DEATHS = 10  # of a trial's processes, one after the other with no epoch in between
DEATHS_TO_HALVE = 3  # in a row without a known reason: it may have been memory


class FaultWatch(DriverOnly, ray_tune.Callback):
    """Machines that come and go, processes that die, trials that raise.

    Tune counts a dead process like an error of the trial's; here only what a trial raises counts against
    `max_failures`. A process that ends for want of memory comes back with half the models side by side where it held
    more than its share, and else as soon as others have let go of some, however long that takes.

    Args:
        say: takes a line for people.
        share: bytes that a trial may take of its machine; 0 where that is not known.
    """

    def __init__(
        self,
        results: Results,
        study: str,
        say: Callable[[str], None],
        share: float = 0.0,
    ):
        self.study, self.say = study, say
        self._writer = Writer(results)  # a record must not hold up the loop that calls all this
        self._nodes: dict[str, Node] = {node.id: node for node in living_nodes()}
        self._looked = time.monotonic()
        self._share, self._kernel = share, KernelKills()
        self.gate = MemoryGate()  # RaySession's
        # Begins a trial of Tune's once more, with changes of its config (RaySession).
        self.again: Callable[[str, Mapping[str, Any]], None] = lambda trial_id, changes: None
        self.forgiving = True  # with --max-failures 0 nothing is tried again, whatever the reason
        self._raised: Counter[str] = Counter()  # times a trial raised, by its name
        self._deaths: Counter[str] = Counter()  # of its processes since its last epoch

    def _happened(self, kind: str, text: str, trial: str | None = None) -> None:
        self.say(text)
        record_event(self._writer, self.study, kind, text, trial)

    def wait(self, seconds: float | None) -> None:
        """Until what has happened is on record, or so long."""
        wait_for_events(self._writer, seconds)

    # Ray Tune's hooks.

    def on_step_end(self, iteration: int, trials: list[Any], **info: Any) -> None:
        if time.monotonic() - self._looked >= LOOK_SECONDS:
            self._looked = time.monotonic()
            self._look()
            for text in record_outages(self._writer, self.study):
                self.say(text)

    def on_trial_result(self, iteration: int, trials: list[Any], trial: Any, result: Any, **info: Any) -> None:
        name = TrialSpec.of(trial).name
        self._deaths[name] = 0
        self.gate.went_on(name)

    def on_trial_recover(self, iteration: int, trials: list[Any], trial: Any, **info: Any) -> None:
        name, error = TrialSpec.of(trial).name, _error_of(trial)
        if (short := self._shortage(trial, error)) is not None:
            if self._ran_short(trial, name, short):
                trial.run_metadata.num_failures = self._raised[name]
        elif isinstance(error, RayActorError):
            self._deaths[name] += 1
            reason = "with its machine" if _with_node(error) else "suddenly"
            self._happened("process_died", f"{name}: its process ended {reason}; it goes on from its last epoch", name)
            if self._deaths[name] >= DEATHS_TO_HALVE and not _with_node(error):
                self._halve(trial, name)
            if self._deaths[name] <= MOST_DEATHS:
                trial.run_metadata.num_failures = self._raised[name]
        elif isinstance(error, NodeLeaves):
            trial.run_metadata.num_failures = self._raised[name]
            self._happened(
                "moved", f"{name}: its machine was given notice; it goes on elsewhere from its last epoch", name
            )
        else:
            self._raised[name] += 1
            last = str(error).strip().splitlines()[-1:] or ["no message"]
            self._happened("raised", f"{name} raised and goes on from its checkpoint: {last[0]}", name)

    def forgives(self, trial: Any) -> bool:
        """Whether a trial that Tune has given up is begun again: its process died while it started, which Tune does not
        try again, or for want of memory, and it has not died too often by its own doing."""
        name, error = TrialSpec.of(trial).name, _error_of(trial)
        if not self.forgiving:
            return False
        if (short := self._shortage(trial, error)) is not None:
            if not self._ran_short(trial, name, short):
                return False
        elif isinstance(error, RayActorError) and self._deaths[name] <= MOST_DEATHS:
            self._deaths[name] += 1
            self._happened("process_died", f"{name}: its process ended as it started; it is begun again", name)
        else:
            return False
        most = TrialSpec.of(trial).most
        self.again(trial.trial_id, {"most": most} if most else {})
        return True

    def _shortage(self, trial: Any, error: BaseException | None) -> Shortage | None:
        found = shortage(error, (getattr(trial, "last_result", None) or {}).get("pid"))
        if found is None and isinstance(error, RayActorError) and not _with_node(error):
            # On one machine alone it is sure to be this process that the kernel has ended.
            return Shortage() if len(self._nodes) == 1 and self._kernel.happened() else None
        return found

    def _ran_short(self, trial: Any, name: str, short: Shortage) -> bool:
        """A trial ended for want of memory. Whether it goes on: always, where it held no more than its share."""
        what = f"{name}: ended for want of memory{short.text()}"
        if not short.was_its_own(self._share):
            self.gate.shut(name)
            self._happened("memory_short", f"{what}; goes on from its last epoch when others leave some", name)
            return True
        self._deaths[name] += 1
        self._happened("memory_short", f"{what}; goes on from its last epoch", name)
        if not self._halve(trial, name):
            self.gate.shut(name)  # less than one model is not to be had
            if short.raised:
                self._raised[name] += 1
                return False
        return self._deaths[name] <= MOST_DEATHS

    def _halve(self, trial: Any, name: str) -> bool:
        """Half as many models side by side. Returns whether there is more than one to halve."""
        spec = TrialSpec.of(trial)
        now, half = spec.side_by_side, spec.halved()
        if now > 1:
            trial.config |= half.to_dict()
            self._happened("halved", f"{name}: of {now} models side by side it goes on with {half.most} at most", name)
        return now > 1

    def _look(self) -> None:
        now = {node.id: node for node in living_nodes()}
        for node in [node for key, node in self._nodes.items() if key not in now]:
            if node.id in leaving():
                self._happened("node_leaving", f"machine {node.address} was given notice; its trials go on elsewhere")
            else:
                self._happened("node_lost", f"machine {node.address} is lost; its trials go on elsewhere")
        for node in [node for key, node in now.items() if key not in self._nodes]:
            self._happened(
                "node_joined", f"machine {node.address} has joined, with {node.cpus:g} CPUs, {node.gpus:g} GPUs"
            )
        self._nodes = now


def _error_of(trial: Any) -> BaseException | None:
    """What a trial ended with, an error of its own code as it was raised."""
    # Tune's `get_pickled_error` looks in its storage, where the file is not yet.
    path = trial.pickled_error_file
    error = cloudpickle.loads(Path(path).read_bytes()) if path and Path(path).exists() else None
    return error.cause if isinstance(error, RayTaskError) else error


def _with_node(error: RayActorError) -> bool:
    return bool(error.preempted) or "its node has died" in str(error)
