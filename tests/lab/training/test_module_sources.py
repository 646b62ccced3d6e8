"""What a module's runs are named by: its own source, and that of all it imports."""

import importlib
import itertools
import sys
from pathlib import Path
from types import ModuleType

import pytest

from lab.errors import ConfigError
from lab.training.module_stack import ModuleForecaster, sources
from tests.toy import Settings

MAIN = """
import math
from torch import nn
from lab.store.tables import Results
from lab.training.module_stack import ModuleForecaster, Section
from .layers import Map
from parts_of_it import tools

class Settings(Section):
    size: int = 1

class Net(nn.Module):
    def __init__(self, config, channels):
        super().__init__()
        self.map = Map(config)

    def forward(self, window):
        return self.map(window)

NET = ModuleForecaster("net", Net, Settings)
"""
LAYERS = """
from torch import nn
class Map(nn.Linear):
    def __init__(self, config):
        super().__init__(3, 3)
"""
_number = itertools.count()


def written(folder: Path, **files: str) -> ModuleForecaster:
    """The forecaster of a package that lies in a folder."""
    texts = {"my_nets/net.py": MAIN, "my_nets/layers.py": LAYERS, "my_nets/__init__.py": "", "parts_of_it/tools.py": ""}
    for name, text in {**texts, "my_nets/other.py": "", **files}.items():
        (folder / name).parent.mkdir(exist_ok=True, parents=True)
        (folder / name).write_text(text)
    for name in [name for name in sys.modules if name.split(".")[0] == "my_nets"]:
        del sys.modules[name]
    found: ModuleForecaster = importlib.import_module("my_nets.net").NET
    return found


def test_an_edited_source_gives_other_runs(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(sys, "dont_write_bytecode", True)
    ids = {}
    for name, files in {
        "first": {},
        "moved": {},
        "windows": {"my_nets/layers.py": LAYERS.replace("\n", "\r\n")},
        "not imported": {"my_nets/other.py": "x = 1"},
        "forward": {"my_nets/net.py": MAIN.replace("self.map(window)", "-self.map(window)")},
        "layer": {"my_nets/layers.py": LAYERS + "\nx = 1"},
        "package": {"my_nets/__init__.py": "import torch"},
        "beside": {"parts_of_it/tools.py": "x = 1"},
    }.items():
        folder = tmp_path / str(next(_number))
        folder.mkdir()
        with monkeypatch.context() as path:
            path.syspath_prepend(str(folder))
            found = written(folder, **files)
        ids[name] = found.config().run_id("data")
        expected = {"my_nets/__init__.py", "my_nets/layers.py", "my_nets/net.py", "parts_of_it/tools.py"}
        assert sources(found) == {each: folder / each for each in sorted(expected)}
    same = {name for name, run in ids.items() if run == ids["first"]}
    assert same == {"first", "moved", "windows", "not imported"} and len(set(ids.values())) == 5
    for name in [name for name in sys.modules if name.split(".")[0] in ("my_nets", "parts_of_it")]:
        del sys.modules[name]


def test_a_module_without_a_source_file_is_refused() -> None:
    typed = ModuleType("typed")
    text = "from torch import nn\nclass Net(nn.Module): ..."
    sys.modules["typed"] = typed
    exec(text, typed.__dict__)
    with pytest.raises(ConfigError, match=r"Net has no source file .*write it into a \.py file"):
        ModuleForecaster("net", typed.Net, Settings)
    del sys.modules["typed"]
