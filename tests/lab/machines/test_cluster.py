"""A search on a cluster of several machines, simulated by Ray on this one, with pretended GPUs."""

import contextlib
import os
import re
import shutil
import signal
import tempfile
import time
from collections.abc import Callable, Iterator, Sequence
from pathlib import Path
from typing import Any

import pytest
import ray
from ray._private.state import state as ray_state
from ray.cluster_utils import Cluster
from ray.util.scheduling_strategies import NodeAffinitySchedulingStrategy

from lab.errors import ConfigError
from lab.machines import preflight
from lab.machines.nodes import Node, living_nodes
from lab.machines.options import Resources
from lab.machines.preflight import check_machines, code_digest, probe, versions
from lab.machines.session import RaySession
from lab.store.objects.storage import open_storage
from lab.store.tables import Results
from tests.processes import ROOT, Driver, command_of, drivers, signal_all
from tests.tune.running import check_complete, outcomes, rows

QUICK = {  # a lost machine is known within 2 s
    "health_check_initial_delay_ms": 1000, "health_check_period_ms": 500,
    "health_check_timeout_ms": 2000, "health_check_failure_threshold": 4,
}  # fmt: skip


@pytest.fixture(scope="module")
def cluster() -> Iterator[Cluster]:
    """A head that runs no trial, and two workers of 2 CPUs and 1 GPU each; this process is connected."""
    tmp = tempfile.mkdtemp(prefix="ray", dir="/tmp")
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("RAY_TMPDIR", tmp)
        patch.setenv("PYTHONPATH", str(ROOT))
        patch.setenv("RAY_AUTH_MODE", "disabled")
        patch.setenv("DYNONET_DEVICE", "cpu")
        patch.delenv("RAY_ADDRESS", raising=False)
        head = {"num_cpus": 0, "include_dashboard": False, "object_store_memory": 80 << 20, "_system_config": QUICK}
        found = Cluster(initialize_head=True, head_node_args=head)
        try:
            for _ in range(2):
                add_machine(found)
            found.wait_for_nodes()
            ray.init(address=found.address, log_to_driver=False, logging_level="ERROR")
            yield found
        finally:
            ray.shutdown()
            found.shutdown()
            shutil.rmtree(tmp, ignore_errors=True)


def add_machine(cluster: Cluster) -> Any:
    return cluster.add_node(num_cpus=2, num_gpus=1, object_store_memory=80 << 20)


def gpus_in_use() -> list[float]:
    """Of each worker that is alive, the GPUs that are taken."""
    free = ray_state.available_resources_per_node()
    return sorted(round(node.gpus - free.get(node.id, {}).get("GPU", 0.0), 3) for node in living_nodes() if node.gpus)


@contextlib.contextmanager
def gpus_taken(nodes: Sequence[Node]) -> Iterator[None]:
    """No other task that asks for any of a GPU starts on these machines meanwhile."""
    whole = {node: NodeAffinitySchedulingStrategy(node.id, soft=False) for node in nodes}
    takers = [Taker.options(num_gpus=node.gpus, scheduling_strategy=there).remote() for node, there in whole.items()]
    try:
        ray.get([taker.here.remote() for taker in takers])
        yield
    finally:
        for taker in takers:
            ray.kill(taker)


@ray.remote(num_cpus=0)
class Taker:
    def here(self) -> bool:
        return True


def trial_processes(cluster: Cluster) -> list[int]:
    """Processes that hold a trial, of all machines."""
    raylets = [node.all_processes["raylet"][0].process.pid for node in cluster.worker_nodes]
    pids = [pid for raylet in raylets for pid in Path(f"/proc/{raylet}/task/{raylet}/children").read_text().split()]
    return [int(pid) for pid in pids if re.match(rb"ray::\w+Trainable", command_of(int(pid)))]


def kinds(results: Results) -> set[str]:
    return {row["kind"] for row in rows(results, "events")}


@pytest.fixture
def begin(tmp_path: Path, cluster: Cluster) -> Iterator[Callable[..., Driver]]:
    with drivers("tune.search", tmp_path, "--preset", "smoke", "--address", cluster.address) as start:
        yield start


