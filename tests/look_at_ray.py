"""Runs a command of ours as `python -m MODULE ARGS...` does and, as its Ray ends, writes down what Ray would tell:
what its processes listen on, and every answer of its head. For tests: `python -m look_at_ray FILE MODULE ARGS...`."""

import json
import os
import runpy
import sys
from contextlib import suppress
from pathlib import Path
from typing import Any

import ray

from tests.processes import command_of

LISTENS = "0A"  # a state of /proc/net/tcp


def family() -> list[int]:
    """This process, those that it started, and those that they did. (A process with a title shows no environment.)"""
    children: dict[int, list[int]] = {}
    for path in Path("/proc").glob("[0-9]*/stat"):
        with suppress(OSError):
            parent = int(path.read_text().rpartition(")")[2].split()[1])
            children.setdefault(parent, []).append(int(path.parent.name))
    found = [os.getpid()]
    for pid in found:
        found += children.get(pid, [])
    return found


def ports(processes: list[int]) -> dict[str, list[str]]:
    """Addresses that processes listen on, in the kernel's own writing, with who does."""
    sockets = {}
    for table in ("tcp", "tcp6"):
        for line in Path("/proc/net", table).read_text().splitlines()[1:]:
            fields = line.split()
            if fields[3] == LISTENS:
                sockets[f"socket:[{fields[9]}]"] = fields[1].partition(":")[0]
    found: dict[str, list[str]] = {}
    for process in (Path("/proc") / str(pid) for pid in processes):
        name = command_of(int(process.name)).replace(b"\0", b" ").decode().strip()[:60]
        with suppress(OSError):  # gone meanwhile
            for each in (process / "fd").iterdir():
                with suppress(OSError):
                    if (socket := os.readlink(each)) in sockets:
                        found.setdefault(sockets[socket], []).append(name)
    return found


def answers() -> list[str]:
    """What the head knows: actors with their runtime environments, jobs, workers, and all of its key-value store."""
    from ray._private.state import state
    from ray.experimental import internal_kv as kv

    accessor: Any = state._connect_and_get_accessor()
    told = [*accessor.get_actor_table(None, None), *accessor.get_job_table(), *accessor.get_worker_table()]
    told += [str(node).encode() for node in ray.nodes()]
    spaces = (None, b"", b"fun", b"job", b"cluster", b"usage_stats", b"dashboard", b"serve", b"tracing", b"dynonet")
    for space in spaces:
        for key in kv._internal_kv_list(b"", namespace=space):
            told += [key, kv._internal_kv_get(key, namespace=space) or b""]
    return [each.decode("latin-1") for each in told]


def main() -> None:
    path, module = Path(sys.argv[1]), sys.argv[2]
    end = ray.shutdown

    def look_and_end(*arguments: Any) -> None:
        if ray.is_initialized():
            found = {"ports": ports(family()), "answers": answers()}
            path.write_text(json.dumps(found))
        end(*arguments)

    ray.shutdown = look_and_end  # type: ignore[assignment]
    sys.argv = sys.argv[2:]
    runpy.run_module(module, run_name="__main__", alter_sys=True)


if __name__ == "__main__":
    main()
