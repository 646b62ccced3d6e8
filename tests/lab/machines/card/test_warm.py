"""Before the first trial: its process has imported what it needs, and of all processes one has compiled each kernel."""

import json
import os
import shutil
import subprocess
import sys
import tempfile
from collections import Counter
from collections.abc import Iterator
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest
from ray import cloudpickle
from ray.cluster_utils import Cluster

from lab.machines.card.ahead import Ahead
from lab.machines.card.prestart import Prestart, hook
from lab.machines.nodes import Node
from lab.machines.preflight import PACKAGES
from lab.machines.session import RaySession

ROOT = Path(__file__).parents[4]
# A whole search whose trials write down what they find in their process as they begin, and its driver what is ready.
PROGRAM = """
import json, os, sys, time
from pathlib import Path
from lab.machines import session
from ray.air.execution import PlacementGroupResourceManager as Claims

class Trainable(session.StackTrainable):
    def setup(self, config, series=None):
        found = "lab.training.stack_run" in sys.modules and "torch" in sys.modules
        super().setup(config, series)
        from dynonet.kernels import gru_numba
        from lab.compute import draws_numba
        stats = [f.stats for f in (gru_numba.forward, gru_numba.backward, draws_numba.uniform)]
        counts = [sum(sum(getattr(s, name).values()) for s in stats) for name in ("cache_misses", "cache_hits")]
        path = Path({folder!r}, f"{os.getpid()}.found")
        if not path.exists():
            path.write_text(json.dumps([found, *counts, str(Path(session.__file__).parents[2])]))

    def step(self):
        ready, deadline = json.loads(Path({folder!r}, "ready").read_text()), time.monotonic() + 60
        while len(list(Path({folder!r}).glob("*.found"))) < len(ready) and time.monotonic() < deadline:
            time.sleep(0.05)  # no trial ends before others have begun
        return super().step()

def wait_ahead(self, trials):
    ready = wait(self, trials)
    if ready:
        Path({folder!r}, "ready").write_text(json.dumps(ready))
    return ready

def acquire_resources(self, request):
    time.sleep(0.5)  # a busy driver: of what it has claimed nothing is used yet
    return acquire(self, request)

acquire, Claims.acquire_resources = Claims.acquire_resources, acquire_resources
wait, session.RaySession.wait_ahead = session.RaySession.wait_ahead, wait_ahead
session.StackTrainable = Trainable
if __name__ == "__main__":
    from tune.search import main
    main("--preset smoke --results out --trials 6 --final-replicates 0".split() + sys.argv[1:])
"""


@pytest.fixture
def temporary() -> Iterator[str]:
    """Ray's folder: a socket's path must be short."""
    tmp = tempfile.mkdtemp(prefix="ray", dir="/tmp")
    yield tmp
    shutil.rmtree(tmp, ignore_errors=True)


def search(folder: Path, temporary: str, *more: str) -> tuple[list[Any], dict[int, tuple[bool, int, int, str]]]:
    """Runs the program: the processes that were ready, and what each trial's found: whether all was imported, how many
    functions it had to compile and found compiled, and where the project is."""
    (folder / "program.py").write_text(PROGRAM.replace("{folder!r}", repr(str(folder))))
    env = {**os.environ, "RAY_TMPDIR": temporary, "TMPDIR": str(folder), "PYTHONPATH": str(ROOT)}
    env = {name: value for name, value in env.items() if name not in ("RAY_ADDRESS", "DYNONET_KERNEL")}
    done = subprocess.run(
        [sys.executable, "program.py", *more], env=env, capture_output=True, text=True, timeout=450, cwd=folder
    )
    assert done.returncode == 0, done.stderr
    found = {int(path.stem): tuple(json.loads(path.read_text())) for path in folder.glob("*.found")}
    return json.loads((folder / "ready").read_text()), found


def test_the_first_trials_find_all_compiled_and_imported(
    tmp_path: Path, temporary: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("NUMBA_CACHE_DIR", str(tmp_path / "cache"))
    ready, trials = search(tmp_path, temporary)
    assert ready and sorted(trials) == ready, "trials run where all is ready, and nowhere else"
    found, misses, hits, _ = zip(*trials.values(), strict=True)
    assert all(found) and sum(misses) == 3, "three functions, each compiled by one of them"
    assert sum(hits) == 3 * (len(ready) - 1)
    assert not list(tmp_path.glob("dynonet-*")), "nothing is left behind"


@pytest.mark.slow
@pytest.mark.parametrize(("gpus", "trials_each"), [("0", 2), ("1", 1)])
def test_on_a_cluster_too(
    tmp_path: Path, temporary: str, monkeypatch: pytest.MonkeyPatch, gpus: str, trials_each: int
) -> None:
    """Ray as it starts by itself, on two machines, where another copy of the project is installed than the driver's."""
    for package in PACKAGES:
        shutil.copytree(ROOT / package, tmp_path / package, ignore=shutil.ignore_patterns("__pycache__"))
    monkeypatch.setenv("RAY_TMPDIR", temporary)
    monkeypatch.setenv("PYTHONPATH", str(ROOT))
    monkeypatch.setenv("RAY_AUTH_MODE", "disabled")
    monkeypatch.setenv("DYNONET_DEVICE", "cpu")
    head = {"num_cpus": 0, "include_dashboard": False, "object_store_memory": 80 << 20}
    cluster = Cluster(initialize_head=True, head_node_args=head)
    try:
        for _ in range(2):
            cluster.add_node(num_cpus=2, num_gpus=1, object_store_memory=80 << 20)
        cluster.wait_for_nodes()
        ready, trials = search(tmp_path, temporary, "--address", cluster.address, "--gpus-per-trial", gpus)
    finally:
        cluster.shutdown()
    assert sorted(Counter(node for node, _ in ready).values()) == [trials_each] * 2
    assert {pid for _, pid in ready} <= set(trials), "each has had a trial"
    assert all(trials[pid][0] for _, pid in ready)
    assert {root for *_, root in trials.values()} == {str(tmp_path)}, "the driver's copy"


def test_a_machine_of_an_older_copy_starts_processes_all_the_same() -> None:
    code = """
import os, pickle, ray, sys
from types import SimpleNamespace
from ray.experimental import internal_kv
ray.get_runtime_context = lambda: SimpleNamespace(get_job_id=lambda: "01")
internal_kv._internal_kv_get = lambda key, namespace: b'{"models": [], "gpu": false, "paths": ["/driver"]}'
sys.modules["lab.machines.card.prestart"] = None
pickle.load(sys.stdin.buffer)()
print("up", "lab" in sys.modules, sys.path[0])
"""
    done = subprocess.run([sys.executable, "-c", code], input=cloudpickle.dumps(hook()), capture_output=True)
    assert done.stdout == b"up False /driver\n", done.stderr.decode()


def test_what_is_imported_ahead_asks_nothing_of_a_card() -> None:
    code = """
import sys, torch
def asked(*arguments): sys.exit("the card was asked")
for name in ("_cuda_init", "_cuda_getDeviceCount", "_cuda_getDevice"): setattr(torch._C, name, asked)
torch.cuda._lazy_init = torch.cuda.is_available = torch.cuda.device_count = asked
import lab.machines.card.ready as ready
class There(type(ready.Path())):
    def glob(self, pattern): return iter(["/dev/nvidia0"]) if "nvidia" in pattern else super().glob(pattern)
ready.Path = There
ready.import_all(["dynonet"], gpu=True)
assert "dynonet.kernels.gru_triton" in sys.modules
"""
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, cwd=ROOT)
    assert done.returncode == 0, done.stderr


