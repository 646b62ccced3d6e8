"""The docs' forecaster of one's own, written where they say."""

import importlib
import re
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest

from lab import registry
from tests.processes import ROOT

NAME = "my_package.my_module:LINEAR"
PAGE = (ROOT / "docs" / "own-model.md").read_text()


def block(title: str, language: str) -> str:
    found = re.search(rf"{re.escape(title)}[^\n]*\n(?:[^`]*\n)*?\n```{language}\n(.*?)```", PAGE, re.S)
    assert found, title
    return found.group(1)


def forget() -> None:
    """Modules of a folder that is gone are not found again."""
    for name in [name for name in sys.modules if name.partition(".")[0] == "my_package"]:
        del sys.modules[name]
    importlib.invalidate_caches()
    for cached in (registry.forecaster, registry.names):
        cached.cache_clear()


@contextmanager
def own_package(folder: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[None]:
    """What the page says to write, in the folder that commands run in, which is on no import path yet."""
    (folder / "my_package").mkdir()
    (folder / "my_package" / "my_module.py").write_text(block("as `my_package/my_module.py`", "python"))
    (folder / "study.yaml").write_text(block("and a study of it, `study.yaml`", "yaml"))
    monkeypatch.chdir(folder)
    monkeypatch.setattr(sys, "path", [str(ROOT), *(each for each in sys.path if each not in ("", str(ROOT)))])
    forget()
    try:
        yield
    finally:
        forget()
