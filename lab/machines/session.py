"""Ray for one driver: started or joined, what a trial takes of it, and stacks of runs as Tune's trials on it."""

import contextlib
import logging
import math
import os
import sys
import time
from collections import Counter
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any

import ray
from ray import tune as ray_tune
from ray.exceptions import RayError, RayTaskError

from lab.console.interrupts import Ended, exit_code, handled
from lab.console.printing import print
from lab.errors import ConfigError
from lab.machines.answers import check_answers
from lab.machines.card.ahead import SYSTEM_CONFIG, Ahead
from lab.machines.card.mps import MPS, Mps
from lab.machines.card.prestart import APART, Prestart, hook
from lab.machines.card.share import AUTO, Beside, Need, choose
from lab.machines.card.warm import WarmUp
from lab.machines.doors import HOOK, added_to_job, hooked, loopback, of_ray, plain_environment, private_token
from lab.machines.faults import FaultWatch
from lab.machines.memory import MemoryGate, shortage, waiting_actors
from lab.machines.nodes import living_nodes, room
from lab.machines.options import Resources
from lab.machines.preflight import check_machines
from lab.machines.processes import check_socket_folder, end_ray, signals_are_ours
from lab.machines.queue import DriverOnly, TrialQueue
from lab.machines.trainable import StackTrainable
from lab.machines.trial import TrialSpec
from lab.provenance import code_provenance
from lab.registry import DEFAULT, forecaster
from lab.series import Series
from lab.settings.config import Config
from lab.store.objects.lease import Lease
from lab.store.tables import Results
from lab.training.modules.copies import own_modules

STOPPED = {
    "interrupt": "interrupted",
    "time": "the time budget is spent",
    "lease": "this driver was silent for too long, and another may have taken the study over: stopped",
}
_EXIT_CODES = {"time": 0, "lease": 1}
# After a signal, for the steps under way and then for what is to be put on record: who sends it may kill ten seconds
# later, as Docker does.
STEP_SECONDS, RECORD_SECONDS = 4.0, 2.0
TASK_RETRIES = 10  # of a task whose machine was lost; what it raises is raised at once
START_TRIES = 3  # a loaded machine can miss Ray's own start-up limit
PASSED_ON = (
    "DYNONET_DATA_DIR",
    "DYNONET_CACHE_DIR",
    "DYNONET_LEDGER_DIR",
    "DYNONET_KERNEL",
    "DYNONET_DEVICE",
)  # environment that trials need


class DoesNotFit(ConfigError):
    """A task that needs more memory than a trial may take."""


class Stop(DriverOnly, ray_tune.Stopper):
    """Ends the trials between two of Tune's steps: after Ctrl-C, SIGTERM or SIGHUP, or when the time is up."""

    def __init__(self, budget: float | None, lease: Lease):
        self._lease = lease
        self.reason: str | None = None
        self._signum: int | None = None
        self._told = self._recording = math.inf
        self._deadline = time.monotonic() + budget if budget is not None else None

    def __call__(self, trial_id: str, result: dict[str, Any]) -> bool:
        return False

    def stop_all(self) -> bool:
        if self.reason is None and self._deadline is not None and time.monotonic() > self._deadline:
            self.reason = "time"
        if self._lease.lost:
            self.reason = "lease"
        if self.reason == "interrupt":
            self._told = min(self._told, time.monotonic())
        return self.reason is not None

    def interrupt(self, signum: int, frame: Any) -> None:
        if self.reason == "interrupt":
            raise Ended(signum)  # the second one does not wait
        self.reason, self._signum = "interrupt", signum
        print("\nstopping; everything finished is kept (Ctrl-C again: at once)", file=sys.stderr)

    def hurried(self) -> bool:
        """Whether Tune, told to stop for a signal, has waited as long as it can for the steps under way."""
        return time.monotonic() - self._told > STEP_SECONDS

    @property
    def patience(self) -> float | None:
        """Seconds that what is to be put on record may still take; None: as long as it takes."""
        if self.reason not in ("interrupt", "lease"):
            return None
        now = time.monotonic()
        self._recording = min(self._recording, now)
        return max(0.0, self._recording + RECORD_SECONDS - now)

    @property
    def exit_code(self) -> int:
        """Of a command that was stopped."""
        assert self.reason is not None, "it was not"
        return exit_code(Ended(self._signum)) if self._signum is not None else _EXIT_CODES[self.reason]


