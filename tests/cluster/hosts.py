"""Hosts on this one machine, as processes see them: an address, a name, a process tree, /tmp and a home folder each.

    with network(folder) as hosts:
        head, worker = hosts.add("head"), hosts.add("worker")
        head.run("ping", "-c1", worker.address)

A host is a network namespace at a bridge, and processes in mount, process and host-name namespaces of their own. What
lies outside /tmp and the home folder they share: the project and its virtual environment, as if installed on each; and
`hosts.shared`, for results. It takes root, `ip` and `unshare`; `missing` says what there is not.
"""

import itertools
import json
import os
import pwd
import shlex
import shutil
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import IO, Any

from tests.processes import ROOT

HOME = Path(pwd.getpwuid(os.getuid()).pw_dir)
UNSHARE = ("unshare", "--mount", "--uts", "--pid", "--fork", "--kill-child=SIGKILL", "--mount-proc")
PREFIX = "dynonet"  # of the namespaces' names: PREFIX-PID-NUMBER-HOST
_numbers = itertools.count()
WAIT = 450.0  # seconds at most for anything, on a loaded machine
ASK = """
import json, sys, urllib.error, urllib.request
url, token, body = json.loads(sys.argv[1])
headers = {"Authorization": f"Bearer {token}"} if token is not None else {}
data = None if body is None else json.dumps(body).encode()
request = urllib.request.Request(url, data, {"Content-Type": "application/json", **headers})
try:
    with urllib.request.urlopen(request, timeout=30) as answer:
        print(json.dumps([answer.status, answer.read().decode()]))
except urllib.error.HTTPError as error:
    print(json.dumps([error.code, error.read().decode()]))
except OSError as error:
    print(json.dumps([0, str(error)]))
"""


def missing(*programs: str) -> str | None:
    """Why hosts cannot be had here, found out by making one; None if they can. `programs`: what is needed besides."""
    for name in ("ip", "unshare", "nsenter", "mount", *programs):
        if shutil.which(name, path=_path()) is None:
            return f"the program '{name}' is not installed"
    name = f"{PREFIX}-{os.getpid()}-trial"
    try:
        _ip("netns", "add", name)
        try:
            _ip("-n", name, "link", "add", "name", "bridge", "type", "bridge")
            _ip("-n", name, "link", "add", "name", "a", "type", "veth", "peer", "name", "b")
            _call("ip", "netns", "exec", name, *UNSHARE, "sh", "-c", "hostname trial && mount -t tmpfs none /run")
        finally:
            _ip("netns", "del", name)
    except subprocess.CalledProcessError as error:
        return f"'{shlex.join(error.cmd)}' fails: {(error.stderr or error.stdout).strip()} (namespaces take root)"
    return None


