"""A forecaster of one's own on machines that do not have its files: what Ray is to send along."""

import shutil
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from lab.registry import DEFAULT, forecaster


@contextmanager
def own_modules(*models: str) -> Iterator[list[str]]:
    """Copies of the files that forecasters are imported from, and nothing else that lies beside them: the paths of
    their packages and modules as `py_modules` of a runtime_env takes them. [] for the house's forecasters.
    """
    if set(models) <= {DEFAULT}:  # imported by nobody who does not need it
        yield []
        return
    from lab.training.module_stack import sources  # imports torch

    files = {name: path for model in models for name, path in sources(forecaster(model)).items()}
    with tempfile.TemporaryDirectory(prefix="dynonet-") as folder:
        for name, path in files.items():
            copy = Path(folder) / name
            copy.parent.mkdir(parents=True, exist_ok=True)
            shutil.copyfile(path, copy)
        yield [str(Path(folder) / top) for top in sorted({name.split("/")[0] for name in files})]
