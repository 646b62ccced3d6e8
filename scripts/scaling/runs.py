"""Real searches and studies on this machine, and the model's predictions beside them."""

import contextlib
import io
import logging
import os
import statistics
import tempfile
import time
from collections import Counter
from collections.abc import Callable, Iterator
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import tune.driver as driver  # first: it sets what Ray reads as it is imported

import optuna  # isort: skip
import ray
from ray.air.execution._internal.actor_manager import RayActorManager
from ray.tune.execution.tune_controller import TuneController

import lab.machines.session as ray_session
from ablations.planning.stacks import StackSearcher
from dynonet.config import Config
from lab.machines.options import Call, Resources
from lab.machines.trainable import StackTrainable
from lab.store.tables import Results
from scripts.bench.orchestration import TRIVIAL, TRIVIAL_SPACE, NotLost, filled
from scripts.scaling.model import STORES, Costs, Work, simulate
from tune.proposals import Proposals
from tune.settings import Budget, SearchSettings
from tune.space import Space

RATE = {"training.lr": {"float": [1e-3, 1e-2], "log": True}}  # a trial takes as long as any other
TRIALS, EPOCHS, SLEEP = 16, 6, 0.15  # of the check's real runs; seconds that an epoch sleeps


def epochs_of(settings: dict[str, Any], epochs: int) -> dict[str, Any]:
    return {**settings, "training.max_epochs": epochs, "training.patience": epochs}


def quiet() -> None:
    optuna.logging.set_verbosity(optuna.logging.WARNING)
    for name in ("ray", "ray.tune"):
        logging.getLogger(name).setLevel(logging.CRITICAL)


@dataclass
class Real:
    """What one search or study took, in seconds from when Ray was up."""

    wall: float
    first: float  # until the first report
    loop: float  # CPU of the driver's loop, its steps without an event left out
    proposing: float  # of it, for proposals
    snapshot: float  # CPU of Tune's last snapshot of all trials
    lengths: tuple[int, ...]  # epochs of each trial, in the order in which they began to report
    up: tuple[float, ...]  # of each worker that came up: its first report, from the very first on


def sleeping(seconds: float) -> type[StackTrainable]:
    """A trial whose every epoch takes so much longer, as on a device that the CPU waits for. Pickled by value."""

    class Sleeping(StackTrainable):
        def step(self) -> dict[str, Any]:
            result = super().step()
            time.sleep(seconds)
            return result

    return Sleeping


class Watch:
    """Counts what a driver's loop spends and notes its reports, as long as `on(stack)` has it in Tune's methods."""

    def __init__(self) -> None:
        self.spent, self.last = Counter[str](), dict[str, float]()
        self.reports: list[tuple[float, str, int]] = []  # when, which trial, which process
        self._had_event = True

    def on(self, stack: contextlib.ExitStack) -> None:
        def put(owner: Any, name: str, around: Callable[..., Any]) -> None:
            original = getattr(owner, name)
            stack.callback(setattr, owner, name, original)
            setattr(owner, name, lambda *args, **kwargs: around(original, *args, **kwargs))

        def event(original: Callable[..., Any], *args: Any, **kwargs: Any) -> Any:
            self._had_event = original(*args, **kwargs)
            return self._had_event

        def report(original: Callable[..., Any], controller: Any, trial: Any, result: dict[str, Any]) -> Any:
            self.reports.append((time.perf_counter(), trial.trial_id, result["pid"]))
            return original(controller, trial, result)

        put(RayActorManager, "next", event)
        put(TuneController, "step", self._timed("step"))
        put(TuneController, "save_to_dir", self._timed("snapshot"))
        put(TuneController, "_process_trial_result", report)
        put(Proposals, "propose", self._timed("propose"))

    def _timed(self, name: str) -> Callable[..., Any]:
        def around(original: Callable[..., Any], *args: Any, **kwargs: Any) -> Any:
            start = time.thread_time()
            try:
                return original(*args, **kwargs)
            finally:
                self.last[name] = time.thread_time() - start
                if name != "step" or self._had_event:
                    self.spent[name] += self.last[name]  # type: ignore[assignment]

        return around


