"""The shipped cluster files: Ray and Kubernetes would take them, versions agree, and nothing stands open."""

import json
import os
import re
import shutil
import subprocess
import sys
import tomllib
from pathlib import Path

import pytest
from processes import ROOT

from cluster.checks import UNFILLED, check, main, pins, unfilled

FOLDER = ROOT / "cluster"
FILES = sorted(
    path.relative_to(FOLDER).as_posix()
    for pattern in ("*.yaml", "kuberay/*.yaml", "*.sh", "*.env", "Dockerfile")
    for path in FOLDER.glob(pattern)
)
# Something that a file gets wrong, and what is said of it.
FAULTS = {
    "another Ray": ("aws.yaml", "ray:2.60.0-py311-gpu", "ray:2.59.0-py311-gpu", "is not of Ray 2.60.0 on Python 3.11"),
    "another Python": ("gcp.yaml", "ray:2.60.0-py311-gpu", "ray:2.60.0-py312-gpu", "is not of Ray 2.60.0 on Python"),
    "no CUDA": ("aws.yaml", " image: rayproject/ray:2.60.0-py311-gpu", " image: rayproject/ray:2.60.0-py311", "CUDA"),
    "what Ray refuses": ("aws.yaml", "idle_timeout_minutes: 5", "idle_timeout_minute: 5", "idle_timeout_minutes"),
    "a misspelt field of EC2's": ("aws.yaml", "InstanceMarketOptions", "InstanceMarketOption", "did you mean"),
    "a misspelt field of GCE's": ("gcp.yaml", "provisioningModel", "provisoningModel", "did you mean"),
    "a head on spot": (
        "aws.yaml", "InstanceType: m6i.xlarge",
        "InstanceType: m6i.xlarge\n      InstanceMarketOptions: {MarketType: spot}", "the head is on spot",
    ),
    "a file that is not there": ("local.yaml", "~/dynonet/tune: tune", "~/dynonet/tune: tunes", "tunes"),
    "a file that is not mounted": ("local.yaml", "  ~/dynonet/tune: tune\n", "", "tune"),
    "a dashboard for all": ("aws.yaml", "--dashboard-host=127.0.0.1", "--dashboard-host=0.0.0.0", "dashboard listens"),
    "no authentication": ("local.yaml", "RAY_AUTH_MODE=token", "RAY_AUTH_MODE=disabled", "RAY_AUTH_MODE"),
    "an option that is none": ("local.yaml", "--address=$RAY_HEAD_IP", "--adress=$RAY_HEAD_IP", "no option '--adress'"),
    "a key": ("gcp.yaml", "max_workers: 8", "max_workers: 8  # WANDB_API_KEY=abcdef123456", "stands in the file"),
    "a key id": ("slurm.sh", "set -euo pipefail", "set -euo pipefail # AKIAABCDEFGHIJKLMNOP", "an AWS access key"),
    "no token": ("kuberay/raycluster.yaml", "mode: token", "mode: disabled", "authOptions.mode"),
    "another API": ("kuberay/rayjob.yaml", "ray.io/v1", "ray.io/v1alpha1", "ray.io/v1"),
    "a misspelt field of KubeRay's": ("kuberay/rayjob.yaml", "workerGroupSpecs", "workerGroupSpec", "did you mean"),
    "a Ray not the image's": ("kuberay/raycluster.yaml", 'rayVersion: "2.60.0"', 'rayVersion: "2.9.0"', "2.60.0"),
    "a number for a text": ("kuberay/raycluster.yaml", 'num-cpus: "0"', "num-cpus: 0", "KubeRay takes texts"),
    "no GPU": ("kuberay/raycluster.yaml", ", nvidia.com/gpu: 1", "", "Ray would see no GPU"),
    "no drain": ("kuberay/raycluster.yaml", "spot.py, drain", "spot.py, drown", "no lifecycle.preStop that drains"),
    "a service for all": ("kuberay/rayjob.yaml", "serviceType: ClusterIP", "serviceType: LoadBalancer", "ClusterIP"),
    "no script": ("setup.sh", "set -euo pipefail", "if then", "not a script that bash reads"),
    "no storage": ("storage.env", "s3://CHANGE-ME/dynonet", "results", "allowed: s3://"),
    "no such data": ("storage.env", "DYNONET_DATASETS=ETTh1", "DYNONET_DATASETS=ETTh3", "unknown series 'ETTh3'"),
}  # fmt: skip


