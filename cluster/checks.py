"""Checks a cluster file before a machine is paid for: `python -m cluster.checks cluster/aws.yaml ...`.

Ray's and Kubernetes' own validation let much pass that fails later or stands open: a misspelt field of a machine, an
image of another Ray than constraints.txt, a file that does not exist, a dashboard that listens to all, a token in the
text. Nothing here touches a network.
"""

import re
import subprocess
import sys
from pathlib import Path
from urllib.parse import urlsplit

from cluster.check_kuberay import check_kuberay
from cluster.check_launcher import check_launcher
from cluster.check_parts import (
    ROOT,
    authentication,
    dashboard,
    image,
    pins,
    secrets,
    secrets_of,
    start_flags,
    unknown_start_flags,
)
from dynonet.commands import command_named
from dynonet.data import ETT_SHA256
from dynonet.errors import ConfigError, nearest
from dynonet.printing import Parser, print
from dynonet.strict_yaml import YamlError, parse_as_1_1, read_text

UNFILLED = "CHANGE-ME"


def check(path: Path, root: Path = ROOT) -> list[str]:
    """What is wrong with a file of `cluster/` (or an edited copy): one line each, [] if nothing.

    Args:
        root: the project, whose constraints.txt and files the file must agree with.
    Raises:
        ConfigError: it cannot be read.
    """
    text = read_text(path)
    if path.suffix in (".yaml", ".yml"):
        return _yaml(text, root)
    if path.name.endswith(".env"):
        return _environment(text) + secrets(text)
    if path.name == "Dockerfile":
        images = re.findall(r"^FROM (\S+)", text, re.M)
        return [each for name in images for each in image(name, "FROM", pins(root), gpu=True)] + secrets(text)
    if path.suffix == ".sh":
        return _shell(path, text) + secrets(text)
    return [f"no check for '{path.name}'; allowed: .yaml, .env, .sh, Dockerfile"]


def unfilled(path: Path) -> list[str]:
    """Lines that still say CHANGE-ME, with their numbers."""
    lines = enumerate(read_text(path).splitlines(), 1)
    return [f"line {n}: {line.strip()}" for n, line in lines if UNFILLED in line and not line.lstrip().startswith("#")]


def _yaml(text: str, root: Path) -> list[str]:
    try:
        documents = [each for each in parse_as_1_1(text) if each is not None]
    except YamlError as error:
        return [str(error)]
    # Texts are searched as they are read, comments as they stand.
    found = secrets_of(documents) + secrets("\n".join(line.partition("#")[2] for line in text.splitlines()))
    if documents and all(isinstance(each, dict) for each in documents):
        if len(documents) == 1 and "provider" in documents[0]:
            return check_launcher(documents[0], root) + found
        if any(each.get("kind") in ("RayCluster", "RayJob") for each in documents):
            return check_kuberay(documents, root) + found
    return ["neither a file of Ray's cluster launcher (it has a 'provider') nor a RayCluster or RayJob", *found]


def _environment(text: str) -> list[str]:
    """A file that shells and `kubectl create configmap --from-env-file` read alike."""
    found, problems = {}, []
    for number, line in enumerate(text.splitlines(), 1):
        if not line.strip() or line.startswith("#"):
            continue
        if not (match := re.fullmatch(r"([A-Za-z_]\w*)=([^\s\"'`$;&|<>()#]*)", line)):
            name = line.partition("=")[0]  # the value may be a key
            problems.append(f"line {number}: '{name}': allowed: NAME=value without blanks, quotes or comments")
        else:
            found[match[1]] = match[2]
    results = found.get("DYNONET_RESULTS", "")
    if urlsplit(results).scheme not in ("s3", "gs") and not results.startswith("/"):
        problems.append(f"DYNONET_RESULTS: got '{results}', allowed: s3://..., gs://... or an absolute path")
    for name in filter(None, found.get("DYNONET_DATASETS", "").split(",")):
        if name not in ETT_SHA256:
            problems.append(f"DYNONET_DATASETS: unknown series '{name}'{nearest(name, ETT_SHA256)}")
    return problems


def _shell(path: Path, text: str) -> list[str]:
    done = subprocess.run(["bash", "-n", str(path)], capture_output=True, text=True)
    problems = [] if done.returncode == 0 else [f"not a script that bash reads: {done.stderr.strip()}"]
    commands = [line for line in re.sub(r"\\\n\s*", "", text).splitlines() if not line.lstrip().startswith("#")]
    problems += authentication("\n".join(commands), "RAY_AUTH_MODE")
    starts = [command for command in commands if "ray start" in command]
    for command in starts:
        flags = start_flags(command)
        problems += unknown_start_flags(list(flags), "ray start") + dashboard(flags, "ray start")
    if starts and not re.search(r"RAY_AUTH_MODE=token|\. \S*/env\.sh", "\n".join(commands)):
        problems.append("ray start: neither RAY_AUTH_MODE=token nor env.sh before it: the node would ask for no token")
    return problems


@command_named("cluster.checks")
def main(arguments: list[str] | None = None) -> int:
    parser = Parser(prog="python -m cluster.checks", description=(__doc__ or "").splitlines()[0])
    parser.add_argument("files", nargs="+", type=Path, metavar="FILE")
    code = 0
    for path in parser.parse_args(arguments).files:
        try:
            problems = [*check(path), *(f"still to fill in: {line}" for line in unfilled(path))]
        except ConfigError as error:
            print(f"error: {error}", file=sys.stderr)
            code = 1
            continue
        for line in problems:
            print(f"{path}: {line}", file=sys.stderr)
        if problems:
            code = 1
        else:
            print(f"{path}: fine")
    return code


if __name__ == "__main__":
    sys.exit(main())
