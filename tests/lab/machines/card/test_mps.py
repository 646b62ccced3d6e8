"""CUDA MPS, with a control daemon that is a script: who starts it, who is its client, and who stops it."""

import os
import shutil
import signal
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest

from lab.errors import ConfigError
from lab.machines.card.mps import CONTROL, PIPES, SMI, Mps
from lab.machines.options import Resources
from lab.machines.preflight import code_digest, probe, versions
from lab.store.objects.storage import open_storage

ROOT = Path(__file__).parents[4]
# As NVIDIA's: -d leaves a process behind, whose folder the environment names; without it commands come on stdin.
DAEMON = """#!/bin/sh
pid="${CUDA_MPS_PIPE_DIRECTORY:-/nonexistent}/nvidia-cuda-mps-control.pid"
if [ "$1" = -d ]; then
  [ -z "$REFUSES" ] || { echo "An instance of this daemon is already running"; exit 1; }
  [ -z "$CUDA_VISIBLE_DEVICES" ] || { echo "it would number devices anew"; exit 1; }
  [ -d "$CUDA_MPS_LOG_DIRECTORY" ] || exit 1
  sleep 300 &
  echo $! >"$pid"
  exit 0
fi
read command
kill -0 "$(cat "$pid" 2>/dev/null)" 2>/dev/null || { echo "Cannot find MPS control daemon process"; exit 1; }
[ "$command" != quit ] || { kill "$(cat "$pid")"; rm "$pid"; }
"""
# A user of the daemon in a process of its own, until it hears something.
USER = """
import os, sys
from pathlib import Path
from lab.machines.card.mps import Mps
Mps(Path(sys.argv[1])).start()
print(os.environ["CUDA_MPS_PIPE_DIRECTORY"], flush=True)
sys.stdin.readline()
"""


def program(folder: Path, name: str, text: str) -> None:
    (folder / name).write_text(text)
    (folder / name).chmod(0o755)


@pytest.fixture
def here(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Path]:
    """A folder for the daemon, whose program is the first on PATH; no daemon outlives the test."""
    program(tmp_path, CONTROL, DAEMON)
    monkeypatch.setenv("PATH", f"{tmp_path}:{os.environ['PATH']}")
    monkeypatch.setenv("PYTHONPATH", str(ROOT))
    monkeypatch.setenv("CUDA_VISIBLE_DEVICES", "0")
    for name in ("CUDA_MPS_PIPE_DIRECTORY", "CUDA_MPS_LOG_DIRECTORY"):
        monkeypatch.delenv(name, raising=False)
    yield tmp_path / "mps"
    if pid := daemon(tmp_path / "mps"):
        os.kill(pid, signal.SIGKILL)


def daemon(folder: Path) -> int | None:
    """The process of the daemon, None where none runs."""
    try:
        pid = int((folder / "pipe" / "nvidia-cuda-mps-control.pid").read_text())
        os.kill(pid, 0)
    except (FileNotFoundError, ProcessLookupError):
        return None
    return pid


def user(folder: Path) -> subprocess.Popen:
    process = subprocess.Popen(
        [sys.executable, "-c", USER, str(folder)], stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True
    )
    assert process.stdout is not None and process.stdout.readline() == f"{folder / 'pipe'}\n"
    return process


def test_the_first_starts_it_and_the_last_stops_it(here: Path) -> None:
    first = user(here)
    started = daemon(here)
    assert started is not None
    own = Mps(here)
    own.start()
    assert daemon(here) == started and os.environ[PIPES] == str(here / "pipe")
    first.communicate("")
    assert first.returncode == 0 and daemon(here) == started, "this process still needs it"
    own.stop()
    own.stop()
    assert daemon(here) is None and PIPES not in os.environ


def test_one_that_a_killed_driver_left_serves_the_next_which_stops_it(here: Path) -> None:
    killed = user(here)
    left = daemon(here)
    killed.kill()
    killed.communicate()
    assert daemon(here) == left is not None
    user(here).communicate("")
    assert daemon(here) is None


