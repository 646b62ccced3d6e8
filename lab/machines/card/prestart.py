"""Processes of a cluster's machines that are ready before the first trial, as those of this machine are (`ahead.py`).

Ray turns no process into a trial's actor that a task has used, so each machine is asked to start fresh ones in the
job's own environment, and to keep them though they are idle. Each looks, before it takes any work, whether the driver
asks it to be ready (`hook`), and says so in the cluster's key-value store. Tasks run in an environment APART: Ray
starts processes ahead for whatever environment a task asks for, and trials would find those, which are not ready.
"""

import json
import logging
import os
from collections.abc import Callable, Mapping, Sequence
from typing import Any

import ray
from ray.experimental.internal_kv import (
    _internal_kv_del,
    _internal_kv_exists,
    _internal_kv_get,
    _internal_kv_list,
    _internal_kv_put,
)

from lab.machines.card.ahead import IDLE_SECONDS, until_ready
from lab.machines.card.ready import import_all

logger = logging.getLogger(__name__)

NAMESPACE = b"lab-prestart"
APART = {"env_vars": {"DYNONET_APART": "1"}}  # of tasks: the runtime_env
LOOK = 0.1  # seconds: each look asks the cluster's head
ASK_SECONDS = 10.0  # for a machine to hear
AT_ONCE = 10  # Ray starts no more for one call


def hook() -> Callable[[], None]:
    """The `worker_process_setup_hook` of a job. It goes to the machines as it stands here, not as the name of something
    that another copy of the project may lack: then nothing is made ready, and `preflight.py` says what is wrong."""

    def look() -> None:
        try:
            from lab.machines.card.prestart import be_ready
        except Exception:
            return
        be_ready()

    return look


def be_ready() -> None:
    """Imports what the driver of this process's job asks for, while it does, unless it is for a task. What fails is
    logged alone: Ray would end the process, and a trial in it says more."""
    if set(APART["env_vars"]) <= set(os.environ):
        return
    here = ray.get_runtime_context()
    job, about = here.get_job_id(), f"{here.get_node_id()}/{os.getpid()}"
    try:
        if (content := _internal_kv_get(f"{job}/asked", namespace=NAMESPACE)) is None:
            return
        _internal_kv_put(f"{job}/begun/{about}", b"", namespace=NAMESPACE)
        try:
            import_all(**json.loads(content))
        finally:
            _internal_kv_put(f"{job}/ready/{about}", b"", namespace=NAMESPACE)
            if not _internal_kv_exists(f"{job}/asked", namespace=NAMESPACE):  # the driver has stopped waiting
                for state in ("begun", "ready"):
                    _internal_kv_del(f"{job}/{state}/{about}", namespace=NAMESPACE)
    except Exception:
        logger.exception("not ready ahead of a trial")


class Prestart:
    """Of one driver that has joined a cluster, its job's `hook` among the environment.

    Args:
        models: whose trials they are for.
    """

    def __init__(self, models: Sequence[str]):
        self._models = list(models)
        self._job = ray.get_runtime_context().get_job_id()
        self._calls: list[Any] = []
        self._channels: list[Any] = []
        self.asked = 0

    def begin(self, counts: Mapping[str, int], gpu: bool) -> None:
        """Asks each machine, by its id, for so many processes; the first time alone. Where that fails trials start in
        processes of their own."""
        if self.asked:
            return
        self.asked = sum(counts.values())
        content = json.dumps({"models": self._models, "gpu": gpu, "shipped": True})
        _internal_kv_put(f"{self._job}/asked", content.encode(), namespace=NAMESPACE)
        try:
            self._ask(counts)
        except Exception as error:  # of Ray's own doors, which are no public ones
            logger.warning("no processes are made ready ahead: %s", error)

    def _ask(self, counts: Mapping[str, int]) -> None:
        from ray._common.network_utils import build_address
        from ray._private.grpc_utils import init_grpc_channel
        from ray._private.worker import global_worker
        from ray.core.generated.common_pb2 import Language  # type: ignore[attr-defined]
        from ray.core.generated.node_manager_pb2 import PrestartWorkersRequest  # type: ignore[attr-defined]
        from ray.core.generated.node_manager_pb2_grpc import NodeManagerServiceStub

        core_worker: Any = vars(global_worker)["core_worker"]
        environment = core_worker.get_job_config().runtime_env_info.SerializeToString()
        for row in ray.nodes():
            left = counts.get(row["NodeID"], 0) if row["Alive"] else 0
            if not left:
                continue
            channel = init_grpc_channel(build_address(row["NodeManagerAddress"], row["NodeManagerPort"]))
            self._channels.append(channel)
            stub = NodeManagerServiceStub(channel)
            while left > 0:
                request = PrestartWorkersRequest(
                    language=Language.PYTHON, job_id=global_worker.current_job_id.binary(),
                    keep_alive_duration_secs=IDLE_SECONDS, num_workers=min(left, AT_ONCE),
                )  # fmt: skip
                request.runtime_env_info.ParseFromString(environment)
                self._calls.append(stub.PrestartWorkers.future(request, timeout=ASK_SECONDS))
                left -= AT_ONCE

    def wait(self, processes: int) -> list[tuple[str, int]]:
        """As `Ahead.wait`; the id of the machine beside that of the process."""

        def look() -> tuple[int, bool]:
            begun = self._processes("begun")
            return len(begun), bool(begun - self._processes("ready"))

        if self.asked:
            until_ready(min(processes, self.asked), look, LOOK)
        for call in self._calls:
            if call.done() and (error := call.exception()) is not None:
                logger.warning("a machine starts no processes ahead: %s", error)
        for channel in self._channels:
            channel.close()
        found = sorted(self._processes("ready"))
        _internal_kv_del(f"{self._job}/", del_by_prefix=True, namespace=NAMESPACE)
        return found

    def _processes(self, state: str) -> set[tuple[str, int]]:
        keys = _internal_kv_list(f"{self._job}/{state}/", namespace=NAMESPACE)
        parts = [key.decode().split("/") for key in keys]
        return {(node, int(pid)) for *_, node, pid in parts}
