"""Studies sent to a real Ray head with token authentication; what is refused before anything is sent."""

import hashlib
import os
import random
import shlex
import shutil
import signal
import socket
import subprocess
import sys
import tempfile
import threading
import time
import uuid
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path

import pytest
import requests
from ray.job_submission import JobSubmissionClient

from cluster import submit
from cluster.sending import jobs
from cluster.sending.addresses import is_loopback, job_server
from cluster.sending.packing import pack, tree
from lab.errors import ConfigError
from lab.provenance import code_provenance
from lab.store.frames import load
from tests.planted import PLANTED, files_below, holding
from tests.processes import MARK, WAIT, lost_ctrl_c, marked

TOKEN = "0123456789abcdef" * 4
SECRET = "s3cret-that-must-not-be-seen"
# One process trains: two trials of one epoch.
SMALL = ("--preset", "smoke", "--trials", "2", "--replicates", "1", "--max-epochs", "1", "--max-concurrent", "1")
SMALL = (*SMALL, "--final-replicates", "0")


# Runs as a job: says what its processes have of a key, by its hash, and what the head keeps.
PROBE = """
import hashlib, os, ray
from ray.experimental.internal_kv import _internal_kv_list
ray.init(logging_level="ERROR", log_to_driver=False)
digest = lambda: hashlib.sha256(os.environ.get("WANDB_API_KEY", "").encode()).hexdigest()
print("driver", digest(), "trial", ray.get(ray.remote(digest).remote()))
print("kept", len(_internal_kv_list(b"", namespace=b"dynonet")))
"""


def free_ports(count: int) -> list[int]:
    """None of those that the kernel hands out by itself: Ray's servers share a port, and one that another Ray took
    in the meantime would answer in this one's name."""
    ports: list[int] = []
    while len(ports) < count:
        port = random.SystemRandom().randrange(20_000, 32_768)
        with socket.socket() as free, suppress(OSError):
            free.bind(("127.0.0.1", port))
            ports.append(port)
    return ports


class Head:
    """A Ray head of its own. `folder`: its files, logs included; `token`: the file of its token."""

    def __init__(self, folder: Path) -> None:
        self.folder, self.token, self.mark = folder / "t", folder / "token", uuid.uuid4().hex
        (folder / "home").mkdir()
        self.token.touch(mode=0o600)
        self.token.write_text(TOKEN)
        ports = free_ports(4)
        names = ("port", "dashboard-port", "ray-client-server-port", "dashboard-agent-listen-port")
        self.url = f"http://127.0.0.1:{ports[1]}"
        environment = {name: value for name, value in os.environ.items() if not name.startswith(("RAY_", "PYTHONPATH"))}
        environment |= {
            MARK: self.mark, "HOME": str(folder / "home"), "RAY_AUTH_MODE": "token",
            "RAY_AUTH_TOKEN_PATH": str(self.token), "PATH": f"{Path(sys.executable).parent}:{os.environ['PATH']}",
            "RAY_USAGE_STATS_ENABLED": "0",
        }  # fmt: skip
        options = [f"--{name}={port}" for name, port in zip(names, ports, strict=True)]
        options += ["--num-cpus=2", "--object-store-memory=100000000", f"--temp-dir={self.folder}"]
        command = [sys.executable, "-m", "ray.scripts.scripts", "start", "--head", "--block", *options]
        with (folder / "log").open("wb") as log:
            self.process = subprocess.Popen(
                command, cwd=folder, env=environment, stdout=log, stderr=subprocess.STDOUT, start_new_session=True
            )
        deadline = time.monotonic() + WAIT
        while not self._answers():
            assert self.process.poll() is None and time.monotonic() < deadline, (folder / "log").read_text()
            time.sleep(0.2)

    def _answers(self) -> bool:
        with suppress(requests.RequestException):
            return requests.get(f"{self.url}/api/version", timeout=5).status_code == 401
        return False

    def client(self) -> JobSubmissionClient:
        return JobSubmissionClient(self.url, headers={"Authorization": f"Bearer {TOKEN}"})

    def end(self) -> None:
        self.process.terminate()
        with suppress(subprocess.TimeoutExpired):
            self.process.wait(20)
        for _ in range(50):
            for pid in (left := marked(self.mark)):
                with suppress(ProcessLookupError):
                    os.kill(pid, signal.SIGKILL)
            if not left:
                break
            time.sleep(0.1)


