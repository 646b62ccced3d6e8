"""Files of Ray's cluster launcher (`ray up`): Ray's own validation, and what it lets pass."""

import contextlib
import copy
import functools
import io
import logging
import re
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any

from cluster.checking.common import (
    Pins,
    authentication,
    dashboard,
    image,
    missing_files,
    pins,
    start_flags,
    unknown_start_flags,
)
from cluster.checking.kinds import FLAG, SOME, TEXT, VALUE, Each, Fields, Scalar, fields, nothing, one_of, tree
from lab.console.printing import one_line
from lab.errors import nearest

PROJECT = "~/dynonet"  # where the project's files are mounted, on every node
TOKEN = "~/.ray/auth_token"  # where Ray looks for the token, here and there

_GIGABYTES = Scalar("a whole number of gigabytes", (int, str), r"[1-9]\d*")
# The fields of a Compute Engine instance that a node_config may give (REST resource v1.instances).
GCP = Fields({
    "machineType": TEXT, "minCpuPlatform": TEXT, "labels": Each(VALUE), "tags": {"items": [TEXT]}, "canIpForward": FLAG,
    "metadata": {"items": [Fields({"key": TEXT, "value": VALUE}, "key", "value")]},
    "disks": [{
        "boot": FLAG, "autoDelete": FLAG, "type": ("PERSISTENT", "SCRATCH"), "mode": TEXT, "interface": TEXT,
        "deviceName": TEXT, "source": TEXT,
        "initializeParams": {
            "diskSizeGb": _GIGABYTES, "sourceImage": TEXT, "diskType": TEXT, "labels": Each(VALUE),
        },
    }],
    "guestAccelerators": [Fields({"acceleratorType": TEXT, "acceleratorCount": SOME}, "acceleratorType")],
    "scheduling": {
        "provisioningModel": ("SPOT", "STANDARD"), "instanceTerminationAction": ("DELETE", "STOP"),
        "onHostMaintenance": ("TERMINATE", "MIGRATE"), "automaticRestart": FLAG, "preemptible": FLAG,
        "maxRunDuration": None,
    },
    "serviceAccounts": [Fields({"email": TEXT, "scopes": [TEXT]}, "email", "scopes")],
    "networkInterfaces": [{
        "network": TEXT, "subnetwork": TEXT, "kind": TEXT, "aliasIpRanges": None, "nicType": TEXT,
        "accessConfigs": [{"type": TEXT, "name": TEXT, "networkTier": TEXT}],
    }],
    "reservationAffinity": None, "shieldedInstanceConfig": None, "confidentialInstanceConfig": None,
}, "machineType", "disks")  # fmt: skip

_OPTIONS = [Scalar("an option, which begins with -", (str,), r"-.*")]
_DOCKER = {"run_options": _OPTIONS, "head_run_options": _OPTIONS, "worker_run_options": _OPTIONS}
_SHAPE = {  # what Ray takes for granted before it validates
    "provider": Each(None), "auth": Each(None, empty=True), "docker": Each(None, empty=True),
    "available_node_types": Each(Each(None, empty=True)), "file_mounts": Each(TEXT, empty=True),
}  # fmt: skip
_PROVIDERS: dict[str, Fields] = {  # what Ray asks of them as it starts a machine, and not before
    "aws": Fields({"region": Scalar("a region such as us-east-1", (str,), r"[a-z]{2,3}(-[a-z]+)+-\d")}, "region"),
    "gcp": Fields({
        "region": Scalar("a region such as us-central1", (str,), r"[a-z]+-[a-z]+\d+"),
        "availability_zone": Scalar("a zone such as us-central1-a", (str,), r"[a-z]+-[a-z]+\d+-[a-z]"),
        "project_id": TEXT,
    }, "region", "availability_zone", "project_id"),
    "local": Fields({"head_ip": TEXT, "worker_ips": None}, "head_ip", "worker_ips"),
}  # fmt: skip


