"""What is asked of a cluster: a study's command line, checked here by the study's own parser before it is sent."""

import argparse
import os
import re
import shlex
from collections.abc import Sequence
from dataclasses import dataclass, field
from pathlib import Path, PurePosixPath
from urllib.parse import urlsplit

from cluster.sending.packing import ROOT
from lab.errors import ConfigError
from lab.settings.files import data_paths
from lab.settings.yaml import read_mapping, read_text

MODULES = {"search": "tune.search", "ablations": "ablations.run"}
RESULTS = "DYNONET_RESULTS"  # in the environment or cluster/storage.env: where results go if --out is not given
FILES = "arguments"  # folder of the package that holds the files that arguments name
UNSET = "CHANGE-ME"


@dataclass(frozen=True)
class Request:
    """A study as a job.

    Attributes:
        arguments: of the module's command line, as the job gets them.
        files: contents of the files that arguments name, by their name in the package.
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
    given = _parse(kind, arguments)
    if given.out is None:
        given.out = default_out()
        arguments += ["--out", given.out]
    out = check_out(given.out)
    if given.address:
        raise ConfigError(f"--address: got '{given.address}' for the study; a job uses the cluster that it runs on")
    if getattr(given, "ledger", False):
        raise ConfigError(
            "--ledger trains nothing: python -m ablations.run STUDY --ledger --out ... reads it from here"
        )
    files: dict[str, bytes] = {}
    for path in _named_files(given):
        new = f"{FILES}/{len(files)}-{re.sub(r'[^A-Za-z0-9._-]', '_', Path(path).name)}"
        files[new] = read_text(path).encode()
        arguments = [_renamed(argument, path, new) for argument in arguments]
    study = _study(kind, given)
    for path in _data_paths(given):
        if not PurePosixPath(path).is_absolute():
            raise ConfigError(f"data.path: got '{path}'; a job needs the absolute path of the file on the head node")
    notes = []
    if given.wandb == "offline" and "://" in out:
        raise ConfigError(
            "--wandb offline: a job's folder, and W&B's files in it, are thrown away; take online, or send the runs "
            f"afterwards: python -m tune.results wandb {study} --out {shlex.quote(out)}"
        )
    if given.wandb == "online" and "WANDB_API_KEY" not in keys:
        notes.append("W&B: no --env WANDB_API_KEY, so the head node must have a key of its own")
    return Request(kind, study, out, tuple(arguments), files, tuple(notes), bool(given.dry_run))


def default_out() -> str:
    """DYNONET_RESULTS of the environment, else of cluster/storage.env. Raises ConfigError if neither is set."""
    place = os.environ.get(RESULTS)
    shared = ROOT / "cluster" / "storage.env"
    if not place and shared.is_file():
        lines = (line.partition("=") for line in read_text(shared).splitlines() if not line.startswith("#"))
        values = [value.strip() for name, _, value in lines if name.strip() == RESULTS]
        if len(values) > 1:
            raise ConfigError(f"{shared}: {RESULTS} is given {len(values)} times; python -m cluster.checks {shared}")
        place = next(iter(values), None)
    if not place or UNSET in place:
        raise ConfigError(
            f"--out is needed: s3://BUCKET/FOLDER, gs://BUCKET/FOLDER or a folder that every node mounts (or set "
            f"{RESULTS} in cluster/storage.env)"
        )
    return place


def check_out(out: str) -> str:
    """`out`, if it is the same place on every node. Raises ConfigError otherwise."""
    if "://" in out:
        try:
            password = urlsplit(out).password
        except ValueError as error:
            raise ConfigError(
                f"--out: got '{out}': {error}; s3://BUCKET/FOLDER or gs://BUCKET/FOLDER is needed"
            ) from None
        if password is not None:
            raise ConfigError("--out: no key in an address, which goes on record; pass it by name (--env NAME)")
        return out.rstrip("/")
    if not PurePosixPath(out).is_absolute():
        raise ConfigError(
            f"--out: got '{out}'; a job's working directory is thrown away, so results need an object store's address "
            "or the absolute path of a folder that every node mounts"
        )
    return out.rstrip("/") or "/"


def _parse(kind: str, arguments: Sequence[str]) -> argparse.Namespace:
    if kind == "search":
        from tune.search import parser as search_parser

        parser = search_parser()
        parser.set_defaults(out=None)
        return parser.parse_intermixed_args(arguments)
    from ablations.run import parser as ablations_parser

    parser = ablations_parser()
    parser.set_defaults(out=None)
    return parser.parse_intermixed_args(arguments)


def _study(kind: str, given: argparse.Namespace) -> str:
    """The name that the study goes by. Raises ConfigError for one that the command itself would refuse."""
    if kind == "search":
        from tune.settings import read_settings

        return read_settings(given).study
    from ablations.run import read_study

    study, name = read_study(given)
    study.schedule()  # too few seeds to decide anything
    return name


def _data_paths(given: argparse.Namespace) -> list[str]:
    """Every `data.path` as the arguments and the files that they name write it, before it is taken from a folder."""
    overrides = dict(text.partition("=")[::2] for text in given.overrides)
    return data_paths([overrides, *(read_mapping(path) for path in _named_files(given))])


def _named_files(given: argparse.Namespace) -> list[str]:
    """Files of this machine that the arguments name: they travel with the job."""
    paths = [given.config, getattr(given, "space", None)]
    if getattr(given, "preset", None) is None and Path(given.study).suffix in (".yaml", ".yml"):
        paths.append(given.study)
    return [path for path in paths if path]


def _renamed(argument: str, path: str, new: str) -> str:
    if argument == path:
        return new
    option, equals, value = argument.partition("=")
    return f"{option}={new}" if option.startswith("--") and equals and value == path else argument
