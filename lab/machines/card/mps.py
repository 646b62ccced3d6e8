"""CUDA MPS: processes that share a GPU compute on it side by side, through one server, and not in turns.

NVIDIA's control daemon (https://docs.nvidia.com/deploy/mps) is one a machine and account here, in a folder of its own.
What has that folder in its environment when it first uses CUDA is its client. Who needs it starts it unless it runs,
and the last of those who do stops it; one that a killed driver left serves the next, which stops it. One that the
command below has started stays until that stops it; one that somebody else has started is used, and left alone.

    python -m lab.machines.card.mps start|stop     on a machine of a cluster, where DYNONET_MPS=1; else it does nothing
"""

import atexit
import fcntl
import os
import shutil
import subprocess
import sys
import tempfile
from collections.abc import Mapping, Sequence
from contextlib import suppress
from pathlib import Path
from typing import IO

from lab.console.commands import command_named
from lab.console.parser import Parser
from lab.console.printing import print
from lab.errors import ConfigError

TURNS, MPS = "turns", "mps"
SHARINGS = (TURNS, MPS)  # the first is the default: what MPS brings has not been measured here yet
CONTROL, SMI = "nvidia-cuda-mps-control", "nvidia-smi"
PIPES, LOGS = "CUDA_MPS_PIPE_DIRECTORY", "CUDA_MPS_LOG_DIRECTORY"
ASKED = "DYNONET_MPS"  # on a cluster, in its environment
OTHERWISE = "without --gpu-sharing mps trials compute on it in turns"
SECONDS = 30.0  # for the daemon to answer


class Mps:
    """One user of this machine's daemon: this process, from `start` to `stop`, or to its end.

    Raises ConfigError where there is none to be had, in one sentence.
    """

    def __init__(self, folder: Path | None = None):
        # A socket's path must be short, and no other account's.
        self.folder = folder or Path(tempfile.gettempdir()) / f"dynonet-mps-{os.getuid()}"
        self._users: IO[bytes] | None = None
        self._kept = self.folder / "kept"  # is there where it stays without users

    @property
    def variables(self) -> dict[str, str]:
        """What its clients have in their environment."""
        return {PIPES: str(self.folder / "pipe"), LOGS: str(self.folder / "log")}

    def start(self) -> None:
        """It runs from now on, and what this process starts is its client."""
        if Path(os.environ.get(PIPES, "")) != self.folder / "pipe" and answers(os.environ):
            return  # somebody else's
        why = missing()
        if why:
            raise ConfigError(f"--gpu-sharing mps: {why}; {OTHERWISE}")
        try:
            for name in ("", "pipe", "log"):
                (self.folder / name).mkdir(mode=0o700, exist_ok=True)
            if self.folder.stat().st_uid != os.getuid():
                raise PermissionError("it belongs to another account")
            with (self.folder / "start").open("wb") as start:
                fcntl.flock(start, fcntl.LOCK_EX)
                self._users = (self.folder / "users").open("wb")
                fcntl.flock(self._users, fcntl.LOCK_SH)  # goes with this process, however it ends
                if not answers(self.variables):
                    self._kept.unlink(missing_ok=True)  # of one that is no more
                    self._begin()
        except (OSError, subprocess.TimeoutExpired) as error:
            raise ConfigError(f"--gpu-sharing mps: {self.folder} cannot be used ({error}); {OTHERWISE}") from None
        os.environ.update(self.variables)
        atexit.register(self.stop)

    def _begin(self) -> None:
        # With devices of its own it would number them anew for its clients, which have Ray's numbers.
        env = {name: value for name, value in os.environ.items() if name != "CUDA_VISIBLE_DEVICES"}
        with (self.folder / "said").open("w+", errors="replace") as said:  # a pipe would stay open as long as it runs
            done = subprocess.run(
                [CONTROL, "-d"], env=env | self.variables, stdin=subprocess.DEVNULL, stdout=said, stderr=said,
                timeout=SECONDS, check=False,
            )  # fmt: skip
            if done.returncode or not answers(self.variables):
                said.seek(0)
                last = (said.read().strip().splitlines() or ["it said nothing"])[-1]
                raise ConfigError(f"--gpu-sharing mps: {CONTROL} did not start: {last[:200]}; {OTHERWISE}")

    def keep(self, kept: bool) -> None:
        """Whether it is to stay when its last user has gone. Of one of somebody else's nothing changes."""
        if self._users is not None and kept:
            self._kept.touch()
        elif self._users is not None:
            self._kept.unlink(missing_ok=True)

    def stop(self) -> None:
        """The last user's ends the daemon, unless it is kept. It may be called again."""
        if self._users is None:
            return
        for name, value in self.variables.items():
            if os.environ.get(name) == value:
                del os.environ[name]
        users, self._users = self._users, None
        # Where somebody has deleted the folder nobody can say who else uses it: it stays.
        with users, suppress(FileNotFoundError), (self.folder / "start").open("wb") as start:
            fcntl.flock(start, fcntl.LOCK_EX)
            try:
                fcntl.flock(users, fcntl.LOCK_EX | fcntl.LOCK_NB)
            except BlockingIOError:
                return
            if not self._kept.exists():
                tell("quit", self.variables)


def missing() -> str:
    """Why MPS cannot be started on this machine, as a clause; "" where it can."""
    if shutil.which(CONTROL) is None:
        return f"no {CONTROL} on PATH (it comes with NVIDIA's driver)"
    if shutil.which(SMI) is None:
        return ""
    query = [SMI, "--query-gpu=index,compute_mode", "--format=csv,noheader"]
    try:
        done = subprocess.run(
            query, capture_output=True, text=True, errors="replace", timeout=SECONDS, check=False
        )  # fmt: skip
    except (OSError, subprocess.TimeoutExpired) as error:
        return f"{SMI} does not answer ({error})"
    for line in done.stdout.splitlines():
        index, _, mode = (part.strip() for part in line.partition(","))
        if done.returncode == 0 and mode and mode != "Default":
            return f"GPU {index} is in compute mode {mode}, and not ours to share; `{SMI} -c DEFAULT` ends that"
    return ""


def answers(environment: Mapping[str, str]) -> bool:
    """Whether a control daemon runs for processes with these variables."""
    return shutil.which(CONTROL) is not None and tell("get_server_list", environment)


def tell(command: str, variables: Mapping[str, str]) -> bool:
    """Whether the daemon took a command."""
    env = {**os.environ, **variables}
    try:
        done = subprocess.run(
            [CONTROL], input=f"{command}\n".encode(), env=env, capture_output=True, timeout=SECONDS, check=False
        )
    except (OSError, subprocess.TimeoutExpired):
        return False
    return done.returncode == 0


def parser() -> Parser:
    result = Parser(
        prog="python -m lab.machines.card.mps",
        description=f"CUDA MPS on a machine of a cluster, before and after Ray; does nothing unless {ASKED}=1.",
    )
    result.add_argument("command", choices=("start", "stop"))
    return result


@command_named("lab.machines.card.mps")
def main(arguments: Sequence[str] | None = None) -> int:
    """A machine that cannot is one whose trials take turns."""
    command = parser().parse_args(arguments).command
    if os.environ.get(ASKED, "0") != "1":
        return 0
    daemon = Mps()
    try:
        daemon.start()
    except ConfigError as error:
        print(f"mps: {error}", file=sys.stderr)
        return 0
    daemon.keep(command == "start")
    daemon.stop()
    return 0


if __name__ == "__main__":
    sys.exit(main())
