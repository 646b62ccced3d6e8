"""The machines of a Ray cluster as its driver sees them: who is there, who is about to leave, what they can hold."""

import math
import time
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from typing import Any

import ray
from ray._private.state import state as ray_state  # what Ray's own libraries ask; there is no public call for it


@dataclass(frozen=True)
class Node:
    id: str
    address: str
    cpus: float
    gpus: float
    memory: float  # bytes that Ray gives to workers

    def fits(self, cpus: float, gpus: float) -> int:
        """Trials that it holds at once. One that asks for nothing is still a process: a CPU's worth.

        A fraction of a GPU is one of a single GPU: 8 GPUs hold 48 trials of 0.15, six on each.
        """
        rooms = [self.cpus / cpus] if cpus else []
        if 0 < gpus < 1:
            rooms.append(math.floor(self.gpus + 1e-9) * math.floor(1 / gpus + 1e-9))
        elif gpus:
            rooms.append(self.gpus / gpus)
        return math.floor(min(rooms, default=max(1.0, self.cpus)) + 1e-9)


def living_nodes() -> list[Node]:
    """The machines that take trials: alive, and not about to leave."""
    gone = leaving()
    return [
        _node(row["NodeID"], row["NodeManagerAddress"], row["Resources"])
        for row in ray.nodes()
        if row["Alive"] and row["NodeID"] not in gone
    ]


def leaving() -> frozenset[str]:
    """Ids of the machines that are draining: they were given notice, and take nothing new."""
    return frozenset(ray_state.get_draining_nodes())


class NodeLeaves(RuntimeError):
    """The machine of a trial is about to leave the cluster."""


class Ending:
    """Whether the machine that this process runs on is about to leave; asked often, it looks every so often."""

    def __init__(self, seconds: float = 1.0):
        self._seconds = seconds
        self._looked = -math.inf
        self._seen = False

    def sees(self) -> bool:
        now = time.monotonic()
        if not self._seen and now - self._looked >= self._seconds and ray.is_initialized():
            self._looked = now
            self._seen = ray.get_runtime_context().get_node_id() in leaving()
        return self._seen


def room(nodes: Iterable[Node], cpus: float, gpus: float) -> int:
    """Trials of this size that the machines hold at once."""
    return sum(node.fits(cpus, gpus) for node in nodes)


def _node(name: str, address: str, resources: Mapping[str, Any]) -> Node:
    return Node(name, address, *(float(resources.get(key, 0.0)) for key in ("CPU", "GPU", "memory")))
