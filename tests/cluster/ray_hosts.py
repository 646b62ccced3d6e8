"""A Ray cluster with token authentication on hosts of `hosts.network`, searches on it, and what they leave."""

import io
import json
import re
import secrets
import signal
import subprocess
import sys
import time
from collections import Counter
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pyarrow as pa
import pyarrow.parquet as pq
import torch

from lab.store.objects.storage import StorageError
from lab.store.schema import BARS
from lab.store.tables import Results
from tests.cluster.hosts import Host, Network, wait_for
from tests.processes import command_of, signal_all

RAY = str(Path(sys.executable).parent / "ray")
DASHBOARD = "http://127.0.0.1:8265"  # as the head sees it; no other host does
STORE = str(80 << 20)  # bytes of the object store, the least that Ray takes
ENVIRONMENT = {
    "RAY_AUTH_MODE": "token", "RAY_USAGE_STATS_ENABLED": "0",
    # A silent node is given up after some ten seconds instead of more than sixty.
    "RAY_health_check_initial_delay_ms": "1000", "RAY_health_check_period_ms": "1000",
    "RAY_health_check_timeout_ms": "2000", "RAY_health_check_failure_threshold": "3",
    "RAY_NUM_REDIS_GET_RETRIES": "3",  # seconds that a node knocks at a head that turns it away
}  # fmt: skip


class RayHosts:
    """The cluster: the first host is its head and runs no trial; the others join as a test needs them."""

    def __init__(self, net: Network, names: tuple[str, ...]):
        self.net, self.token = net, secrets.token_hex(32)
        self.hosts = {name: net.add(name) for name in names}
        for host in self.hosts.values():
            host.environment |= ENVIRONMENT
            host.put(".ray/auth_token", self.token)
        self.head = self.hosts[names[0]]
        self.joined: dict[str, subprocess.Popen[str]] = {}
        self.head.start(
            RAY, "start", "--head", "--block", f"--node-ip-address={self.head.address}", "--port=6379", "--num-cpus=0",
            f"--object-store-memory={STORE}",
        )  # fmt: skip
        wait_for(lambda: self.head.ask(f"{DASHBOARD}/api/version", self.token)[0] == 200, "the dashboard", self.said)
        wait_for(lambda: self.alive() == {self.head.name}, "the head", self.said)

    def join(self, name: str, cpus: int) -> None:
        """Starts Ray on a host, and does not wait."""
        host = self.hosts[name]
        self.joined[name] = host.start(
            RAY, "start", "--block", f"--address={self.head.address}:6379", f"--node-ip-address={host.address}",
            f"--num-cpus={cpus}", f"--object-store-memory={STORE}",
        )  # fmt: skip

    def only(self, **cpus: int) -> None:
        """Has these workers, fresh ones with so many CPUs each, and no others."""
        for host in self.hosts.values():
            if host is not self.head:
                host.kill()
                host.reconnect()
                host.boot()
        wait_for(lambda: self.alive() == {self.head.name}, "the end of the workers", self.said)
        for name, count in cpus.items():
            self.join(name, count)
        wait_for(lambda: self.alive() == {self.head.name, *cpus}, "the workers", self.said)

    def alive(self) -> set[str]:
        """Names of the hosts that the head counts as nodes. The dashboard's answers are up to two seconds old: a search
        learns of a lost host sooner, and may have moved its trials by then."""
        status, text = self.head.ask(f"{DASHBOARD}/nodes?view=summary", self.token)
        nodes = json.loads(text)["data"]["summary"] if status == 200 else []
        raylets = [node.get("raylet", {}) for node in nodes]
        return {each["nodeManagerHostname"] for each in raylets if each.get("state") == "ALIVE"}

    def search(self, study: str, *arguments: str) -> "Job":
        """Submits a search of the smoke test's size, whose epochs take a quarter of a second and trials are not
        stopped early: as many epochs as `EPOCHS`."""
        return Job(self, study, arguments)

    def said(self) -> str:
        return "".join(host.said() for host in self.net.hosts)


@dataclass(frozen=True)
class Place:
    """The newest checkpoint of a trial."""

    epoch: int
    host: str  # that wrote it
    runs: tuple[str, ...]  # of the trial


