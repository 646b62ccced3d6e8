"""The notice of a cloud that takes a machine back: read off its metadata service, and told to Ray."""

import http.server
import subprocess
import sys
import threading
import urllib.error
from collections.abc import Callable, Iterator
from pathlib import Path

import hosts
import pytest
from hosts import wait_for
from processes import ROOT
from ray_hosts import RAY, RayHosts

from cluster import spot

# A metadata service whose notice is a file; each cloud's own way of asking, a wrong one is refused.
METADATA = """
import http.server, os
class Answers(http.server.BaseHTTPRequestHandler):
    def log_message(self, *args): pass
    def say(self, code, text=""):
        self.send_response(code); self.end_headers(); self.wfile.write(text.encode())
    def do_PUT(self):
        right = self.path == "/latest/api/token" and int(self.headers["X-aws-ec2-metadata-token-ttl-seconds"]) > 0
        self.say(200 if right else 400, "of-the-session")
    def do_GET(self):
        noticed = os.path.exists("notice")
        if self.path == "/latest/meta-data/spot/instance-action":
            if self.headers["X-aws-ec2-metadata-token"] != "of-the-session": return self.say(401)
            return self.say(200, '{"action": "terminate"}') if noticed else self.say(404)
        if self.path == "/computeMetadata/v1/instance/preempted" and self.headers["Metadata-Flavor"] == "Google":
            return self.say(200, "TRUE" if noticed else "FALSE")
        self.say(403)
"""


@pytest.fixture
def service(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[str]:
    names: dict = {}
    exec(METADATA, names)
    monkeypatch.chdir(tmp_path)
    server = http.server.ThreadingHTTPServer(("127.0.0.1", 0), names["Answers"])
    threading.Thread(target=server.serve_forever, daemon=True).start()
    url = f"http://127.0.0.1:{server.server_port}"
    monkeypatch.setattr(spot, "AWS", url)
    monkeypatch.setattr(spot, "GCP", url)
    monkeypatch.setenv("http_proxy", "http://127.0.0.1:9")  # is not asked
    yield url
    server.shutdown()
    server.server_close()


@pytest.mark.parametrize("notice", [spot.aws_notice, spot.gcp_notice])
def test_a_notice_is_seen_when_it_is_there(service: str, notice: Callable[[], bool], tmp_path: Path) -> None:
    assert not notice()
    (tmp_path / "notice").touch()
    assert notice()


def test_a_service_that_refuses_is_no_notice_and_no_silence(service: str, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(spot, "AWS", f"{service}/elsewhere")
    with pytest.raises(urllib.error.HTTPError):
        spot.aws_notice()


@pytest.mark.slow
def test_on_a_notice_ray_drains_this_machine_and_no_other(tmp_path: Path) -> None:
    if reason := hosts.missing():
        pytest.skip(f"no hosts of their own here: {reason}")
    with hosts.network(tmp_path / "net") as net:
        cluster = RayHosts(net, ("head", "stays", "goes"))
        for name in ("stays", "goes"):
            cluster.join(name, 1)
        wait_for(lambda: cluster.alive() == {"head", "stays", "goes"}, "the workers", cluster.said)
        going = cluster.hosts["goes"]
        (going.home / "metadata.py").write_text(
            METADATA + "\nhttp.server.ThreadingHTTPServer(('127.0.0.1', 8000), Answers).serve_forever()"
        )
        going.start(sys.executable, "metadata.py")
        environment = {"DYNONET_METADATA": "http://127.0.0.1:8000", "RAY_ADDRESS": f"{cluster.head.address}:6379"}
        command = (sys.executable, str(ROOT / "cluster" / "spot.py"), "watch", "aws")
        watcher = going.start(*command, stdout=subprocess.PIPE, **environment)
        with pytest.raises(subprocess.TimeoutExpired):
            watcher.wait(12)  # two looks, and no notice
        (going.home / "notice").touch()
        said, _ = watcher.communicate(timeout=hosts.WAIT)
        assert watcher.returncode == 0 and "takes this machine back in 120 s" in said, said
        # An idle node that drains leaves by itself, long before the machine does.
        wait_for(lambda: cluster.alive() == {"head", "stays"}, "the drained node's leave", cluster.said)
        code, listed = cluster.head.run(RAY, "list", "nodes", "--detail", "--format=json")
        assert code == 0 and "drain" in listed.lower(), listed
