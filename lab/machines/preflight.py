"""Before the first trial on a cluster: whether every machine can do what a trial will ask of it.

Each of Tune's trials would find out by itself, as often as it is tried again, and say so in a traceback. Here each
machine is asked once, at the same time as the others.
"""

import contextlib
import hashlib
import json
import os
import uuid
from collections.abc import Callable, Iterable, Mapping
from functools import lru_cache
from pathlib import Path
from typing import Any

import ray
from ray.util.scheduling_strategies import NodeAffinitySchedulingStrategy

from lab.errors import ConfigError
from lab.machines.card.mps import ASKED, answers
from lab.machines.card.prestart import APART
from lab.machines.memory import shortage
from lab.machines.nodes import Node
from lab.provenance import code_provenance
from lab.store.objects.storage import ObjectMissing, Storage, StorageError, open_storage

PROBE_SECONDS = 60.0  # for a machine to answer: a loaded one takes a while to start a process
GPU_SHARE = 0.001  # of a GPU: a probe finds room beside other trials
PACKAGES = ("lab", "dynonet", "forecasters", "tune", "ablations")
FOLDER = "probes"
_STORAGE = "its storage"
_KEYS_HINT = (
    "\nThe keys in this shell go to no other machine: give each a role or its own, or send the study with them: "
    "python -m cluster.submit ... --env AWS_ACCESS_KEY_ID --env AWS_SECRET_ACCESS_KEY"
)


@lru_cache(maxsize=1)
def code_digest() -> str:
    """A checksum of the project's own sources, as this process would import them."""
    root = Path(__file__).resolve().parents[2]
    digest = hashlib.sha256()
    for path in sorted(path for package in PACKAGES for path in (root / package).rglob("*.py")):
        digest.update(str(path.relative_to(root)).encode() + b"\0" + path.read_bytes())
    return digest.hexdigest()


def versions() -> dict[str, str]:
    """Of Python and of the packages that results depend on; a CPU and a GPU build of one version are the same."""
    known: dict[str, str] = json.loads(code_provenance()["versions"])
    return {name: text.split("+")[0] for name, text in known.items()}


def probe(
    url: str, token: str, node: str, expected: Mapping[str, str], digest: str, gpu: bool, side_by_side: bool = False
) -> list[str]:
    """What is wrong with this machine, a clause each; [] if a trial can run on it. Leaves a file for the driver."""
    problems = []
    here = versions()
    for name, wanted in expected.items():
        if here.get(name) != wanted:
            problems.append(f"it has {name} {here.get(name, '(none)')}, the driver {wanted}")
    if not problems and code_digest() != digest:
        problems.append("its copy of the project is another than the driver's; install the same one everywhere")
    try:
        storage = open_storage(url, create=False)
        if storage.get(f"{FOLDER}/{token}/driver") != token.encode():
            problems.append(f"what it reads in {storage.url} is not what the driver wrote")
        storage.put(f"{FOLDER}/{token}/{node}", token.encode())
    except ObjectMissing:
        problems.append(
            f"it does not see what the driver wrote to {url}: this is not the same storage; take a bucket, or a folder "
            "that every machine mounts at the same place"
        )
    except (StorageError, ValueError) as error:
        problems.append(f"{_STORAGE}: {getattr(error, 'strerror', None) or error}")
    if gpu:
        problems += _gpu_problems()
    if side_by_side and not answers(os.environ):
        problems.append(f"no CUDA MPS runs there (--gpu-sharing mps); {ASKED}=1 in cluster/storage.env has it started")
    return problems


def _gpu_problems() -> list[str]:
    import torch

    from lab.compute.device import device_for

    try:
        device = device_for(True)
        torch.ones(8, device=device).sum().item()
    except (ConfigError, RuntimeError) as error:
        return [f"Ray gives it a GPU that cannot be used: {str(error).splitlines()[0]}"]
    return []


def check_machines(
    storage: Storage,
    nodes: Iterable[Node],
    gpu: bool,
    side_by_side: bool = False,
    meanwhile: Callable[[], None] | None = None,
) -> None:
    """Asks every machine, all at once and whatever else they do, whether a trial can run on it.

    Args:
        meanwhile: called once all are asked.
    Raises:
        ConfigError: one line for each thing that is wrong with one of them.
        StorageError: the driver itself cannot write the storage.
    """
    token = uuid.uuid4().hex[:16]
    storage.put(f"{FOLDER}/{token}/driver", token.encode())
    try:
        waiting = {}
        for node in nodes:
            with contextlib.suppress(ValueError):  # one that has gone since
                waiting[_started(storage.url, token, node, gpu, side_by_side)] = node
        if meanwhile is not None:
            meanwhile()
        ready, late = ray.wait(list(waiting), num_returns=len(waiting), timeout=PROBE_SECONDS) if waiting else ([], [])
        problems = [
            f"machine {waiting[reference].address}: {problem}"
            for reference in ready
            for problem in _answer(reference, storage, f"{FOLDER}/{token}/{waiting[reference].id}")
        ]
        for reference in late:
            ray.cancel(reference, force=True)
            busy = "; are its GPUs all taken?" if gpu else ""
            problems.append(f"machine {waiting[reference].address}: no answer within {PROBE_SECONDS:g} s{busy}")
    finally:
        _remove(storage, token)
    if problems:
        asked = "AWS_SECRET_ACCESS_KEY" in os.environ and any(_STORAGE in each for each in problems)
        hint = _KEYS_HINT if asked else ""
        raise ConfigError("the cluster is not ready:\n  " + "\n  ".join(sorted(problems)) + hint)


def _started(url: str, token: str, node: Node, gpu: bool, side_by_side: bool) -> Any:
    task = ray.remote(probe).options(
        num_cpus=0, num_gpus=GPU_SHARE if gpu else 0, max_retries=0, runtime_env=APART,
        scheduling_strategy=NodeAffinitySchedulingStrategy(node.id, soft=False),
    )  # fmt: skip
    return task.remote(url, token, node.id, versions(), code_digest(), gpu, side_by_side)  # type: ignore[call-arg]


def _answer(reference: Any, storage: Storage, left: str) -> list[str]:
    """What a machine says is wrong with it, or what its silence or the absence of its file says."""
    try:
        problems: list[str] = ray.get(reference)
    except Exception as error:  # a machine can fail in as many ways as a program
        if (short := shortage(error)) is not None:
            return [f"it has no memory left for a process{short.text()}"]
        lines = [line.strip() for line in str(error).splitlines() if line.strip()]
        return [f"it cannot run the project's code: {(lines or [type(error).__name__])[-1][:200]}"]
    if not problems and not storage.exists(left):
        return [f"what it wrote to {storage.url} is not where the driver looks: this is not the same storage"]
    return problems


def _remove(storage: Storage, token: str) -> None:
    """Takes away what the probes left; another driver's may stay, and a storage that has gone is no reason to fail."""
    with contextlib.suppress(OSError):
        for path in storage.list(f"{FOLDER}/{token}"):
            storage.delete(path)
        if storage.local:
            os.rmdir(storage.full(f"{FOLDER}/{token}"))
            os.rmdir(storage.full(FOLDER))