class Job:
    """`ray job submit` of a search, from the head; it ends when the search does."""

    EPOCHS = 40

    def __init__(self, cluster: RayHosts, study: str, arguments: tuple[str, ...]):
        self.cluster, self.study = cluster, study
        self.out = cluster.net.shared / study
        self.results = Results(self.out)
        self.log = cluster.net.folder / f"{study}.txt"
        self.process = cluster.head.start(
            RAY, "job", "submit", f"--address={DASHBOARD}", "--", sys.executable, "-m", "tune.search",
            "--preset=smoke", f"--study={study}", f"--results={self.out}", f"--max-epochs={self.EPOCHS}",
            f"--grace-epochs={self.EPOCHS}", "--final-replicates=1", *arguments, "data.synthetic.rows=3000",
            f"training.patience={self.EPOCHS}", log=self.log,
        )  # fmt: skip

    def said(self) -> str:
        return self.log.read_text() + self.cluster.said()

    @property
    def ended(self) -> bool:
        return self.process.poll() is not None

    def until(self, condition: Any, what: str) -> Any:
        """Waits for it while the search runs."""

        def found() -> Any:
            ended = self.ended
            return condition() or (ended and "ended")

        value = wait_for(found, what, self.said)
        assert value != "ended", f"the search ended before {what}\n{self.said()}"
        return value

    def wait(self) -> int:
        wait_for(lambda: self.ended, "the end of the search", self.said)
        return self.process.returncode

    def checkpoints(self, trial: str) -> list[int]:
        """Epochs of a trial's checkpoints."""
        return [int(path.split("/")[2][:8]) for path in self.results.storage.list(f"checkpoints/{trial}")]

    def places(self) -> dict[str, Place]:
        """Where each trial under way stands, by the name of its checkpoints' folder."""
        found = {}
        for path in sorted(self.results.storage.list("checkpoints")):
            _, trial, name = path.split("/")
            if trial != "runs":
                try:
                    saved = torch.load(io.BytesIO(self.results.get_blob(path)), map_location="cpu", weights_only=True)
                except StorageError:  # a newer one is there, or the trial has ended
                    continue
                runs = tuple(run["run"] for state in saved["trainers"] for run in state["runs"])
                found[trial] = Place(int(name[:8]), saved["meta"]["host"], runs)
        return found

    def training(self, host: str) -> dict[str, Place]:
        """Trials whose newest checkpoint was written by this host."""
        return {trial: place for trial, place in self.places().items() if place.host == host}

    def trained_on(self, host: str) -> bool:
        """Whether a trial trains there, or has trained there to its end."""
        return bool(self.training(host)) or host in {row["host"] for row in self.results.runs().values()}

    @contextmanager
    def held(self, host: Host) -> Iterator[tuple[str, Place]]:
        """A host's trial, stopped in its middle as long as the context lasts, and where it stands: what the test does
        in the meantime cannot come too late."""

        def in_the_middle() -> list[tuple[str, Place]]:
            return [(t, place) for t, place in self.training(host.name).items() if 2 <= place.epoch <= self.EPOCHS - 5]

        pids: list[int] = []
        try:
            while True:
                self.until(in_the_middle, f"a trial in its middle on {host.name}")
                pids = [pid for pid in host.processes() if re.match(rb"ray::\w+Trainable", command_of(pid))]
                signal_all(pids, signal.SIGSTOP)
                if found := in_the_middle():
                    break
                signal_all(pids, signal.SIGCONT)  # it has come to its end meanwhile
            (one,) = found
            yield one
        finally:
            signal_all(pids, signal.SIGCONT)

    def check_moved(self, place: Place, left_at: float, host: str) -> None:
        """A trial that stood at this place, at this time, was trained to its end on another host without beginning
        again, and the end of its process is on record."""
        rows = self.results.runs(place.runs).values()
        assert [row["host"] for row in rows] == [host] * len(place.runs)
        assert all(row["started"].timestamp() < left_at < row["ended"].timestamp() for row in rows)
        members = self.results.table("members", self.study).to_pylist()
        (name,) = {row["trial"] for row in members if row["role"] == "search" and row["run"] in place.runs}
        events = self.results.table("events", self.study).to_pylist()
        assert name in {row["trial"] for row in events if row["kind"] == "process_died"}, events

    def check_whole(self, trials: int, replicates: int = 2) -> dict[str, dict[str, Any]]:
        """The study is complete and every file of it holds something else: no run twice, not even identical copies
        that a reader would pass over. Returns the trained runs."""
        events = self.results.table("trials", self.study).to_pylist()
        names = [f"t{number:05d}" for number in range(trials)]
        for event in ("proposed", "outcome"):
            assert sorted(row["trial"] for row in events if row["event"] == event) == names
        assert {row["state"] for row in events if row["event"] == "outcome"} == {"complete"}
        members = self.results.table("members", self.study).to_pylist()
        roles = Counter(row["role"] for row in members)
        rows, history = self._raw("runs"), self._raw("history")
        bars = {row["run"] for row in rows if row["model"] in BARS}
        assert bars and roles == {"search": trials * replicates, "final": 1, "baseline": len(bars)}
        assert Counter(row["run"] for row in rows) == dict.fromkeys((row["run"] for row in members), 1)
        assert {(row["status"], row["attempt"]) for row in rows} == {("complete", 1)}
        trained = {row["run"]: row for row in rows if row["model"] == "dynonet"}
        steps = Counter((row["run"], row["step"]) for row in history if row["metric"] == "val_mse")
        assert steps == {(run, step): 1 for run in trained for step in range(1, self.EPOCHS + 1)}
        assert {row["epochs"] for row in trained.values()} == {self.EPOCHS}
        assert not self.results.storage.list("checkpoints"), "of a complete study none is left"
        return trained

    def _raw(self, table: str) -> list[dict[str, Any]]:
        paths = self.results.storage.list(table)
        tables = [pq.read_table(io.BytesIO(self.results.get_blob(path))) for path in paths]
        return pa.concat_tables(tables, promote_options="permissive").to_pylist()


def clock(begun: float) -> str:
    return f"{time.monotonic() - begun:.1f} s"


def ray_processes(host: Host) -> list[str]:
    """Titles of a host's processes that train or schedule."""
    _, said = host.run("ps", "-eo", "args")
    return [line for line in said.splitlines() if "raylet" in line or "Trainable" in line]
