"""Real searches and studies on this machine, and what their parts cost: for simulate_cluster.py."""

import contextlib
import io
import logging
import os
import statistics
import tempfile
import time
from collections import Counter
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import tune.driver as driver  # first: it sets what Ray reads as it is imported

import optuna  # isort: skip
import ray
from bench_orchestration import TRIVIAL, TRIVIAL_SPACE, NotLost, filled, run_ids, write_segments
from ray.air.execution._internal.actor_manager import RayActorManager
from ray.air.execution._internal.event_manager import RayEventManager
from ray.tune.execution.tune_controller import TuneController

import tune.ray_session as ray_session
from ablations.stacks import StackSearcher
from dynonet.config import Config
from dynonet.data import load_series
from dynonet.device import use_threads
from tune.proposals import Proposals
from tune.readings import read_test
from tune.results import Results
from tune.search import parser
from tune.searcher import RecordedASHA
from tune.settings import Budget, SearchSettings
from tune.space import DEFAULT, Space
from tune.trainable import StackTrainable
from tune.trial import StackRun

QUICK: dict[str, Any] = {  # what `make search` trains, at one size
    **TRIVIAL, "data.seq_len": 96, "data.pred_len": 24, "data.synthetic.rows": 3000, "model.worker_seq_len": 96,
    "model.control_hidden": 16, "model.worker_hidden": 8, "model.moving_average": 25, "training.batch_size": 64,
    "model.workers": True, "model.mixer": True, "model.decomposition": True, "model.film": True, "model.context": True,
}  # fmt: skip
SPACE = {**TRIVIAL_SPACE, "model.worker_hidden": {"int": [2, 4]}}
RATE = {"training.lr": {"float": [1e-3, 1e-2], "log": True}}  # a trial takes as long as any other


def epochs_of(settings: dict[str, Any], epochs: int) -> dict[str, Any]:
    return {**settings, "training.max_epochs": epochs, "training.patience": epochs}


@dataclass
class Real:
    """What one search or study took, in seconds from when Ray was up."""

    wall: float
    first: float  # until the first report
    loop: float  # CPU of the driver's loop, its steps without an event left out
    proposing: float  # of it, for proposals
    snapshot: float  # CPU of Tune's last snapshot of all trials
    reports: int
    lengths: tuple[int, ...]  # epochs of each trial


def sleeping(seconds: float) -> type[StackTrainable]:
    """A trial whose every epoch takes so much longer, as on a device that the CPU waits for. Pickled by value."""

    class Sleeping(StackTrainable):
        def step(self) -> dict[str, Any]:
            result = super().step()
            time.sleep(seconds)
            return result

    return Sleeping


@contextlib.contextmanager
def patched(owner: Any, name: str, around: Callable[..., Any]) -> Iterator[None]:
    """`around(original, *arguments)` in the place of a function."""
    original = getattr(owner, name)
    setattr(owner, name, lambda *args, **kwargs: around(original, *args, **kwargs))
    try:
        yield
    finally:
        setattr(owner, name, original)


