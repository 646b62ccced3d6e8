"""The shell files of `cluster/`, run with programs that stand in for pip, Slurm and Ray and note what they are told."""

import os
import shutil
import signal
import subprocess
import sys
import time
from pathlib import Path

import pytest

from tests.processes import ROOT

PIP = """#!/bin/bash
# Python as setup.sh uses it: its version, pip, and what reads the data.
case "$1 $2" in
  "-m pip") echo "pip ${*:3}" >>"$SAID"; ls "${!#}" >>"$SAID" ;;
  "-P -") cat >/dev/null; echo "data $3" >>"$SAID" ;;
  "-P -c") ;;
  *version_info*) echo "$FAKE_VERSION" ;;
  *) [ "$2" != "${2%get_path*}" ] && echo "$HOME" || exec REAL "$@" ;;
esac
"""
SRUN = """#!/bin/bash
while [[ "$1" == --* ]]; do [[ "$1" == --nodelist=* ]] && node="${1#*=}"; shift; done
NODE="$node" exec "$@"
"""
RAY = """#!/bin/bash
mode=$(stat -c %a "$RAY_AUTH_TOKEN_PATH"); grep -qF "$(cat "$RAY_AUTH_TOKEN_PATH")" <<<"$*" && mode=shown
[ -z "$RAY_AUTH_TOKEN" ] || mode=inherited
echo "$NODE $RAY_AUTH_MODE $mode $*" >>"$SAID"
exec sleep 60
"""
DRIVER = """#!/bin/bash
# Python as slurm.sh uses it: to make a token, to count nodes, and to be the driver.
case "$1" in
  -) cat >/dev/null; until [ "$(grep -c ' start ' "$SAID")" = "$2" ]; do sleep 0.02; done; echo "$2" ;;
  cluster/entry.py)
    trap 'echo interrupted >>"$SAID"; exit 130' INT
    echo "driver $RAY_ADDRESS $DYNONET_RESULTS $2 <$3>" >>"$SAID"
    [ "$3" != wait ] || while :; do sleep 0.05; done
    exit 3 ;;
  *) exec REAL "$@" ;;
esac
"""
SCONTROL = """#!/bin/bash
if [ "$1" = show ]; then printf 'node1\\nnode2\\n'; else echo "scontrol $*" >>"$SAID"; fi
"""
GETENT = "#!/bin/bash\necho 127.0.1.1 STREAM $2; echo 10.0.0.7 STREAM\n"


@pytest.fixture
def project(tmp_path: Path) -> Path:
    """A project of few files, with our shell files."""
    root = tmp_path / "dynonet"
    for folder in ("lab", "dynonet", "forecasters", "tune", "ablations", "scripts"):
        (root / folder).mkdir(parents=True)
        (root / folder / "__init__.py").touch()
    for name in ("pyproject.toml", "README.md", "LICENSE"):
        (root / name).touch()
    shutil.copy(ROOT / "constraints.txt", root)
    shutil.copytree(ROOT / "cluster", root / "cluster", ignore=shutil.ignore_patterns("__pycache__"))
    (root / "cluster" / "storage.env").write_text("DYNONET_RESULTS=/shared/results\nDYNONET_DATASETS=ETTh1\n")
    return root


def environment(tmp_path: Path, programs: dict[str, str], **more: str) -> dict[str, str]:
    folder = tmp_path / "bin"
    folder.mkdir(exist_ok=True)
    for name, text in programs.items():
        (folder / name).write_text(text.replace("REAL", sys.executable))
        (folder / name).chmod(0o755)
    return {"PATH": f"{folder}:/usr/bin:/bin", "HOME": str(tmp_path), "SAID": str(tmp_path / "said"), **more}


def run(command: list[str], env: dict[str, str]) -> tuple[int, str]:
    done = subprocess.run(command, env=env, capture_output=True, text=True, timeout=60)
    return done.returncode, done.stdout + done.stderr


def test_env_sh_turns_authentication_on_and_names_the_storage(project: Path, tmp_path: Path) -> None:
    line = f'. {project}/cluster/env.sh; echo "$RAY_AUTH_MODE"; printenv DYNONET_RESULTS RAY_health_check_period_ms'
    code, said = run(["bash", "-c", line], environment(tmp_path, {}, RAY_AUTH_MODE="disabled"))
    assert (code, said.split()) == (0, ["token", "/shared/results", "1000"])