class RaySession:
    """Ray as one call of a command uses it.

    Args:
        resources: what this call may take.
        series: the data that trials may ask for, one of each identity.
        models: whose runs they train, names of lab.registry: to a cluster the files of one's own go along.
    Raises:
        ConfigError: no cluster answers, or this machine cannot give what a trial takes.
    """

    def __init__(self, resources: Resources, series: Iterable[Series], models: str | Sequence[str] = DEFAULT):
        self.series = {each.identity: each for each in series}
        self.cpus_per_trial = resources.cpus_per_trial
        self.threads = max(1, int(resources.cpus_per_trial))
        self._references: dict[str, Any] = {}
        self._warm: set[str] = set()  # models whose kernels were compiled ahead
        address = resources.cluster
        self.side_by_side = resources.gpu_sharing == MPS  # how trials that share a GPU compute on it
        if self.side_by_side and not address:
            Mps().start()
        names = (models,) if isinstance(models, str) else models
        self._ahead: Ahead | Prestart | None = None if address else Ahead(names, gpu=resources.gpus_per_trial != 0)
        with own_modules(*(names if address else ())) as modules:
            self._connect(address, modules)
        if address and hooked():
            self._ahead = Prestart(names)
        self._apart = {"runtime_env": APART} if address else {}  # options of tasks
        here = ray.cluster_resources()
        cpus, gpus = here.get("CPU", 0.0), here.get("GPU", 0.0)
        self.resources = f"{cpus:g} CPUs, {gpus:g} GPUs"
        share = resources.gpus_per_trial
        self.auto = share == AUTO and gpus >= 1  # the share is to be measured: see `settle`
        self.share = "" if share != AUTO or self.auto else _no_gpu(bool(address))  # why it is what it is
        self._asked = resources.max_concurrent
        self._local, self._checked, self._trials = not address, False, 1
        asked = float(share) if isinstance(share, (int, float)) else 1.0 if gpus >= 1 else 0.0
        if not address:
            for name, need, have in (("CPUs", self.cpus_per_trial, cpus), ("GPUs", asked, gpus)):
                if need > have:
                    raise ConfigError(f"a trial asks for {need:g} {name}, and this machine has {have:g}")
        self._take(asked)
        if address and self._asked is None and not self.nodes:
            raise ConfigError(
                f"a trial asks for {self.cpus_per_trial:g} CPUs and {self.gpus:g} GPUs, and no machine of the cluster "
                f"({cpus:g} CPUs, {gpus:g} GPUs in all) has them; where an autoscaler is to bring machines, say for "
                "how many trials at once: --max-concurrent N"
            )

    def _take(self, gpus: float) -> None:
        """So much of a GPU goes to each trial from now on."""
        self.gpus = gpus
        self.nodes = [node for node in living_nodes() if node.fits(self.cpus_per_trial, gpus)]
        self.concurrent = self.limit()
        # Ray counts what a machine can give to its workers, a container's limit included.
        shares = ((node.memory, node.fits(self.cpus_per_trial, gpus)) for node in self.nodes)
        self.memory_per_trial = min((memory / min(fits, self.concurrent) for memory, fits in shares), default=0.0)

    def settle(self, needs: Sequence[Need]) -> None:
        """The share of a GPU that was left to be measured, from what trials need: see `card.share.choose`."""
        beside = [Beside(node.cpus / node.gpus, node.memory / node.gpus) for node in self.nodes if node.gpus]
        chosen = choose(needs, beside, self.cpus_per_trial, self.side_by_side)
        self._take(chosen.gpus)
        self.auto, self.share = False, chosen.text()

    def limit(self) -> int:
        """Trials at once: as many as were asked for, else what the cluster holds at this moment."""
        return self._asked or max(1, room(living_nodes(), self.cpus_per_trial, self.gpus))

    def check_machines(self, results: Results, trials: int) -> None:
        """Raises ConfigError, within a minute, for a machine of a cluster on which no trial can run. Meanwhile they all
        begin to make processes ready for so many trials, where the share of a GPU is known."""
        if not self._local and not self._checked:
            self._trials = trials
            check_machines(results.storage, self.nodes, self.gpus > 0, self.side_by_side, self._start_ahead)
            self._checked = True

    def _start_ahead(self) -> None:
        if isinstance(self._ahead, Prestart) and not self.auto:
            fits = {node.id: node.fits(self.cpus_per_trial, self.gpus) for node in self.nodes}
            # Nobody knows which machines get the trials, where these are fewer than fit.
            share = min(1.0, min(self.concurrent, self._trials) / max(1, sum(fits.values())))
            self._ahead.begin({name: math.ceil(share * fit) for name, fit in fits.items()}, self.gpus > 0)

    def warm_up(self, configs: Sequence[Config], identity: str) -> WarmUp:
        """Begins to have kernels for trials of such settings compiled, of one forecaster, on a series known here: with
        a GPU, once for each forecaster. (Without one the processes that are started ahead see to it.)"""
        self._start_ahead()  # where the share of a GPU was still to be measured
        model, texts = configs[0].forecaster, [config.to_json() for config in configs]
        counts: dict[str, int] = {}
        if model not in self._warm and self.gpus:
            # Trials find processes that were started ahead, as far as these leave some.
            rooms = ((n, n.fits(self.cpus_per_trial, self.gpus)) for n in self.nodes)
            counts = {n.id: max(1, min(fits, int(n.cpus) - fits)) for n, fits in rooms}
        self._warm.add(model)
        asked = (model, texts, self.data(identity), self.threads, self.gpus > 0)
        return WarmUp(asked, counts, self.gpus > 0, self._apart)

    def _connect(self, address: str | None, modules: Sequence[str]) -> None:
        options: dict[str, Any] = {"log_to_driver": False, "logging_level": logging.ERROR}
        if address:
            if address.startswith("ray://"):
                raise ConfigError(
                    f"address '{address}' is one of Ray Client, through which no driver of ours runs; give HOST:PORT "
                    "from a machine of the cluster, or send the study there: python -m cluster.submit"
                )
            check_answers(address)
            variables = {name: os.path.abspath(os.environ[name]) for name in PASSED_ON[:2] if os.environ.get(name)}
            variables |= of_ray() | {name: os.environ[name] for name in PASSED_ON[2:] if os.environ.get(name)}
            environment = {"env_vars": variables, HOOK: hook(), **({"py_modules": list(modules)} if modules else {})}
            options |= {"address": address, "runtime_env": added_to_job(environment)}
        else:
            # Here Ray's workers inherit the environment. With a runtime_env Ray would not use those that it starts
            # ahead of the first trials.
            check_socket_folder()
            size = sum(series.values.nbytes for series in self.series.values())
            memory = max(128 << 20, 8 * size)  # a series is there raw and scaled
            private_token()
            options |= {"address": "local", "include_dashboard": False, "object_store_memory": memory}
            options["_system_config"] = SYSTEM_CONFIG
        os.environ.setdefault("RAY_IGNORE_UNHANDLED_ERRORS", "1")  # of trials that were stopped; others are asked
        for attempt in range(START_TRIES):
            try:
                with self._starting(), signals_are_ours():
                    ray.init(**options)
                break
            except Exception as error:
                if address:
                    raise ConfigError(f"no Ray cluster answers at '{address}': {error}") from error
                if attempt == START_TRIES - 1:
                    raise
                end_ray()
                time.sleep(2)

    @contextlib.contextmanager
    def _starting(self) -> Iterator[None]:
        if not isinstance(self._ahead, Ahead):
            yield
            return
        with loopback(), self._ahead.starting():
            yield

    def data(self, identity: str) -> Any:
        """A series in the object store: put there once, read from there by every trial of a machine."""
        if identity not in self._references:
            self._references[identity] = ray.put(self.series[identity])
        return self._references[identity]

    def wait_ahead(self, trials: int) -> list[Any]:
        """Until the processes that were started ahead are ready for so many trials; once, before the first. Returns
        them: their ids, on a cluster beside those of their machines."""
        ahead, self._ahead = self._ahead, None
        if isinstance(ahead, Prestart):
            return ahead.wait()
        ray_starts = sum(int(node.cpus) for node in self.nodes)  # and no more, however many fit
        return [] if ahead is None else ahead.wait(min(self.concurrent, trials, ray_starts))

    def run_tasks(
        self,
        function: Any,
        calls: Mapping[Any, tuple[Any, ...]],
        say: Callable[[str, str], None] | None = None,
        done: Callable[[], None] = lambda: None,
    ) -> dict[Any, Any]:
        """A remote function for each of some arguments, each with what a trial takes.

        One whose process or machine is lost is tried again; one that was ended because others took the memory waits
        until there is some, however often. What it raises is raised.

        Args:
            say: takes the kind and the text of an event; by default the text is printed.
            done: called for each that is.
        Raises:
            DoesNotFit: a task held more memory than a trial's share.
        """
        tell = say or (lambda kind, text: print(text, file=sys.stderr, flush=True))
        name = function._function_name.rpartition(".")[2].strip("_").replace("_", " ")
        remote = function.options(num_cpus=self.cpus_per_trial, num_gpus=self.gpus, max_retries=0, **self._apart)
        gate, lost = MemoryGate(self._local), Counter[Any]()
        waiting = {remote.remote(*arguments): key for key, arguments in calls.items()}
        found: dict[Any, Any] = {}
        while waiting:
            (ready, *_), _ = ray.wait(list(waiting), num_returns=1)
            key = waiting.pop(ready)
            try:
                found[key] = ray.get(ready)
                done()
                continue
            except RayError as error:
                short = shortage(error)
                if short is not None and short.was_its_own(self.memory_per_trial):
                    raise DoesNotFit(f"{name}: it does not fit into the memory of a trial{short.text()}") from error
                if short is not None:
                    gate.shut(str(key))
                    tell(
                        "memory_short",
                        f"{name}: ended for want of memory{short.text()}; begun again when others leave some",
                    )
                elif isinstance(error, RayTaskError) or lost[key] == TASK_RETRIES:
                    raise
                else:
                    lost[key] += 1
                    tell("process_died", f"{name}: its process ended; it is begun again")
            gate.wait()
            waiting[remote.remote(*calls[key])] = key
        return {key: found[key] for key in calls}

    def trial_spec(
        self, results: Results, study: str, data_sha256: str, model: str = DEFAULT, configs: Sequence[str] = ()
    ) -> TrialSpec:
        """What every trial of a study is told of where it runs; its own runs and names are set by who suggests it."""
        storage = results.storage
        return TrialSpec(
            tuple(configs), data_sha256, storage.url, study, getattr(storage, "patience", 0.0),
            getattr(storage, "mark", None), self.threads, self.gpus > 0, {**code_provenance(), "trained_for": study},
            model=model, identity=dict(forecaster(model).config.identity),
        )  # fmt: skip

    def run_trials(
        self,
        name: str,
        scratch: Path,
        *,
        searcher: Any,
        samples: int,
        stop: Stop,
        callbacks: Sequence[Any],
        max_failures: int,
        scheduler: Any = None,
        watch: FaultWatch | None = None,
    ) -> None:
        """Trains what the searcher suggests, as StackTrainables. Ctrl-C ends it between two steps, by `stop`."""
        queue = TrialQueue(searcher, samples, self.limit)
        gate = MemoryGate(self._local)
        if watch is not None:
            watch.again, watch.forgiving, watch.gate = queue.again, max_failures > 0, gate
            callbacks = [watch, *callbacks]
        resources = {"cpu": self.cpus_per_trial, "gpu": self.gpus}
        series = {identity: [self.data(identity)] for identity in self.series}
        tuner = ray_tune.Tuner(
            ray_tune.with_resources(ray_tune.with_parameters(StackTrainable, series=series), resources),
            tune_config=ray_tune.TuneConfig(
                search_alg=queue, scheduler=scheduler, num_samples=-1,  # the queue says when there are no more
                reuse_actors=True, trial_name_creator=lambda trial: trial.trial_id,
                trial_dirname_creator=lambda trial: trial.trial_id,
            ),
            run_config=ray_tune.RunConfig(
                name=name, storage_path=str(scratch / "ray"), verbose=0, stop=stop,
                failure_config=ray_tune.FailureConfig(max_failures=max_failures),
                checkpoint_config=ray_tune.CheckpointConfig(checkpoint_at_end=False),
                callbacks=list(callbacks),
            ),
        )  # fmt: skip
        plain_environment()
        self.wait_ahead(samples)
        try:
            with handled(stop.interrupt), waiting_actors(gate, stop.hurried):
                tuner.fit()
        except Exception:
            if watch is not None:
                watch.wait(RECORD_SECONDS)
            raise
        if watch is not None:
            watch.wait(stop.patience)


def _no_gpu(joined: bool) -> str:
    later = "; where an autoscaler is to bring some, give a number" if joined else ""
    return f"--gpus-per-trial {AUTO}: 0, as no GPU is there{later}"