def check_launcher(config: Mapping[str, Any], root: Path) -> list[str]:
    """What is wrong with a launcher file: one line each."""
    shape = [line for key, kind in _SHAPE.items() if key in config for line in tree(config[key], kind, key)]
    if problems := shape or list(nothing(config)) or _ray_says(config) or _kinds(config):
        return problems  # the rest reads what has been found to be well formed
    wanted, kind = pins(root), config["provider"]["type"]
    problems = _images(config, wanted) + _mounts(config, root) + _commands(config, root) + _ports(config)
    for name, node in config.get("available_node_types", {}).items():
        place, machine = f"available_node_types.{name}.node_config", node["node_config"]
        problems += _aws(machine, place) if kind == "aws" else list(tree(machine, GCP, place)) if kind == "gcp" else []
        problems += _gcp_disks(machine, place) if kind == "gcp" else []
        if kind == "aws" and "InstanceType" not in machine:
            problems.append(f"{place}: no 'InstanceType', which is needed")
        low, high = node.get("min_workers", 0), node.get("max_workers", config.get("max_workers", 2))
        if not 0 <= low <= high:
            problems.append(f"available_node_types.{name}: min_workers {low} is not between 0 and max_workers {high}")
        if name == config.get("head_node_type") and is_spot(machine):
            problems.append(f"{place}: the head is on spot; its loss ends the driver, allowed: on demand")
    return problems


def _kinds(config: Mapping[str, Any]) -> list[str]:
    """What Ray's validation leaves unlooked at, and runs into when machines are paid for."""
    problems = []
    provider = config["provider"]
    needed = _PROVIDERS.get(provider["type"], Fields({}))
    problems += [f"provider: no '{key}', which is needed" for key in needed.needed if key not in provider]
    looked_at: tuple[tuple[str, dict[str, Any]], ...] = (("provider", needed), ("docker", _DOCKER))
    for place, kinds in looked_at:
        part = config.get(place) or {}
        problems += [line for key in kinds if key in part for line in _tree_or_none(part[key], kinds[key], place, key)]
    for zone in filter(None, [provider.get("availability_zone")] if provider["type"] in ("aws", "gcp") else []):
        region = str(provider.get("region"))
        if not all(re.fullmatch(rf"{re.escape(region)}-?[a-z]", each.strip()) for each in str(zone).split(",")):
            problems.append(f"provider.availability_zone: got '{zone}', allowed: zones of {region}")
    for key, item in (("worker_ips", provider.get("worker_ips")), ("rsync_exclude", config.get("rsync_exclude"))):
        for index, each in enumerate(item if isinstance(item, list) else ()):
            problems += tree(each, TEXT, f"{key}[{index}]")
    if "ssh_user" not in config.get("auth", {}):
        problems.append("auth: no 'ssh_user', which is needed")
    types = config.get("available_node_types", {})
    head = types.get(config.get("head_node_type"), {})
    if len(types) == 1 and head.get("resources", {}).get("CPU") == 0:
        problems.append("available_node_types: none beside the head, which has no CPU: nothing could train")
    setups = [each for key, value in config.items() if key.endswith("setup_commands") for each in value]
    installs = re.findall(r"cluster/setup\.sh (\w+)", " ".join(setups))
    if not installs:
        problems.append("setup_commands: none runs cluster/setup.sh, which installs the project")
    if "image" in installs and not config.get("docker"):
        problems.append(
            "docker: not there, and setup.sh installs into its image; allowed: setup.sh venv without docker"
        )
    return problems


def _tree_or_none(value: Any, kind: Any, place: str, key: str) -> list[str]:
    empty = isinstance(kind, list) and value == []  # no options are none
    return [] if empty else list(tree(value, kind, f"{place}.{key}"))


