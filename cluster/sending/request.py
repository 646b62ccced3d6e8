"""What is asked of a cluster: a study's command line, checked here by the study's own parser before it is sent."""

import os
import re
import shlex
from collections.abc import Sequence
from dataclasses import dataclass, field, replace
from pathlib import Path, PurePosixPath
from urllib.parse import urlsplit

import ablations.run
import tune.search
from ablations.planning.call import StudyCall
from cluster.sending.packing import PACKED, ROOT
from lab.errors import ConfigError
from lab.settings.files import data_paths
from lab.settings.yaml import read_mapping, read_text
from lab.store.place import OPTION, VARIABLE
from lab.training.modules.copies import files_of
from tune.settings import SearchCall

MODULES = {"search": "tune.search", "ablations": "ablations.run"}
FILES = "arguments"  # folder of the package that holds the files that arguments name
UNSET = "CHANGE-ME"


@dataclass(frozen=True)
class Request:
    """A study as a job.

    Attributes:
        arguments: of the module's command line, as the job gets them.
        files: contents of the files that arguments name, and of those that forecasters of one's own are imported
            from, by their name in the package.
        notes: what the user should know, one line each.
    """

    kind: str  # of MODULES
    study: str
    out: str
    arguments: tuple[str, ...]
    files: dict[str, bytes] = field(default_factory=dict)
    notes: tuple[str, ...] = ()
    dry_run: bool = False

    def entrypoint(self, keys: bool = False) -> str:
        """The shell command of the job; `exec`, so that a signal to the job is one to the study."""
        run = ["python", "-m", *(["cluster.sending.keys"] if keys else []), MODULES[self.kind], *self.arguments]
        return "exec " + shlex.join(run)


def read_request(kind: str, arguments: Sequence[str], keys: Sequence[str] = ()) -> Request:
    """Checks `tune.search`'s or `ablations.run`'s arguments.

    Raises:
        ConfigError, ResultsError: what the command itself refuses, a place for results that does not outlast a job,
            and whatever else would lose something there.
        SystemExit: an argument that its parser does not know, said on stderr.
    """
    arguments = list(arguments)
    call = _asked(kind, arguments)
    out = check_out(call.place.url if call.place.given else default_out())
    if not call.place.given:
        arguments += [OPTION, out]
    if call.resources.address:
        raise ConfigError(
            f"--address: got '{call.resources.address}' for the study; a job uses the cluster that it runs on"
        )
    if isinstance(call, StudyCall) and call.ledger:
        raise ConfigError(
            f"--ledger trains nothing: python -m ablations.run STUDY --ledger {OPTION} ... reads it from here"
        )
    files: dict[str, bytes] = {}
    for path in call.files:
        new = f"{FILES}/{len(files)}-{re.sub(r'[^A-Za-z0-9._-]', '_', Path(path).name)}"
        files[new] = read_text(path).encode()
        arguments = [_renamed(argument, path, new) for argument in arguments]
    study, models = _study(call)
    files |= own_files(*models)
    # As the arguments and the files that they name write it, before it is taken from a folder.
    overrides = dict(text.partition("=")[::2] for text in call.overrides)
    for path in data_paths([overrides, *(read_mapping(path) for path in call.files)]):
        if not PurePosixPath(path).is_absolute():
            raise ConfigError(f"data.path: got '{path}'; a job needs the absolute path of the file on the head node")
    notes = []
    tracking = call.tracking
    if tracking.mode == "offline" and "://" in out:
        option = "--wandb offline" if tracking.tracker == "wandb" else f"--tracker {tracking.tracker}"
        raise ConfigError(
            f"{option}: a job's folder, and {tracking.kind.title}'s files in it, are thrown away; take --wandb online, "
            f"or send the runs afterwards: {tracking.command(study, shlex.quote(out))}"
        )
    if tracking.tracker == "mlflow" and "MLFLOW_TRACKING_URI" not in keys:
        notes.append("MLflow: no --env MLFLOW_TRACKING_URI, so the head node must know its server")
    if tracking == replace(tracking, mode="online", tracker="wandb") and "WANDB_API_KEY" not in keys:
        notes.append("W&B: no --env WANDB_API_KEY, so the head node must have a key of its own")
    return Request(kind, study, out, tuple(arguments), files, tuple(notes), call.dry_run)


def default_out() -> str:
    """DYNONET_RESULTS of the environment, else of cluster/storage.env. Raises ConfigError if neither is set."""
    place = os.environ.get(VARIABLE)
    shared = ROOT / "cluster" / "storage.env"
    if not place and shared.is_file():
        lines = (line.partition("=") for line in read_text(shared).splitlines() if not line.startswith("#"))
        values = [value.strip() for name, _, value in lines if name.strip() == VARIABLE]
        if len(values) > 1:
            raise ConfigError(f"{shared}: {VARIABLE} is given {len(values)} times; python -m cluster.checks {shared}")
        place = next(iter(values), None)
    if not place or UNSET in place:
        raise ConfigError(
            f"{OPTION} is needed: s3://BUCKET/FOLDER, gs://BUCKET/FOLDER or a folder that every node mounts (or set "
            f"{VARIABLE} in cluster/storage.env)"
        )
    return place


def check_out(out: str) -> str:
    """`out`, if it is the same place on every node. Raises ConfigError otherwise."""
    if "://" in out:
        try:
            password = urlsplit(out).password
        except ValueError as error:
            raise ConfigError(
                f"{OPTION}: got '{out}': {error}; s3://BUCKET/FOLDER or gs://BUCKET/FOLDER is needed"
            ) from None
        if password is not None:
            raise ConfigError(f"{OPTION}: no key in an address, which goes on record; pass it by name (--env NAME)")
        return out.rstrip("/")
    if not PurePosixPath(out).is_absolute():
        raise ConfigError(
            f"{OPTION}: got '{out}'; a job's working directory is thrown away, so results need an object store's "
            "address or the absolute path of a folder that every node mounts"
        )
    return out.rstrip("/") or "/"


def _asked(kind: str, arguments: Sequence[str]) -> SearchCall | StudyCall:
    if kind == "search":
        return tune.search.asked(tune.search.parser().parse_intermixed_args(arguments))
    return ablations.run.asked(ablations.run.parser().parse_intermixed_args(arguments))


def _study(call: SearchCall | StudyCall) -> tuple[str, tuple[str, ...]]:
    """The name that the study goes by, and its models. Raises ConfigError for what the command itself would refuse."""
    if isinstance(call, SearchCall):
        return call.settings().study, (call.model,)
    study, name = call.settings()
    study.schedule()  # too few seeds to decide anything
    return name, study.forecasters


def own_files(*models: str) -> dict[str, bytes]:
    """What forecasters of one's own are imported from, by name in the package.

    Raises ConfigError for a name that the package, or another of them, has already: there the one would be taken for
    the other.
    """
    found = files_of(*models)
    for name, path in found.items():
        if (ROOT / name).resolve() != path and (name in PACKED or (ROOT / name).exists()):
            raise ConfigError(
                f"a model of this study is imported from {path}, and the project has a {name} of its own; rename "
                "yours, which goes along to the cluster"
            )
    return {name: path.read_bytes() for name, path in found.items()}


def _renamed(argument: str, path: str, new: str) -> str:
    if argument == path:
        return new
    option, equals, value = argument.partition("=")
    return f"{option}={new}" if option.startswith("--") and equals and value == path else argument
