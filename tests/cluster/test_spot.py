"""The notice of a cloud that takes a machine back: read off its metadata service, and told to Ray."""

import ast
import fcntl
import http.server
import os
import subprocess
import sys
import tempfile
import threading
import urllib.error
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest
from ray.scripts.scripts import drain_node

from cluster import spot


class Metadata(http.server.BaseHTTPRequestHandler):
    """Both clouds' own way of asking, a wrong one is refused. `quiet` answers say that there is no notice."""

    quiet = 1

    def log_message(self, *args: object) -> None:
        pass

    def say(self, code: int, text: str = "") -> None:
        self.send_response(code)
        self.end_headers()
        self.wfile.write(text.encode())

    def do_PUT(self) -> None:
        right = self.path == "/latest/api/token" and int(self.headers["X-aws-ec2-metadata-token-ttl-seconds"]) > 0
        self.say(200 if right else 400, "of-the-session")

    def do_GET(self) -> None:
        noticed = Metadata.quiet <= 0
        Metadata.quiet -= 1
        if self.path == "/latest/meta-data/spot/instance-action":
            if self.headers["X-aws-ec2-metadata-token"] != "of-the-session":
                self.say(401)
            else:
                self.say(200, '{"action": "terminate"}') if noticed else self.say(404)
        elif self.path == "/computeMetadata/v1/instance/preempted" and self.headers["Metadata-Flavor"] == "Google":
            self.say(200, "TRUE" if noticed else "FALSE")
        else:
            self.say(403)


@pytest.fixture
def service(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[str]:
    server = http.server.ThreadingHTTPServer(("127.0.0.1", 0), Metadata)
    threading.Thread(target=server.serve_forever, args=(0.01,), daemon=True).start()
    url = f"http://127.0.0.1:{server.server_port}"
    monkeypatch.setattr(Metadata, "quiet", 1)
    monkeypatch.setattr(spot, "AWS", url)
    monkeypatch.setattr(spot, "GCP", url)
    monkeypatch.setenv("http_proxy", "http://127.0.0.1:9")  # is not asked
    monkeypatch.setattr(tempfile, "tempdir", str(tmp_path))  # where the watcher's lock is
    yield url
    server.shutdown()
    server.server_close()


@pytest.fixture
def commands(monkeypatch: pytest.MonkeyPatch) -> list[list[str]]:
    """What Ray was told."""
    told: list[list[str]] = []

    def run(command: list[str], timeout: float) -> subprocess.CompletedProcess[str]:
        told.append(command)
        return subprocess.CompletedProcess(command, 0)

    monkeypatch.setattr(subprocess, "run", run)
    return told


@pytest.mark.parametrize("notice", [spot.aws_notice, spot.gcp_notice])
def test_a_notice_is_seen_when_it_is_there(service: str, notice: Callable[[], bool]) -> None:
    assert not notice()
    assert notice()


def test_a_service_that_refuses_is_no_notice_and_no_silence(service: str, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(spot, "AWS", f"{service}/elsewhere")
    with pytest.raises(urllib.error.HTTPError):
        spot.aws_notice()


@pytest.mark.parametrize(("cloud", "seconds"), [("aws", 120), ("gcp", 30)])
def test_on_a_notice_ray_drains_this_machine(
    service: str, commands: list[list[str]], cloud: str, seconds: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("RAY_ADDRESS", "10.0.0.1:6379")
    monkeypatch.setattr(Metadata, "quiet", 2)
    assert spot.watch(cloud, period=0.01) == 0
    assert Metadata.quiet == -1, "two looks without a notice, then one with it"
    # Ray's own command reads what it was told (it is a hidden one, that another Ray may change).
    ((_, _, module, name, *options),) = commands
    assert module == "ray.scripts.scripts" and name == drain_node.name
    read = drain_node.make_context(name, list(options)).params
    assert read["node_id"] is None and read["address"] == "10.0.0.1:6379"  # this node, of that cluster
    assert read["reason"] == "DRAIN_NODE_REASON_PREEMPTION"
    assert read["deadline_remaining_seconds"] == seconds


def test_it_runs_without_the_project() -> None:
    nodes = list(ast.walk(ast.parse(Path(spot.__file__).read_text())))
    names = [node.module or "." for node in nodes if isinstance(node, ast.ImportFrom)]
    names += [alias.name for node in nodes if isinstance(node, ast.Import) for alias in node.names]
    assert names and {name.partition(".")[0] for name in names} <= sys.stdlib_module_names


def test_a_second_watcher_leaves_at_once(service: str, commands: list[list[str]], tmp_path: Path) -> None:
    with open(tmp_path / f"dynonet-spot-{os.getuid()}.lock", "w") as lock:
        fcntl.flock(lock, fcntl.LOCK_EX)
        assert spot.watch("aws", period=0.01) == 0
    assert Metadata.quiet == 1 and not commands, "it did not look"
