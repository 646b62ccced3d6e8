"""Before the first trial: its process has imported what it needs, and of all processes one has compiled each kernel."""

import json
import os
import shutil
import subprocess
import sys
import tempfile
from pathlib import Path
from types import SimpleNamespace
from typing import Any

from lab.machines.nodes import Node
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
            path.write_text(json.dumps([found, *counts]))

    def step(self):
        time.sleep(0.2)  # so that no trial ends before another begins
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
    main("--preset smoke --results out --trials 6 --final-replicates 0".split())
"""


def test_the_first_trials_find_all_compiled_and_imported(tmp_path: Path) -> None:
    tmp = tempfile.mkdtemp(prefix="ray", dir="/tmp")  # a socket's path must be short
    env = {**os.environ, "RAY_TMPDIR": tmp, "TMPDIR": str(tmp_path), "PYTHONPATH": str(ROOT)}
    env["NUMBA_CACHE_DIR"] = str(tmp_path / "cache")
    env = {name: value for name, value in env.items() if name not in ("RAY_ADDRESS", "DYNONET_KERNEL")}
    (tmp_path / "program.py").write_text(PROGRAM.replace("{folder!r}", repr(str(tmp_path))))
    try:
        done = subprocess.run(
            [sys.executable, "program.py"], env=env, capture_output=True, text=True, timeout=450, cwd=tmp_path
        )
    finally:
        shutil.rmtree(tmp, ignore_errors=True)
    assert done.returncode == 0, done.stderr
    ready = json.loads((tmp_path / "ready").read_text())
    trials = {int(path.stem): json.loads(path.read_text()) for path in tmp_path.glob("*.found")}
    assert ready and sorted(trials) == ready, "trials run where all is ready, and nowhere else"
    found, misses, hits = zip(*trials.values(), strict=True)
    assert all(found) and sum(misses) == 3, "three functions, each compiled by one of them"
    assert sum(hits) == 3 * (len(ready) - 1)
    assert not list(tmp_path.glob("dynonet-*")), "nothing is left behind"


def test_no_driver_waits_for_more_processes_than_ray_starts() -> None:
    session: Any = object.__new__(RaySession)
    session.nodes, session.concurrent = [Node("a", "10.0.0.1", 2.0, 0.0, 1e9)], 6
    for trials, processes in ((50, 2), (1, 1)):
        session._ahead = SimpleNamespace(wait=lambda most: [most])
        assert session.wait_ahead(trials) == [processes] and session.wait_ahead(trials) == []