def test_one_of_somebody_else_is_used_and_left_alone(here: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    for name in ("pipe", "log"):
        (here / "theirs" / name).mkdir(parents=True)
    monkeypatch.setenv(PIPES, str(here / "theirs" / "pipe"))
    monkeypatch.setenv("CUDA_MPS_LOG_DIRECTORY", str(here / "theirs" / "log"))
    env = {name: value for name, value in os.environ.items() if name != "CUDA_VISIBLE_DEVICES"}
    subprocess.run([CONTROL, "-d"], env=env, check=True, stdout=subprocess.DEVNULL)
    theirs = daemon(here / "theirs")
    try:
        own = Mps(here)
        own.start()
        own.stop()
        assert daemon(here / "theirs") == theirs is not None and daemon(here) is None
        assert os.environ[PIPES] == str(here / "theirs" / "pipe")
    finally:
        subprocess.run([CONTROL], input="quit\n", text=True, check=True)


def test_a_folder_that_somebody_has_deleted_is_no_error_at_the_end(here: Path) -> None:
    own = Mps(here)
    own.start()
    pid = daemon(here)
    shutil.rmtree(here)
    own.stop()
    assert PIPES not in os.environ and pid is not None
    os.kill(pid, signal.SIGKILL)


def test_where_there_is_none_one_sentence_says_so(here: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def refused() -> str:
        with pytest.raises(ConfigError) as found:
            Mps(here).start()
        assert str(found.value).endswith("without --gpu-sharing mps trials compute on it in turns")
        return str(found.value)

    with monkeypatch.context() as patch:
        patch.setenv("REFUSES", "1")
        assert f"{CONTROL} did not start: An instance of this daemon is already running" in refused()
    program(here.parent, SMI, "#!/bin/sh\necho '0, Default'\necho '1, Exclusive_Process'\n")
    assert "GPU 1 is in compute mode Exclusive_Process, and not ours to share" in refused()
    program(here.parent, SMI, "#!/bin/sh\nsleep 60\n")
    with monkeypatch.context() as patch:
        patch.setattr("lab.machines.card.mps.SECONDS", 0.2)
        assert f"{SMI} does not answer (Command" in refused()
    (here.parent / SMI).unlink()
    with monkeypatch.context() as patch:
        patch.setattr(os, "getuid", lambda: here.parent.stat().st_uid + 1)
        assert f"{here} cannot be used (it belongs to another account" in refused()
    (here.parent / CONTROL).unlink()
    assert f"--gpu-sharing mps: no {CONTROL} on PATH (it comes with NVIDIA's driver)" in refused()
    assert daemon(here) is None and PIPES not in os.environ


def test_a_machine_of_a_cluster(here: Path, monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    """Started where its environment asks for it; a driver that asks for it is told where it does not run."""
    monkeypatch.setenv("TMPDIR", str(tmp_path))
    folder = tmp_path / f"dynonet-mps-{os.getuid()}"
    command = [sys.executable, "-m", "lab.machines.card.mps"]
    subprocess.run([*command, "start"], check=True)
    assert not folder.exists(), "nobody asked"
    monkeypatch.setenv("DYNONET_MPS", "1")
    storage = open_storage(tmp_path / "out")
    storage.put("probes/t/driver", b"t")
    about = (storage.url, "t", "n", versions(), code_digest(), False)
    assert probe(*about, side_by_side=True) == [
        "no CUDA MPS runs there (--gpu-sharing mps); DYNONET_MPS=1 in cluster/storage.env has it started"
    ]
    subprocess.run([*command, "start"], check=True)
    assert daemon(folder), "it lives on"
    told = subprocess.run(
        ["bash", "-c", f". {ROOT}/cluster/env.sh; echo $CUDA_MPS_PIPE_DIRECTORY"],
        env={**os.environ, "DYNONET_MPS": "1"}, capture_output=True, text=True, check=True,
    )  # fmt: skip
    assert told.stdout.strip() in ("", str(folder / "pipe"))  # storage.env says 0 as it comes
    user(folder).communicate("")
    assert daemon(folder), "a search on that machine does not end it for the others"
    monkeypatch.setenv(PIPES, str(folder / "pipe"))  # as env.sh does
    assert probe(*about, side_by_side=True) == []
    subprocess.run([*command, "stop"], check=True)
    assert not daemon(folder)
    subprocess.run([*command, "start"], check=True)
    subprocess.run([CONTROL], input="quit\n", text=True, check=True)  # as with the machine
    monkeypatch.delenv(PIPES)
    user(folder).communicate("")
    assert not daemon(folder), "the one that was to stay was the one before"
    (tmp_path / CONTROL).unlink()
    done = subprocess.run([*command, "start"], check=True, capture_output=True, text=True)
    assert done.stderr.startswith("mps: --gpu-sharing mps: no nvidia-cuda-mps-control on PATH")


def test_a_trial_that_shares_no_gpu_cannot_compute_beside_another() -> None:
    assert Resources(gpus_per_trial=0.25, gpu_sharing="mps") and Resources(gpus_per_trial="auto", gpu_sharing="mps")
    for gpus in (None, 0, 1, 2):
        with pytest.raises(ConfigError, match="mps goes with --gpus-per-trial between 0 and 1"):
            Resources(gpus_per_trial=gpus, gpu_sharing="mps")
    with pytest.raises(ConfigError, match="unknown gpu-sharing 'mp'; did you mean 'mps'"):
        Resources(gpus_per_trial=0.25, gpu_sharing="mp")