def tuned(
    kind: str, settings: dict[str, Any], trials: int, workers: int, sleep: float = 0.0, before: int = 0, grace: int = 0
) -> Real:
    """A search by the real driver, or a study's stacks, of one run a trial, `workers` at once.

    `before`: trials on record already. `grace`: epochs before ASHA may stop a trial (0: it stops none).
    """
    base = Config.create(settings)
    space = Space(TRIVIAL_SPACE | {"model.worker_hidden": {"int": [2, 4]}} if before else RATE, base)
    budget = Budget(replicates=1, grace_epochs=grace or base.training.max_epochs, trials=trials + before)
    share = min(1.0, (os.cpu_count() or 1) / workers)
    call = Call(resources=Resources(float(f"{share:.4f}"), max_concurrent=workers))
    watch = Watch()
    with contextlib.ExitStack() as stack, contextlib.redirect_stdout(io.StringIO()):
        folder, scratch = (Path(stack.enter_context(tempfile.TemporaryDirectory())) for _ in range(2))
        search = driver.Search(SearchSettings("bench", base, space, budget), call)
        search.start_ray()
        stack.callback(ray.shutdown)
        results = filled(str(folder), space, before, ("val_mse",)) if before else Results(folder)
        proposals = search.proposals(results, folder / "optuna" / "bench.journal")
        ray_session.StackTrainable = sleeping(sleep)  # type: ignore[misc]
        stack.callback(setattr, ray_session, "StackTrainable", StackTrainable)
        stop = driver.Stop(None, NotLost())  # type: ignore[arg-type]
        watch.on(stack)
        start = time.perf_counter()
        if kind == "search":
            search._tune(results, proposals, trials, stop, scratch)
        else:
            spec = search.session.trial_spec(results, "bench", search.series.identity)
            configs = [base.override({"training.seed": seed}).to_json() for seed in range(trials)]
            stacks = [replace(spec, configs=(text,), stack=n, test_purpose="check") for n, text in enumerate(configs)]
            search.session.run_trials(
                "bench", scratch, searcher=StackSearcher(stacks), samples=trials, stop=stop, callbacks=(),
                max_failures=0,
            )  # fmt: skip
        wall = time.perf_counter() - start
        recorded = len(results.runs())
        assert recorded == trials, f"{recorded} runs are on record, and {trials} trials of one run each were trained"
    lengths = tuple(Counter(trial for _, trial, _ in watch.reports).values())
    first = watch.reports[0][0]
    up = tuple(when - first for when in {pid: when for when, _, pid in reversed(watch.reports)}.values())
    spent, snapshot = watch.spent, watch.last.get("snapshot", 0.0)
    return Real(wall, first - start, spent["step"], spent["propose"], snapshot, lengths, tuple(sorted(up)))


def slowness(bursts: int = 60) -> float:
    """How much longer short computations take than their CPU time, since others use these cores too; the mean."""
    found = []
    for _ in range(bursts):
        time.sleep(0.02)
        wall, start = time.perf_counter(), time.thread_time()
        while time.thread_time() - start < 0.005:
            pass
        found.append((time.perf_counter() - wall) / 0.005)
    return max(1.0, statistics.fmean(found))


def check(costs: Costs, quick: bool = False) -> Iterator[str]:
    """Predictions beside real searches and studies of this project on this machine, from the first report on.

    `quick`: a search and a study of two trials on one worker, which says nothing of the model.
    """
    quiet()
    kinds = (
        ("search", "search", 0),
        ("search, ASHA's stops replayed", "search", 2),
        ("study", "study", 0),
    )
    trials, epochs, counts = TRIALS, EPOCHS, (1, 2, 4)
    if quick:
        kinds, trials, epochs, counts = kinds[1:], 2, 3, (1,)
    yield f"{os.cpu_count()} cores; {trials} trials of one run, at most {epochs} epochs, on the local disk. Workers"
    yield f"replay an epoch: they sleep {SLEEP:g} s beside a trivial network's training, so that four do not need four"
    yield "cores; all else is real. Seconds are from the first report on; asleep: how many of them a worker sleeps."
    yield "Not predicted but replayed: when each worker came up (up s: first to last), and `slow`, which multiplies the"
    yield "CPU costs: how much longer than their CPU time short computations take beside the machine's other work,"
    yield "before and after each run.\n"
    head = f"{'':<30s}{'workers':>8s}{'asleep s':>10s}{'predicted s':>13s}{'real s':>9s}{'ratio':>7s}"
    yield f"{head}{'up s':>14s}{'slow':>6s}"
    for label, kind, grace in kinds:
        for workers in counts:
            before = slowness()
            real = tuned(kind, epochs_of(TRIVIAL, epochs), trials, workers, SLEEP, grace=grace)
            slow = (before + slowness()) / 2
            work = Work(kind, trials, 1, epochs, grace=grace or epochs, epoch=SLEEP)
            if grace:  # which trials ASHA stops is not predicted
                work = replace(work, lengths=real.lengths)
            costs_now = costs.slower(slow)
            starts = [costs_now.actor_start + late for late in real.up]
            found = simulate(work, len(starts), costs_now, STORES["local"], starts)
            predicted, measured = found.makespan - found.first, real.wall - real.first
            up = f"{real.first:.1f} to {real.first + real.up[-1]:.1f}"
            asleep = SLEEP * (sum(real.lengths) - 1) / workers  # the first report ends the first epoch
            figures = f"{asleep:>10.1f}{predicted:>13.1f}{measured:>9.1f}{predicted / measured:>7.2f}"
            yield f"{label:<30s}{workers:>8d}{figures}{up:>14s}{slow:>6.2f}"