@pytest.mark.slow
def test_machines_and_drivers_come_and_go_and_every_run_is_there_once(
    begin: Callable[..., Driver], cluster: Cluster, tmp_path: Path
) -> None:
    arguments = (
        "--results", "out", "--gpus-per-trial", "0.5", "--trials", "5", "--max-epochs", "200", "--grace-epochs", "200",
        "--final-replicates", "1",
    )  # fmt: skip
    results = Results(tmp_path / "out")
    driver = begin(*arguments)
    driver.until(lambda: gpus_in_use() == [1.0, 1.0])  # two trials of half a GPU on each
    driver.until(lambda: len({path.split("/")[1] for path in results.storage.list("checkpoints")}) >= 3)
    cluster.remove_node(next(iter(cluster.worker_nodes)), allow_graceful=False)
    driver.until(lambda: {"node_lost", "process_died"} <= kinds(results))
    assert len(living_nodes()) == 2, "the head and one worker"
    driver.until(lambda: gpus_in_use() == [1.0])
    driver.kill()

    driver = begin(*arguments)
    driver.until(lambda: "resumed" in kinds(results))
    driver.until(lambda: gpus_in_use() == [1.0] and len(trial_processes(cluster)) == 2)
    leaving = next(node for node in living_nodes() if node.gpus)
    under_way = trial_processes(cluster)
    signal_all(under_way, signal.SIGSTOP)  # whatever happens next, its trials do not come to their end before
    try:
        add_machine(cluster)
        driver.until(lambda: len(used := gpus_in_use()) == 2 and min(used) > 0)  # it gets work
        driver.until(lambda: "node_joined" in kinds(results))
        # A notice: its trials move between two epochs.
        reason = 2  # preemption
        accepted, why = ray._private.worker.global_worker.gcs_client.drain_node(
            leaving.id, reason, "spot notice", int((time.time() + 600) * 1000)
        )
        assert accepted, why
        driver.until(lambda: "node_leaving" in kinds(results))
    finally:
        signal_all(under_way, signal.SIGCONT)
    driver.until(lambda: "moved" in kinds(results))
    assert driver.wait() == 0, driver.said()
    check_complete(results, 5, 2, 200, 1)
    assert {row["state"] for row in outcomes(results).values()} == {"complete"}
    assert {row["attempt"] for row in rows(results, "runs")} == {1}, "nothing began again"
    epochs = {row["run"]: row["epochs"] for row in rows(results, "runs") if row["model"] == "dynonet"}
    assert len(epochs) == 11


@pytest.mark.slow
def test_a_share_of_a_gpu_is_measured_where_one_is(begin: Callable[..., Driver]) -> None:
    driver = begin("--dry-run", "--results", "out", "--trials", "2", "--gpus-per-trial", "auto")
    assert driver.wait() == 0, driver.said()
    said = driver.said()
    assert "--gpus-per-trial auto: 0.5 of a GPU, 2 at once on each: processes compute on it in turns" in said, said
    assert re.search("a trial takes 1 CPU, 0.5 GPUs; [2-6] at once", said), said  # of as many machines as are left


def test_what_no_machine_of_the_cluster_has(cluster: Cluster) -> None:
    resources = Resources(address=cluster.address, gpus_per_trial=2)
    ray.shutdown()
    try:
        with pytest.raises(ConfigError, match=r"asks for 1 CPUs and 2 GPUs, and no machine .*--max-concurrent N"):
            RaySession(resources, [])
    finally:
        ray.shutdown()
        ray.init(address=cluster.address, log_to_driver=False, logging_level="ERROR")


def test_machines_are_asked_before_the_first_trial(
    cluster: Cluster, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    storage = open_storage(tmp_path / "out")
    workers = [node for node in living_nodes() if node.gpus]
    check_machines(storage, workers, gpu=True)
    assert storage.list() == [] and list((tmp_path / "out").iterdir()) == [], "nothing is left behind"
    monkeypatch.setattr(preflight, "code_digest", lambda: "another")
    with pytest.raises(ConfigError, match="its copy of the project is another than the driver's") as found:
        check_machines(storage, workers, gpu=False)
    assert str(found.value).count("\n") == len(workers), "one line a machine"
    monkeypatch.setattr(preflight, "PROBE_SECONDS", 0.5)
    with gpus_taken(workers), pytest.raises(ConfigError) as found:
        check_machines(storage, workers, gpu=True)
    assert str(found.value).count(": no answer within 0.5 s; are its GPUs all taken?") == len(workers)
    check_machines(storage, [Node("f" * 56, "10.9.9.9", 1, 0, 0)], gpu=False)  # gone: nothing to ask


def test_what_a_probe_finds(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    storage = open_storage(tmp_path / "out")
    storage.put("probes/t/driver", b"t")

    def asked(url: str = storage.url, expected: dict[str, str] | None = None, gpu: bool = False) -> list[str]:
        return probe(url, "t", "n", versions() if expected is None else expected, code_digest(), gpu)

    assert asked() == [] and storage.exists("probes/t/n")
    (other,) = asked(str(tmp_path / "other"))
    assert "is not the same storage" in other and not (tmp_path / "other").exists()
    (older,) = asked(expected={**versions(), "torch": "1.0"})
    assert older == f"it has torch {versions()['torch']}, the driver 1.0"
    monkeypatch.setenv("DYNONET_DEVICE", "cuda")
    with contextlib.suppress(AttributeError):
        monkeypatch.setattr("torch.cuda.is_available", lambda: False)
    (gpu,) = asked(gpu=True)
    assert gpu.startswith("Ray gives it a GPU that cannot be used: device 'cuda' was asked for")
    if os.getuid():  # root writes everywhere
        (tmp_path / "out/probes/t").chmod(0o500)
        assert "Permission denied" in asked()[0]
