"""Where a run came from: code, packages, machine."""

import json
import platform
import socket
import subprocess
from functools import lru_cache
from importlib.metadata import PackageNotFoundError, version
from pathlib import Path
from typing import Any

COMMIT_FILE = "commit.json"  # of a copy of the code that is no checkout: what `git` said where it was made
PACKAGE = "dynonet-tune"
_PACKAGES = (PACKAGE, "torch", "numpy", "numba", "ray", "optuna", "pyarrow")


@lru_cache(maxsize=1)
def code_provenance() -> dict[str, Any]:
    """Commit and dirty flag of the code (None outside a git checkout), and package versions as JSON."""
    folder = Path(__file__).resolve().parent
    commit = _git(folder, "rev-parse", "HEAD")
    changed = _git(folder, "status", "--porcelain", "--untracked-files=no")
    dirty = None if changed is None else bool(changed)
    if commit is None and (told := folder.parent / COMMIT_FILE).is_file():
        said = json.loads(told.read_text())
        commit, dirty = said["git_commit"], said["git_dirty"]
    versions = {"python": platform.python_version()}
    for name in _PACKAGES:
        try:
            versions[name] = version(name)
        except PackageNotFoundError:
            continue
    return {
        "git_commit": commit,
        "git_dirty": dirty,
        "versions": json.dumps(versions, sort_keys=True),
    }


def version_text() -> str:
    """The project's version and, where they are known, the code's commit and whether it was changed since."""
    code = code_provenance()
    number = json.loads(code["versions"]).get(PACKAGE, "(not installed)")
    commit = f", commit {code['git_commit'][:12]}" if code["git_commit"] else ""
    return f"{PACKAGE} {number}{commit}{', changed since' if code['git_dirty'] else ''}"


def host_name() -> str:
    return socket.gethostname()


def _git(folder: Path, *args: str) -> str | None:
    try:
        done = subprocess.run(["git", "-C", str(folder), *args], capture_output=True, text=True, timeout=20)
    except (OSError, subprocess.TimeoutExpired):
        return None
    return done.stdout.strip() if done.returncode == 0 else None