@pytest.fixture(scope="module")
def head() -> Iterator[Head]:
    folder = Path(tempfile.mkdtemp(prefix="ray", dir="/tmp"))  # a socket's path must be short
    running = Head(folder)
    yield running
    running.end()
    shutil.rmtree(folder, ignore_errors=True)


@pytest.fixture(autouse=True)
def here(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    """A home without a token, and nothing of the caller's environment that addresses a cluster."""
    for name in ("RAY_AUTH_MODE", "RAY_AUTH_TOKEN", "RAY_AUTH_TOKEN_PATH", "DYNONET_RESULTS", *submit.OVERRULING):
        monkeypatch.delenv(name, raising=False)
    (tmp_path / "home").mkdir()
    monkeypatch.setenv("HOME", str(tmp_path / "home"))


STATE = ("actors", "jobs", "workers", "tasks", "nodes", "runtime_envs", "objects", "placement_groups")


def answers_of(head: Head) -> list[str]:
    """What the head says to whoever holds the token: every listing of the state API, in full, jobs and their logs."""
    paths = [f"/api/v0/{name}?detail=1&limit=10000" for name in STATE]
    paths += ["/api/jobs/", "/nodes?view=summary", "/logical/actors", "/api/cluster_status", "/api/v0/cluster_metadata"]
    paths += [f"/api/jobs/{job.submission_id}/logs" for job in head.client().list_jobs() if job.submission_id]
    found = []
    for path in paths:
        answer = requests.get(head.url + path, headers={"Authorization": f"Bearer {TOKEN}"}, timeout=WAIT)
        assert answer.status_code == 200, f"{path}: {answer.status_code} {answer.text[:200]}"
        found.append(answer.text)
    return found


@contextmanager
def asking(head: Head) -> Iterator[set[str]]:
    """Asks the head all the while, and once more at the end. Yields what it answered."""
    answers: set[str] = set()
    over = threading.Event()

    def ask() -> None:
        while not over.wait(1.0):
            with suppress(Exception):  # the last time must succeed
                answers.update(answers_of(head))

    thread = threading.Thread(target=ask)
    thread.start()
    try:
        yield answers
    finally:
        over.set()
        thread.join()
    answers.update(answers_of(head))


# On a real head --------------------------------------------------------------------------------------------------


@pytest.mark.slow
def test_a_search_is_sent_followed_and_gone_on_with(
    head: Head, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setenv("RAY_AUTH_TOKEN_PATH", str(head.token))
    monkeypatch.setenv("RAY_ADDRESS", "http://127.0.0.1:1")  # Ray's client would prefer it to --address
    monkeypatch.setenv("DYNONET_KERNEL", "torch")
    for name, value in PLANTED.items():
        monkeypatch.setenv(name, value)
    out = tmp_path / "results with spaces"
    command = ["search", *SMALL, "--results", str(out), "--address", head.url]
    command += [word for name in ("DYNONET_KERNEL", *PLANTED) for word in ("--env", name)]
    with asking(head) as answers:
        assert submit.main(command) == 0
    said = capsys.readouterr()
    assert "best: t0000" in said.out and ": succeeded" in said.err
    runs = load("smoke", out)
    assert set(runs["status"]) == {"complete"} and list(runs["role"]) == ["search", "search"]
    assert set(runs["kernel"].dropna()) == {"torch"}, "the variable reached the trials"
    commit = code_provenance()["git_commit"]
    assert set(runs["git_commit"].dropna()) == ({commit} if commit else set()), "a job's folder is no checkout"
    told = "".join(answers)
    assert "ResourceTrainable" in told and "DYNONET_KERNEL" in told, "trials and their environment are shown"
    assert len(files_below(head.folder, out)) > 50 and (head.folder / "session_latest").exists()
    for name, value in {**PLANTED, "the token": TOKEN}.items():
        assert not [path for path in holding(value, head.folder, out) if path != head.token], name
        assert value not in told, name

    assert submit.main(command) == 0
    assert "none to come" in capsys.readouterr().out
    assert list(load("smoke", out)["run"]) == list(runs["run"])


@pytest.mark.slow
def test_a_job_by_hand_may_say_what_its_driver_would_pass_on(head: Head, tmp_path: Path) -> None:
    client, out, path = head.client(), tmp_path / "out", tmp_path / "tree.zip"
    path.write_bytes(pack(tree(), {}))
    jobs.send(
        client, f"exec python -m tune.search {' '.join(SMALL)} --results {out}", {}, {}, "by-hand",
        working_dir=str(path), env_vars={"DYNONET_KERNEL": "torch"},
    )  # fmt: skip
    said: list[str] = []
    assert jobs.exit_code(jobs.Follower(client, "by-hand", said.append).follow()) == 0, said
    assert set(load("smoke", out)["kernel"].dropna()) == {"torch"}


@pytest.mark.slow
def test_keys_reach_every_process_and_are_removed_and_exit_codes_come_back(head: Head, tmp_path: Path) -> None:
    client, said = head.client(), []
    path = tmp_path / "tree.zip"
    path.write_bytes(pack(tree(), {"probe.py": PROBE.encode()}))

    def end_of(name: str, command: str, values: dict[str, str]) -> int:
        jobs.send(client, command, values, {}, name, working_dir=str(path))
        return jobs.exit_code(jobs.Follower(client, name, said.append).follow())

    assert end_of("with-keys", "exec python -m cluster.sending.keys probe", {"WANDB_API_KEY": SECRET}) == 0
    digest = hashlib.sha256(SECRET.encode()).hexdigest()
    assert f"driver {digest} trial {digest}\nkept 1\n" in "".join(said)
    said.clear()
    assert end_of("failing", "python probe.py; exit 7", {}) == 7
    assert "kept 0\n" in "".join(said)
    assert not holding(SECRET, head.folder)


def test_a_running_study_is_not_sent_twice_and_ctrl_c_asks_before_it_stops(
    head: Head, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setenv("RAY_AUTH_TOKEN_PATH", str(head.token))
    study = (
        "import time\ntry:\n    print('at work')\n    time.sleep(600)\nexcept KeyboardInterrupt:\n    print('gently')"
    )
    client, out = head.client(), str(tmp_path / "out")
    about = {"study": "smoke", "out": out, "dry_run": "no"}
    jobs.send(client, f"exec python -u -c {shlex.quote(study)}", {}, about, "at-work")
    address = ["--address", head.url]
    assert submit.main(["search", *SMALL, "--results", out + "/", *address]) == 2
    assert "'smoke'" in (refused := capsys.readouterr().err) and "as job at-work" in refused

    monkeypatch.setattr("sys.stdin.isatty", lambda: True, raising=False)
    with monkeypatch.context() as away:  # nobody is there to be asked
        away.setattr(jobs.Follower, "follow", lambda self: os.kill(os.getpid(), signal.SIGHUP))
        assert submit.main(["logs", "at-work", "--follow", *address]) == 129
        assert "it runs without this; come back with" in capsys.readouterr().err

    answers = ["g", "s", ""]
    follow = jobs.Follower.follow

    def follow_until_work(self: jobs.Follower) -> object:
        if len(answers) > 1:  # Ctrl-C, twice: go on, then stop
            raise KeyboardInterrupt
        return follow(self)

    while "at work" not in client.get_job_logs("at-work"):
        time.sleep(0.2)
    monkeypatch.setattr(jobs.Follower, "follow", follow_until_work)
    monkeypatch.setattr("builtins.input", lambda prompt: answers.pop(0))
    assert submit.main(["logs", "at-work", "--follow", *address]) == 130
    said = capsys.readouterr()
    assert "gently" in said.out and "at-work: stopped" in said.err
    assert submit.main(["status", "at-wrk", *address]) == 2
    assert "did you mean 'at-work'?" in capsys.readouterr().err
    assert submit.main(["stop", "at-work", *address]) == 0 and "ended already" in capsys.readouterr().err
    assert submit.main(["list", *address]) == 0 and "at-work" in capsys.readouterr().out


@pytest.mark.parametrize(("token", "sentence"), [(None, "asks for a token and there is none"), ("x", "does not take")])
def test_a_missing_or_wrong_token_is_said_in_one_line(
    head: Head, token: str | None, sentence: str, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    if token:
        monkeypatch.setenv("RAY_AUTH_TOKEN", token)
    assert submit.main(["list", "--address", head.url]) == 2
    said = capsys.readouterr().err
    assert sentence in said and said.count("\n") == 1


# Refused before anything is sent ---------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("arguments", "sentence"),
    [
        (["--results", "results"], "got 'results'; a job's working directory is thrown away"),
        (["--results", "s3://name:key@bucket/x"], "no key in an address"),
        ([], "--results is needed"),
        (["--results", "/o", "--preset", "smoek"], "did you mean 'smoke'?"),
        (["--results", "/o", "model.worker_hiden=3"], "did you mean 'model.worker_hidden'?"),
        (["--results", "/o", "data.dataset=csv", "data.path=a.csv"], "got 'a.csv'; a job needs the absolute path"),
        (["--results", "s3://bucket/x", "--wandb", "offline"], "are thrown away"),
        (["--results", "/o", "--env", "WANDB_API_KY"], "it is not set here; did you mean 'WANDB_API_KEY'?"),
    ],
)
def test_a_study_that_cannot_run_there_is_refused(
    arguments: list[str], sentence: str, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setattr("cluster.sending.request.ROOT", Path(os.devnull))  # no cluster/storage.env
    monkeypatch.setenv("WANDB_API_KEY", SECRET)
    assert submit.main(["search", *arguments, "--address", "http://127.0.0.1:1"]) == 2
    assert sentence in capsys.readouterr().err


def test_an_option_that_the_study_does_not_know_is_refused(capsys: pytest.CaptureFixture[str]) -> None:
    with pytest.raises(SystemExit, match="2"):
        submit.main(["ablations", "parts_quick", "--sedes", "3", "--address", "http://127.0.0.1:1", "--results", "/o"])
    assert "error: unrecognized arguments: --sedes 3; did you mean '--seeds'?" in capsys.readouterr().err


def test_a_ctrl_c_that_python_swallows(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(submit.ACTIONS, "list", lost_ctrl_c)
    assert submit.main(["list"]) == jobs.STOPPED_CODE


def test_a_key_is_passed_by_name_and_never_repeated(capsys: pytest.CaptureFixture[str]) -> None:
    command = ["search", "--results", "/o", "--env", f"KEY={SECRET}", "--address", "http://127.0.0.1:1"]
    assert submit.main(command) == 2
    assert "--env KEY=...: give the name alone" in (said := capsys.readouterr().err) and SECRET not in said


def test_another_machine_needs_a_token_that_nobody_else_reads(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    asked: list[str] = []

    def answer(url: str, headers: dict[str, str], **_: object) -> None:
        asked.append(headers.get("Authorization", "none"))
        raise requests.ConnectionError("refused")

    monkeypatch.setattr(requests, "get", answer)
    command = ["list", "--address", "http://198.51.100.7:8265"]
    assert submit.main(command) == 2 and "another machine and there is no token" in capsys.readouterr().err
    token = tmp_path / "token"
    token.write_text(TOKEN)
    token.chmod(0o640)
    monkeypatch.setenv("RAY_AUTH_TOKEN_PATH", str(token))
    assert submit.main(command) == 2 and f"chmod 600 {token}" in capsys.readouterr().err
    assert not asked
    token.chmod(0o600)
    assert submit.main(command) == 2 and "no cluster answers" in (said := capsys.readouterr().err) and TOKEN not in said
    monkeypatch.setenv("RAY_AUTH_MODE", "disabled")
    assert submit.main([*command, "--insecure"]) == 2
    assert asked == [f"Bearer {TOKEN}", "none"]


def test_addresses() -> None:
    assert job_server("http://[::1]:8265/") == "http://[::1]:8265"
    local = [
        is_loopback(f"http://{host}:1") for host in ("localhost", "127.0.0.2", "[::1]", "0.0.0.0", "127.0.0.1.x.org")
    ]
    assert local == [True, True, True, False, False]
    for wrong in ("ray://head:10001", "head:8265", "http://u:p@head:8265", "http://head:99999"):
        with pytest.raises(ConfigError, match="--address"):
            job_server(wrong)
