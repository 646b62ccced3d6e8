"""The files of `cluster/`: each passes the checks as shipped, and each class of fault put into one is caught."""

import re
import tomllib
from collections.abc import Callable
from pathlib import Path

import pytest
import ray
import yaml
from packaging.specifiers import SpecifierSet

from cluster import checks
from cluster.checking.common import ROOT, pins
from cluster.checking.launcher import is_spot
from cluster.sending.packing import NEEDED

FOLDER = ROOT / "cluster"
FILES = sorted(
    str(path.relative_to(FOLDER))
    for pattern in ("**/*.yaml", "**/*.sh", "*.env", "Dockerfile")
    for path in FOLDER.glob(pattern)
)
EXAMPLE_KEY = "0123456789abcdef" * 2


@pytest.fixture(autouse=True)
def token(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """Of a home folder of the test's own."""
    monkeypatch.setenv("HOME", str(tmp_path))
    path = tmp_path / ".ray" / "auth_token"
    path.parent.mkdir()
    path.touch(mode=0o600)
    return path


def test_all_files_are_seen() -> None:
    assert {"aws.yaml", "gcp.yaml", "local.yaml", "kuberay/raycluster.yaml", "kuberay/rayjob.yaml"} <= set(FILES)
    assert {"slurm.sh", "setup.sh", "env.sh", "storage.env", "Dockerfile"} <= set(FILES)


@pytest.mark.parametrize("name", FILES)
def test_a_shipped_file_passes(name: str, tmp_path: Path) -> None:
    assert checks.check(FOLDER / name) == []
    filled = tmp_path / Path(name).name
    filled.write_text((FOLDER / name).read_text().replace(checks.UNFILLED, "example"))
    assert checks.main([str(filled)]) == 0


def test_what_is_to_be_filled_in_is_said(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert checks.main([str(FOLDER / "gcp.yaml"), str(FOLDER / "aws.yaml"), str(tmp_path / "none.yaml")]) == 1
    said = capsys.readouterr()
    assert said.err.count("still to fill in") == 1 and "project_id: CHANGE-ME" in said.err
    assert "none.yaml: No such file or directory" in said.err
    assert said.out == f"{FOLDER / 'aws.yaml'}: fine\n"
    assert checks.main([str(FOLDER / "aws.yaml")]) == 0


def test_versions_agree() -> None:
    wanted = pins()
    project = tomllib.loads((ROOT / "pyproject.toml").read_text())["project"]
    (ours,) = [each for each in project["dependencies"] if each.startswith("ray[")]
    assert ray.__version__ == wanted.ray
    assert SpecifierSet(ours.partition("]")[2]).contains(wanted.ray)
    assert SpecifierSet(project["requires-python"]).contains(f"{wanted.python}.0")
    texts = "".join((FOLDER / name).read_text() for name in FILES)
    assert set(re.findall(r"\b\d+\.\d+\.\d+-py\d+", texts)) == {wanted.tag}, "in comments, too"


def test_every_package_of_ours_reaches_the_nodes() -> None:
    setup = (FOLDER / "setup.sh").read_text()
    installed = re.findall(r"^mounted=\((.*)\)$", setup, re.M)[0].split()
    assert set(NEEDED) <= set(installed)
    assert {f"!{each}" for each in installed} <= set((FOLDER / "Dockerfile.dockerignore").read_text().split())
    for name in ("aws.yaml", "gcp.yaml", "local.yaml"):
        mounts = yaml.safe_load((FOLDER / name).read_text())["file_mounts"]
        assert {f"~/dynonet/{each}": each for each in installed}.items() <= mounts.items(), name


def test_the_python_of_setup_sh_runs(monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]) -> None:
    code = (FOLDER / "setup.sh").read_text().partition("<<'PYTHON'\n")[2].partition("\nPYTHON\n")[0]
    monkeypatch.setattr("sys.argv", ["-", "synthetic, ETTh9"])
    with pytest.raises(SystemExit, match=r"(?s)setup: data: .*allowed: synthetic, .*ETTh1.*did you mean 'ETTh"):
        exec(compile(code, "setup.sh", "exec"), {})
    assert "data: lab.series.synthetic, version" in capsys.readouterr().out


@pytest.mark.parametrize("name", ["aws.yaml", "gcp.yaml"])
def test_workers_are_on_spot_and_none_waits_for_work(name: str) -> None:
    config = yaml.safe_load((FOLDER / name).read_text())
    types = config["available_node_types"]
    head = types.pop(config["head_node_type"])
    assert not is_spot(head["node_config"]) and head["resources"] == {"CPU": 0}
    for worker in types.values():
        assert is_spot(worker["node_config"]) and worker["resources"]["GPU"] >= 1 and worker["min_workers"] == 0
    assert "spot.py watch" in config["worker_start_ray_commands"][-1]


# (file, what stands there, what stands there instead, what is said)
WORKER_IMAGE = "image: rayproject/ray:2.60.0-py311-gpu"
FAULTS = [
    # Ray's own validation
    ("aws.yaml", "idle_timeout_minutes:", "idle_timeout_minute:", "did you mean 'idle_timeout_minutes'?"),
    ("aws.yaml", "max_workers: 8\nupscaling", "max_workers: many\nupscaling", "max_workers: 'many' is not of type"),
    ("aws.yaml", "head_node_type: head", "head_node_type: heads", "`head_node_type` must be one of"),
    ("local.yaml", "  head_ip: CHANGE-ME\n", "", "Ray refuses the file"),
    ("local.yaml", "provider:", "provider: [", "not YAML"),
    ("aws.yaml", "max_workers: 8\nups", "max_workers: 8\nmax_workers: 9\nups", "'max_workers' is given twice, first"),
    ("kuberay/rayjob.yaml", 'rayVersion: "2.60.0"', 'rayVersion: "2.60.0"\n    on: 1', "key on is a truth value"),
    # fields of machines
    ("aws.yaml", "InstanceType: g6", "InstanceTypo: g6", "unknown field 'InstanceTypo'; did you mean 'InstanceType'?"),
    ("aws.yaml", "{MarketType: spot}", "{MarketType: spott}", "got 'spott'; did you mean 'spot'?"),
    ("aws.yaml", "VolumeSize: 150", "VolumeSize: big", "BlockDeviceMappings[0].Ebs.VolumeSize: got 'big' (str)"),
    ("gcp.yaml", "machineType: g2", "machineTypo: g2", "did you mean 'machineType'?"),
    ("gcp.yaml", "provisioningModel: SPOT", "provisioningModel: SPOTS", "got 'SPOTS'; did you mean 'SPOT'?"),
    ("gcp.yaml", "diskSizeGb", "diskSize", "initializeParams: unknown field 'diskSize'"),
    ("aws.yaml", "InstanceType: m6i.xlarge", "InstanceMarketOptions: {MarketType: spot}", "the head is on spot"),
    # versions
    ("aws.yaml", WORKER_IMAGE, "image: rayproject/ray:2.59.0-py311-gpu", "is not of Ray 2.60.0 on Python 3.11"),
    ("gcp.yaml", WORKER_IMAGE, "image: rayproject/ray:2.60.0-py312-gpu", "is not of Ray 2.60.0 on Python 3.11"),
    ("aws.yaml", WORKER_IMAGE, "image: rayproject/ray:2.60.0-py311", "has no CUDA, but the node has GPUs"),
    ("aws.yaml", f"  {WORKER_IMAGE}", "  worker_image: rayproject/ray:2.60.0-py311-gpu", "docker: no 'image'"),
    ("kuberay/rayjob.yaml", 'rayVersion: "2.60.0"', 'rayVersion: "2.59.0"', "constraints.txt has 2.60.0"),
    ("kuberay/raycluster.yaml", "dynonet:2.60.0-py311-gpu", "dynonet:latest", "'CHANGE-ME/dynonet:latest' is not of"),
    ("Dockerfile", "FROM rayproject/ray:2.60.0", "FROM rayproject/ray:2.6.0", "is not of Ray 2.60.0"),
    # files that travel
    ("aws.yaml", "  ~/dynonet/tune: tune\n", "", "no '~/dynonet/tune', which cluster/setup.sh installs from"),
    ("local.yaml", "~/dynonet/tune: tune", "~/dynonet/tune: tuna", "from 'tuna', which does not exist"),
    ("aws.yaml", "~/dynonet/scripts: scripts", "~/dynonet/scripts: .", "is the whole of '.'"),
    ("gcp.yaml", "cluster/spot.py watch", "cluster/sport.py watch", "'cluster/sport.py' does not exist"),
    ("kuberay/rayjob.yaml", "cluster/entry.py", "scripts/entry.py", "'scripts/entry.py' does not exist"),
    ("kuberay/raycluster.yaml", "cluster/spot.py", "spot.py", "preStop: 'spot.py' does not exist"),
    # who gets in
    ("aws.yaml", "  ~/.ray/auth_token: ~/.ray/auth_token", "  # none", "no '~/.ray/auth_token'"),
    ("aws.yaml", "RAY_AUTH_MODE=token; ", "RAY_AUTH_MODE=disabled; ", "RAY_AUTH_MODE is 'disabled', allowed: token"),
    ("gcp.yaml", "export RAY_AUTH_MODE=token; ", "", "the node would ask for no token"),
    ("env.sh", "export RAY_AUTH_MODE=token", "export RAY_AUTH_MODE=disabled", "RAY_AUTH_MODE is 'disabled'"),
    ("slurm.sh", '. "$root/cluster/env.sh"', ":", "the node would ask for no token"),
    ("kuberay/raycluster.yaml", "  authOptions:\n    mode: token\n", "", "authOptions.mode: not set"),
    ("kuberay/rayjob.yaml", "mode: token", "mode: disabled", "allowed: token"),
    ("kuberay/raycluster.yaml", "{name: RAY_health_check_period_ms, value:", "{name: RAY_AUTH_MODE, value:", "'1000'"),
    ("local.yaml", "--dashboard-host=127.0.0.1", "--dashboard-host=0.0.0.0", "the dashboard listens on 0.0.0.0"),
    ("aws.yaml", "--dashboard-host=127.0.0.1", "", "the dashboard listens on what Ray chooses"),
    ("slurm.sh", "--dashboard-host=127.0.0.1", "--dashboard-host=0.0.0.0", "the dashboard listens on 0.0.0.0"),
    ("kuberay/raycluster.yaml", "dashboard-host: 127.0.0.1", "port: '6379'", "the dashboard listens on 0.0.0.0"),
    ("kuberay/raycluster.yaml", "serviceType: ClusterIP", "serviceType: LoadBalancer", "allowed: ClusterIP"),
    ("kuberay/raycluster.yaml", "kind: NetworkPolicy", "kind: Other", "no NetworkPolicy whose podSelector covers"),
    ("kuberay/rayjob.yaml", "- namespaceSelector: {}\n          podSelector:", "- ipBlock:", "admits more than pods"),
    ("aws.yaml", '["--ulimit nofile=65536:65536"]', '["-p 8265:8265"]', "publishes ports"),
    (
        "aws.yaml", "  cache_stopped_nodes: false\n",
        "  security_group: {IpPermissions: [{FromPort: 8265, ToPort: 8265, IpRanges: [{CidrIp: 0.0.0.0/0}]}]}\n",
        "ports 8265 to 8265 are open to the world",
    ),
    # secrets
    ("aws.yaml", "ray stop\n", f"export WANDB_API_KEY={EXAMPLE_KEY}\n", "pass it by name"),
    ("gcp.yaml", "# After a change", f"# {EXAMPLE_KEY}", "32 or more hexadecimal digits"),
    ("slurm.sh", "set -euo pipefail", "set -euo pipefail # AKIA" + "ABCDEFGHIJKLMNOP", "an AWS access key"),
    ("kuberay/rayjob.yaml", "--gpus-per-trial", "WANDB_API_KEY=abc --x", "entrypoint: a value for a secret's name"),
    ("kuberay/raycluster.yaml", "RAY_health_check_timeout_ms", "WANDB_API_KEY", "allowed: valueFrom.secretKeyRef"),
    ("storage.env", "DYNONET_DATASETS=", f"AWS_SECRET_ACCESS_KEY={EXAMPLE_KEY}\n#", "pass it by name"),
    # commands
    ("aws.yaml", "ray start --head", "ray begin --head", "0 commands with 'ray start', 1 is needed"),
    ("aws.yaml", "--num-cpus=0", "--num-cpu=0", "no option '--num-cpu'; did you mean '--num-cpus'?"),
    ("local.yaml", "--autoscaling-config=~/ray_bootstrap_config.yaml", "", "no worker would start"),
    ("gcp.yaml", "$RAY_HEAD_IP:6379 &&", "$RAY_HEAD_IP:6379;", "hides its failure"),
    ("setup.sh", 'case "$kind" in', "case", "not a script that bash reads"),
    ("slurm.sh", "--temp-dir", "--tempdir", "no option '--tempdir'; did you mean '--temp-dir'?"),
    # the rest of Kubernetes
    ("kuberay/raycluster.yaml", "minReplicas: 0", "minReplica: 0", "unknown field 'minReplica'; did you mean"),
    ("kuberay/rayjob.yaml", "ray.io/v1\n", "ray.io/v1alpha1\n", "apiVersion: got 'ray.io/v1alpha1'"),
    ("kuberay/rayjob.yaml", "replicas: 0", "replicas: 9", "replicas 9 is not between minReplicas 0 and maxReplicas 8"),
    ("kuberay/raycluster.yaml", 'num-cpus: "0"', "num-cpus: 0", 'KubeRay takes texts: "0"'),
    ("kuberay/raycluster.yaml", "limits: {cpu: \"4\", memory: 14Gi, nvidia.com/gpu: 1}", "limits: {}", "no nvidia.com"),
    ("kuberay/rayjob.yaml", "terminationGracePeriodSeconds: 60", "terminationGracePeriodSeconds: 20", "must be longer"),
    ("kuberay/rayjob.yaml", "drain, --seconds", "watch, --seconds", "no lifecycle.preStop that drains the node"),
    ("kuberay/rayjob.yaml", "num-cpus: \"0\"", "dashboard-host: 127.0.0.1", "where KubeRay cannot follow the job"),
    # storage.env
    ("storage.env", "s3://CHANGE-ME/dynonet", "results", "got 'results', allowed: s3://..., gs://... or an absolute"),
    ("storage.env", "=s3://", "='s3://", "'DYNONET_RESULTS': allowed: NAME=value"),
    ("storage.env", "=ETTh1", "=ETTh3", "unknown series 'ETTh3'; did you mean"),
]  # fmt: skip


@pytest.mark.parametrize(("name", "right", "wrong", "said"), FAULTS)
def test_a_fault_is_caught(name: str, right: str, wrong: str, said: str, tmp_path: Path) -> None:
    text = (FOLDER / name).read_text()
    assert right in text
    copy = tmp_path / Path(name).name
    copy.write_text(text.replace(right, wrong))
    found = checks.check(copy)
    assert [line for line in found if said in line], found
    assert EXAMPLE_KEY not in "".join(found), "a secret is not repeated"


@pytest.mark.parametrize(
    ("change", "said"),
    [(lambda path: path.chmod(0o644), "has mode 644"), (Path.unlink, "make one: ray get-auth-token --generate")],
)
def test_a_token_is_there_and_ours_alone(token: Path, change: Callable[[Path], None], said: str) -> None:
    change(token)
    (found,) = checks.check(FOLDER / "aws.yaml")
    assert said in found
