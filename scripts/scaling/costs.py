"""What the parts of a search and of a study cost on this machine: every constant of scripts/scaling/model.py."""

import logging
import os
import statistics
import tempfile
import time
from collections.abc import Callable
from dataclasses import asdict
from pathlib import Path
from typing import Any

import scripts.scaling.runs as runs  # first: it sets what Ray reads as it is imported

import ray  # isort: skip
from ray.air.execution._internal.event_manager import RayEventManager

from dynonet.config import Config
from dynonet.space import SPACE
from lab.compute.device import use_threads
from lab.machines.doors import loopback, private_token
from lab.series import load_series
from lab.store.tables import Results
from lab.training.readings import read_test
from lab.training.stack_run import StackRun
from scripts.bench.orchestration import TRIVIAL, filled
from scripts.bench.reading import run_ids, write_files, write_segments
from scripts.scaling.model import STORES, Costs
from tune.proposals import Proposals
from tune.searcher import RecordedASHA
from tune.space import Space

QUICK: dict[str, Any] = {  # what preset regimes trains, at one size
    **TRIVIAL, "data.seq_len": 96, "data.pred_len": 24, "data.synthetic.rows": 3000, "model.worker_seq_len": 96,
    "model.control_hidden": 16, "model.worker_hidden": 8, "model.moving_average": 25, "training.batch_size": 64,
    "model.workers": True, "model.mixer": True, "model.decomposition": True, "model.film": True, "model.context": True,
}  # fmt: skip


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


def loop_costs(many: int = 4000, trials: int = 60, starts: int = 300) -> dict[str, float]:
    """Of the driver, from searches of short and long trials, with none and with many trials on record."""
    few = 0
    found = {}
    for before in (few, many):
        for epochs in (1, 12):
            real = runs.tuned("search", runs.epochs_of(TRIVIAL, epochs), trials, 2, before=before)
            found[before, epochs] = (real.loop - real.proposing) / trials
    result = {before: (found[before, 12] - found[before, 1]) / 11 for before in (few, many)}
    begun = runs.tuned("search", runs.epochs_of(TRIVIAL, 1), starts, 2)
    return {
        "result": result[few], "result_per_trial": max(0.0, result[many] - result[few]) / (many - few),
        "trial": found[few, 1] - result[few], "snapshot_per_trial": begun.snapshot / starts,
        "rung_per_trial": rung_cost(),
    }  # fmt: skip


def rung_cost(trials: int = 20_000) -> float:
    """ASHA's decision at a rung to which so many trials have come, for each of them."""
    bracket = RecordedASHA([], max_epochs=40, grace_epochs=4, reduction_factor=3)._brackets[0]
    recorded = {f"t{number:05d}": float(number) for number in range(trials)}
    return thread_seconds(lambda: bracket.cutoff(recorded), 7) / trials


def growth(points: dict[int, float]) -> tuple[float, float]:
    """Seconds at none, and more for each further one, from the smallest and the largest number."""
    low, high = min(points), max(points)
    slope = (points[high] - points[low]) / (high - low)
    return max(0.0, points[low] - slope * low), slope


def searcher_costs(counts: tuple[int, ...] = (500, 1000, 2000)) -> dict[str, float]:
    """TPE's proposals over the default space, their records included, beside so many trials, all shown to it."""
    space, proposing = Space(SPACE, Config.create({})), {}
    for count in counts:
        with tempfile.TemporaryDirectory() as folder:
            store = filled(folder, space, count, ("val_mse",))
            journal = Path(folder) / "optuna" / "bench.journal"
            proposals = Proposals(store, "bench", space, seed=0, replicates=3, data_sha256="", journal=journal)
            proposing[count] = thread_seconds(proposals.propose, 7)
    return dict(zip(("propose", "propose_per_trial"), growth(proposing), strict=True))


