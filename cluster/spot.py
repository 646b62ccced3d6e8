"""Tells Ray that the cloud will take this machine back, while there is time.

Ray 2.60's launcher does not read a cloud's notice. A machine that is marked as draining gets no new trial, and a trial
that ends with it counts as preempted, not as failed (Ray Tune's `max_failures`); it goes on elsewhere from its last
checkpoint. Only the standard library is used, and Ray's own command: this file runs before and without the project.

    python spot.py watch aws|gcp     beside a worker; waits for the notice (two minutes ahead on AWS, half a one on GCP)
    python spot.py drain --seconds N at once, then waits until Ray has left or the time is up (a preStop hook)
"""

import argparse
import contextlib
import fcntl
import os
import subprocess
import sys
import tempfile
import time
import urllib.error
import urllib.request
from collections.abc import Callable
from pathlib import Path

AWS = os.environ.get("DYNONET_METADATA", "http://169.254.169.254")
GCP = os.environ.get("DYNONET_METADATA", "http://metadata.google.internal")
PERIOD = 5.0  # s between two looks; AWS asks for this
_DIRECT = urllib.request.build_opener(urllib.request.ProxyHandler({}))  # no proxy knows this machine's metadata
NOTICE = {"aws": 120, "gcp": 30}  # s from notice to end


def aws_notice() -> bool:
    """Whether this instance is to be interrupted: `spot/instance-action` exists from then on."""
    token = urllib.request.Request(
        f"{AWS}/latest/api/token", method="PUT", headers={"X-aws-ec2-metadata-token-ttl-seconds": "60"}
    )
    headers = {"X-aws-ec2-metadata-token": _get(token) or ""}
    return _get(urllib.request.Request(f"{AWS}/latest/meta-data/spot/instance-action", headers=headers)) is not None


def gcp_notice() -> bool:
    """Whether this instance is preempted: the flag turns to TRUE as its shutdown begins."""
    url = f"{GCP}/computeMetadata/v1/instance/preempted"
    return (_get(urllib.request.Request(url, headers={"Metadata-Flavor": "Google"})) or "").strip() == "TRUE"


NOTICES: dict[str, Callable[[], bool]] = {"aws": aws_notice, "gcp": gcp_notice}


def watch(cloud: str, period: float = PERIOD) -> int:
    """Waits for the notice and drains. A second watcher on the machine leaves at once."""
    with open(os.path.join(tempfile.gettempdir(), f"dynonet-spot-{os.getuid()}.lock"), "w") as lock:
        try:
            fcntl.flock(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            return 0
        silent = False
        while True:
            try:
                if NOTICES[cloud]():
                    print(f"spot: {cloud} takes this machine back in {NOTICE[cloud]} s", flush=True)
                    return drain(NOTICE[cloud], f"spot notice of {cloud}")
                silent = False
            except OSError as error:
                if not silent:
                    print(f"spot: the metadata service does not answer: {error}", file=sys.stderr, flush=True)
                silent = True
            time.sleep(period)


def drain(seconds: int, message: str) -> int:
    """Marks this node as draining, to end in so many seconds: the exit code of Ray's command."""
    ray = [sys.executable, "-m", "ray.scripts.scripts"]  # the command `ray` of this Python
    command = [*ray, "drain-node", "--reason", "DRAIN_NODE_REASON_PREEMPTION", "--reason-message", message]
    if address := os.environ.get("RAY_ADDRESS"):
        command += ["--address", address]
    try:
        return subprocess.run([*command, "--deadline-remaining-seconds", str(seconds)], timeout=seconds).returncode
    except subprocess.TimeoutExpired:
        print(f"spot: Ray's head did not answer within {seconds} s", file=sys.stderr, flush=True)
        return 1


def wait_for_ray(seconds: float) -> None:
    """Returns when no raylet is left on this machine (it ends itself once it drains and is idle), or in time."""
    deadline = time.monotonic() + seconds
    while time.monotonic() < deadline and _raylet_runs():
        time.sleep(0.5)


def _raylet_runs() -> bool:
    for path in Path("/proc").glob("[0-9]*/comm"):
        with contextlib.suppress(OSError):
            if path.read_text().strip() == "raylet":
                return True
    return False


def _get(request: urllib.request.Request) -> str | None:
    """The answer's text, None where there is no such object. Raises OSError."""
    try:
        with _DIRECT.open(request, timeout=2) as answer:
            return answer.read().decode()
    except urllib.error.HTTPError as error:
        if error.code == 404:
            return None
        raise


def main(arguments: list[str] | None = None) -> int:
    parser = argparse.ArgumentParser(prog="spot.py", description=__doc__.splitlines()[0] if __doc__ else None)
    commands = parser.add_subparsers(dest="command", required=True)
    commands.add_parser("watch").add_argument("cloud", choices=sorted(NOTICES))
    commands.add_parser("drain").add_argument("--seconds", type=int, required=True, help="until the machine ends")
    args = parser.parse_args(arguments)
    if args.command == "watch":
        return watch(args.cloud)
    if not 0 <= args.seconds <= 86_400:
        parser.error(f"--seconds: got {str(args.seconds)[:40]}; 0 to 86400 are allowed")
    begin = time.monotonic()
    code = drain(args.seconds, "this machine is taken back")
    wait_for_ray(args.seconds - (time.monotonic() - begin))
    return code


if __name__ == "__main__":
    sys.exit(main())
