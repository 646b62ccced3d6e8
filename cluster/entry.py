"""What `ray submit` copies to a cluster's head and runs there with whatever Python is first on its path.

    ray submit cluster/NAME.yaml cluster/entry.py -- search --preset etth1-h96 --results s3://BUCKET/FOLDER
    ray submit cluster/NAME.yaml cluster/entry.py -- $(python cluster/entry.py --quote search ARGS...)

`ray submit` joins arguments with spaces and hands them to a shell over there, so what holds a space, or a sign that a
shell knows, arrives broken. `--quote` writes each argument as one plain word that any number of shells leave alone.
This file imports nothing but the standard library: it finds the project that the launcher mounted (~/dynonet) and the
Python that setup.sh installed it for, and becomes `python -m tune.search` or `python -m ablations.run` on the cluster.
"""

import os
import sys
from collections.abc import Sequence
from pathlib import Path
from urllib.parse import quote, unquote

MODULES = {"search": "tune.search", "ablations": "ablations.run"}
QUOTED = "quoted"  # first word of arguments that are to be unquoted
OPTIONS = ("--results", "--out")  # the second is what it was called before
RESULTS = "DYNONET_RESULTS"  # where results go if --results is not given (cluster/storage.env)


def quoted(arguments: Sequence[str]) -> list[str]:
    """Words without a space or a sign that a shell knows: percent-encoded, each marked, so that none is empty."""
    return [QUOTED, *("=" + quote(argument, safe="/:=.,@+-_") for argument in arguments)]


def unquoted(words: Sequence[str]) -> list[str]:
    """What `quoted` was given. Words that it did not make are left as they are."""
    if words[:1] != [QUOTED]:
        return list(words)
    return [unquote(word.removeprefix("=")) for word in words[1:]]


def command(arguments: Sequence[str], environment: dict[str, str], home: Path, here: str) -> tuple[list[str], Path]:
    """The command to become, and the folder to run it in. Changes `environment` as the command needs it.

    Args:
        here: the Python that runs this.
    Raises:
        ValueError: no command of ours, or results that would be on one node only.
    """
    name, *rest = unquoted(arguments) or [""]
    if name not in MODULES:
        raise ValueError(f"got '{name}', allowed: {', '.join(MODULES)} (then its arguments)")
    places = [value for option, value in zip(rest, [*rest[1:], ""], strict=True) if option in OPTIONS]
    places += [option.partition("=")[2] for option in rest if option.partition("=")[0] in OPTIONS and "=" in option]
    if not places:
        places = [environment.get(RESULTS, "")]
        rest += [OPTIONS[0], places[0]]
    if not ("://" in places[-1] or places[-1].startswith("/")) or "CHANGE-ME" in places[-1]:
        raise ValueError(
            f"{OPTIONS[0]}: got '{places[-1]}'; an object store's address or the absolute path of a folder that every "
            f"node mounts is needed (or set {RESULTS} in cluster/storage.env)"
        )
    environment.setdefault("RAY_ADDRESS", "auto")  # the cluster, and not a Ray of its own
    if (home / ".ray" / "auth_token").exists():
        environment.setdefault("RAY_AUTH_MODE", "token")
    installed = Path(environment.get("DYNONET_VENV", home / ".dynonet" / "venv")) / "bin" / "python"
    project = home / "dynonet"
    if not (project / "tune").is_dir():  # not mounted: an image that has it, or this file where it belongs
        beside = Path(__file__).resolve().parents[1]
        project = beside if (beside / "tune").is_dir() else home
    return [str(installed) if installed.exists() else here, "-m", MODULES[name], *rest], project


def main(argv: Sequence[str]) -> None:
    if argv[:1] == ["--quote"]:
        print(" ".join(quoted(argv[1:])))
        return
    environment = dict(os.environ)
    try:
        run, folder = command(argv, environment, Path.home(), sys.executable)
    except ValueError as error:
        sys.exit(f"error: {error}")
    os.chdir(folder)
    os.execve(run[0], run, environment)


if __name__ == "__main__":
    main(sys.argv[1:])
