"""`python -m cluster.submit`: the commands that train, on a cluster.

    python -m cluster.submit search ARGS... --address URL       as python -m tune.search ARGS...
    python -m cluster.submit ablations ARGS... --address URL    as python -m ablations.run ARGS...
    python -m cluster.submit list | status JOB | logs JOB | stop JOB

The working tree goes along, the log comes back, the exit code is the study's. The same study again goes on where it
stood. Jobs are sent to the cluster's job server (http://127.0.0.1:8265 at the end of a tunnel).
"""

import argparse
import logging
import os
import shlex
import signal
import sys
from collections.abc import Callable, Sequence
from datetime import datetime

import requests
from ray.exceptions import RayError
from ray.job_submission import JobSubmissionClient

from cluster.sending import jobs
from cluster.sending.addresses import (
    ADDRESS,
    OVERRULING,
    check_answers,
    check_safe,
    find_token,
    is_loopback,
    job_server,
)
from cluster.sending.keys import collect
from cluster.sending.request import MODULES, read_request
from lab.console.commands import command_named, refused
from lab.console.interrupts import Ended, exit_code
from lab.console.parser import Parser
from lab.console.printing import print
from lab.errors import ConfigError
from lab.store.tables import ResultsError, StorageError

CHATTY = ("ray.dashboard.modules.dashboard_sdk", "ray.dashboard.modules.job.sdk")