class Host:
    """One host; `network` makes them. Its address outlives its processes: after `kill` it can `boot` again."""

    def __init__(self, net: "Network", name: str, number: int):
        self.net, self.name, self.address = net, name, f"10.77.0.{number}"
        self.folder = net.folder / name
        self.tmp, self.home = self.folder / "tmp", self.folder / "home"  # its /tmp and its home, seen from outside
        self.namespace = f"{net.prefix}{name}"
        self.environment: dict[str, str] = {}  # of every command
        self._booted: subprocess.Popen[str] | None = None
        for folder in (self.tmp, self.home):
            folder.mkdir(parents=True)
        _ip("netns", "add", self.namespace)
        _ip(
            "-n",
            net.switch,
            "link",
            "add",
            "name",
            name,
            "type",
            "veth",
            "peer",
            "name",
            "eth0",
            "netns",
            self.namespace,
        )
        _ip("-n", net.switch, "link", "set", name, "master", "bridge", "up")
        _ip("-n", self.namespace, "addr", "add", f"{self.address}/24", "dev", "eth0")
        for device in ("lo", "eth0"):
            _ip("-n", self.namespace, "link", "set", device, "up")
        _ip("-n", self.namespace, "route", "add", "default", "dev", "eth0")  # what Ray guesses addresses from
        self.boot()

    def boot(self) -> None:
        """Its first process, without which the others are killed: it ends when the test's process does."""
        script = "\n".join([*self._mounts(), f"hostname {self.name}", "echo up", "read -r end || true"])
        command = ["ip", "netns", "exec", self.namespace, *UNSHARE, "bash", "-ec", script]
        with (self.folder / "boot.log").open("ab") as log:
            self._booted = subprocess.Popen(
                command, stdin=subprocess.PIPE, stdout=subprocess.PIPE, stderr=log, text=True, env={"PATH": _path()}
            )
        assert self._booted.stdout is not None
        said = self._booted.stdout.readline()
        assert said == "up\n", (self.folder / "boot.log").read_text()
        pid = self._booted.pid
        self._init = int(Path(f"/proc/{pid}/task/{pid}/children").read_text().split()[0])

    def _mounts(self) -> Iterator[str]:
        """Private folders over /tmp and home, but for what all hosts see there; names of hosts, and no name server."""
        yield "mount -t tmpfs tmpfs /run"  # where all is made ready: a covered folder hides what is to come next
        covers = {"tmp": (Path("/tmp"), self.tmp), "home": (HOME, self.home)}
        for name, (covered, private) in covers.items():
            yield shlex.join(["mkdir", f"/run/{name}"])
            yield shlex.join(["mount", "--bind", str(private), f"/run/{name}"])
            for path in (ROOT, Path(sys.prefix), Path(sys.base_prefix), self.net.shared):
                if path.is_relative_to(covered):
                    place = f"/run/{name}/{path.relative_to(covered)}"
                    yield shlex.join(["mkdir", "-p", place])
                    yield shlex.join(["mount", "--rbind", str(path), place])
        (self.folder / "hosts").touch()
        (self.folder / "resolv.conf").touch()
        for name in ("hosts", "resolv.conf"):
            yield f"[ ! -e /etc/{name} ] || mount --bind {shlex.quote(str(self.folder / name))} /etc/{name}"
        for name, (covered, _) in covers.items():
            yield shlex.join(["mount", "--rbind", f"/run/{name}", str(covered)])

    @property
    def alive(self) -> bool:
        return self._booted is not None and self._booted.poll() is None

    def kill(self) -> None:
        """SIGKILL for all its processes at once."""
        if self._booted is not None:
            self._booted.kill()
            self._booted.wait()
            wait_for(lambda: not self.processes(), f"the end of {self.name}'s processes")

    def buried(self) -> None:
        """Waits for its first process, dead by now, so that no entry of the process table is left."""
        if self._booted is not None:
            self._booted.wait(WAIT)

    def processes(self) -> list[int]:
        return [int(pid) for pid in _ip("netns", "pids", self.namespace).split()]

    def cut_off(self) -> None:
        """Pulls its cable: what others send is lost, and nobody is told."""
        _ip("-n", self.net.switch, "link", "set", self.name, "down")

    def reconnect(self) -> None:
        _ip("-n", self.net.switch, "link", "set", self.name, "up")

    def start(self, *command: str, log: Path | None = None, stdout: int | IO[Any] | None = None, **environment: str):
        """Starts a command on this host. Its output goes to `log` (the host's own by default), unless `stdout`."""
        assert self.alive, f"{self.name} is down"
        enter = ["nsenter", f"--target={self._init}", "--mount", "--uts", "--net", "--pid", "env", f"--chdir={HOME}"]
        env = {"PATH": _path(), "HOME": str(HOME), "USER": "root", "LANG": "C.UTF-8", "OMP_NUM_THREADS": "1"}
        env |= {"PYTHONPATH": str(ROOT), **self.environment, **environment}
        with (log or self.folder / "log").open("ab") as file:
            return subprocess.Popen(
                [*enter, *command], stdin=subprocess.DEVNULL, stdout=stdout or file,
                stderr=subprocess.STDOUT if stdout else file, env=env, text=True,
            )  # fmt: skip

    def run(self, *command: str, timeout: float = WAIT, **environment: str) -> tuple[int, str]:
        """A command's exit code, and all that it said."""
        process = self.start(*command, stdout=subprocess.PIPE, **environment)
        said, _ = process.communicate(timeout=timeout)
        return process.returncode, said

    def ask(self, url: str, token: str | None = None, body: Any = None) -> tuple[int, str]:
        """The status and the body of an HTTP answer, as this host gets it; status 0 where nobody answers."""
        code, said = self.run(sys.executable, "-c", ASK, json.dumps([url, token, body]))
        assert code == 0, said
        status, text = json.loads(said.splitlines()[-1])
        return status, text

    def put(self, path: str, text: str, mode: int = 0o600) -> None:
        """Writes a file into its home folder."""
        file = self.home / path
        file.parent.mkdir(parents=True, exist_ok=True)
        file.write_text(text)
        file.chmod(mode)

    def said(self) -> str:
        return f"--- {self.name}\n" + "".join(p.read_text() for p in sorted(self.folder.glob("*log")))


