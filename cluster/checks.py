"""Checks a cluster file before a machine is paid for: `python -m cluster.checks cluster/aws.yaml ...`.

Ray's and Kubernetes' own validation let much pass that fails later or stands open: a misspelt field of a machine, an
image of another Ray than constraints.txt, a file that does not exist, a dashboard that listens to all, a token in the
text. Nothing here touches a network.
"""

import argparse
import re
import subprocess
import sys
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any
from urllib.parse import urlsplit

import yaml

from dynonet.data import ETT_SHA256
from dynonet.errors import nearest

ROOT = Path(__file__).resolve().parents[1]
UNFILLED = "CHANGE-ME"
LOOPBACK = ("127.0.0.1", "localhost", "::1")
_SECRET_NAME = (
    r"\w*(?:TOKEN|SECRET(?!NAME|REF|KEYREF)|PASSWORD|PASSWD|API_KEY|ACCESS_KEY|PRIVATE_KEY)(?:_\w+)?(?<!_PATH)"
)
# A variable, a path or nothing is no secret. What is found is never quoted: a message may end up in a log.
_VALUE = r"(?![\"']?[$~/<{\s]|[\"']{2})\S"
_SECRETS = {
    "a value for a secret's name": re.compile(rf"(?i)\b{_SECRET_NAME}\s*[=:]\s*{_VALUE}"),
    "an AWS access key": re.compile(r"\b(?:AKIA|ASIA)[0-9A-Z]{16}\b"),
    "a private key": re.compile(r"-----BEGIN [A-Z ]*PRIVATE KEY"),
    "a key of 32 or more hexadecimal digits": re.compile(r"\b[0-9a-f]{32,}\b"),
    "a password in a URL": re.compile(r"://[^/\s:@]+:[^/\s@]+@"),
}


@dataclass(frozen=True)
class Pins:
    """What constraints.txt asks every machine for."""

    ray: str  # '2.60.0'
    python: str  # '3.11'; the image or the machine sets its patch release

    @property
    def tag(self) -> str:
        """How an image's tag begins."""
        return f"{self.ray}-py{self.python.replace('.', '')}"


def pins(root: Path = ROOT) -> Pins:
    text = (root / "constraints.txt").read_text()
    found = {name: re.search(pattern, text, re.M) for name, pattern in _PINNED.items()}
    if missing := [name for name, match in found.items() if match is None]:
        raise ValueError(f"{root / 'constraints.txt'}: says nothing of {' and '.join(missing)}")
    return Pins(**{name: match[1] for name, match in found.items() if match})


_PINNED = {"ray": r"^ray==(\S+)", "python": r"^#.*\bon Python (\d+\.\d+)"}


def check(path: Path, root: Path = ROOT) -> list[str]:
    """What is wrong with a file of `cluster/` (or a copy that was edited): one line each, [] if nothing.

    Args:
        root: the project, whose constraints.txt and files the file must agree with.
    """
    if path.suffix in (".yaml", ".yml"):
        text = path.read_text()
        try:
            documents = [each for each in yaml.safe_load_all(text) if each is not None]
        except yaml.YAMLError as error:
            return [f"not YAML: {' '.join(str(error).split())}"]
        comments = "\n".join(line.partition("#")[2] for line in text.splitlines())
        return check_documents(documents, root) + secrets(comments)
    text = path.read_text()
    if path.name.endswith(".env"):
        return _environment(text) + secrets(text)
    if path.name == "Dockerfile":
        images = re.findall(r"^FROM (\S+)", text, re.M)
        return [each for name in images for each in image(name, "FROM", pins(root), gpu=True)] + secrets(text)
    if path.suffix == ".sh":
        return _shell(path, text) + secrets(text)
    return [f"no check for '{path.name}'; allowed: .yaml, .env, .sh, Dockerfile"]


def check_documents(documents: list[Any], root: Path = ROOT) -> list[str]:
    """As `check`, of YAML that is read already."""
    from cluster.check_kuberay import check_kuberay
    from cluster.check_launcher import check_launcher

    if documents and all(isinstance(each, dict) for each in documents):
        if len(documents) == 1 and "provider" in documents[0]:
            return check_launcher(documents[0], root) + secrets_of(documents[0])
        if any(each.get("kind") in ("RayCluster", "RayJob") for each in documents):
            return check_kuberay(documents, root) + [line for each in documents for line in secrets_of(each)]
    return ["neither a file of Ray's cluster launcher (it has a 'provider') nor a RayCluster or RayJob"]


def unfilled(path: Path) -> list[str]:
    """Lines that still say CHANGE-ME, with their numbers."""
    lines = enumerate(path.read_text().splitlines(), 1)
    return [f"line {n}: {line.strip()}" for n, line in lines if UNFILLED in line and not line.lstrip().startswith("#")]


def image(name: str, where: str, wanted: Pins, gpu: bool) -> list[str]:
    """An image's tag must be of the pinned Ray and Python and, where there are GPUs, one with CUDA."""
    tag = name.rpartition(":")[2] if ":" in name else ""
    example = wanted.tag + ("-gpu" if gpu else "")
    if not re.match(rf"{re.escape(wanted.tag)}(?:-|$)", tag):
        versions = f"Ray {wanted.ray} on Python {wanted.python}"
        return [f"{where}: image '{name}' is not of {versions}; a tag like {example} is needed"]
    if gpu and not re.search(r"-(?:gpu|cu\d+)\b", tag):
        return [f"{where}: image '{name}' has no CUDA, but the node has GPUs; a tag like {example} is needed"]
    return []


