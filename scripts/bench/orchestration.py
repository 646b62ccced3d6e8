"""What the search itself costs, without the training: trials, proposals, results.

    python -m scripts.bench.orchestration [--only trials,proposals,results] [--rounds 2] [--quick]

`trials`: seconds of Ray's start, and of trivial trials, five reports each, and CPU seconds of both (driver, Ray and
workers). Ours train a network of next to nothing and put every epoch, run and proposal on record, in processes that
are made ready as Ray starts; plain Ray Tune (with OptunaSearch, reused actors, no loggers) reports a number, once in
workers that load what ours load (torch, the compiled kernels), once in bare ones. Ratios are of the trials alone, and
with the start. Each phase is a process and a Ray of its own; phases take turns, medians of the rounds.
`proposals`: CPU seconds of one proposal and of one outcome, records included, beside so many finished trials.
`results`: seconds to load and aggregate. The segments of many runs are written as compaction writes them, but straight
away: their single files would take an hour. The smaller study is written, read and compacted as a search does it.
"""

import argparse
import contextlib
import io
import json
import logging
import os
import statistics
import subprocess
import sys
import tempfile
import threading
import time
import uuid
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import tune.driver as driver  # first: it sets what Ray reads as it is imported

import numpy as np  # isort: skip
import optuna
import ray
from ray import tune as ray_tune

import lab.machines.session as ray_session
from dynonet.config import Config
from dynonet.parts import OFF, SIGNALS
from dynonet.space import SPACE
from lab.machines.options import Call
from lab.store.tables import Results
from scripts.bench.reading import bench_results
from scripts.bench.turns import NO_MEASUREMENT
from tune.proposals import Proposals
from tune.settings import Budget, SearchSettings
from tune.space import Space
from tune.space.categories import distributions_to_json

PHASES = {"ours": "ours", "plain": "plain Ray Tune, the same loaded", "bare": "plain Ray Tune, nothing loaded"}
REPORTS = 5
MARK = "DYNONET_BENCH"
TRIVIAL: dict[str, Any] = {
    "data.seq_len": 16, "data.pred_len": 4, "data.synthetic.rows": 300, "model.worker_seq_len": 8,
    "model.control_hidden": 4, "model.worker_hidden": 2, "model.moving_average": 5, "training.batch_size": 512,
    "training.max_epochs": REPORTS, "training.patience": REPORTS,
    **{f"model.{part}": False for part in OFF if part != "trend"}, **{f"signals.{name}": "off" for name in SIGNALS},
}  # fmt: skip
TRIVIAL_SPACE: dict[str, Any] = {
    "training.lr": {"float": [1e-3, 1e-2], "log": True},
    "training.weight_decay": {"float": [1e-6, 1e-2], "log": True},
    "model.dropout": {"float": [0.0, 0.4]},
}


# Trials


class NotLost:
    lost = False


class Trivial(ray_tune.Trainable):
    """Reports a number."""

    def setup(self, config: dict[str, Any]) -> None:
        self.lr, self.reports = config["training.lr"], 0

    def reset_config(self, new_config: dict[str, Any]) -> bool:
        self.setup(new_config)
        return True

    def step(self) -> dict[str, Any]:
        self.reports += 1
        return {"value": self.lr, "done": self.reports == REPORTS}

    def save_checkpoint(self, checkpoint_dir: str) -> dict[str, Any]:
        return {}

    def load_checkpoint(self, checkpoint: Any) -> None:
        pass


class Loaded(Trivial):
    """The same in a worker that has loaded what any trial of our network loads."""

    def setup(self, config: dict[str, Any]) -> None:
        import lab.training.trainer

        lab.training.trainer.StackTrainer([Config.create(TRIVIAL)])
        super().setup(config)


def suggest(trial: optuna.Trial) -> None:
    """The space of our trials, as OptunaSearch takes it."""
    trial.suggest_float("training.lr", 1e-3, 1e-2, log=True)
    trial.suggest_float("training.weight_decay", 1e-6, 1e-2, log=True)
    trial.suggest_float("model.dropout", 0.0, 0.4)


def plain(trainable: type[Trivial], trials: int, concurrent: int, folder: str) -> float:
    from ray.tune.search.optuna import OptunaSearch

    sampler = optuna.samplers.TPESampler(multivariate=True, constant_liar=True, seed=0)
    searcher = OptunaSearch(space=suggest, metric="value", mode="min", sampler=sampler)
    tuner = ray_tune.Tuner(
        ray_tune.with_resources(trainable, {"cpu": 1}),
        tune_config=ray_tune.TuneConfig(
            search_alg=searcher, num_samples=trials, reuse_actors=True, max_concurrent_trials=concurrent
        ),
        run_config=ray_tune.RunConfig(name="plain", storage_path=folder, verbose=0),
    )
    start = time.perf_counter()
    done = tuner.fit()
    wall = time.perf_counter() - start
    assert len(done) == trials and not done.errors
    return wall


