"""Processes of a cluster's machines that are ready before the first trial, as those of this machine are (`ahead.py`).

Ray turns no process into a trial's actor that a task has used, so each machine is asked to start fresh ones in the
job's own environment, and to keep them though they are idle. Each looks, before it takes any work, whether the driver
asks it to be ready (`hook`), and says so in the cluster's key-value store. Tasks run in an environment APART: Ray
starts processes ahead for whatever environment a task asks for, and trials would find those, which are not ready.

All of it is for speed alone: whatever fails here is logged, and trials then start in processes of their own.
"""

import atexit
import json
import logging
import os
import sys
from collections.abc import Callable, Mapping, Sequence
from contextlib import suppress
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
AT_ONCE = 10  # that one call asks for


def hook() -> Callable[[], None]:
    """What each process of a job does first: it looks whether the driver asks for anything.

    It goes to the machines as it stands here, not as the name of something that another copy of the project may lack:
    of such a copy nothing stays imported, and `preflight.py` says what is wrong.
    """

    def look() -> None:
        if "DYNONET_APART" in os.environ:
            return
        try:
            job = ray.get_runtime_context().get_job_id()
            if (content := _internal_kv_get(f"{job}/asked", namespace=NAMESPACE)) is None:
                return
            asked = json.loads(content)
            for path in asked["paths"]:  # where Ray has a first task find the project
                sys.path.insert(0, path)
            from lab.machines.card.prestart import be_ready
        except Exception:
            for name in [name for name in sys.modules if name.partition(".")[0] == "lab"]:
                del sys.modules[name]
            return
        be_ready(asked["models"], asked["gpu"])

    return look


def be_ready(models: Sequence[str], gpu: bool) -> None:
    """Imports what a trial does, and says so. What fails is logged alone: Ray would end the process."""
    here = ray.get_runtime_context()
    job, about = here.get_job_id(), f"{here.get_node_id()}/{os.getpid()}"
    try:
        _internal_kv_put(f"{job}/begun/{about}", b"", namespace=NAMESPACE)
        try:
            import_all(models, gpu, shipped=True)
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
        self.asked = 0  # processes

    def begin(self, counts: Mapping[str, int], gpu: bool) -> None:
        """Asks each machine, by its id, for so many processes; the first time alone."""
        if self.asked:
            return
        try:
            paths = list(_job_config().py_driver_sys_path)
            content = json.dumps({"models": self._models, "gpu": gpu, "paths": paths})
            _internal_kv_put(f"{self._job}/asked", content.encode(), namespace=NAMESPACE)
            atexit.register(self._forget)
            self._ask(counts)
            self.asked = sum(counts.values())
        except Exception as error:  # Ray's doors for this are no public ones
            logger.warning("no processes are made ready ahead: %s", error)

    def _ask(self, counts: Mapping[str, int]) -> None:
        from ray._common.network_utils import build_address
        from ray._private.grpc_utils import init_grpc_channel
        from ray._private.worker import global_worker
        from ray.core.generated.common_pb2 import Language  # type: ignore[attr-defined]
        from ray.core.generated.node_manager_pb2 import PrestartWorkersRequest  # type: ignore[attr-defined]
        from ray.core.generated.node_manager_pb2_grpc import NodeManagerServiceStub

        environment = _job_config().runtime_env_info.SerializeToString()
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

    def wait(self) -> list[tuple[str, int]]:
        """Until all that were asked for are ready, or long enough. Returns those that are, the id of the machine beside
        that of the process; none that comes later is asked for anything."""

        def look() -> tuple[int, bool]:
            alive = {row["NodeID"] for row in ray.nodes() if row["Alive"]}
            begun = {each for each in self._processes("begun") if each[0] in alive}
            return len(begun), bool(begun - self._processes("ready"))

        try:
            if self.asked:
                until_ready(self.asked, look, LOOK)
            for call in self._calls:
                if call.done() and (error := call.exception()) is not None:
                    logger.warning("a machine starts no processes ahead: %s", error)
            return sorted(self._processes("ready"))
        except Exception as error:  # of the cluster's head: the trials will say it
            logger.warning("nobody waits for processes to be ready: %s", error)
            return []
        finally:
            for channel in self._channels:
                channel.close()
            self._forget()

    def _forget(self) -> None:
        atexit.unregister(self._forget)
        with suppress(Exception):  # the head may have gone, or Ray be shut down
            _internal_kv_del(f"{self._job}/", del_by_prefix=True, namespace=NAMESPACE)

    def _processes(self, state: str) -> set[tuple[str, int]]:
        keys = _internal_kv_list(f"{self._job}/{state}/", namespace=NAMESPACE)
        parts = [key.decode().split("/") for key in keys]
        return {(node, int(pid)) for *_, node, pid in parts}


def _job_config() -> Any:
    return vars(ray._private.worker.global_worker)["core_worker"].get_job_config()
