"""The house, read off the imports of every file: arrows run one way, no file is in a circle, no room is too full.

lab <- {dynonet, forecasters, tune} <- ablations <- {cluster, scripts} <- tests. Only `forecasters` names the models, by
import strings that `lab.registry` follows.
"""

import ast
import re
import subprocess
from collections.abc import Iterator
from functools import cache
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[2]
PACKAGES = ("lab", "dynonet", "forecasters", "tune", "ablations", "cluster", "scripts", "tests")
# What a package's files may import of ours, lazily or not.
ALLOWED: dict[str, set[str]] = {
    "lab": {"lab"},
    "dynonet": {"lab", "dynonet"},
    "forecasters": {"lab", "forecasters"},
    "tune": {"lab", "tune"},
    "ablations": {"lab", "tune", "ablations"},
    "cluster": {"lab", "tune", "ablations", "cluster"},
    "scripts": set(PACKAGES) - {"tests"},
    "tests": set(PACKAGES),
}
FOREIGN = {"dynonet": {"ray", "optuna", "wandb"}, "forecasters": {"ray", "optuna", "wandb"}}  # what they do without
MOST_FILES, MOST_LINES = 14, 400
ROOMS_OF_MANY = ("forecasters", "dynonet/studies", "docs")  # a file a model, a study, a subject
A_REASON = re.compile(r"^# (Longer than 400 lines|More than 400 lines): \w+", re.M)


@cache
def files() -> dict[str, Path]:
    """Every module of ours by its dotted name."""
    found = {}
    for package in PACKAGES:
        for path in sorted((ROOT / package).rglob("*.py")):
            name = ".".join(path.relative_to(ROOT).with_suffix("").parts)
            found[name.removesuffix(".__init__")] = path
    return found


def imports(source: str) -> Iterator[tuple[str, str | None, str | None]]:
    """(module, name, alias) of every import: name is None in `import module`."""
    for node in ast.walk(ast.parse(source)):
        if isinstance(node, ast.Import):
            yield from ((alias.name, None, alias.asname) for alias in node.names)
        elif isinstance(node, ast.ImportFrom):
            module = "." * node.level + (node.module or "")
            yield from ((module, alias.name, alias.asname) for alias in node.names)
        elif isinstance(node, ast.Call) and "import_module" in ast.unparse(node.func):
            yield from ((str(first.value), None, None) for first in node.args[:1] if isinstance(first, ast.Constant))


def wrong_arrows(source: str, package: str) -> list[str]:
    """Imports that go where this package's may not."""
    wrong = []
    for module, _, _ in imports(source):
        top = module.split(".")[0]
        ours = top in PACKAGES and top not in ALLOWED[package]
        if ours or top in FOREIGN.get(package, set()) or module.startswith(".."):
            wrong.append(module)
    return wrong


def odd_ray_tune(source: str) -> list[str]:
    """Imports of Ray's tune other than `from ray import tune as ray_tune` (names of its submodules are their own)."""
    odd = []
    for module, name, alias in imports(source):
        if (module, name) == ("ray", "tune"):
            odd += [] if alias == "ray_tune" else ["from ray import tune"]
        elif module == "ray.tune" or (name is None and module.startswith("ray.tune.")):
            odd.append(module)
    return odd


def imported(name: str) -> set[str]:
    """Modules of ours that a module imports, anywhere in it: within a function an import hides a circle, and does not
    undo it."""
    found = set()
    for node in ast.walk(ast.parse(files()[name].read_text())):
        if isinstance(node, ast.Import):
            wanted = [alias.name for alias in node.names]
        elif isinstance(node, ast.ImportFrom) and node.module:
            wanted = [f"{node.module}.{alias.name}" for alias in node.names]
        else:
            continue
        for each in wanted:
            known = each if each in files() else each.rpartition(".")[0]
            if known in files() and known != name:
                found.add(known)
    return found