def ours(search: driver.Search, folder: str) -> tuple[float, float]:
    results = Results(folder)
    proposals = search.proposals(results, Path(folder) / "optuna" / "bench.journal")
    with contextlib.redirect_stdout(io.StringIO()), tempfile.TemporaryDirectory() as scratch:
        start = time.perf_counter()
        search._tune(results, proposals, search.settings.budget.trials, driver.Stop(None, NotLost()), Path(scratch))
        wall = time.perf_counter() - start
    runs = results.runs().values()
    assert len(runs) == search.settings.budget.trials and {run["epochs"] for run in runs} == {REPORTS}
    return wall, sum(run["cpu_seconds"] for run in runs)


class CpuMeter(threading.Thread):
    """CPU time of all processes that bear this one's mark, workers that ended and were never waited for included."""

    def __init__(self) -> None:
        super().__init__(daemon=True)
        self.mark = f"{MARK}={os.environ[MARK]}".encode()
        self.ticks: dict[int, int] = {}  # of each process, as last seen
        self.others: set[int] = set()

    def run(self) -> None:
        while True:
            self.look()
            time.sleep(0.1)

    def look(self) -> float:
        """Seconds so far."""
        for folder in Path("/proc").glob("[0-9]*"):
            pid = int(folder.name)
            if pid in self.others:
                continue
            with contextlib.suppress(OSError):
                if pid not in self.ticks and self.mark not in (folder / "environ").read_bytes():
                    self.others.add(pid)
                    continue
                fields = (folder / "stat").read_text().rpartition(")")[2].split()
                self.ticks[pid] = int(fields[11]) + int(fields[12])
        return sum(self.ticks.values()) / os.sysconf("SC_CLK_TCK")


def run_phases(names: Sequence[str], trials: int) -> None:
    """Phases on one Ray, in a process of their own: prints the figures of each as JSON."""
    for logger in ("ray", "ray.tune"):
        logging.getLogger(logger).setLevel(logging.CRITICAL)
    base = Config.create(TRIVIAL)
    budget = Budget(replicates=1, grace_epochs=REPORTS, trials=trials)
    search = driver.Search(SearchSettings("bench", base, Space(TRIVIAL_SPACE, base), budget), Call())
    if "ours" not in names:
        ray_session.SYSTEM_CONFIG = {}  # as Ray starts by itself: nothing is loaded ahead
    meter = CpuMeter()
    before = meter.look()
    meter.start()
    start = time.perf_counter()
    search.start_ray()
    if ray_session.SYSTEM_CONFIG:
        search.session.wait_ahead(trials)
    init = time.perf_counter() - start
    for name in names:
        figures = {"start": init}
        with tempfile.TemporaryDirectory() as folder:
            if name == "ours":
                figures["wall"], figures["training"] = ours(search, folder)
            else:
                trainable = Loaded if name == "plain" else Trivial
                figures["wall"] = plain(trainable, trials, search.session.concurrent, folder)
            figures["cpu"] = meter.look() - before
        print(json.dumps(figures))
        before = meter.look()
    ray.shutdown()


def bench_trials(trials: int, rounds: int, apart: bool = True) -> None:
    """`apart`: every phase has a Ray of its own."""
    found: dict[str, list[dict[str, float]]] = {name: [] for name in PHASES}
    for _ in range(rounds):
        for names in [[name] for name in PHASES] if apart else [list(PHASES)]:
            command = [sys.executable, "-m", "scripts.bench.orchestration", "--phases", *names, "--trials", str(trials)]
            marked = {**os.environ, MARK: uuid.uuid4().hex}
            said = subprocess.run(command, check=True, stdout=subprocess.PIPE, text=True, env=marked).stdout
            for name, line in zip(names, said.splitlines()[-len(names) :], strict=True):
                found[name].append(json.loads(line))
    title = f"{trials} trivial trials of {REPORTS} reports"
    print(f"\n{'':<40s}{'':>27s}{'ours / this (<= 1.1)':>24s}")
    columns = f"{'start s':>9s}{'trials s':>9s}{'CPU s':>9s}{'trials':>12s}{'with start':>12s}"
    print(f"{title:<40s}{columns}  trials s, each round")
    for name, label in PHASES.items():
        both = list(zip(found["ours"], found[name], strict=True))
        start, wall, cpu = (statistics.median(row[key] for row in found[name]) for key in ("start", "wall", "cpu"))
        ratio = statistics.median(a["wall"] / b["wall"] for a, b in both)
        whole = statistics.median((a["start"] + a["wall"]) / (b["start"] + b["wall"]) for a, b in both)
        rounds_text = " ".join(f"{row['wall']:.1f}" for row in found[name])
        print(f"{label:<40s}{start:>9.2f}{wall:>9.2f}{cpu:>9.2f}{ratio:>12.2f}{whole:>12.2f}  {rounds_text}")
    training = statistics.median(row["training"] for row in found["ours"])
    print(f"{'  of ours, the training itself':<40s}{'':>18s}{training:>9.2f}")


