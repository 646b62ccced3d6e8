"""`ray up`, `ray submit` and `ray down` of cluster/local.yaml, from one host to two others over ssh."""

import shutil
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest

from cluster.sending.packing import NEEDED, PACKED
from lab.store.tables import Results
from tests.cluster.hosts import HOME, Host, missing, network, wait_for
from tests.cluster.ray_hosts import RAY, ray_processes
from tests.processes import ROOT

pytestmark = pytest.mark.slow
NAMES = ("laptop", "head", "worker")
SSHD = """HostKey {home}/host_key
AuthorizedKeysFile {home}/.ssh/authorized_keys
StrictModes no
UsePAM no
PermitRootLogin yes
PidFile none
"""
# There is no network but the hosts' own; `false` is pip's way of saying that the `no-` holds.
PIP = "[install]\nno-index = true\nno-build-isolation = false\n"


@pytest.fixture
def hosts(tmp_path: Path) -> Iterator[dict[str, Host]]:
    if reason := missing("ssh", "sshd", "ssh-keygen", "rsync"):
        pytest.skip(f"no hosts to log in to on this machine: {reason}")
    with network(tmp_path / "hosts") as net:
        found = {name: net.add(name) for name in NAMES}
        laptop = found["laptop"]
        laptop.put(".ssh/config", "StrictHostKeyChecking no\n")
        code, said = laptop.run("ssh-keygen", "-q", "-t", "ed25519", "-N", "", "-f", f"{HOME}/.ssh/id_ed25519")
        assert code == 0, said
        public = (laptop.home / ".ssh/id_ed25519.pub").read_text()
        for name in NAMES[1:]:
            reachable(found[name], public)
        yield found


def reachable(host: Host, key: str) -> None:
    """Starts sshd, and leaves the virtual environment that setup.sh then finds: this one's packages under another roof,
    since there is no index to install them from."""
    host.put(".ssh/authorized_keys", key)
    host.put("sshd_config", SSHD.format(home=HOME))
    host.put(".config/pip/pip.conf", PIP)
    code, said = host.run("ssh-keygen", "-q", "-t", "ed25519", "-N", "", "-f", f"{HOME}/host_key")
    assert code == 0, said
    host.run("mkdir", "-p", "/run/sshd")
    host.start(shutil.which("sshd", path="/usr/sbin:/sbin:/usr/bin") or "sshd", "-D", "-e", "-f", f"{HOME}/sshd_config")
    code, said = host.run(sys.executable, "-m", "venv", "--without-pip", f"{HOME}/.dynonet/venv")
    assert code == 0, said
    own = host.home / ".dynonet/venv"
    packages = next(Path(sys.prefix).glob("lib/python*/site-packages"))
    (own / packages.relative_to(sys.prefix) / "others.pth").write_text(f"{packages}\n")
    script = "\n".join([f"#!{HOME}/.dynonet/venv/bin/python", *Path(RAY).read_text().splitlines()[1:]])
    host.put(".dynonet/venv/bin/ray", script, 0o755)


def project(hosts: dict[str, Host]) -> Path:
    """A copy of the project on the laptop, with the gaps of its cluster files filled in; returns where results go."""
    laptop, out = hosts["laptop"], hosts["laptop"].net.shared / "results"
    folder = laptop.home / "project"
    folder.mkdir()
    for name in PACKED:
        if (ROOT / name).is_dir():
            shutil.copytree(ROOT / name, folder / name, ignore=shutil.ignore_patterns("__pycache__", "*.nb?"))
        else:
            shutil.copy(ROOT / name, folder / name)
    assert {path.name for path in folder.iterdir()} >= set(NEEDED)
    file = folder / "cluster/local.yaml"
    text = file.read_text().replace("head_ip: CHANGE-ME", f"head_ip: {hosts['head'].address}")
    text = text.replace("worker_ips: [CHANGE-ME]", f"worker_ips: [{hosts['worker'].address}]")
    text = text.replace("ssh_user: CHANGE-ME", "ssh_user: root")
    file.write_text(text.replace("--head --port", "--head --num-cpus=0 --port"))
    storage = (folder / "cluster/storage.env").read_text().replace("s3://CHANGE-ME/dynonet", str(out))
    (folder / "cluster/storage.env").write_text(storage.replace("DYNONET_DATASETS=ETTh1", "DYNONET_DATASETS="))
    laptop.put(".ray/auth_token", "0123456789abcdef" * 4)
    return out


def test_up_submit_and_down(hosts: dict[str, Host]) -> None:
    out, laptop = project(hosts), hosts["laptop"]

    def call(command: str) -> str:
        code, said = laptop.run(
            "bash", "-c", f"cd ~/project && {command}", RAY_UP_enable_autoscaler_v2="0", timeout=300
        )
        assert code == 0, f"{command}\n{said}\n{laptop.net.hosts[1].said()}"
        return said

    assert "cluster/local.yaml: fine" in call(f"{sys.executable} -m cluster.checks cluster/local.yaml")
    call("ray up -y --no-config-cache cluster/local.yaml")
    wait_for(lambda: ray_processes(hosts["worker"]), "Ray on the worker", hosts["head"].said)
    for name in NAMES[1:]:
        assert (hosts[name].home / ".ray/auth_token").stat().st_mode & 0o777 == 0o600
    said = call(
        "ray submit cluster/local.yaml cluster/entry.py -- search --preset smoke --study up --trials 2 "
        "--max-epochs 2 --grace-epochs 2 --final-replicates 1"
    )
    assert f"study up in {out}" in said
    results = Results(out)
    rows = results.table("runs", "up").to_pylist()
    trained = [row for row in rows if row["model"] == "dynonet"]
    assert len(trained) == 5 and {row["host"] for row in trained} == {"worker"}, "the head runs no trial"
    assert {row["status"] for row in trained} == {"complete"}
    call("ray down -y cluster/local.yaml")
    wait_for(lambda: not any(ray_processes(hosts[name]) for name in NAMES[1:]), "the end of Ray", hosts["head"].said)