def _ray_says(config: Mapping[str, Any]) -> list[str]:
    import click
    import jsonschema  # type: ignore[import-untyped]
    from ray.autoscaler._private.util import prepare_config, validate_config

    told = io.StringIO()
    logging.disable(logging.WARNING)
    try:
        with contextlib.redirect_stdout(told), contextlib.redirect_stderr(told):
            validate_config(prepare_config(copy.deepcopy(dict(config))))
    except jsonschema.ValidationError as error:
        place, said = ".".join(map(str, error.absolute_path)) or "file", one_line(error.message, 300)
        hints = []
        if error.validator == "additionalProperties":
            allowed = error.schema.get("properties", {})
            hints = [nearest(key, allowed) for key in error.instance if key not in allowed]
        return [f"{place}: {said}{''.join(hints)}"]
    except (click.ClickException, SystemExit) as error:
        return [f"Ray refuses the file: {' '.join(told.getvalue().split()) or error}"]
    except Exception as error:  # it takes for granted what it has not looked at
        return [f"Ray refuses the file: {type(error).__name__}: {error}"]
    finally:
        logging.disable(logging.NOTSET)
    return []


def _images(config: Mapping[str, Any], wanted: Pins) -> list[str]:
    docker, types = config.get("docker") or {}, config.get("available_node_types", {})
    if not docker:
        return []
    if "image" not in docker:  # autoscaler v2 looks it up whatever else is given
        return ["docker: no 'image'; Ray's autoscaler needs one beside head_image and worker_image"]
    problems = []
    for name, node in types.items():
        own, head = node.get("docker") or {}, name == config["head_node_type"]
        used = docker.get("head_image") if head else own.get("worker_image") or docker.get("worker_image")
        gpu = bool(node["resources"].get("GPU"))
        problems += image(used or docker["image"], f"image of node type '{name}'", wanted, gpu)
    return problems


def _mounts(config: Mapping[str, Any], root: Path) -> list[str]:
    """Every mounted file exists here, all that setup.sh installs is mounted, and the token is ours alone."""
    problems, mounts = [], config.get("file_mounts", {})
    for remote, local in mounts.items():
        path = Path(local).expanduser()
        path = path if path.is_absolute() else root / path
        if remote == TOKEN or path.name == "auth_token":
            problems += _token(path, local)
        elif root.resolve().is_relative_to(path.resolve()):
            whole = "data, results, virtual environments and .git too"
            problems.append(f"file_mounts: '{remote}' is the whole of '{local}', {whole}; allowed: folder by folder")
        elif not path.exists():
            problems.append(f"file_mounts: '{remote}' is to come from '{local}', which does not exist in {root}")
    if TOKEN not in mounts:
        problems.append(f"file_mounts: no '{TOKEN}'; nodes of a cluster with token authentication need the token")
    needed = re.search(r"^mounted=\((.*)\)", (root / "cluster" / "setup.sh").read_text(), re.M)
    for name in needed[1].split() if needed else []:
        if f"{PROJECT}/{name}" not in mounts:
            problems.append(f"file_mounts: no '{PROJECT}/{name}', which cluster/setup.sh installs from")
    return problems


def _token(path: Path, local: str) -> list[str]:
    if not path.is_file():
        make = f"ray get-auth-token --generate >/dev/null && chmod 600 {local}"
        return [f"file_mounts: no token at '{local}'; make one: {make}"]
    mode = path.stat().st_mode & 0o777
    return (
        [f"file_mounts: '{local}' has mode {mode:o}, others can read the token; allowed: 600"] if mode & 0o077 else []
    )


def _commands(config: Mapping[str, Any], root: Path) -> list[str]:
    problems = []
    commands = [(key, each) for key, value in config.items() if key.endswith("_commands") for each in value]
    for key, command in commands:
        problems += missing_files(command, key, root) + authentication(command, key)
    for kind in ("head", "worker"):
        key = f"{kind}_start_ray_commands"
        starts = [each for name, each in commands if name == key and "ray start" in each]
        if len(starts) != 1:
            problems.append(f"{key}: {len(starts)} commands with 'ray start', 1 is needed")
            continue
        flags = start_flags(starts[0])
        problems += unknown_start_flags(flags, key)
        if not re.search(r"RAY_AUTH_MODE=token\b.*ray start", starts[0]):
            problems.append(
                f"{key}: no 'export RAY_AUTH_MODE=token' before 'ray start': the node would ask for no token"
            )
        if not re.search(r"ray start[^;&|]*(?:&&|$)", starts[0]):
            problems.append(f"{key}: what follows 'ray start' hides its failure; allowed: nothing, or '&& ...'")
        if kind == "head":
            problems += dashboard({"--head": "", **flags}, key)
            if "--autoscaling-config" not in flags:
                problems.append(f"{key}: no --autoscaling-config=~/ray_bootstrap_config.yaml: no worker would start")
    return problems