# Proposals


def filled(folder: str, space: Space, trials: int, objectives: tuple[str, ...]) -> Results:
    """A store with so many finished trials, drawn at random; a third complete, the others stopped early."""
    results, chance = Results(folder), np.random.default_rng(0)
    study = optuna.create_study(sampler=optuna.samplers.RandomSampler(seed=1))
    rows: list[dict[str, Any]] = []
    for number in range(trials):
        trial = study.ask()
        params = space.suggest(trial)
        size = float(params["model.worker_hidden"])
        value = (np.log10(params["training.lr"]) + 2.7) ** 2 - 0.2 * np.log(size) + 0.05 * chance.random()
        key = {"study": "bench", "trial": f"t{number:05d}", "number": number, "seed": 0}
        stopped = number % 3 != 0
        rows.append({
            **key, "event": "proposed", "params": json.dumps(params),
            "distributions": distributions_to_json(trial.distributions), "config": space.config(params).to_json(),
        })  # fmt: skip
        rows.append({
            **key, "event": "outcome", "state": "stopped" if stopped else "complete",
            "values": [value, 1000 * size][: len(objectives)],
            "reports": [{"epoch": e, "value": value + 1 / e} for e in range(1, 5 if stopped else 13)],
        })  # fmt: skip
    results.add("trials", rows, key="all")
    return results


def bench_proposals(counts: list[int]) -> None:
    print(f"\n{'CPU s of the driver, beside finished trials':<44s}{'proposal':>10s}{'outcome':>10s}{'(< 0.2)':>16s}")
    space = Space(SPACE, Config.create({}))
    for objectives in (("val_mse",), ("val_mse", "parameters")):
        for count in counts:
            with tempfile.TemporaryDirectory() as folder:
                proposals = Proposals(
                    filled(folder, space, count, objectives), "bench", space, seed=0, replicates=3, data_sha256="",
                    objectives=objectives, journal=Path(folder) / "optuna" / "bench.journal",
                )  # fmt: skip
                going = [proposals.propose() for _ in range(4)]
                asked, told = [], []
                for _ in range(8):
                    start = time.process_time()
                    going.append(proposals.propose())
                    asked.append(time.process_time() - start)
                    first = going.pop(0)
                    assert first is not None
                    start = time.process_time()
                    values = [0.3, 8000.0][: len(objectives)]
                    proposals.finish(first.trial, "complete", values, [(e, 0.3) for e in range(1, 13)])
                    told.append(time.process_time() - start)
            label = f"{count:,d} trials, {len(objectives)} objective{'s' if len(objectives) > 1 else ''}"
            print(f"{label:<44s}{statistics.median(asked):>10.3f}{statistics.median(told):>10.3f}")


def main() -> None:
    options = argparse.ArgumentParser(description=(__doc__ or "").split("\n")[0])
    options.add_argument("--only", default="trials,proposals,results")
    options.add_argument("--rounds", type=int, default=2)
    options.add_argument(
        "--quick", action="store_true", help="all of it at tiny sizes: a check of this script, no measurement"
    )
    options.add_argument("--phases", nargs="+", choices=PHASES, help=argparse.SUPPRESS)
    options.add_argument("--trials", type=int, default=50, help=argparse.SUPPRESS)
    args = options.parse_args()
    optuna.logging.set_verbosity(optuna.logging.WARNING)
    if args.phases:
        run_phases(args.phases, args.trials)
        return
    only = args.only.split(",")
    if args.quick:
        print(NO_MEASUREMENT)
    if "trials" in only:
        bench_trials(2, 1, apart=False) if args.quick else bench_trials(args.trials, args.rounds)
    if "proposals" in only:
        bench_proposals([20] if args.quick else [100, 500, 1000])
    if "results" in only:
        bench_results(*((1000, 20) if args.quick else (100_000, 1000)))


if __name__ == "__main__":
    main()