def tuned(
    kind: str, settings: dict[str, Any], trials: int, workers: int, sleep: float = 0.0, before: int = 0, grace: int = 0
) -> Real:
    """A search by the real driver, or a study's stacks, of one run a trial, `workers` at once.

    `before`: trials on record already. `grace`: epochs before ASHA may stop a trial (0: it stops none).
    """
    base = Config.create(settings)
    space = Space(SPACE if before else RATE, base)
    budget = Budget(replicates=1, grace_epochs=grace or base.training.max_epochs, trials=trials + before)
    share = min(1.0, (os.cpu_count() or 1) / workers)
    args = parser().parse_args(["--max-concurrent", str(workers), "--cpus-per-trial", f"{share:g}"])
    spent, reported, had_event = Counter[str](), list[tuple[float, str]](), [True]

    def timed(name: str) -> Callable[..., Any]:
        def around(original: Callable[..., Any], *args: Any, **kwargs: Any) -> Any:
            start = time.thread_time()
            try:
                return original(*args, **kwargs)
            finally:
                spent[f"last {name}"] = time.thread_time() - start  # type: ignore[assignment]
                if name != "step" or had_event[0]:
                    spent[name] += time.thread_time() - start  # type: ignore[assignment]

        return around

    def event(original: Callable[..., Any], *args: Any, **kwargs: Any) -> Any:
        had_event[0] = original(*args, **kwargs)
        return had_event[0]

    def report(original: Callable[..., Any], controller: Any, trial: Any, *args: Any, **kwargs: Any) -> Any:
        reported.append((time.perf_counter(), trial.trial_id))
        return original(controller, trial, *args, **kwargs)

    with contextlib.ExitStack() as stack, contextlib.redirect_stdout(io.StringIO()):
        folder, scratch = (Path(stack.enter_context(tempfile.TemporaryDirectory())) for _ in range(2))
        search = driver.Search(SearchSettings("bench", base, space, budget), args)
        search.start_ray()
        stack.callback(ray.shutdown)
        results = filled(str(folder), space, before, ("val_mse",)) if before else Results(folder)
        proposals = search.proposals(results, folder / "optuna" / "bench.journal")
        stack.enter_context(patched(RayActorManager, "next", event))
        stack.enter_context(patched(TuneController, "step", timed("step")))
        stack.enter_context(patched(TuneController, "save_to_dir", timed("snapshot")))
        stack.enter_context(patched(TuneController, "_process_trial_result", report))
        stack.enter_context(patched(Proposals, "propose", timed("propose")))
        ray_session.StackTrainable = sleeping(sleep)  # type: ignore[misc]
        stack.callback(setattr, ray_session, "StackTrainable", StackTrainable)
        stop = driver.Stop(None, NotLost())  # type: ignore[arg-type]
        start = time.perf_counter()
        if kind == "search":
            search._tune(results, proposals, trials, stop, scratch)
        else:
            told = {
                **search.session.trial_config(results, "bench"),
                "data_sha256": search.series.sha256,
                "test_purpose": "check",
            }
            configs = [base.override({"training.seed": seed}) for seed in range(trials)]
            stacks = {number: {**told, "configs": [config.to_json()]} for number, config in enumerate(configs)}
            search.session.run_trials(
                "bench",
                scratch,
                searcher=StackSearcher(stacks),
                samples=trials,
                stop=stop,
                callbacks=(),
                max_failures=0,
            )
        wall = time.perf_counter() - start
        assert len(results.runs()) == trials
    lengths = tuple(Counter(trial for _, trial in reported).values())
    return Real(
        wall, reported[0][0] - start, spent["step"], spent["propose"], spent["last snapshot"], len(reported), lengths
    )


# The parts


def thread_seconds(call: Callable[[], Any], repeats: int = 1) -> float:
    """CPU seconds of this thread, a call's; the median."""
    found = []
    for _ in range(repeats):
        start = time.thread_time()
        call()
        found.append(time.thread_time() - start)
    return statistics.median(found)


def wall_seconds(call: Callable[[], Any]) -> float:
    start = time.perf_counter()
    call()
    return time.perf_counter() - start


def epoch_seconds(settings: dict[str, Any]) -> tuple[float, float]:
    """CPU seconds of an epoch of one run, and of building it, in this process: the kernels are compiled first."""
    use_threads(1)
    with tempfile.TemporaryDirectory() as folder:
        make = [Config.create({**settings, "training.seed": seed}) for seed in range(3)]
        series = load_series(make[0].data)
        StackRun(Results(folder), make[:1], series=series).step()
        begin = thread_seconds(lambda: StackRun(Results(folder), make[1:2], series=series))
        stack = StackRun(Results(folder), make[2:], series=series)
        return thread_seconds(stack.step, 3), begin


