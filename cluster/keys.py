"""Keys (W&B's, a cloud's) for the processes of a job, by a way that leaves no copy behind.

`env_vars` of a runtime_env will not do: Ray 2.60 writes them as they are into `runtime_env_agent.log` of every node and
shows them in its job API to every client that is not a browser. So a job is told a random name only. What it stands
for waits in the head's memory; each process of the job looks it up as it starts, and it is removed when the job ends.
Whoever holds the cluster's token runs code there and so can read what a running job can: that is what a token means.

    python -m cluster.keys MODULE ARGS...     runs a command of ours as a job, then removes its keys
"""

import json
import os
import runpy
import secrets
import sys
from collections.abc import Iterable
from typing import Any

import requests

from dynonet.errors import ConfigError, nearest

NAME = "DYNONET_KEYS"  # in the environment of a job: under which its keys are kept
HOOK = "cluster.keys.take"
KEPT_IN = b"dynonet"  # namespace of the head's key-value store
UPLOAD_SECONDS = 30.0


def collect(names: Iterable[str]) -> dict[str, str]:
    """The values of variables, from the environment. Raises ConfigError for one that is not set."""
    values = {}
    for name in names:
        if "=" in name:  # the value itself is not repeated: it may be a key
            raise ConfigError(f"--env {name.partition('=')[0]}=...: give the name alone; the value is taken from here")
        if not os.environ.get(name):
            raise ConfigError(f"--env {name}: it is not set here{nearest(name, os.environ)}")
        values[name] = os.environ[name]
    return values


def upload(url: str, headers: dict[str, str], values: dict[str, str]) -> str:
    """Leaves keys at the head, over the connection that the token opens. Returns the name that they are kept under.

    If no job takes them they are gone within minutes: the head drops packages that nothing refers to.
    """
    name = secrets.token_hex(16)
    where = f"{url}/api/packages/gcs/{_package(name)}"
    for call, data in ((requests.put, json.dumps(values).encode()), (requests.get, None)):  # get: begins the wait
        answer = call(where, data=data, headers=headers, timeout=UPLOAD_SECONDS)
        if answer.status_code != 200:
            raise ConfigError(f"the cluster at {url} takes no keys (status {answer.status_code})")
    return name


def runtime_env(name: str) -> dict[str, Any]:
    """What a job's runtime_env needs, so that each of its processes takes the keys."""
    return {"worker_process_setup_hook": HOOK, "env_vars": {NAME: name}}


def take() -> None:
    """Puts the job's keys into this process's environment; Ray calls it in every process that it starts for the job.

    The first of them is the driver's parent, whose environment the driver has.

    Raises:
        RuntimeError: they are gone.
    """
    name = os.environ.get(NAME)
    if not name:
        return
    from ray.experimental import internal_kv

    kept = internal_kv._internal_kv_get(name, namespace=KEPT_IN)
    if kept is None:
        package = f"gcs://{_package(name)}"
        kept = internal_kv._internal_kv_get(package)
        if kept is None:
            raise RuntimeError("the keys of this job (--env) are no longer at the head: submit it again")
        internal_kv._internal_kv_put(name, kept, namespace=KEPT_IN)
        internal_kv._internal_kv_del(package)
    os.environ.update(json.loads(kept))


def forget(name: str) -> None:
    """Removes a job's keys from the head."""
    from ray import _raylet

    client: Any = _raylet
    client.GcsClient(address=os.environ["RAY_ADDRESS"]).internal_kv_del(name.encode(), False, KEPT_IN)


def main() -> None:
    module = sys.argv[1]
    sys.argv = sys.argv[1:]
    try:
        runpy.run_module(module, run_name="__main__", alter_sys=True)
    finally:
        if name := os.environ.get(NAME):
            forget(name)


def _package(name: str) -> str:
    return f"_ray_pkg_{name}.zip"


if __name__ == "__main__":
    main()
