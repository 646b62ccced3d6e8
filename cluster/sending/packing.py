"""The working tree as one zip: what a job needs of it, and nothing else. Equal trees give equal bytes."""

import io
import json
import zipfile
from collections.abc import Mapping
from pathlib import Path

from lab.errors import ConfigError
from lab.provenance import COMMIT_FILE, code_provenance

ROOT = Path(__file__).resolve().parents[2]
NEEDED = ("lab", "dynonet", "forecasters", "tune", "ablations", "cluster", "scripts", "pyproject.toml")
PACKED = (*NEEDED, "constraints.txt", "README.md", "LICENSE")
LEFT_OUT = {".pyc", ".pyo", ".nbi", ".nbc", ".tmp"}  # caches
MOST_BYTES, MOST_OF_A_FILE = 16 << 20, 4 << 20  # the tree is some 1.5 MiB
EPOCH = (1980, 1, 1, 0, 0, 0)  # the earliest that zip knows


def tree(root: Path = ROOT) -> dict[str, Path]:
    """What is packed, by name in the package: no data, results, environments, caches, hidden files or links.

    Raises:
        ConfigError: `root` is not the project's own folder, or something in it is oddly large.
    """
    if missing := [name for name in NEEDED if not (root / name).exists()]:
        raise ConfigError(f"{root} is not the project's folder, {missing[0]} is missing: run this from a checkout")
    files = {
        path.relative_to(root).as_posix(): path
        for name in PACKED
        for path in ([root / name] if (root / name).is_file() else (root / name).rglob("*"))
        if _wanted(path, root)
    }
    sizes = {name: path.stat().st_size for name, path in files.items()}
    large = sorted((name for name in sizes), key=lambda name: -sizes[name])[:3]
    shown = ", ".join(f"{name} ({mib(sizes[name])})" for name in large)
    if sizes and sizes[large[0]] > MOST_OF_A_FILE:
        raise ConfigError(f"{large[0]} has {mib(sizes[large[0]])}, too much for source (at most {mib(MOST_OF_A_FILE)})")
    if sum(sizes.values()) > MOST_BYTES:
        raise ConfigError(
            f"the working tree has {mib(sum(sizes.values()))}, too much for source (at most {mib(MOST_BYTES)}): {shown}"
        )
    return files


def pack(files: Mapping[str, Path], more: Mapping[str, bytes]) -> bytes:
    """A zip of files, of `more` by name, and of the commit, which is not to be had where there is no checkout."""
    provenance = code_provenance()
    commit = {name: provenance[name] for name in ("git_commit", "git_dirty")}
    contents = {name: path.read_bytes() for name, path in files.items()} | dict(more)
    contents[COMMIT_FILE] = json.dumps(commit).encode()
    buffer = io.BytesIO()
    with zipfile.ZipFile(buffer, "w", zipfile.ZIP_DEFLATED) as package:
        for name in sorted(contents):
            info = zipfile.ZipInfo(name, EPOCH)
            info.compress_type = zipfile.ZIP_DEFLATED
            info.external_attr = 0o100644 << 16
            package.writestr(info, contents[name])
    return buffer.getvalue()


def mib(size: int) -> str:
    return f"{size / 2**20:.1f} MiB"


def _wanted(path: Path, root: Path) -> bool:
    parts = path.relative_to(root).parts
    hidden = any(part.startswith(".") or part == "__pycache__" or part.endswith(".egg-info") for part in parts)
    return path.is_file() and not path.is_symlink() and not hidden and path.suffix not in LEFT_OUT
