"""The source files that say what a module computes: its own, and those of its author's that it imports.

They are part of a run's identity, so that an edited `forward` never returns old results, and go along to a cluster.
Imports are read, not run: what a text names at run time (`importlib.import_module`) is not seen, nor a file of data.
What is installed (site-packages) is left out but for the module's own package, and so is the lab: their versions are
provenance, and the lab's own results version is part of every id.
"""

import ast
import hashlib
import importlib.util
import json
import sys
import sysconfig
from collections.abc import Collection, Iterator
from pathlib import Path
from typing import Any

import lab
from lab.errors import ConfigError
from lab.registry import HOUSE, house_packages

ROOT = Path(lab.__file__).resolve().parents[1]
FLOOR = "lab"


def source_files(*objects: Any) -> dict[str, Path]:
    """Name -> file of all that these classes or functions are made of; names are as they lie below an import path.

    Raises ConfigError: a class that was typed at a prompt or in a notebook, and so has no file.
    """
    found: dict[str, Path] = {}
    for each in objects:
        _follow(*_origin(each), found)
    return dict(sorted(found.items()))


def digest(files: dict[str, Path]) -> str:
    """SHA-256 of files by name, whatever ends their lines."""
    contents = [(name, hashlib.sha256(_read(path)).hexdigest()) for name, path in sorted(files.items())]
    return hashlib.sha256(json.dumps(contents, separators=(",", ":")).encode()).hexdigest()


def of_the_house(each: Any) -> bool:
    """Whether it is defined in the package of the house's own forecasters, which have results versions instead."""
    return str(each.__module__).partition(".")[0] == HOUSE


def _read(path: Path) -> bytes:
    return path.read_bytes().replace(b"\r\n", b"\n")


def _origin(each: Any) -> tuple[Path, str]:
    """The folder from which it was imported, and its file's name below that."""
    module = sys.modules.get(each.__module__)
    file = Path(getattr(module, "__file__", None) or "")
    if module is None or file.suffix != ".py" or not file.is_file():
        raise ConfigError(
            f"{each.__qualname__} has no source file ({each.__module__}); write it into a .py file and import it from "
            "there: its source is part of what a run's name stands for"
        )
    file = file.resolve()
    spec = getattr(module, "__spec__", None)
    name = spec.name if spec is not None else each.__module__  # `python -m` calls it __main__
    parts = name.split(".")
    below = Path(*parts, "__init__.py") if file.name == "__init__.py" else Path(*parts).with_suffix(".py")
    below = Path(file.name) if Path(*file.parts[-len(below.parts) :]) != below else below
    return file.parents[len(below.parts) - 1], below.as_posix()


def _follow(root: Path, name: str, found: dict[str, Path]) -> None:
    """Takes in a file below `root`, and all that it imports."""
    if found.get(name) == root / name:
        return
    if name in found:
        raise ConfigError(f"two files are imported as {name}: {found[name]} and {root / name}; rename one")
    found[name] = root / name
    package = name.split("/")[:-1]
    for parts in [package, *_imports(root / name, package)]:  # a package's own __init__ runs first
        home = _home(root, package, parts[0]) if parts else None
        if home is not None:
            for file in _files(home, parts):
                _follow(home, file, found)


def _imports(path: Path, package: list[str]) -> Iterator[list[str]]:
    """The dotted names that a file imports; those behind a `from` may be modules or not."""
    try:
        tree = ast.parse(path.read_bytes())
    except SyntaxError:  # nothing that runs imports it
        return
    for node in ast.walk(tree):
        if isinstance(node, ast.Import):
            yield from (alias.name.split(".") for alias in node.names)
        elif isinstance(node, ast.ImportFrom):
            above = package[: len(package) - node.level + 1] if node.level else []
            base = above + (node.module.split(".") if node.module else [])
            yield from ([*base, alias.name] for alias in node.names)


def _home(root: Path, package: list[str], top: str) -> Path | None:
    """The folder in which a file below `root` finds a package or module `top`; None for what is not followed."""
    if top == FLOOR:
        return None
    if top in house_packages():
        return ROOT
    if (not _installed(root) or package[:1] == [top]) and _is_there(root / top):
        return root
    try:
        spec = importlib.util.find_spec(top)
    except (ImportError, ValueError):
        return None
    places = list(spec.submodule_search_locations or []) if spec else []
    places += [spec.origin] if spec and spec.has_location and spec.origin else []
    if not places:  # built in, or nowhere
        return None
    home = Path(places[0]).resolve().parent
    return home if _is_there(home / top) and not _installed(home) else None


def _is_there(path: Path) -> bool:
    return path.is_dir() or path.with_suffix(".py").is_file()


def _files(home: Path, parts: list[str]) -> Iterator[str]:
    """The files that the import of a dotted name runs, below `home`."""
    for end in range(1, len(parts) + 1):
        for name in ("/".join([*parts[:end], "__init__.py"]), "/".join(parts[:end]) + ".py"):
            if (home / name).is_file():
                yield name
                break


def _installed(folder: Path) -> bool:
    return bool({"site-packages", "dist-packages"} & set(folder.parts)) or folder in _standard()


def _standard() -> Collection[Path]:
    return {Path(sysconfig.get_path(name)).resolve() for name in ("stdlib", "platstdlib")}