def _ports(config: Mapping[str, Any]) -> list[str]:
    problems = []
    for rule in config["provider"].get("security_group", {}).get("IpPermissions", []):
        open_to = [r.get("CidrIp") for r in rule.get("IpRanges", [])] + [
            r.get("CidrIpv6") for r in rule.get("Ipv6Ranges", [])
        ]
        if {"0.0.0.0/0", "::/0"} & set(open_to):
            problems.append(
                f"provider.security_group: ports {rule.get('FromPort')} to {rule.get('ToPort')} are open to the world"
            )
    for option in config.get("docker", {}).get("run_options", []):
        if re.match(r"-p\b|-P\b|--publish", option):
            problems.append(f"docker.run_options: '{option}' publishes ports; the dashboard is reached by a tunnel")
    return problems


def is_spot(machine: Mapping[str, Any]) -> bool:
    """Whether the cloud may take a machine of this node_config back."""
    scheduling: Any = machine.get("scheduling") or {}
    scheduling = scheduling[0] if isinstance(scheduling, list) else scheduling
    market: Any = machine.get("InstanceMarketOptions") or {}
    return (
        market.get("MarketType") == "spot"
        or scheduling.get("provisioningModel") == "SPOT"
        or bool(scheduling.get("preemptible"))
    )


def _gcp_disks(machine: Mapping[str, Any], place: str) -> list[str]:
    disks: Any = machine.get("disks")
    if not isinstance(disks, list) or not all(isinstance(disk, dict) for disk in disks):
        return []  # said already
    empty = [n for n, disk in enumerate(disks) if not {"source", "initializeParams"} & set(disk)]
    problems = [f"{place}.disks[{n}]: neither 'source' nor 'initializeParams': of what?" for n in empty]
    if not any(disk.get("boot") is True for disk in disks):
        problems.append(f"{place}.disks: none with 'boot: true'")
    return problems


def _aws(machine: Mapping[str, Any], place: str) -> list[str]:
    """A node_config against the arguments of EC2's RunInstances, as botocore knows them."""
    try:
        shape = _run_instances()
    except ImportError:
        return [f"{place}: cannot be checked without boto3, which 'ray up' needs too (pip install boto3)"]
    own = {"SubnetIds"}  # Ray's own
    return list(_shape({key: value for key, value in machine.items() if key not in own}, shape, place))


@functools.cache
def _run_instances() -> Any:
    from botocore.session import get_session  # type: ignore[import-untyped]

    return get_session().get_service_model("ec2").operation_model("RunInstances").input_shape


def _shape(value: Any, shape: Any, place: str) -> Iterator[str]:
    if shape.type_name == "structure":
        needed = [name for name in shape.required_members if name not in ("MinCount", "MaxCount")]  # Ray gives them
        yield from fields(value, Fields(shape.members, *needed), place)
        for key, each in value.items() if isinstance(value, dict) else ():
            if key in shape.members:
                yield from _shape(each, shape.members[key], f"{place}.{key}")
    elif shape.type_name == "list":
        if not isinstance(value, list) or not value:
            yield f"{place}: got '{value}', a list is needed"
        for index, each in enumerate(value if isinstance(value, list) else ()):
            yield from _shape(each, shape.member, f"{place}[{index}]")
    elif allowed := getattr(shape, "enum", None):
        yield from one_of(value, allowed, place)
    elif not isinstance(value, kind := _TYPES.get(shape.type_name, object)) or (
        kind is int and (isinstance(value, bool) or value < 0)
    ):
        yield f"{place}: got '{value}' ({type(value).__name__}), a {shape.type_name} is needed"


_TYPES: dict[str, Any] = {
    "string": str,
    "integer": int,
    "long": int,
    "boolean": bool,
    "float": (int, float),
    "double": (int, float),
}
