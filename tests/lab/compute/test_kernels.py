"""A whole step without a compiler, and with a cache that many processes fill, and some leave half filled."""

import inspect
import json
import os
import signal
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest
import torch

from dynonet.learning.steps import ModeGroup, TrainState, alternating_step
from dynonet.reference.small import CPU, draws_of, make_batch, make_group, small_config
from lab.compute import kernels
from lab.compute.device import use_threads
from lab.errors import ConfigError

KERNELS = ("dynonet.kernels.gru_cpu", "lab.compute.draws_numba")
HERE = Path(__file__).parent

# Prints as its last line what `losses` gives, what was said, and how often a function came not from the cache.
PROGRAM = """
import json, sys, warnings
with warnings.catch_warnings(record=True) as caught:
    warnings.simplefilter("always")
    import torch
    torch.set_num_threads(1)
    import test_kernels
    losses = test_kernels.losses()
said = [str(w.message) for w in caught if "compiled" in str(w.message)]
kernels = [sys.modules.get(name) for name in ("dynonet.kernels.gru_numba", "lab.compute.draws_numba")]
stats = [getattr(k, f).stats for k in kernels for f in ("forward", "backward", "uniform") if hasattr(k, f)]
print(json.dumps({"losses": losses, "said": said, "compiled": sum(sum(s.cache_misses.values()) for s in stats)}))
"""
NO_COMPILER = """
import sys
sys.modules["numba"] = None
"""
# Dies halfway through writing the first compiled code: the cache's index already names it.
KILLED = """
import os, signal
from numba.core import caching
def save(self, name, data):
    with self._open_for_write(self._data_path(name)) as file:
        file.write(self._dump(data)[:500])
        file.flush()
        os.kill(os.getpid(), signal.SIGKILL)
caching.IndexDataCacheFile._save_data = save
"""
DRAWS = """
import torch
from lab.compute.draws import seed_keys, uniform
uniform(seed_keys(torch.tensor([1])), (5000,))
print("null")
"""
FULL_DISK = """
from numba.core import caching
def save(self, name, data):
    raise OSError(28, "No space left on device")
caching.IndexDataCacheFile._save_data = save
"""


def losses() -> list[float]:
    """Of two alternating steps in float32 that run every kernel: exact, as float32 fits into JSON's numbers."""
    configs = [small_config({"model.num_layers": 2}, seed=seed) for seed in (1, 2)]
    _, start = make_group(configs, 3, scale=0.1)
    group = ModeGroup(configs, 3, CPU, torch.float32)
    state = TrainState.initial(start.params.to(dtype=torch.float32))
    batch = tuple(t.float() for t in make_batch(configs[0], 3, 2, 48))
    found: list[torch.Tensor] = []
    for step in range(2):
        found += alternating_step(group, state, batch, lambda: batch, draws_of([1, 2], 1, step), torch.ones(2))
    return torch.cat(found).tolist()


def start(program: str, **environment: str) -> subprocess.Popen:
    path = os.pathsep.join([str(HERE), str(HERE.parents[2])])
    kept = {k: v for k, v in os.environ.items() if k not in ("DYNONET_KERNEL", "NUMBA_DISABLE_JIT")}
    env = {**kept, "PYTHONPATH": path, "OMP_NUM_THREADS": "1", **environment}
    pipes: dict[str, Any] = {"stdout": subprocess.PIPE, "stderr": subprocess.PIPE, "text": True}
    return subprocess.Popen([sys.executable, "-c", program], env=env, **pipes)


def end(process: subprocess.Popen) -> dict[str, Any]:
    output, problems = process.communicate(timeout=300)
    assert process.returncode == 0, problems
    return json.loads(output.splitlines()[-1])


def test_a_step_without_the_compiler_says_so_once_for_each_kernel() -> None:
    """Both steps run on plain torch operations, near the compiled kernels' numbers."""
    report = end(start(NO_COMPILER + PROGRAM))
    assert len(report["said"]) == len(KERNELS), report["said"]
    for name in KERNELS:
        (said,) = (line for line in report["said"] if line.startswith(name))
        assert "cannot be compiled" in said
        assert "numba" in said
        assert "plain torch operations take its place" in said
    assert report["losses"] == pytest.approx(losses(), rel=1e-5)


def test_a_kernel_goes_by_a_name_of_all_that_it_is_made_of(monkeypatch: pytest.MonkeyPatch) -> None:
    """Numba watches one file: a cached kernel must not outlive a change in the files that it calls into."""
    from dynonet.kernels import (
        gru_blocks,
        gru_numba,
        simd,  # here: the program above runs without Numba
    )
    from lab.compute import numba_cache

    source = inspect.getsource
    names = []
    for changed in (None, gru_numba, gru_blocks, simd, None):

        def read(module: Any, changed: Any = changed) -> str:
            return source(module) + ("# changed" if module is changed else "")

        def nothing(first, last):
            return None

        monkeypatch.setattr(inspect, "getsource", read)
        monkeypatch.setattr(numba_cache, "njit", lambda signature, **options: lambda function: function)
        names.append(gru_numba._compiled(nothing).__qualname__)
    assert names[0] == names[-1]
    assert len(set(names)) == 4


@pytest.mark.slow
def test_a_cache_that_killed_processes_left(tmp_path: Path) -> None:
    """Two die as they fill an empty one; then of two that start at once one compiles; one more has nothing to."""
    environment = {"NUMBA_CACHE_DIR": str(tmp_path), "DYNONET_KERNEL": "compiled"}
    dying = [start(KILLED + program, **environment) for program in ("import dynonet.kernels.gru_numba", DRAWS)]
    ended = [(*process.communicate(timeout=300), process.returncode) for process in dying]
    assert [code for *_, code in ended] == [-signal.SIGKILL] * 2, ended
    assert len(list(tmp_path.rglob("*.nbi"))) == len(list(tmp_path.rglob("*.nbc.tmp.*"))) == 2
    assert not list(tmp_path.rglob("*.nbc"))
    reports = [end(process) for process in [start(PROGRAM, **environment) for _ in range(2)]]
    reports.append(end(start(PROGRAM, **environment)))
    assert [report["said"] for report in reports] == [[]] * 3
    assert [report["losses"] for report in reports] == [losses()] * 3
    assert [sum(report["compiled"] for report in reports[:2]), reports[2]["compiled"]] == [3, 0]


@pytest.mark.parametrize("harm", ["damaged file", "full disk"])
def test_the_generator_does_without_a_cache_that_fails(harm: str, tmp_path: Path) -> None:
    environment = {"NUMBA_CACHE_DIR": str(tmp_path)}
    if harm == "full disk":
        end(start(FULL_DISK + DRAWS, **environment))
        return
    end(start(DRAWS, **environment))
    (code,) = tmp_path.rglob("*.nbc")
    code.write_bytes(code.read_bytes()[:500])
    end(start(DRAWS, **environment))


def test_the_threads_of_a_process_are_those_of_its_kernels() -> None:
    try:
        use_threads(2)
        assert (kernels.threads(), torch.get_num_threads()) == (2, 2)
        with pytest.raises(ConfigError, match="threads: got 0, at least 1"):
            use_threads(0)
    finally:
        use_threads(1)