def record_costs(recorded: int = 50_000, files: int = 500) -> dict[str, float]:
    """A stopped trial put on record by its slot, a finished run sealed and read on test, runs read, files merged."""
    base = Config.create({**QUICK, "training.max_epochs": 3})
    series, found = load_series(base.data), {}
    for size in (1, 4):
        with tempfile.TemporaryDirectory() as folder:
            results = Results(folder)
            configs = [base.override({"training.seed": seed}) for seed in range(size)]
            stack = StackRun(results, configs, series=series)
            stack.step()
            found["close", size] = thread_seconds(lambda s=stack: s.close("stopped"))  # type: ignore[misc]
            stack = StackRun(results, configs, series=series)
            while stack.step().state == "running":
                pass
            found["seal", size] = thread_seconds(lambda s=stack: s._seal(s.runs))  # type: ignore[misc]
            found["test", size] = thread_seconds(lambda s=stack: read_test(s.results, s.ids, "x", "cpu", series))  # type: ignore[misc]
    costs = dict(zip(("close", "close_per_run"), growth({n: found["close", n] for n in (1, 4)}), strict=True))
    costs["seal_per_run"], costs["read_test_per_run"] = found["seal", 4] / 4, found["test", 4] / 4
    with tempfile.TemporaryDirectory() as folder:
        write_segments(Results(folder), recorded)
        results, start = Results(folder), time.process_time()
        results.runs(run_ids(3))
        costs["segment_per_run"] = (time.process_time() - start) / recorded
    with tempfile.TemporaryDirectory() as folder:
        results = Results(folder)
        write_files(results, files)
        start = time.process_time()
        results.compact()
        costs["compact_per_run"] = (time.process_time() - start) / files
    return costs


def cluster_costs(many: int = 1000) -> dict[str, float]:
    """Waiting for one of many trials, a new actor, its way to its first trial, and an answer of it."""

    @ray.remote(resources={"nowhere": 1})
    def never() -> None:
        pass

    class Slot:
        def load(self, settings: dict[str, Any]) -> None:
            epoch_seconds(settings)

        def close_stopped(self, trial: str) -> None:
            pass

    private_token()
    with loopback():
        ray.init(num_cpus=1, include_dashboard=False, log_to_driver=False, logging_level=logging.ERROR)
    try:
        waits = {}
        for slots in (1, many):
            manager = RayEventManager()
            for _ in range(slots):
                manager.track_future(never.remote())

            def wait(manager: RayEventManager = manager) -> None:
                manager.track_future(ray.put(1))
                manager.wait(timeout=1)

            waits[slots] = thread_seconds(wait, 20)
        start, wall = time.thread_time(), time.perf_counter()
        slot: Any = ray.remote(num_cpus=0)(Slot).remote()
        ray.get(slot.load.remote(TRIVIAL))
        costs = {"result_per_slot": growth(waits)[1], "actor": time.thread_time() - start}
        costs["actor_start"] = time.perf_counter() - wall
        start, answers = time.process_time(), 200  # Ray's own threads included
        for _ in range(answers):
            ray.get(slot.close_stopped.remote("t00000"))
        costs["ask"] = (time.process_time() - start) / answers
    finally:
        ray.shutdown()
    return costs


def storage_costs(names: int = 20_000) -> dict[str, float]:
    """Seconds of operations on this machine's disk: a durable object, reading and deleting it, a name in a listing."""
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
    return costs


def measure(quick: bool = False) -> dict[str, dict[str, float]]:
    """Prints every constant as it is measured, beside the model's, and returns them.

    `quick`: on tiny numbers of everything, which measures nothing.
    """
    runs.quiet()
    found: dict[str, dict[str, float]] = {"costs": {}, "local": {}}
    print(f"{'ms':<28s}{'measured':>12s}{'model has':>12s}{'ratio':>8s}")

    def note(group: str, costs: dict[str, float], model: dict[str, float]) -> None:
        for name, seconds in costs.items():
            figures = f"{1000 * seconds:>12.4g}{1000 * model[name]:>12.4g}{seconds / model[name]:>8.2f}"
            print(f"{('' if group == 'costs' else group + ' ') + name:<28s}{figures}", flush=True)
        found[group] |= costs

    step, begin = epoch_seconds(TRIVIAL)
    note("costs", {"begin": begin, "report": step}, asdict(Costs()))
    parts: dict[Callable[..., dict[str, float]], tuple[Any, ...]] = {  # each with its tiny numbers
        cluster_costs: (10,), loop_costs: (20, 2, 2), searcher_costs: ((10, 20),), record_costs: (100, 5),
    }  # fmt: skip
    for part, tiny in parts.items():
        note("costs", part(*(tiny if quick else ())), asdict(Costs()))
    note("local", storage_costs(*((100,) if quick else ())), asdict(STORES["local"]))
    return found
