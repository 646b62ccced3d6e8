"""Kills at random while searches run, and checks what is on record in the end.

    python -m scripts.chaos --kills 30 --seed 0

A cluster of a head and two machines is simulated on this one (Linux only). Again and again, at moments and of kinds
drawn from the seed, a trial's process, a whole machine (a new one joins), or the driver itself (the same command is
given again) is ended by SIGKILL; a search that ends before all kills are done is followed by another. Every second one
stops trials early. Then each study must be whole: every trial with one outcome, every run on record once and never
begun again, those of a complete trial done, every epoch of each there once.

The exit code is 1 if anything was lost or done twice.
"""

import argparse
import contextlib
import io
import os
import random
import re
import shutil
import signal
import statistics
import subprocess
import sys
import tempfile
import time
from collections import Counter
from pathlib import Path
from typing import Any

import pyarrow.parquet as pq
from ray.cluster_utils import Cluster

from lab.store.schema import DONE
from lab.store.tables import Results

ROOT = Path(__file__).parents[1]
KINDS = ("trial process", "machine", "driver")
PATIENCE = 300.0  # s in which a study must get going again
HEALTH = {
    "health_check_initial_delay_ms": 1000, "health_check_period_ms": 500,
    "health_check_timeout_ms": 2000, "health_check_failure_threshold": 4,
}  # fmt: skip


class Study:
    """One search on the cluster, its driver begun again as often as it is killed."""

    def __init__(self, number: int, address: str, folder: Path, trials: int, epochs: int, grace: int):
        self.name, self.trials, self.epochs = f"chaos{number}", trials, epochs
        self.results = Results(folder / "results")
        self.log = folder / f"{self.name}.log"
        self._command = [
            sys.executable, "-m", "tune.search", "--preset", "smoke", "--study", self.name, "--address", address,
            "--results", str(folder / "results"), "--trials", str(trials), "--max-epochs", str(epochs),
            "--grace-epochs", str(grace), "--final-replicates", "0", "--seed", str(number),
        ]  # fmt: skip
        self.begin()

    def begin(self) -> None:
        with self.log.open("ab") as log:
            self.driver = subprocess.Popen(self._command, cwd=ROOT, stdout=log, stderr=log, start_new_session=True)

    @property
    def ended(self) -> bool:
        return self.driver.poll() is not None

    def progress(self) -> frozenset[str]:
        """Everything that training leaves behind: a new name is an epoch or a run that was not there before."""
        return frozenset(self.results.storage.list("checkpoints") + self.results.storage.list("runs"))

    def problems(self) -> list[str]:
        """What is lost, or there twice."""
        found = []
        if self.driver.returncode != 0:
            found.append(f"{self.name}: the last driver ended with {self.driver.returncode}; see {self.log}")
        events = self.results.table("trials", self.name).to_pylist()
        outcomes = Counter(row["trial"] for row in events if row["event"] == "outcome")
        if set(outcomes.values()) != {1} or len(outcomes) != self.trials:
            found.append(f"{self.name}: {len(outcomes)} trials of {self.trials} have an outcome ({dict(outcomes)})")
        rows = [row for row in self._every("runs") if row["model"] == "dynonet"]
        recorded, done = Counter(row["run"] for row in rows), {row["run"] for row in rows if row["status"] in DONE}
        members, complete = self._members(), self.trials_that("complete")
        found += [f"{self.name}: run {run} is lost" for run in sorted(members.keys() - recorded.keys())]
        found += [f"{self.name}: run {run} is recorded {count} times" for run, count in recorded.items() if count > 1]
        unfinished = sorted(run for run, trial in members.items() if trial in complete and run not in done)
        found += [f"{self.name}: run {run} of a complete trial was not trained to its end" for run in unfinished]
        found += [f"{self.name}: run {row['run']} was begun again" for row in rows if row["attempt"] > 1]
        steps = Counter((row["run"], row["step"]) for row in self._losses())
        found += [
            f"{self.name}: epoch {step} of run {run} is there {n} times" for (run, step), n in steps.items() if n > 1
        ]
        for row in rows:
            missing = [step for step in range(1, row["epochs"] + 1) if (row["run"], step) not in steps]
            found += [f"{self.name}: epoch {step} of run {row['run']} is lost" for step in missing]
        return found

    def _members(self) -> dict[str, str]:
        """The trial of each run that was searched."""
        members = self.results.table("members", self.name).to_pylist()
        return {member["run"]: member["trial"] for member in members if member["role"] == "search"}

    def trials_that(self, became: str) -> set[str]:
        """Trials whose outcome is complete, stopped or failed."""
        return {r["trial"] for r in self.results.table("trials", self.name).to_pylist() if r["state"] == became}

    def _losses(self) -> list[dict[str, Any]]:
        return [row for row in self._every("history") if row["metric"] == "val_mse"]

    def _every(self, table: str) -> list[dict[str, Any]]:
        """The rows of every file: `Results` would pass over a second one of the same run or epoch."""
        mine = {row["run"] for row in self.results.table("members", self.name).to_pylist()}
        files = (pq.read_table(io.BytesIO(self.results.get_blob(path))) for path in self.results.storage.list(table))
        return [row for file in files for row in file.to_pylist() if row["run"] in mine]

    def runs(self) -> int:
        return len(self._members())


