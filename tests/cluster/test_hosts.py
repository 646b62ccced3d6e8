"""Searches on three hosts with addresses of their own: who gets in, and hosts that die, vanish and join."""

import sys
import time
from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.cluster.hosts import missing, network, wait_for
from tests.cluster.ray_hosts import DASHBOARD, RAY, RayHosts, clock, ray_processes

pytestmark = pytest.mark.slow


@pytest.fixture(scope="module")
def cluster(tmp_path_factory: pytest.TempPathFactory) -> Iterator[RayHosts]:
    if reason := missing("ps"):
        pytest.skip(f"no hosts of their own on this machine: {reason}")
    with network(tmp_path_factory.mktemp("hosts")) as net:
        yield RayHosts(net, ("head", "one", "two"))


def test_nobody_gets_in_without_the_token(cluster: RayHosts) -> None:
    cluster.only(one=1)
    knocks = {
        "no token": {},
        "wrong token": {"RAY_AUTH_TOKEN": "0" * 64},
        "no authentication": {"RAY_AUTH_MODE": "disabled"},
    }
    two, head = cluster.hosts["two"], cluster.head
    (two.home / ".ray/auth_token").unlink()
    join = (RAY, "start", "--block", f"--address={head.address}:6379", f"--node-ip-address={two.address}")
    logs = {name: two.folder / f"{name}.txt" for name in knocks}
    tries = {name: two.start(*join, log=logs[name], **environment) for name, environment in knocks.items()}

    jobs = f"{DASHBOARD}/api/jobs/"
    job = {"entrypoint": "touch /tmp/intruded"}
    assert head.ask(jobs, None, job)[0] == 401 and head.ask(jobs, "0" * 64, job)[0] == 403
    assert head.ask(f"{DASHBOARD}/api/version")[0] == 401
    assert head.ask(jobs, cluster.token) == (200, "[]"), "neither has become a job"
    assert cluster.hosts["one"].ask(f"http://{head.address}:8265/api/version", cluster.token)[0] == 0, "loopback only"
    code, said = head.run(RAY, "job", "submit", f"--address={DASHBOARD}", "--", "echo", "let in")
    assert code == 0 and "\nlet in\n" in said, said

    for name, process in tries.items():
        wait_for(lambda process=process: process.poll() is not None, f"the end of 'ray start' with {name}", two.said)
        assert process.returncode != 0 and "oken" in logs[name].read_text(), logs[name].read_text()
    assert cluster.alive() == {"head", "one"} and not (head.tmp / "intruded").exists()
    two.put(".ray/auth_token", cluster.token)
    cluster.join("two", 1)
    wait_for(lambda: cluster.alive() == {"head", "one", "two"}, "the host that has the token", cluster.said)


def test_a_host_joins_late_and_another_is_killed(cluster: RayHosts) -> None:
    cluster.only(one=1)
    one = cluster.hosts["one"]
    job = cluster.search("killed", "--trials=3", "--max-concurrent=2")
    with job.held(one) as (trial, left):
        assert job.checkpoints(trial)[-2:] == [left.epoch - 1, left.epoch], "every epoch leaves its checkpoint"
        begun = time.monotonic()
        cluster.join("two", 2)
        job.until(lambda: job.trained_on("two"), "an epoch on the host that has joined late")
        print(f"\njoined late: trains after {clock(begun)}")
        one.kill()
        killed_at = time.time()
    wait_for(lambda: "one" not in cluster.alive(), "the head to give the host up", cluster.said)
    assert job.wait() == 0, job.said()
    job.check_whole(trials=3)
    job.check_moved(left, killed_at, "two")
    assert cluster.token not in job.log.read_text()
    secret = cluster.token.encode()
    places = [job.out, *(host.tmp for host in cluster.hosts.values())]
    files = [path for place in places for path in place.rglob("*") if path.is_file()]
    assert len(files) > 50 and not [path for path in files if secret in path.read_bytes()], "the token is in no file"


def test_a_host_is_cut_off_and_comes_back(cluster: RayHosts) -> None:
    cluster.only(one=1, two=1)
    one = cluster.hosts["one"]
    job = cluster.search("cut", "--trials=2", "--max-concurrent=2")
    with job.held(one) as (trial, left):
        one.cut_off()
        cut_at, begun = time.time(), time.monotonic()
        assert ray_processes(one), "it still stands"
    # There it trains on, for an epoch at most, and hears of nobody.
    wait_for(lambda: "one" not in cluster.alive(), "the head to give the host up", cluster.said)
    print(f"\ncut off: given up after {clock(begun)}")
    wait_for(lambda: trial in job.training("two") or job.ended, "the trial to go on elsewhere", job.said)
    one.reconnect()
    begun = time.monotonic()
    ended = cluster.joined["one"]
    wait_for(lambda: ended.poll() is not None, "Ray to end on the host that is back", job.said)
    print(f"back: Ray has ended after {clock(begun)}")
    assert ended.returncode != 0, "so that what supervises it starts it again"
    cluster.join("one", 1)
    assert job.wait() == 0, job.said()
    job.check_whole(trials=2)
    job.check_moved(left, cut_at, "two")
    wait_for(lambda: cluster.alive() == {"head", "one", "two"}, "the host to be back", cluster.said)


def test_no_process_and_no_namespace_is_left(tmp_path: Path) -> None:
    if reason := missing():
        pytest.skip(f"no hosts of their own on this machine: {reason}")
    with pytest.raises(ZeroDivisionError), network(tmp_path) as net:
        host, other = net.add("left"), net.add("other")
        assert host.run("ping", "-c1", other.address)[0] == 0 if not missing("ping") else True
        process = host.start(sys.executable, "-c", "import time; time.sleep(1000)")
        pid = int(wait_for(host.processes, "its processes")[0])
        raise ZeroDivisionError
    assert process.wait(10) != 0 and not Path(f"/proc/{pid}").exists()