def parser() -> argparse.ArgumentParser:
    top = Parser(
        prog="python -m cluster.submit", description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    commands = top.add_subparsers(dest="command", required=True, metavar="|".join([*MODULES, *ACTIONS]))
    common = Parser(add_help=False, allow_abbrev=False)
    add = common.add_argument
    add("--address", metavar="URL", help=f"of the job server (default: {ADDRESS})")
    add("--insecure", action="store_true", help="send to another machine without a token, too")
    for name, module in MODULES.items():
        command = commands.add_parser(
            name, parents=[common], allow_abbrev=False, help=f"submit python -m {module}",
            usage=f"%(prog)s ARGS... [options]  (ARGS: python -m {module} -h)",
        )  # fmt: skip
        command.add_argument("--detach", action="store_true", help="leave it running; says how to come back")
        command.add_argument(
            "--env", action="append", default=[], metavar="NAME",
            help="pass this variable on, such as WANDB_API_KEY; may be given again",
        )  # fmt: skip
    commands.add_parser("list", parents=[common], help="jobs of the cluster")
    for name, text in (("status", "how it stands"), ("logs", "its log"), ("stop", "end it as Ctrl-C would")):
        command = commands.add_parser(name, parents=[common], help=text)
        command.add_argument("job")
        if name == "logs":
            command.add_argument("--follow", action="store_true", help="to its end; the exit code is the job's")
    return top


@command_named("cluster.submit")
def main(argv: Sequence[str] | None = None) -> int:
    top = parser()
    args, rest = top.parse_known_args(argv)
    if rest and args.command not in MODULES:
        top.error(f"unrecognized arguments: {' '.join(rest)}")
    for name in CHATTY:
        logging.getLogger(name).setLevel(logging.WARNING)
    try:
        if args.command in MODULES:
            return _submit(args, rest)
        return ACTIONS[args.command](args)
    except (ConfigError, ResultsError, StorageError) as error:
        return refused(error)
    except (requests.RequestException, RuntimeError, RayError) as error:  # how Ray's client says that a request failed
        print(f"error: {str(error).strip().splitlines()[-1][:500]}", file=sys.stderr)
        return 1


def connect(args: argparse.Namespace) -> JobSubmissionClient:
    """The client of the cluster at `--address`. Raises ConfigError, in one sentence, before anything is sent."""
    url = job_server(args.address)
    token = find_token()
    check_safe(url, token, args.insecure)
    if token and not is_loopback(url) and url.startswith("http:"):
        _say(f"note: the token goes to {url} unencrypted; a tunnel (ray dashboard cluster/NAME.yaml) is safer")
    check_answers(url, token)
    for name in OVERRULING:
        os.environ.pop(name, None)
    return JobSubmissionClient(url, headers=token.headers if token else None)


def _submit(args: argparse.Namespace, rest: Sequence[str]) -> int:
    job_server(args.address)
    values = collect(args.env)
    request = read_request(args.command, rest, args.env)
    client = connect(args)
    for note in request.notes:
        _say(f"note: {note}")
    name = jobs.submit(client, request, values, _say)
    _say(f"job {name}: study {request.study}, results in {request.out}")
    if args.detach:
        _say(_how_to_come_back(name, client.get_address()))
        return 0
    return _follow(client, name)


def _follow(client: JobSubmissionClient, name: str) -> int:
    """The job's log to its end. Returns its exit code; 130 (143 or 129, by the signal) if it was left running, 1 if the
    cluster was lost."""
    follower = jobs.Follower(client, name, lambda text: print(text, end="", flush=True))
    while True:
        try:
            details = follower.follow()
            break
        except KeyboardInterrupt as interrupt:
            nobody = isinstance(interrupt, Ended) and interrupt.signum != signal.SIGINT  # is there to be asked
            wish = "leave" if nobody else _asked(name)
            if wish == "leave":
                _say(_how_to_come_back(name, client.get_address()))
                return exit_code(interrupt)
            if wish == "stop":
                client.stop_job(name)
                _say("stopping; everything finished is kept")
        except jobs.LostCluster as error:
            _say(f"{error}; the job may go on without this\n{_how_to_come_back(name, client.get_address())}")
            return 1
    code = jobs.exit_code(details)
    if code and details.driver_exit_code is None and details.message:
        _say(f"{details.message.strip().splitlines()[-1][:500]}")
    _say(f"job {name}: {details.status.lower()}" + (f", exit code {code}" if code else ""))
    return code


def _asked(name: str) -> str:
    """What Ctrl-C is to mean: `stop`, `leave` or `go on`. The job is left running where nobody can be asked."""
    if not sys.stdin.isatty():
        return "leave"
    try:
        answer = input(f"\nstop job {name}, leave it running, or go on following it? [s/l/G] ").strip().lower()
    except (KeyboardInterrupt, EOFError):
        return "leave"
    return {"s": "stop", "l": "leave"}.get(answer[:1], "go on")


def _how_to_come_back(name: str, url: str) -> str:
    command = f"python -m cluster.submit {{}} {name}{{}} --address {shlex.quote(url)}"
    return "\n".join(
        [
            "it runs without this; come back with",
            "  " + command.format("logs", " --follow"),
            "  " + command.format("status", ""),
            "  " + command.format("stop", ""),
        ]
    )


def _list(args: argparse.Namespace) -> int:
    for each in jobs.jobs(connect(args)):
        about = each.metadata or {}
        row = (str(each.submission_id), each.status.lower(), _time(each.start_time), about.get("study", "-"))
        print(f"{row[0]:44s}  {row[1]:9s}  {row[2]:19s}  {row[3]:20s}  {about.get('out', '-')}")
    return 0


def _status(args: argparse.Namespace) -> int:
    details = jobs.job(connect(args), args.job)
    about = details.metadata or {}
    print(f"{args.job}: {details.status.lower()}")
    print(f"study {about.get('study', '-')}, results in {about.get('out', '-')}")
    print(f"started {_time(details.start_time)}, ended {_time(details.end_time)}")
    print(details.entrypoint)
    if details.status.is_terminal():
        print(f"exit code {jobs.exit_code(details)}")
    return 0


def _logs(args: argparse.Namespace) -> int:
    client = connect(args)
    jobs.job(client, args.job)
    if args.follow:
        return _follow(client, args.job)
    print(client.get_job_logs(args.job), end="")
    return 0


def _stop(args: argparse.Namespace) -> int:
    client = connect(args)
    if jobs.job(client, args.job).status.is_terminal() or not client.stop_job(args.job):
        _say(f"job {args.job} has ended already")
        return 0
    _say("stopping; everything finished is kept")
    details = jobs.wait(client, args.job, jobs.STOP_SECONDS + 30)
    _say(f"job {args.job}: {details.status.lower()}")
    return 0 if details.status.is_terminal() else 1


def _time(milliseconds: int | None) -> str:
    return f"{datetime.fromtimestamp(milliseconds / 1000):%Y-%m-%d %H:%M:%S}" if milliseconds else "-"


def _say(text: str) -> None:
    print(text, file=sys.stderr, flush=True)


ACTIONS: dict[str, Callable[[argparse.Namespace], int]] = {
    "list": _list, "status": _status, "logs": _logs, "stop": _stop,
}  # fmt: skip


if __name__ == "__main__":
    sys.exit(main())