def loop_costs(say: Callable[[str], None]) -> dict[str, float]:
    """Of the driver, from searches of short and long trials, with few and with many trials on record."""
    few, many, trials = 0, 4000, 60
    found = {}
    for before in (few, many):
        for epochs in (1, 12):
            real = tuned("search", epochs_of(TRIVIAL, epochs), trials, 2, before=before)
            found[before, epochs] = (real.loop - real.proposing) / trials
            say(f"{before} trials on record, {epochs} reports: {1000 * found[before, epochs]:.1f} ms a trial")
    result = {before: (found[before, 12] - found[before, 1]) / 11 for before in (few, many)}
    starts = tuned("search", epochs_of(TRIVIAL, 1), 300, 2)
    return {
        "result": result[few], "result_per_trial": max(0.0, result[many] - result[few]) / (many - few),
        "trial": found[few, 1] - result[few], "snapshot_per_trial": starts.snapshot / 300,
    }  # fmt: skip


def growth(points: dict[int, float]) -> tuple[float, float]:
    """Seconds at none, and more for each further one, from the smallest and the largest number."""
    low, high = min(points), max(points)
    slope = (points[high] - points[low]) / (high - low)
    return max(0.0, points[low] - slope * low), slope


def searcher_costs(say: Callable[[str], None], counts: tuple[int, ...] = (1000, 4000, 16_000)) -> dict[str, float]:
    """TPE's proposals over the default space, and ASHA's rungs, beside so many trials."""
    space, proposing, rung = Space(DEFAULT, Config.create({})), {}, {}
    for count in counts:
        with tempfile.TemporaryDirectory() as folder:
            store = filled(folder, space, count, ("val_mse",))
            journal = Path(folder) / "optuna" / "bench.journal"
            proposals = Proposals(store, "bench", space, seed=0, replicates=3, data_sha256="", journal=journal)
            proposing[count] = thread_seconds(proposals.propose, 7)
            asha = RecordedASHA(proposals.all.values(), max_epochs=40, grace_epochs=4, reduction_factor=3)
            trials = iter(range(7))

            def report(asha: RecordedASHA = asha, trials: Iterator[int] = trials) -> None:
                trial = SimpleNamespace(config={"trial": f"new{next(trials)}"})
                asha.on_trial_add(None, trial)
                asha.on_trial_result(None, trial, {"epoch": 4, "value": 0.3, "reports": [(4, 0.3)]})

            rung[count] = thread_seconds(report, 7)
        say(f"{count:,d} trials: a proposal {1000 * proposing[count]:.0f} ms, a rung {1000 * rung[count]:.2f} ms")
    names = ("propose", "propose_per_trial", "rung", "rung_per_trial")
    return dict(zip(names, (*growth(proposing), *growth(rung)), strict=True))


def record_costs(say: Callable[[str], None]) -> dict[str, float]:
    """A stopped trial closed by the driver, a finished run sealed and read on test, runs looked up, files merged."""
    base = Config.create({**QUICK, "training.max_epochs": 3}, preset="h96")
    series, found = load_series(base.data), {}
    for size in (1, 4):
        with tempfile.TemporaryDirectory() as folder:
            results = Results(folder)
            configs = [base.override({"training.seed": seed}) for seed in range(size)]
            stack = StackRun(results, configs, series=series)
            plain = thread_seconds(stack.step, 2)
            found["prune", size] = thread_seconds(
                lambda r=results, c=configs: StackRun(r, c, series=series).close("stopped")  # type: ignore[misc]
            )
            found["seal", size] = max(0.0, thread_seconds(stack.step) - plain)
            found["test", size] = thread_seconds(lambda s=stack: read_test(s.results, s.ids, "x", "cpu", series))  # type: ignore[misc]
    prune, each = growth({size: found["prune", size] for size in (1, 4)})
    costs = {"prune": prune, "prune_per_run": each}
    costs["seal_per_run"], costs["read_test_per_run"] = found["seal", 4] / 4, found["test", 4] / 4
    runs, files = 50_000, 500
    with tempfile.TemporaryDirectory() as folder:
        results = Results(folder)
        write_segments(results, runs)
        for name in ("segment_per_run", "lookup_per_run"):  # first it reads the segments, then it has them
            costs[name] = thread_seconds(lambda: results.runs(run_ids(3))) / runs
    with tempfile.TemporaryDirectory() as folder:
        from bench_orchestration import write_files

        results = Results(folder)
        write_files(results, files)
        start = time.process_time()
        results.compact()
        costs["compact_per_run"] = (time.process_time() - start) / files
    say(", ".join(f"{name} {1000 * value:.3g} ms" for name, value in costs.items()))
    return costs


