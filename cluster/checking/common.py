"""What the checks of all cluster files share: pinned versions, images, `ray start`, secrets, names of fields."""

import re
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from lab.errors import nearest

ROOT = Path(__file__).resolve().parents[2]
LOOPBACK = ("127.0.0.1", "localhost", "::1")

_PINNED = {"ray": r"^ray==(\S+)", "python": r"^#.*\bon Python (\d+\.\d+)"}
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
    """The pinned versions. Raises ValueError if constraints.txt does not say one."""
    text = (root / "constraints.txt").read_text()
    found = {name: re.search(pattern, text, re.M) for name, pattern in _PINNED.items()}
    if missing := [name for name, match in found.items() if match is None]:
        raise ValueError(f"{root / 'constraints.txt'}: says nothing of {' and '.join(missing)}")
    return Pins(**{name: match[1] for name, match in found.items() if match})


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


def unknown_start_flags(flags: Mapping[str, str], where: str) -> list[str]:
    """Options that `ray start` of the pinned Ray does not know, and numbers that are none."""
    import click
    from ray.scripts.scripts import start

    known = {name: parameter for parameter in start.params for name in parameter.opts}
    problems = []
    for flag, value in flags.items():
        if flag not in known:
            problems.append(f"{where}: 'ray start' has no option '{flag}'{nearest(flag, known)}")
            continue
        number = isinstance(known[flag].type, click.types.IntParamType | click.types.FloatParamType)
        if number and not re.fullmatch(r"-?\d+(\.\d+)?|.*\$.*", value):
            problems.append(f"{where}: {flag} is '{value}', a number is needed")
    return problems


def dashboard(flags: Mapping[str, str], where: str) -> list[str]:
    """Whoever reaches the dashboard can run anything: a head must keep it on loopback, said explicitly."""
    host = flags.get("--dashboard-host")
    if host in LOOPBACK or (host is None and "--head" not in flags):
        return []
    got = host or "what Ray chooses"
    return [f"{where}: the dashboard listens on {got}; allowed: --dashboard-host=127.0.0.1 and a tunnel"]


def authentication(text: str, where: str) -> list[str]:
    """Any mode but `token` lets everybody in who reaches a port."""
    modes = re.findall(r"\bRAY_AUTH_MODE=[\"']?(\w*)", text)
    return [f"{where}: RAY_AUTH_MODE is '{mode}', allowed: token" for mode in modes if mode != "token"]


def missing_files(command: str, where: str, root: Path) -> list[str]:
    """Files of the project that a command on a node names (under ~/dynonet) and that are not in it."""
    names = re.findall(r"(?:~|/home/ray)/dynonet/([\w./-]+)", command)
    return [f"{where}: '{name}' does not exist in {root}" for name in names if not (root / name).exists()]


def secrets_of(value: Any) -> list[str]:
    """Secrets in any text of a structure, each said with its place and without its value."""
    return [
        f"{place}: {what} stands in the file; pass it by name"
        for place, text in _leaves(value)
        for what in _kinds(text) or _kinds(f"{place.rpartition('.')[2]}: {text}")
    ]


def secrets(text: str) -> list[str]:
    """Secrets in lines of text, each said with the line's number and without its value."""
    lines = enumerate(text.splitlines(), 1)
    return [f"line {n}: {what} stands in the file; pass it by name" for n, line in lines for what in _kinds(line)]


def _kinds(text: str) -> list[str]:
    return [what for what, pattern in _SECRETS.items() if pattern.search(text)]


def _leaves(value: Any, place: str = "") -> Iterator[tuple[str, str]]:
    """(dotted place, text) of every text in a structure; an item of a list by its name or number."""
    if isinstance(value, dict):
        for key, each in value.items():
            yield from _leaves(each, f"{place}.{key}" if place else str(key))
    elif isinstance(value, list):
        for index, each in enumerate(value):
            name = each.get("name", index) if isinstance(each, dict) else index
            yield from _leaves(each, f"{place}[{name}]")
    elif isinstance(value, str):
        yield place, value
