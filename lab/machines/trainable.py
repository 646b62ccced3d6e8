"""A StackRun, or one at each of several origins, as a Ray Tune trial; one `step` is one epoch.

Torch is imported in the first step, not with this module: while a trial's actor starts, Tune gives the trial any other
actor that falls free and kills the one that was starting, so trials shorter than a slow start would run one at a time
and kill one starting actor after the other. An actor of this class is up at once.
"""

from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING, Any

import ray
from ray import tune as ray_tune

from lab.machines.nodes import Ending, NodeLeaves
from lab.machines.trial import TrialSpec
from lab.tracking.epochs import TOLD, Telling

if TYPE_CHECKING:
    from lab.series import Series
    from lab.settings.config import Config
    from lab.training.origins_run import OriginsRun
    from lab.training.stack_run import StackRun


class StackTrainable(ray_tune.Trainable):
    """One trial: its config is a TrialSpec's.

    Its checkpoints are in the results, under a name that follows from the runs, so that a retried or resumed trial
    finds them whatever id Tune gives it, and Tune's checkpoints are not used.
    """

    _ending: Ending
    _known: "dict[str, Series]"  # by identity: fetched once for all trials of this actor
    _stack: "StackRun | OriginsRun | None" = None
    _telling: Telling | None = None

    def setup(self, config: dict[str, Any], series: Mapping[str, Sequence[Any]] | None = None) -> None:
        """`series`: identity to a reference to the data in the object store; other data is read here."""
        self._trial, self._shared, self._stack = TrialSpec.from_dict(config), series or {}, None
        if "_known" not in vars(self):
            self._known, self._ending = {}, Ending()

    def reset_config(self, new_config: dict[str, Any]) -> bool:
        self.setup(new_config)  # Tune adds the series
        return True

    def _begin(self) -> "StackRun | OriginsRun":
        from lab.compute.device import device_for, use_threads
        from lab.store.objects.patient_storage import PatientStorage
        from lab.store.tables import Results
        from lab.training.origins_run import OriginsRun
        from lab.training.stack_run import StackRun

        trial = self._trial
        results = Results(PatientStorage(trial.results, trial.patience, trial.mark))
        use_threads(trial.threads)
        stacks = [(configs, self._data(identity, configs[0])) for identity, configs in trial.stacks()]
        device = device_for(trial.gpu)
        if trial.origins:
            return OriginsRun(results, stacks, device, trial.provenance, trial.most)
        ((configs, series),) = stacks
        return StackRun(
            results, configs, device, trial.provenance, series,
            outlive_divergence=trial.test_purpose is not None, most=trial.most,
        )  # fmt: skip

    def _data(self, identity: str, config: "Config") -> "Series":
        from lab.errors import DataError
        from lab.series import load_series

        if identity not in self._known:
            shared = self._shared.get(identity)
            self._known[identity] = ray.get(shared[0]) if shared else load_series(config.data)
        series = self._known[identity]
        # The study's records name runs by this identity: other data, under whatever name, is not the study's.
        if series.identity != identity:
            del self._known[identity]
            raise DataError(f"the data's identity is {series.identity}; the study's is {identity}")
        return series

    def step(self) -> dict[str, Any]:
        """Raises NodeLeaves, between two epochs, on a machine that was given notice: Ray places the trial elsewhere."""
        if self._ending.sees():
            raise NodeLeaves("this machine was given notice; the trial goes on elsewhere from its last epoch")
        if self._stack is None:
            self._stack = self._begin()
            self._telling = Telling(self._trial.ids()) if self._trial.tells else None
        stack = self._stack
        report = stack.step()
        result = {
            "epoch": report.epoch, "state": report.state, "done": report.state != "running",
            "reports": report.reports, "parameters": report.parameters, "ended": report.ended,
        }  # fmt: skip
        if report.value is not None:
            result["value"] = report.value
        if result["done"]:
            result["losses"] = list(report.losses)
        if self._telling is not None:
            result[TOLD] = self._telling.news(stack.runs)
        if result["done"] and self._trial.test_purpose is not None:
            from lab.training.readings import read_test
            from lab.training.stack_run import StackRun

            assert isinstance(stack, StackRun), "of an ablation, each of whose stacks has one origin"
            read_test(
                stack.results, stack.ids, self._trial.test_purpose, stack.device, stack.series,
                self._trial.study, self._trial.command,
            )  # fmt: skip
        self._record_events(stack)
        return result

    def close_stopped(self, trial: str) -> None:
        """Puts the runs of a trial that was stopped between two epochs on record, as they are in memory.

        Raises RuntimeError where this process has another trial, or has not begun with it.
        """
        stack = self._stack
        if stack is None or self._trial.name != trial:
            raise RuntimeError(f"{trial} is not in the memory of this process")
        self._stack = None
        stack.close("stopped")
        self._record_events(stack)

    def _record_events(self, stack: "StackRun | OriginsRun") -> None:
        from lab.store.events import record_event, record_outages

        study, trial = self._trial.study, self._trial.name
        record_outages(stack.results, study, trial)
        while stack.halvings:
            record_event(stack.results, study, "halved", f"{trial}: {stack.halvings.pop(0)}", trial)

    def save_checkpoint(self, checkpoint_dir: str) -> dict[str, Any]:
        return {}  # Tune asks for one when it pauses a trial; ours are in the results

    def load_checkpoint(self, checkpoint: Any) -> None:
        """Nothing: the stack goes on from the checkpoint in the results."""

    def cleanup(self) -> None:
        self._stack = None