@pytest.fixture(autouse=True)
def home(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A home with what the files name there: a token and a key, neither readable by others."""
    monkeypatch.setenv("HOME", str(tmp_path))
    for name in (".ray/auth_token", ".ssh/id_ed25519"):
        path = tmp_path / name
        path.parent.mkdir(mode=0o700)
        path.write_text("a" * 40)
        path.chmod(0o600)
    return tmp_path


def copy_of(name: str, folder: Path, old: str = "", new: str = "") -> Path:
    """A shipped file with its gaps filled and something changed, under its own name."""
    text = (FOLDER / name).read_text()
    if old:
        assert old in text, f"{name} does not say '{old}'"
        text = text.replace(old, new)
    path = folder / "edited" / Path(name).name
    path.parent.mkdir()
    path.write_text(text.replace(UNFILLED, "example"))
    return path


@pytest.mark.parametrize("name", FILES)
def test_every_file_is_fine_but_for_what_is_to_be_filled_in(name: str, tmp_path: Path, capsys: object) -> None:
    assert check(FOLDER / name) == []
    assert main([str(copy_of(name, tmp_path))]) == 0
    assert main([str(FOLDER / name)]) == (1 if unfilled(FOLDER / name) else 0)


def test_they_are_all_there() -> None:
    assert {"aws.yaml", "gcp.yaml", "local.yaml", "kuberay/raycluster.yaml", "kuberay/rayjob.yaml", "slurm.sh"} <= set(
        FILES
    )


@pytest.mark.parametrize("fault", FAULTS)
def test_a_fault_is_seen(fault: str, tmp_path: Path) -> None:
    name, old, new, said = FAULTS[fault]
    problems = check(copy_of(name, tmp_path, old, new))
    assert any(said in problem for problem in problems), problems
    assert not any("abcdef123456" in problem or "AKIAABCD" in problem for problem in problems), "never quoted"


def test_a_token_that_others_can_read(home: Path) -> None:
    (home / ".ray/auth_token").chmod(0o644)
    assert any("has mode 644, others can read" in problem for problem in check(FOLDER / "aws.yaml"))


def test_versions_agree_everywhere() -> None:
    wanted = pins()
    project = tomllib.loads((ROOT / "pyproject.toml").read_text())["project"]
    assert f">={wanted.python}" in project["requires-python"]
    texts = {name: (FOLDER / name).read_text() for name in FILES}
    tags = {tag for text in texts.values() for tag in re.findall(r"\b\d+\.\d+\.\d+-py\d+", text)}
    assert tags == {wanted.tag}
    assert {version for text in texts.values() for version in re.findall(r'rayVersion: "(.*)"', text)} == {wanted.ray}


SRUN = """#!/bin/bash
# Runs the step here; with Ray's start it only says so.
while [[ "$1" == --* ]]; do shift; done
echo "srun: $*" >>"$SAID"
case "$*" in *"ray start"*) exec sleep 60 ;; *) exec "$@" ;; esac
"""


@pytest.mark.skipif(sys.platform != "linux", reason="Slurm's steps are simulated with Linux tools")
def test_a_slurm_job_starts_ray_and_runs_its_command(tmp_path: Path) -> None:
    """Without Slurm and Ray: fake `srun`, `scontrol` and `ray`; what is checked is the script's own order and care."""
    tools = tmp_path / "bin"
    tools.mkdir()
    said = tmp_path / "said"
    python = f'#!/bin/bash\nif [ "$1" = - ]; then cat >/dev/null; echo "$2"; exit 0; fi\nexec {sys.executable} "$@"\n'
    for name, text in {
        "srun": SRUN, "scontrol": "#!/bin/bash\nprintf 'n1\\nn2\\n'\n", "python": python,
        "getent": "#!/bin/bash\necho 10.1.2.3 STREAM n1\n",
    }.items():  # fmt: skip
        (tools / name).write_text(text)
        (tools / name).chmod(0o755)
    env = {
        **{key: value for key, value in os.environ.items() if not key.startswith("SLURM")},
        "PATH": f"{tools}:{os.environ['PATH']}", "SAID": str(said), "SLURM_JOB_ID": "77",
        "SLURM_JOB_NODELIST": "n[1-2]",
        "SLURM_CPUS_PER_TASK": "4", "SLURM_GPUS_ON_NODE": "2", "SLURM_SUBMIT_DIR": str(tmp_path),
        "DYNONET_VENV": str(tmp_path / "none"), "WANDB_API_KEY": "a-secret",
    }  # fmt: skip
    shutil.copytree(FOLDER, tmp_path / "cluster", ignore=shutil.ignore_patterns("__pycache__"))
    command = ["python", "-c", "import json, os, sys; print(json.dumps([sys.argv, os.environ['RAY_ADDRESS'], "
               "oct(os.stat(os.environ['RAY_AUTH_TOKEN_PATH']).st_mode)])); sys.exit(7)", "two words"]  # fmt: skip
    done = subprocess.run(
        ["bash", str(tmp_path / "cluster/slurm.sh"), *command], env=env, capture_output=True, text=True, timeout=60
    )
    assert done.returncode == 7, done.stderr
    arguments, address, mode = json.loads(next(line for line in done.stdout.splitlines() if line.startswith("[")))
    assert arguments[1] == "two words" and address == "10.1.2.3:20077" and mode.endswith("600")
    steps = said.read_text().splitlines()
    (head,) = [step for step in steps if "ray start --head" in step]
    assert "--dashboard-host=127.0.0.1" in head and "--num-gpus=2" in head and "--num-cpus=4" in head
    assert any("ray start --block" in step and "--address=10.1.2.3:20077" in step for step in steps)
    assert not list((tmp_path / ".dynonet").glob("slurm-*")), "the token goes with the job"
    assert "a-secret" not in said.read_text() + done.stdout + done.stderr