class Network:
    """A bridge in a namespace of its own, and the hosts at it."""

    def __init__(self, folder: Path):
        self.folder, self.shared = folder, folder / "shared"
        self.shared.mkdir(parents=True)
        self.hosts: list[Host] = []
        self.prefix = f"{PREFIX}-{os.getpid()}-{next(_numbers)}-"
        self.switch = f"{self.prefix}switch"
        _ip("netns", "add", self.switch)
        _ip("-n", self.switch, "link", "add", "name", "bridge", "type", "bridge", "forward_delay", "0")
        _ip("-n", self.switch, "link", "set", "bridge", "up")

    def add(self, name: str) -> Host:
        host = Host(self, name, len(self.hosts) + 1)
        self.hosts.append(host)
        names = "127.0.0.1 localhost\n" + "".join(f"{each.address} {each.name}\n" for each in self.hosts)
        for each in self.hosts:
            (each.folder / "hosts").write_text(names)
        return host


@contextmanager
def network(folder: Path) -> Iterator[Network]:
    """No process and no namespace outlives the context; those of a test that was killed itself are removed first."""
    _remove_left_over()
    net = Network(folder)
    try:
        yield net
    finally:
        _remove(net.prefix)
        for host in net.hosts:
            host.buried()


def wait_for(condition: Callable[[], Any], what: str, said: Callable[[], str] = str, seconds: float = WAIT) -> Any:
    """What `condition` returns, once that is true; fails with `said()` if it does not come."""
    deadline = time.monotonic() + seconds
    while not (found := condition()):
        assert time.monotonic() < deadline, f"waited {seconds:g} s for {what}\n{said()}"
        time.sleep(0.1)
    return found


def _remove_left_over() -> None:
    for name in _namespaces():
        owner = name.split("-")[1]
        if owner.isdigit() and not Path(f"/proc/{owner}").exists():
            _remove(f"{PREFIX}-{owner}-")


def _remove(prefix: str) -> None:
    names = [name for name in _namespaces() if name.startswith(prefix)]
    for name in names:
        for _ in range(100):
            if not (pids := _ip("netns", "pids", name).split()):
                break
            for pid in pids:
                subprocess.run(["kill", "-KILL", pid], capture_output=True)
            time.sleep(0.1)
        _ip("netns", "del", name)
    assert not [name for name in _namespaces() if name in names]


def _namespaces() -> list[str]:
    return [line.split()[0] for line in _ip("netns", "list").splitlines() if line.startswith(f"{PREFIX}-")]


def _path() -> str:
    """Where programs are found: this Python's first, administrators' too."""
    places = [str(Path(sys.executable).parent), *os.environ.get("PATH", os.defpath).split(":"), "/usr/sbin", "/sbin"]
    return ":".join(dict.fromkeys(places))


def _ip(*arguments: str) -> str:
    return _call("ip", *arguments)


def _call(*command: str) -> str:
    done = subprocess.run(command, capture_output=True, text=True, check=True, env={**os.environ, "PATH": _path()})
    return done.stdout