def test_no_driver_waits_for_more_processes_than_ray_starts(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(Ahead, "wait", lambda self, most: [most])
    session: Any = object.__new__(RaySession)
    session.nodes, session.concurrent = [Node("a", "10.0.0.1", 2.0, 0.0, 1e9)], 6
    for trials, processes in ((50, 2), (1, 1)):
        session._ahead = object.__new__(Ahead)
        assert session.wait_ahead(trials) == [processes] and session.wait_ahead(trials) == []


def test_a_head_that_does_not_answer_costs_no_time(monkeypatch: pytest.MonkeyPatch) -> None:
    def refused(*_: Any, **__: Any) -> Any:
        raise RuntimeError("the head is gone")

    monkeypatch.setattr("ray.get_runtime_context", lambda: SimpleNamespace(get_job_id=lambda: "01"))
    for name in ("put", "list", "del"):
        monkeypatch.setattr(f"lab.machines.card.prestart._internal_kv_{name}", refused)
    monkeypatch.setattr("lab.machines.card.prestart.until_ready", refused)
    prestart = Prestart(["linear"])
    prestart.begin({"a": 2}, gpu=False)
    assert prestart.asked == 0 and prestart.wait() == []


def test_nobody_waits_for_processes_of_a_machine_that_has_gone(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("ray.get_runtime_context", lambda: SimpleNamespace(get_job_id=lambda: "01"))
    kept: dict[str, bytes] = {}
    kv = "lab.machines.card.prestart._internal_kv"
    monkeypatch.setattr(f"{kv}_put", lambda key, value, **_: kept.update({key: value}))
    monkeypatch.setattr(f"{kv}_list", lambda prefix, **_: [key.encode() for key in kept if key.startswith(prefix)])
    monkeypatch.setattr(f"{kv}_del", lambda prefix, **_: kept.clear())
    monkeypatch.setattr(Prestart, "_ask", lambda self, counts: None)
    monkeypatch.setattr("lab.machines.card.prestart._job_config", lambda: SimpleNamespace(py_driver_sys_path=["/x"]))
    monkeypatch.setattr("ray.nodes", lambda: [{"NodeID": "a", "Alive": True}, {"NodeID": "b", "Alive": False}])
    seen: list[tuple[int, bool]] = []
    monkeypatch.setattr("lab.machines.card.prestart.until_ready", lambda most, look, pause: seen.append(look()))
    prestart = Prestart(["linear"])
    prestart.begin({"a": 1, "b": 1}, gpu=False)
    assert json.loads(kept["01/asked"]) == {"models": ["linear"], "gpu": False, "paths": ["/x"]}
    kept |= {"01/begun/a/7": b"", "01/ready/a/7": b"", "01/begun/b/8": b""}
    assert prestart.wait() == [("a", 7)] and not kept, "and nothing stays at the head"
    assert seen == [(1, False)], "one has come, and none is under way"


@pytest.mark.parametrize(("trials", "asked"), [(50, {"a": 8, "b": 2}), (5, {"a": 4, "b": 1}), (1, {"a": 1, "b": 1})])
def test_what_is_asked_of_a_cluster_is_shared_out(
    monkeypatch: pytest.MonkeyPatch, trials: int, asked: dict[str, int]
) -> None:
    counts: list[dict[str, int]] = []
    monkeypatch.setattr(Prestart, "begin", lambda self, theirs, gpu: counts.append(theirs))
    session: Any = object.__new__(RaySession)
    session.nodes = [Node("a", "10.0.0.1", 8.0, 0.0, 1e9), Node("b", "10.0.0.2", 2.0, 0.0, 1e9)]
    session.cpus_per_trial, session.gpus, session.concurrent, session._trials = 1, 0, 10, trials
    session._ahead = object.__new__(Prestart)
    for session.auto in (True, False):  # the share of a GPU is to be measured first
        session._start_ahead()
    assert counts == [asked]
