"""Keys (W&B's, a cloud's) for the processes of a job, by a way that leaves no copy behind.

`env_vars` of a runtime_env will not do: Ray 2.60 writes them as they are into `runtime_env_agent.log` of every node and
shows them in its job API to every client that is not a browser. So a job is told a random name only. What it stands
for waits in the head's memory; driver and workers look it up as they start, and the driver removes it when it ends.
Whoever holds the cluster's token runs code there and so can read what a running job can: that is what a token means.

    python -m cluster.sending.keys MODULE ARGS...     runs a command of ours as a job, then removes its keys
"""

import json
import os
import runpy
import secrets
import sys
from collections.abc import Iterable
from typing import Any

import requests

from lab.errors import ConfigError, nearest
from lab.machines.doors import HOOK, JOBS_HOOK

NAME = "DYNONET_KEYS"  # in the environment of a job: under which its keys are kept
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
    """What a job's runtime_env needs, so that its workers take the keys; its driver is to be run by `main`."""
    return {HOOK: JOBS_HOOK, "env_vars": {NAME: name}}


def take() -> None:
    """Puts the job's keys into this process's environment; Ray calls it in every worker that it starts for the job.
    There is room for one such call: what else a trial's process does first comes after it.

    Raises:
        RuntimeError: they are gone.
    """
    from ray.experimental import internal_kv

    from lab.machines.card.prestart import hook

    _use(internal_kv._internal_kv_get(os.environ[NAME], namespace=KEPT_IN))
    hook()()


def main() -> None:
    """The driver: it moves the keys to where its workers find them, and removes them at the end."""
    from ray import _raylet

    module, name = sys.argv[1], os.environ[NAME].encode()
    sys.argv = sys.argv[1:]
    raylet: Any = _raylet
    head = raylet.GcsClient(address=os.environ["RAY_ADDRESS"])
    package = f"gcs://{_package(name.decode())}".encode()
    kept = head.internal_kv_get(package, None)
    _use(kept)
    try:
        head.internal_kv_put(name, kept, True, KEPT_IN)
        head.internal_kv_del(package, False, None)
        runpy.run_module(module, run_name="__main__", alter_sys=True)
    finally:
        head.internal_kv_del(name, False, KEPT_IN)


def _use(kept: bytes | None) -> None:
    if kept is None:
        raise RuntimeError("the keys of this job (--env) are no longer at the head: submit it again")
    os.environ.update(json.loads(kept))


def _package(name: str) -> str:
    return f"_ray_pkg_{name}.zip"


if __name__ == "__main__":
    main()
