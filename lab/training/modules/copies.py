"""A forecaster of one's own on machines that do not have its files: what Ray is to send along."""

import shutil
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from lab.errors import ConfigError
from lab.registry import DEFAULT, forecaster


def files_of(*models: str) -> dict[str, Path]:
    """What forecasters of one's own are imported from, by name below an import path; the house's have none.

    Raises ConfigError where two models would be imported under one name: there the one would be taken for the other.
    """
    from lab.training.module_stack import sources  # imports torch

    found: dict[str, Path] = {}
    for model in models:
        for name, path in ({} if model == DEFAULT else sources(forecaster(model))).items():
            if found.setdefault(name, path) != path:
                raise ConfigError(
                    f"model '{model}' is imported from {path}, and another model of this study from {found[name]}: "
                    "both go along to the cluster under one name; rename one"
                )
    return found


@contextmanager
def own_modules(*models: str) -> Iterator[list[str]]:
    """Copies of the files that forecasters are imported from, and nothing else that lies beside them: the paths of
    their packages and modules as `py_modules` of a runtime_env takes them. [] for the house's forecasters.
    """
    if set(models) <= {DEFAULT}:  # imported by nobody who does not need it
        yield []
        return
    files = files_of(*models)
    with tempfile.TemporaryDirectory(prefix="dynonet-") as folder:
        for name, path in files.items():
            copy = Path(folder) / name
            copy.parent.mkdir(parents=True, exist_ok=True)
            shutil.copyfile(path, copy)
        yield [str(Path(folder) / top) for top in sorted({name.split("/")[0] for name in files})]
