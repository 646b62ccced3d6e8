"""Checks a cluster file before a machine is paid for: `python -m cluster.checks cluster/aws.yaml ...`.

Ray's and Kubernetes' own validation let much pass that fails later or stands open: a misspelt field of a machine, an
image of another Ray than constraints.txt, a file that does not exist, a dashboard that listens to all, a token in the
text. Nothing here touches a network.
"""

import codecs
import re
import subprocess
import sys
from collections.abc import Sequence
from pathlib import Path
from typing import Any
from urllib.parse import urlsplit

from cluster.checking.common import (
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
from cluster.checking.kuberay import check_kuberay
from cluster.checking.launcher import check_launcher
from lab.console.commands import command_named
from lab.console.parser import Parser
from lab.console.printing import one_line, print
from lab.errors import ConfigError, nearest
from lab.settings.sources import SOURCES
from lab.settings.yaml import YamlError, parse_as_1_1, read_text

UNFILLED = "CHANGE-ME"
VARIABLES = (  # that nodes read
    "DYNONET_RESULTS", "DYNONET_DATASETS", "DYNONET_DATA_DIR", "DYNONET_CACHE_DIR", "DYNONET_KERNEL", "DYNONET_DEVICE",
    "DYNONET_VENV", "DYNONET_PYTHON", "DYNONET_ROOT", "DYNONET_RAY_TMP", "DYNONET_REQUEUE", "DYNONET_METADATA",
    "DYNONET_PORT", "DYNONET_DASHBOARD_PORT", "DYNONET_WAIT", "DYNONET_LEDGER_DIR", "DYNONET_MPS",
)  # fmt: skip


def check(path: Path, root: Path = ROOT) -> list[str]:
    """What is wrong with a file of `cluster/` (or an edited copy): one line each, [] if nothing.

    Args:
        root: the project, whose constraints.txt and files the file must agree with.
    Raises:
        ConfigError: it cannot be read.
    """
    text = read_text(path)
    if not text.strip():
        return ["the file is empty"]
    if path.suffix not in (".yaml", ".yml") and (wrong := _bytes_wrong(path)):
        return [wrong]
    if path.suffix in (".yaml", ".yml"):
        return _yaml(text, root)
    if path.name.endswith(".env"):
        return _environment(text) + secrets(text)
    if path.name == "Dockerfile":
        images = re.findall(r"^FROM (\S+)", text, re.M)
        problems = [] if images else ["no FROM: there is nothing to build on"]
        problems += [each for name in images for each in image(name, "FROM", pins(root), gpu=True)]
        return problems + secrets(text)
    if path.suffix == ".sh":
        return _shell(path, text) + secrets(text)
    return [f"no check for '{path.name}'; allowed: .yaml, .env, .sh, Dockerfile"]


def _bytes_wrong(path: Path) -> str:
    """What shells and Docker stumble over and an editor does not show."""
    content = path.read_bytes()
    if content.startswith(codecs.BOM_UTF8):
        return "line 1: begins with a byte order mark, which would be part of the first word; save it without"
    for byte, what in ((b"\r", "ends as on Windows (CRLF), and the CR would be part of its value; save it with LF"),
                       (b"\0", "holds a NUL byte")):  # fmt: skip
        if byte in content:
            return f"line {content[: content.index(byte)].count(10) + 1}: {what}"
    return ""


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
    return check_documents(documents, root) + found


def check_documents(documents: Sequence[Any], root: Path = ROOT) -> list[str]:
    """What is wrong with the documents of a YAML file, secrets apart."""
    structures = [each for each in documents if isinstance(each, dict)]
    if structures and len(structures) == len(documents):
        if len(documents) == 1 and "provider" in documents[0]:
            return check_launcher(documents[0], root)
        if any(each.get("kind") in ("RayCluster", "RayJob") for each in structures):
            return check_kuberay(structures, root)
    return ["neither a file of Ray's cluster launcher (it has a 'provider') nor a RayCluster or RayJob"]


def _environment(text: str) -> list[str]:
    """A file that shells and `kubectl create configmap --from-env-file` read alike."""
    found: dict[str, tuple[str, int]] = {}
    problems = []
    for number, line in enumerate(text.split("\n"), 1):
        if not line.strip() or line.startswith("#"):
            continue
        match = re.fullmatch(r"([A-Za-z_]\w*)=([^\s\"'`$;&|<>()#\\*?~]*)", line, re.ASCII)
        name = line.partition("=")[0]
        if not match or not line.isprintable():
            shown = one_line(name, 40)  # the value may be a key
            problems.append(f"line {number}: '{shown}': allowed: NAME=value without blanks, quotes or comments")
        elif name in found:
            problems.append(f"line {number}: '{name}' is given twice, first in line {found[name][1]}")
        else:
            found[name] = (match[2], number)
            if name.startswith("DYNONET_") and name not in VARIABLES:
                problems.append(f"line {number}: no variable '{name}'{nearest(name, VARIABLES)}")
    values = {name: value for name, (value, _) in found.items()}
    results = values.get("DYNONET_RESULTS", "")
    place = urlsplit(results)
    if not (place.scheme in ("s3", "gs") and place.netloc) and not results.startswith("/"):
        problems.append(
            f"DYNONET_RESULTS: got '{one_line(results, 80)}', allowed: s3://..., gs://... or an absolute path"
        )
    if (mps := values.get("DYNONET_MPS", "0")) not in ("0", "1"):
        problems.append(f"DYNONET_MPS: got '{mps}'; 0 or 1 is needed")
    for name in filter(None, values.get("DYNONET_DATASETS", "").split(",")):
        if name not in SOURCES:
            problems.append(f"DYNONET_DATASETS: unknown series '{name}'{nearest(name, SOURCES)}")
        elif SOURCES[name].url is None and not values.get("DYNONET_DATA_DIR"):
            problems.append(
                f"DYNONET_DATASETS: no address is known to fetch '{name}' from; put {name}.csv into a folder that "
                "every node has, and name it by DYNONET_DATA_DIR"
            )
    return problems


def _shell(path: Path, text: str) -> list[str]:
    done = subprocess.run(["bash", "-n", str(path)], capture_output=True, text=True)
    problems = [] if done.returncode == 0 else [f"not a script that bash reads: {done.stderr.strip()}"]
    commands = [line for line in re.sub(r"\\\n\s*", "", text).splitlines() if not line.lstrip().startswith("#")]
    problems += authentication("\n".join(commands), "RAY_AUTH_MODE")
    starts = [command for command in commands if "ray start" in command]
    for command in starts:
        flags = start_flags(command)
        problems += unknown_start_flags(flags, "ray start") + dashboard(flags, "ray start")
    if path.name == "env.sh" and "RAY_AUTH_MODE=token" not in "\n".join(commands):
        problems.append("no 'export RAY_AUTH_MODE=token': the nodes that read this file would ask for no token")
    if "#SBATCH" in text and not starts:
        problems.append("no 'ray start': there would be no cluster")
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