def cluster_costs(say: Callable[[str], None]) -> dict[str, float]:
    """Waiting for one of many trials, a new actor, and a slot's way to its first trial."""

    @ray.remote(resources={"nowhere": 1})
    def never() -> None:
        pass

    @ray.remote(num_cpus=0)
    class Slot:
        def load(self, settings: dict[str, Any]) -> None:
            epoch_seconds(settings)

    ray.init(num_cpus=1, include_dashboard=False, log_to_driver=False, logging_level=logging.ERROR)
    try:
        waits = {}
        for slots in (1, 1000):
            manager = RayEventManager()
            for _ in range(slots):
                manager.track_future(never.remote())

            def wait(manager: RayEventManager = manager) -> None:
                manager.track_future(ray.put(1))
                manager.wait(timeout=1)

            waits[slots] = thread_seconds(wait, 20)
        made: list[Any] = []
        start = time.thread_time()
        seconds = wall_seconds(lambda: made.append(Slot.remote()) or ray.get(made[0].load.remote(TRIVIAL)))
        costs = {"result_per_slot": growth(waits)[1], "actor": time.thread_time() - start, "actor_start": seconds}
    finally:
        ray.shutdown()
    say(", ".join(f"{name} {1000 * value:.3g} ms" for name, value in costs.items()))
    return costs


def storage_costs(say: Callable[[str], None]) -> dict[str, float]:
    """Seconds of operations on this machine's disk: a durable object, reading and deleting it, a name in a listing."""
    names = 20_000
    with tempfile.TemporaryDirectory() as folder:
        storage, paths = Results(folder).storage, [f"checkpoints/{n}.pt" for n in range(50)]
        data = os.urandom(1 << 20)
        costs = {"put": statistics.median(wall_seconds(lambda p=path: storage.put(p, data)) for path in paths)}  # type: ignore[misc]
        costs["get"] = statistics.median(wall_seconds(lambda p=path: storage.get(p)) for path in paths)  # type: ignore[misc]
        costs["delete"] = statistics.median(wall_seconds(lambda p=path: storage.delete(p)) for path in paths)  # type: ignore[misc]
        (Path(folder) / "runs").mkdir()
        for name in run_ids(names):
            (Path(folder) / "runs" / f"{name}-a1-{name[:16]}.parquet").touch()
        costs["name"] = wall_seconds(lambda: Results(folder).runs(["x"])) / (2 * names)  # two listings
    say(", ".join(f"{name} {1000 * value:.3g} ms" for name, value in costs.items()))
    return costs


def measure(say: Callable[[str], None]) -> dict[str, dict[str, float]]:
    """Everything that simulate_cluster.py's `Costs` and its store `local` hold."""
    optuna.logging.set_verbosity(optuna.logging.WARNING)
    logging.getLogger("ray").setLevel(logging.CRITICAL)
    step, begin = epoch_seconds(TRIVIAL)
    costs = {"begin": begin, "report": step, **cluster_costs(say), **loop_costs(say), **searcher_costs(say)}
    return {"costs": {**costs, **record_costs(say)}, "local": storage_costs(say)}
