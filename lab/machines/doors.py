"""The doors of Ray: what one that we start listens on, who can read its token, which keys no Ray writes down, and what
environment processes have."""

import contextlib
import json
import os
import uuid
from collections.abc import Iterator
from pathlib import Path
from typing import Any

from ray._private.runtime_env.constants import RAY_JOB_CONFIG_JSON_ENV_VAR

from lab.errors import ConfigError

HOOK = "worker_process_setup_hook"  # of a runtime_env: what each process of a job does first
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


def plain_environment(local: bool) -> None:
    """Keeps out of the runtime environment of trials what Tune adds by itself.

    The cloud's keys: a runtime environment is written as it is into a log that others can read, and on a cluster shown
    by the state API. Trials have their keys from the machine: here they inherit the environment, a cluster's have a
    role or variables of their own, and a job's come by `cluster.sending.keys`.

    And all the rest that they do not need (a switch of PyTorch Lightning; on this machine also what they inherit): Ray
    would start new processes for an environment of their own, though others are ready.
    """
    from ray.tune.execution import class_cache

    own = {name for name in class_cache.ENV_VARS_TO_PROPAGATE if name.startswith(("RAY_", "TUNE_", "TRAIN_"))}
    class_cache.ENV_VARS_TO_PROPAGATE = set() if local else own
    class_cache.DEFAULT_ENV_VARS = {}


def added_to_job(environment: dict[str, Any]) -> dict[str, Any]:
    """A driver's runtime_env without what that of the job has, if it runs as a job of the cluster: Ray takes neither a
    variable nor a hook that both say, though it be the same."""
    job = (json.loads(os.environ.get(RAY_JOB_CONFIG_JSON_ENV_VAR) or "{}") or {}).get("runtime_env") or {}
    variables = {name: value for name, value in environment["env_vars"].items() if name not in job.get("env_vars", {})}
    rest = {name: value for name, value in environment.items() if name != HOOK or HOOK not in job}
    return {**rest, "env_vars": variables}
