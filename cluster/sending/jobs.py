"""A job on a cluster: sent, found again, followed to its end, stopped."""

import asyncio
import getpass
import secrets
import tempfile
import time
from collections.abc import Callable, Mapping
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import aiohttp
import requests
from ray.job_submission import JobDetails, JobStatus, JobSubmissionClient, JobType

from cluster.sending import keys as job_keys
from cluster.sending.packing import mib, pack, tree
from cluster.sending.request import Request
from lab.errors import ConfigError, nearest

STOP_SECONDS = 120  # a study that is stopped ends its trials between two steps, as after Ctrl-C
LOST_SECONDS = 60.0  # that a cluster may be out of reach while a job is followed
PAUSE_SECONDS = 1.0
STOPPED_CODE = 130  # as after Ctrl-C
# Ray's own way is SIGTERM and, three seconds later, SIGKILL.
ENDING = {"RAY_JOB_STOP_SIGNAL": "SIGINT", "RAY_JOB_STOP_WAIT_TIME_S": str(STOP_SECONDS)}
UNREACHABLE = (requests.RequestException, aiohttp.ClientError, ConnectionError, RuntimeError, TimeoutError)


class LostCluster(RuntimeError):
    """A job's cluster does not answer any more; says nothing of the job."""


def submit(client: JobSubmissionClient, request: Request, values: Mapping[str, str], say: Callable[[str], None]) -> str:
    """Packs the working tree and sends the study. Returns the job's name.

    Raises:
        ConfigError: the study is running already, or the tree cannot be packed.
    """
    if not request.dry_run:
        check_not_running(client, request)
    files = tree()
    package = pack(files, request.files)
    size = sum(path.stat().st_size for path in files.values())
    say(f"packed {len(files) + len(request.files)} files, {mib(size)}, as {mib(len(package))}")
    name = f"{request.kind}-{request.study}-{datetime.now(UTC):%m%d-%H%M%S}-{secrets.token_hex(2)}"
    metadata = {
        "study": request.study, "out": request.out, "command": request.kind, "user": getpass.getuser(),
        "dry_run": "yes" if request.dry_run else "no",
    }  # fmt: skip
    with tempfile.TemporaryDirectory() as scratch:
        path = Path(scratch) / "tree.zip"
        path.write_bytes(package)
        return send(client, request.entrypoint(bool(values)), values, metadata, name, working_dir=str(path))


def send(
    client: JobSubmissionClient,
    entrypoint: str,
    values: Mapping[str, str],
    metadata: dict[str, str],
    name: str,
    **environment: Any,
) -> str:
    """Sends a command, with keys in the environment of its processes; `environment`: more of the runtime_env."""
    variables = dict(ENDING)
    if values:
        url = client.get_address()
        there = job_keys.runtime_env(job_keys.upload(url, client._headers, dict(values)))
        variables |= there.pop("env_vars")
        environment |= there
    return client.submit_job(
        entrypoint=entrypoint, runtime_env={"env_vars": variables, **environment}, metadata=metadata, submission_id=name
    )


def jobs(client: JobSubmissionClient) -> list[JobDetails]:
    """The jobs that were submitted, earliest first."""
    found = [job for job in client.list_jobs() if job.type == JobType.SUBMISSION]
    return sorted(found, key=lambda job: job.start_time or 0)


def job(client: JobSubmissionClient, name: str) -> JobDetails:
    """One job. Raises ConfigError, with the nearest name, if there is none."""
    every = {str(each.submission_id): each for each in jobs(client)}
    if name not in every:
        among = nearest(name, every) or (f"; allowed: {', '.join(list(every)[-5:])}" if every else "; there is none")
        raise ConfigError(f"no job '{name}' on this cluster{among}")
    return every[name]


def check_not_running(client: JobSubmissionClient, request: Request) -> None:
    """Raises ConfigError, with its name, if a job of this study is at work. (The study's lease guards the rest.)"""
    for each in jobs(client):
        about = each.metadata or {}
        same = (about.get("study"), about.get("out")) == (request.study, request.out)
        if same and about.get("dry_run") == "no" and not each.status.is_terminal():
            raise ConfigError(
                f"study '{request.study}' in {request.out} is {each.status.lower()} already, as job "
                f"{each.submission_id}: follow it (logs --follow), stop it, or take another name for the study"
            )


def exit_code(details: JobDetails) -> int:
    """What a shell would say of the job's command; 130 if it was stopped, 1 if it never ran."""
    if details.status == JobStatus.SUCCEEDED:
        return 0
    if details.status == JobStatus.STOPPED:
        return STOPPED_CODE
    code = details.driver_exit_code
    if not code:
        return 1
    return 128 - code if code < 0 else code


class Follower:
    """Prints a job's log as it grows, from its beginning, across broken connections."""

    def __init__(self, client: JobSubmissionClient, name: str, write: Callable[[str], Any]):
        self.client, self.name, self.write = client, name, write
        self._printed = 0  # characters

    def follow(self) -> JobDetails:
        """Until the job has ended. Raises LostCluster, and KeyboardInterrupt after Ctrl-C (then it can go on)."""
        heard = time.monotonic()
        while True:
            printed = self._printed
            try:
                asyncio.run(self._tail())
                details = self.client.get_job_info(self.name)
                if details.status.is_terminal():
                    # The connection may have ended before the last lines.
                    self._write(self.client.get_job_logs(self.name), 0)
                    return details
                heard = time.monotonic()
            except UNREACHABLE as error:
                if self._printed > printed:
                    heard = time.monotonic()
                if time.monotonic() - heard > LOST_SECONDS:
                    raise LostCluster(f"{self.client.get_address()} has not answered for {LOST_SECONDS:g} s") from error
            time.sleep(PAUSE_SECONDS)

    async def _tail(self) -> None:
        start = 0
        async for text in self.client.tail_job_logs(self.name):
            self._write(text, start)
            start += len(text)

    def _write(self, text: str, start: int) -> None:
        """Prints what of `text`, which begins at character `start` of the log, was not printed."""
        if new := text[max(0, self._printed - start) :]:
            self.write(new)
            self._printed = start + len(text)


def wait(client: JobSubmissionClient, name: str, seconds: float) -> JobDetails:
    """The job once it has ended, or as it is after so long."""
    deadline = time.monotonic() + seconds
    while not (details := client.get_job_info(name)).status.is_terminal() and time.monotonic() < deadline:
        time.sleep(PAUSE_SECONDS)
    return details
