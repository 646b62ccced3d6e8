"""Before the first trial: its process has imported what it needs, and of all processes one has compiled each kernel."""

import json
import os
import shutil
import subprocess
import sys
import tempfile
from pathlib import Path

ROOT = Path(__file__).parents[4]
# A session whose processes are made ready, and then as many actors as trials: what each finds in its process.
PROGRAM = """
import json, os, sys
import ray
from dynonet.config import Config
from lab.machines.options import Resources
from lab.machines.processes import end_ray
from lab.machines.session import RaySession
from lab.series import load_series

@ray.remote(num_cpus=1)
class Trial:
    def look(self):
        found = "lab.training.stack_run" in sys.modules and "torch" in sys.modules
        from dynonet.kernels import gru_numba
        from lab.compute import draws_numba
        stats = [f.stats for f in (gru_numba.forward, gru_numba.backward, draws_numba.uniform)]
        counts = [sum(sum(getattr(s, name).values()) for s in stats) for name in ("cache_misses", "cache_hits")]
        return os.getpid(), found, *counts

configs = [Config.create({"model.worker_hidden": hidden}) for hidden in (2, 3)]
series = load_series(configs[0].data)
session = RaySession(Resources(gpus_per_trial=0), [series])
ahead = session.warm_up(configs, series.identity).wait()
ready = session.wait_ahead(session.concurrent)
trials = [Trial.remote() for _ in ready]
print(json.dumps([ahead, ready, ray.get([trial.look.remote() for trial in trials])]))
end_ray()
"""


def test_the_first_trial_finds_all_compiled_and_imported(tmp_path: Path) -> None:
    tmp = tempfile.mkdtemp(prefix="ray", dir="/tmp")  # a socket's path must be short
    env = {**os.environ, "RAY_TMPDIR": tmp, "TMPDIR": str(tmp_path), "PYTHONPATH": str(ROOT)}
    env["NUMBA_CACHE_DIR"] = str(tmp_path / "cache")
    env = {name: value for name, value in env.items() if name not in ("RAY_ADDRESS", "DYNONET_KERNEL")}
    try:
        done = subprocess.run(
            [sys.executable, "-c", PROGRAM], env=env, capture_output=True, text=True, timeout=450, cwd=tmp_path
        )
    finally:
        shutil.rmtree(tmp, ignore_errors=True)
    assert done.returncode == 0, done.stderr
    ahead, ready, trials = json.loads(done.stdout.splitlines()[-1])
    assert not ahead and ready, "on this machine the processes that Ray starts ahead see to it"
    processes, found, misses, hits = zip(*trials, strict=True)
    assert sorted(processes) == ready, "actors run where all is ready"
    assert all(found) and sum(misses) == 3, "three functions, each compiled by one of them"
    assert sum(hits) == 3 * (len(ready) - 1)
    assert not list(tmp_path.glob("dynonet-*")), "nothing is left behind"