def trial_processes(cluster: Cluster) -> list[int]:
    """Processes that hold a trial, of all machines."""
    found = []
    for node in cluster.worker_nodes:
        raylet = node.all_processes["raylet"][0].process.pid
        with contextlib.suppress(OSError):
            for child in Path(f"/proc/{raylet}/task/{raylet}/children").read_text().split():
                if re.match(rb"ray::\w+Trainable", Path(f"/proc/{child}/cmdline").read_bytes()):
                    found.append(int(child))
    return found


def add_machine(cluster: Cluster) -> None:
    cluster.add_node(num_cpus=1, object_store_memory=80 << 20)


def strike(kind: str, study: Study, cluster: Cluster, chance: random.Random) -> None:
    if kind == "driver":
        os.kill(study.driver.pid, signal.SIGKILL)
        study.driver.wait()
        study.begin()
    elif kind == "machine":
        cluster.remove_node(chance.choice(sorted(cluster.worker_nodes, key=lambda n: n.node_id)), allow_graceful=False)
        add_machine(cluster)
    else:
        os.kill(chance.choice(sorted(trial_processes(cluster))), signal.SIGKILL)


def wait_until_training(study: Study, cluster: Cluster, processes: int) -> bool:
    """Waits until so many trials train and something new is on record; False if the study ends before that."""
    before, deadline = study.progress(), time.monotonic() + PATIENCE
    while not study.ended:
        if len(trial_processes(cluster)) >= processes and study.progress() - before:
            return True
        if time.monotonic() > deadline:
            raise TimeoutError(f"{study.name} does not go on; see {study.log}")
        time.sleep(0.1)
    return False


def main() -> int:
    parser = argparse.ArgumentParser(prog="python -m scripts.chaos", description=(__doc__ or "").split("\n")[0])
    parser.add_argument("--kills", type=int, default=30)
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--trials", type=int, default=10, help="of each study")
    parser.add_argument("--epochs", type=int, default=100, help="of each run")
    parser.add_argument("--grace", type=int, default=10, help="epochs before a trial can be stopped, in every second")
    parser.add_argument("--keep", help="a folder for the results and logs (default: none are kept)")
    args = parser.parse_args()
    chance = random.Random(args.seed)
    folder = Path(args.keep or tempfile.mkdtemp(prefix="chaos-")).absolute()
    folder.mkdir(parents=True, exist_ok=True)
    os.environ["RAY_TMPDIR"] = tmp = tempfile.mkdtemp(prefix="ray", dir="/tmp")  # a socket's path must be short
    os.environ["PYTHONPATH"] = str(ROOT)
    studies: list[Study] = []
    recovery: dict[str, list[float]] = {kind: [] for kind in KINDS}
    kills: Counter[str] = Counter()
    head = {"num_cpus": 0, "include_dashboard": False, "object_store_memory": 80 << 20, "_system_config": HEALTH}
    cluster = Cluster(initialize_head=True, head_node_args=head)
    try:
        for _ in range(2):
            add_machine(cluster)
        while sum(kills.values()) < args.kills:
            grace = args.grace if len(studies) % 2 else args.epochs
            study = Study(len(studies) + 1, cluster.address, folder, args.trials, args.epochs, grace)
            studies.append(study)
            while sum(kills.values()) < args.kills and wait_until_training(study, cluster, 1):
                time.sleep(chance.uniform(0.0, 3.0))
                kind, running = chance.choice(KINDS), len(trial_processes(cluster))
                if study.ended or not running:
                    continue
                began = time.monotonic()
                strike(kind, study, cluster, chance)
                kills[kind] += 1
                print(f"{sum(kills.values()):>4} {study.name}: {kind} killed", flush=True)
                if wait_until_training(study, cluster, running):
                    recovery[kind].append(time.monotonic() - began)
            study.driver.wait(timeout=1800)
    finally:
        for study in studies:
            with contextlib.suppress(ProcessLookupError):
                study.driver.kill()
                study.driver.wait()
        cluster.shutdown()
        shutil.rmtree(tmp, ignore_errors=True)
    problems = [problem for study in studies for problem in study.problems()]
    print(f"\n{'killed':<16s}{'times':>6s}{'recovered after, s: median':>28s}{'longest':>9s}")
    for kind in KINDS:
        times = recovery[kind] or [float("nan")]
        print(f"{kind:<16s}{kills[kind]:>6d}{statistics.median(times):>28.1f}{max(times):>9.1f}")
    said = Counter(row["kind"] for study in studies for row in study.results.table("events", study.name).to_pylist())
    print(
        f"{sum(kills.values())} kills in {len(studies)} studies of {args.trials} trials, "
        f"{sum(len(study.trials_that('stopped')) for study in studies)} of which were stopped early, "
        f"{sum(study.runs() for study in studies)} runs of {args.epochs} epochs at most"
    )
    lost, again = (sum(word in problem for problem in problems) for word in ("is lost", "again"))
    twice = sum("times" in problem for problem in problems)
    print(
        f"runs or epochs lost: {lost}; there twice: {twice}; begun again: {again}; other problems: "
        f"{len(problems) - lost - twice - again}"
    )
    print("events on record: " + ", ".join(f"{kind} {count}" for kind, count in sorted(said.items())))
    print("\n".join(problems))
    if not args.keep and not problems:
        shutil.rmtree(folder)
    return 1 if problems else 0


if __name__ == "__main__":
    sys.exit(main())