def test_setup_installs_once_at_the_pinned_versions(project: Path, tmp_path: Path) -> None:
    said, token = tmp_path / "said", tmp_path / ".ray" / "auth_token"
    token.parent.mkdir()
    token.touch(mode=0o644)
    env = environment(tmp_path, {"python": PIP}, FAKE_VERSION="3.11")
    setup = ["bash", str(project / "cluster" / "setup.sh"), "image"]
    for changed in (True, False, True):
        code, shown = run(setup, env)
        assert code == 0, shown
        first, *rest = said.read_text().splitlines()
        if changed:  # from a copy with all of it: what the launcher mounted is not written into
            *_, constraints, source = first.removeprefix("pip install ").split()
            assert constraints == f"{source}/constraints.txt" and not source.startswith(str(project))
            assert {"tune", "cluster", "pyproject.toml", "LICENSE", "data ETTh1"} <= set(rest)
        else:
            assert (first, rest) == ("data ETTh1", [])
        said.unlink()
        if not changed:
            (project / "tune" / "new.py").touch()
    assert token.stat().st_mode & 0o777 == 0o600
    assert (tmp_path / ".bashrc").read_text() == f". {project}/cluster/env.sh\n"


@pytest.mark.parametrize(
    ("kind", "version", "missing", "message"),
    [
        ("image", "3.12", None, "but constraints.txt is for Python 3.11"),
        ("image", "3.11", "tune", "dynonet/tune is missing; mount it (file_mounts)"),
        ("imago", "3.11", None, "got 'imago', allowed: image, venv"),
    ],
)
def test_setup_refuses(
    kind: str, version: str, missing: str | None, message: str, project: Path, tmp_path: Path
) -> None:
    if missing:
        shutil.rmtree(project / missing)
    env = environment(tmp_path, {"python": PIP}, FAKE_VERSION=version)
    code, said = run(["bash", str(project / "cluster" / "setup.sh"), kind], env)
    assert code == 1 and message in said and not (tmp_path / "said").exists()


def slurm(project: Path, tmp_path: Path, *arguments: str, **more: str) -> subprocess.Popen[str]:
    programs = {"srun": SRUN, "ray": RAY, "python": DRIVER, "scontrol": SCONTROL, "getent": GETENT}
    env = environment(
        tmp_path, programs, SLURM_JOB_ID="4321", SLURM_JOB_NODELIST="node[1-2]", SLURM_SUBMIT_DIR=str(project),
        SLURM_CPUS_PER_TASK="16", SLURM_GPUS_ON_NODE="4", RAY_AUTH_TOKEN="of-another-job", **more,
    )  # fmt: skip
    copy = shutil.copy(project / "cluster" / "slurm.sh", tmp_path / "slurm_script")  # as sbatch does
    return subprocess.Popen(
        ["bash", copy, *arguments], env=env, stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True
    )


def test_slurm_starts_ray_on_each_node_and_passes_the_exit_code_on(project: Path, tmp_path: Path) -> None:
    job = slurm(project, tmp_path, "search", "a b")
    said, _ = job.communicate(timeout=60)
    assert job.returncode == 3, said
    assert "ssh -L 8265:127.0.0.1:21321 node1" in said
    head, *others = (tmp_path / "said").read_text().splitlines()
    assert head.startswith("node1 token 600 start --head --block --node-ip-address=10.0.0.7 --port=20321")
    assert "--dashboard-host=127.0.0.1" in head
    worker, driver = sorted(others, reverse=True)
    assert worker.startswith("node2 token 600 start --block --address=10.0.0.7:20321")
    assert all("--num-cpus=16" in each and "--num-gpus=4" in each for each in (head, worker))
    assert driver == "driver 10.0.0.7:20321 /shared/results search <a b>"
    assert not list((tmp_path / ".dynonet").iterdir()), "the token is gone"


@pytest.mark.parametrize("requeue", ["0", "1"])
def test_slurm_stops_the_driver_when_time_runs_out(project: Path, tmp_path: Path, requeue: str) -> None:
    told = tmp_path / "said"
    job = slurm(project, tmp_path, "ablations", "wait", DYNONET_REQUEUE=requeue)
    deadline = time.monotonic() + 60
    while not (told.exists() and "driver" in told.read_text()):
        assert job.poll() is None and time.monotonic() < deadline, job.communicate()[0]
        time.sleep(0.05)
    os.kill(job.pid, signal.SIGUSR1)
    said, _ = job.communicate(timeout=60)
    assert job.returncode == 130, said
    lines = told.read_text().splitlines()
    assert "interrupted" in lines and ("scontrol requeue 4321" in lines) == (requeue == "1")
    assert ("time is up; queued again" if requeue == "1" else "sbatch the same command again") in said


@pytest.mark.parametrize("arguments", [(), ("train",)])
def test_slurm_refuses_other_commands(project: Path, tmp_path: Path, arguments: tuple[str, ...]) -> None:
    job = slurm(project, tmp_path, *arguments)
    said, _ = job.communicate(timeout=60)
    assert job.returncode == 2 and "allowed: search, ablations" in said
    assert not (tmp_path / "said").exists(), "nothing was started"