def circles(graph: dict[str, set[str]]) -> list[list[str]]:
    """The strongly connected components of two modules or more (Tarjan)."""
    index: dict[str, int] = {}
    low: dict[str, int] = {}
    stack: list[str] = []
    found = []

    def visit(name: str) -> None:
        index[name] = low[name] = len(index)
        stack.append(name)
        for other in graph[name]:
            if other not in index:
                visit(other)
                low[name] = min(low[name], low[other])
            elif other in stack:
                low[name] = min(low[name], index[other])
        if low[name] == index[name]:
            group = []
            while not group or group[-1] != name:
                group.append(stack.pop())
            if len(group) > 1:
                found.append(sorted(group))

    for name in graph:
        if name not in index:
            visit(name)
    return found


@pytest.mark.parametrize("package", ALLOWED)
def test_arrows_run_one_way(package: str) -> None:
    mine = {name: path for name, path in files().items() if name.split(".")[0] == package}
    assert mine
    wrong = {name: bad for name, path in mine.items() if (bad := wrong_arrows(path.read_text(), package))}
    assert not wrong


def test_no_file_is_in_a_circle() -> None:
    graph = {name: imported(name) for name in files() if not name.startswith("tests.")}
    fronts = {name for name, path in files().items() if path.name == "__init__.py"}
    # A package's front imports its files; a file that asks the front for a neighbour is no circle of files.
    bare = {name: {other for other in others if other not in fronts} for name, others in graph.items()}
    assert circles(bare) == []


def test_ray_tune_is_never_confused_with_ours() -> None:
    wrong = {name: bad for name, path in files().items() if (bad := odd_ray_tune(path.read_text()))}
    assert not wrong


def tracked() -> list[str]:
    done = subprocess.run(["git", "ls-files"], cwd=ROOT, capture_output=True, text=True)
    if done.returncode:
        pytest.skip("no git checkout: which files are the project's cannot be told")
    return [path for path in done.stdout.splitlines() if (ROOT / path).exists()]


def test_no_room_is_too_full() -> None:
    rooms: dict[str, int] = {}
    for path in tracked():
        room = str(Path(path).parent)
        if not room.startswith(("results", "tests/golden")) and room not in ROOMS_OF_MANY:
            rooms[room] = rooms.get(room, 0) + 1
    assert {room: count for room, count in rooms.items() if count > MOST_FILES} == {}


def test_no_file_is_too_long() -> None:
    long = {}
    for path in tracked():
        if path.endswith(".py"):
            text = (ROOT / path).read_text()
            if text.count("\n") > MOST_LINES and not A_REASON.search(text):
                long[path] = text.count("\n")
    assert long == {}


def test_the_checks_see_what_they_should() -> None:
    assert wrong_arrows("def f():\n    from ray.tune import report", "dynonet") == ["ray.tune"]
    assert wrong_arrows("import optuna.trial as o", "dynonet") == ["optuna.trial"]
    assert wrong_arrows("import importlib\nimportlib.import_module('dynonet.config')", "lab") == ["dynonet.config"]
    assert wrong_arrows("from ..tune import x", "ablations") == ["..tune"]
    assert wrong_arrows("import rays\nfrom tuned import tune\nimport wandb", "lab") == []
    assert wrong_arrows("from tune.space import Space", "dynonet") == ["tune.space"]
    assert wrong_arrows("import tests.small", "scripts") == ["tests.small"]
    assert odd_ray_tune("from ray import tune") == ["from ray import tune"]
    assert odd_ray_tune("import ray.tune") == ["ray.tune"]
    assert odd_ray_tune("from ray.tune import Callback") == ["ray.tune"]
    assert odd_ray_tune("import ray.tune.search") == ["ray.tune.search"]
    assert odd_ray_tune("from ray import tune as ray_tune\nfrom ray.tune.search import Searcher") == []
    assert circles({"a": {"b"}, "b": {"c"}, "c": {"a"}, "d": {"a"}}) == [["a", "b", "c"]]
    assert A_REASON.search("# Longer than 400 lines: one table\n") and not A_REASON.search("# 400 lines\n")
