"""Arrows run one way: dynonet <- tune <- ablations <- scripts. Read off the imports of every file."""

import ast
from collections.abc import Iterator
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[1]

# What a folder's files may not import, lazily or not.
FORBIDDEN = {
    "dynonet": {"ray", "optuna", "wandb", "tune", "ablations", "cluster", "scripts", "tests"},
    "tune": {"ablations", "cluster", "scripts", "tests"},
    "ablations": {"cluster", "scripts", "tests"},
    "cluster": {"scripts", "tests"},
}


def files(folder: str) -> list[Path]:
    return sorted((ROOT / folder).rglob("*.py"))


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


def wrong_arrows(source: str, forbidden: set[str]) -> list[str]:
    found = list(imports(source))
    relative = [module for module, _, _ in found if module.startswith("..")]  # could leave its package
    return [module for module, _, _ in found if module.split(".")[0] in forbidden] + relative


def odd_ray_tune(source: str) -> list[str]:
    """Imports of Ray's tune other than `from ray import tune as ray_tune` (names of its submodules are their own)."""
    odd = []
    for module, name, alias in imports(source):
        if (module, name) == ("ray", "tune"):
            odd += [] if alias == "ray_tune" else ["from ray import tune"]
        elif module == "ray.tune" or (name is None and module.startswith("ray.tune.")):
            odd.append(module)
    return odd


@pytest.mark.parametrize("folder", FORBIDDEN)
def test_arrows_run_one_way(folder: str) -> None:
    wrong = {
        str(path.relative_to(ROOT)): bad
        for path in files(folder)
        if (bad := wrong_arrows(path.read_text(), FORBIDDEN[folder]))
    }
    assert not wrong
    assert files(folder) or folder == "ablations"


def test_ray_tune_is_never_confused_with_ours() -> None:
    wrong = {str(path.relative_to(ROOT)): bad for path in files("tune") if (bad := odd_ray_tune(path.read_text()))}
    assert not wrong


def test_the_check_sees_what_it_should() -> None:
    assert wrong_arrows("def f():\n    from ray.tune import report", {"ray"}) == ["ray.tune"]
    assert wrong_arrows("import optuna.trial as o", {"optuna"}) == ["optuna.trial"]
    assert wrong_arrows("import importlib\nimportlib.import_module('wandb')", {"wandb"}) == ["wandb"]
    assert wrong_arrows("from ..tune import x", {"ray"}) == ["..tune"]
    assert wrong_arrows("import rays\nfrom tuned import tune", {"ray", "tune"}) == []
    assert odd_ray_tune("from ray import tune") == ["from ray import tune"]
    assert odd_ray_tune("import ray.tune") == ["ray.tune"]
    assert odd_ray_tune("from ray.tune import Callback") == ["ray.tune"]
    assert odd_ray_tune("import ray.tune.search") == ["ray.tune.search"]
    assert odd_ray_tune("from ray import tune as ray_tune\nfrom ray.tune.search import Searcher") == []
