"""The doors of Ray: what one that we start listens on, who can read its token, which keys no Ray writes down, and what
environment processes have."""

import contextlib
import functools
import json
import os
import uuid
from collections.abc import Iterator
from pathlib import Path
from typing import Any

from ray._private.runtime_env.constants import RAY_JOB_CONFIG_JSON_ENV_VAR

from lab.errors import ConfigError

HOOK = "worker_process_setup_hook"  # of a runtime_env: what each process of a job does first
JOBS_HOOK = "cluster.sending.keys.take"  # that of a job that is sent from here
TOKEN = ".ray/auth_token"  # below the home folder: where Ray looks for it


@contextlib.contextmanager
def loopback() -> Iterator[None]:
    """A Ray that is started in here listens on 127.0.0.1 alone, as Ray's own do on macOS and Windows.

    By itself it takes the machine's address on Linux, and listens on all: GCS, raylet, object manager, agents, workers
    and driver. `_node_ip_address` of `ray.init` would not do: Ray puts the machine's address in the place of loopback.
    """
    from ray._private import ray_constants

    before = ray_constants.ENABLE_RAY_CLUSTER
    ray_constants.ENABLE_RAY_CLUSTER = False
    try:
        yield
    finally:
        ray_constants.ENABLE_RAY_CLUSTER = before


def private_token() -> None:
    """Sees to it that the token of this account's own Ray is there and its owner's alone; Ray would make it for all.

    Whole or not at all, so that drivers that start together take the same. One that is named in the environment, and a
    Ray that asks for none, are left as they are.

    Raises:
        ConfigError: there is none, and it cannot be kept.
    """
    named = os.environ.get("RAY_AUTH_TOKEN") or os.environ.get("RAY_AUTH_TOKEN_PATH")
    if named or os.environ.get("RAY_AUTH_MODE", "token").lower() != "token":
        return
    path = Path(os.path.expanduser("~")) / TOKEN
    try:
        if not path.exists():
            _make(path)
    except OSError as error:
        raise ConfigError(
            f"no token for Ray can be kept in {path} ({error.strerror}): name one that can be read "
            "(RAY_AUTH_TOKEN_PATH), or set RAY_AUTH_TOKEN"
        ) from None
    with contextlib.suppress(OSError):  # one that is not ours to change, such as a mounted secret
        if path.stat().st_mode & 0o077:
            path.chmod(0o600)


def _make(path: Path) -> None:
    from ray._private.authentication.authentication_token_generator import generate_new_authentication_token

    path.parent.mkdir(mode=0o700, parents=True, exist_ok=True)
    draft = path.with_name(f".{path.name}-{uuid.uuid4().hex[:8]}")
    with open(os.open(draft, os.O_WRONLY | os.O_CREAT | os.O_EXCL, 0o600), "w") as file:
        file.write(generate_new_authentication_token())
    try:
        os.link(draft, path)  # fails where another driver was faster: its token stands
    except FileExistsError:
        pass
    finally:
        draft.unlink()


def plain_environment() -> None:
    """Keeps out of the runtime environment of trials what Tune adds by itself.

    The cloud's keys: a runtime environment is written as it is into a log that others can read, and on a cluster shown
    by the state API. Trials have their keys from the machine: here they inherit the environment, a cluster's have a
    role or variables of their own, and a job's come by `cluster.sending.keys`.

    And all the rest (a switch of PyTorch Lightning, variables of Ray's own libraries): for an environment of the
    trials' own Ray would start new processes, though others are ready. What they need of it they inherit here; on a
    cluster the job has it (`of_ray`).
    """
    from ray.tune.execution import class_cache

    _names_of_ray()
    class_cache.DEFAULT_ENV_VARS, class_cache.ENV_VARS_TO_PROPAGATE = {}, set()


def of_ray() -> dict[str, str]:
    """The variables of Ray's own libraries that Tune passes on by itself, as they are set here."""
    return {name: os.environ[name] for name in _names_of_ray() if name in os.environ}


@functools.cache
def _names_of_ray() -> list[str]:
    """First asked for before Tune is told to pass on none."""
    from ray.tune.execution import class_cache

    return sorted(name for name in class_cache.ENV_VARS_TO_PROPAGATE if name.startswith(("RAY_", "TUNE_", "TRAIN_")))


def added_to_job(environment: dict[str, Any]) -> dict[str, Any]:
    """A driver's runtime_env without what that of the job says already, if it runs as a job of the cluster: Ray refuses
    a variable that both name, though its value be the same, and a second hook."""
    job = _job()
    said = job.get("env_vars") or {}
    variables = {name: value for name, value in environment["env_vars"].items() if said.get(name) != value}
    rest = {name: value for name, value in environment.items() if name != HOOK or HOOK not in job}
    return {**rest, "env_vars": variables}


def hooked() -> bool:
    """Whether the processes of this driver's job do what a hook of ours says: not where the job has one of its own."""
    return _job().get(HOOK) in (None, JOBS_HOOK)


def _job() -> dict[str, Any]:
    """The runtime_env of the job that this driver is; {} where it is none."""
    return json.loads(os.environ.get(RAY_JOB_CONFIG_JSON_ENV_VAR) or "{}").get("runtime_env") or {}