def start_flags(command: str) -> dict[str, str]:
    """The options of the `ray start` in a shell command: {'--port': '6379', ...}; {} if there is none."""
    if not (found := re.search(r"\bray start\b([^;&|]*)", command)):
        return {}
    return {flag: value.strip("\"'") for flag, value in re.findall(r"(--[\w-]+)(?:[= ]([^\s-]\S*))?", found[1])}


def unknown_start_flags(flags: list[str], where: str) -> list[str]:
    from ray.scripts.scripts import start

    allowed = [name for parameter in start.params for name in parameter.opts]
    return [
        f"{where}: 'ray start' has no option '{flag}'{nearest(flag, allowed)}" for flag in flags if flag not in allowed
    ]


def secrets_of(value: Any) -> list[str]:
    """Secrets in any text of a structure, each said with its place and without its value."""
    return [
        f"{place}: {what} stands in the file; pass it by name"
        for place, text in leaves(value)
        for what in _kinds(text) or _kinds(f"{place.rpartition('.')[2]}: {text}")
    ]


def secrets(text: str) -> list[str]:
    """Secrets in lines of text, each said with the line's number and without its value."""
    lines = enumerate(text.splitlines(), 1)
    return [f"line {n}: {what} stands in the file; pass it by name" for n, line in lines for what in _kinds(line)]


def _kinds(text: str) -> list[str]:
    return [what for what, pattern in _SECRETS.items() if pattern.search(text)]


def leaves(value: Any, place: str = "") -> Iterator[tuple[str, str]]:
    """(dotted place, text) of every text in a structure; an item of a list by its name or number."""
    if isinstance(value, dict):
        for key, each in value.items():
            yield from leaves(each, f"{place}.{key}" if place else str(key))
    elif isinstance(value, list):
        for index, each in enumerate(value):
            name = each.get("name", index) if isinstance(each, dict) else index
            yield from leaves(each, f"{place}[{name}]")
    elif isinstance(value, str):
        yield place, value


def _environment(text: str) -> list[str]:
    """A file that shells and `kubectl create configmap --from-env-file` read alike."""
    found, problems = {}, []
    for number, line in enumerate(text.splitlines(), 1):
        if not line.strip() or line.startswith("#"):
            continue
        if not (match := re.fullmatch(r"([A-Za-z_]\w*)=([^\s\"'`$;&|<>()#]*)", line)):
            problems.append(f"line {number}: got '{line}', allowed: NAME=value without blanks, quotes or comments")
        else:
            found[match[1]] = match[2]
    results = found.get("DYNONET_RESULTS", "")
    scheme = urlsplit(results).scheme
    if scheme not in ("s3", "gs") and not results.startswith("/"):
        problems.append(f"DYNONET_RESULTS: got '{results}', allowed: s3://..., gs://... or an absolute path")
    for name in filter(None, found.get("DYNONET_DATASETS", "").split(",")):
        if name not in ETT_SHA256:
            problems.append(f"DYNONET_DATASETS: unknown series '{name}'{nearest(name, ETT_SHA256)}")
    return problems


def _shell(path: Path, text: str) -> list[str]:
    done = subprocess.run(["bash", "-n", str(path)], capture_output=True, text=True)
    problems = [] if done.returncode == 0 else [f"not a script that bash reads: {done.stderr.strip()}"]
    for command in re.sub(r"\\\n\s*", "", text).splitlines():
        if "ray start" in command and not command.lstrip().startswith("#"):
            flags = start_flags(command)
            problems += unknown_start_flags(list(flags), "ray start")
            problems += dashboard(flags, "ray start")
    return problems


def dashboard(flags: dict[str, str], where: str) -> list[str]:
    """Whoever reaches the dashboard can run anything: a head must keep it on loopback, said explicitly."""
    host = flags.get("--dashboard-host")
    if host in LOOPBACK or (host is None and "--head" not in flags):
        return []
    got = host or "what Ray chooses"
    return [f"{where}: the dashboard listens on {got}; allowed: --dashboard-host=127.0.0.1 and a tunnel"]


def main(arguments: list[str] | None = None) -> int:
    parser = argparse.ArgumentParser(prog="python -m cluster.checks", description=(__doc__ or "").splitlines()[0])
    parser.add_argument("files", nargs="+", type=Path, metavar="FILE")
    code = 0
    for path in parser.parse_args(arguments).files:
        if not path.is_file():
            print(f"{path}: no such file", file=sys.stderr)
            code = 1
            continue
        problems, open_lines = check(path), unfilled(path)
        for line in [*problems, *(f"still to fill in: {line}" for line in open_lines)]:
            print(f"{path}: {line}", file=sys.stderr)
        if problems or open_lines:
            code = 1
        else:
            print(f"{path}: fine")
    return code


if __name__ == "__main__":
    sys.exit(main())
