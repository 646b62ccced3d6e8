"""What travels to a cluster: the working tree, files that arguments name, and a command's words."""

import json
import os
import shlex
import shutil
import subprocess
import sys
import zipfile
from io import BytesIO
from pathlib import Path

import pytest

from cluster import entry
from cluster.sending.packing import pack, tree
from cluster.sending.request import read_request
from lab.errors import ConfigError
from tests.own_package import own_package
from tests.processes import ROOT


def test_the_package_holds_source_only_and_is_the_same_for_the_same_tree(tmp_path: Path) -> None:
    packages = ("lab", "dynonet", "forecasters", "tune", "ablations", "cluster", "scripts")
    for name in (*packages, "results", ".venv", "tune/__pycache__"):
        (tmp_path / name).mkdir()
        (tmp_path / name / "a.py").write_text("1")
    (tmp_path / "pyproject.toml").write_text("")
    (tmp_path / "tune" / ".env").write_text("KEY")
    (tmp_path / "tune" / "kernel.nbi").write_text("cache")
    files = tree(tmp_path)
    assert sorted(files) == sorted([*(f"{name}/a.py" for name in packages), "pyproject.toml"])
    first = pack(files, {"arguments/0-x.yaml": b"x"})
    os.utime(tmp_path / "tune" / "a.py", (0, 1e9))
    assert pack(tree(tmp_path), {"arguments/0-x.yaml": b"x"}) == first
    names = zipfile.ZipFile(BytesIO(first)).namelist()
    assert sorted(names) == sorted([*files, "arguments/0-x.yaml", "commit.json"])
    (tmp_path / "scripts" / "weights.pt").write_bytes(bytes(5 << 20))
    with pytest.raises(ConfigError, match=r"scripts/weights\.pt has 5\.0 MiB"):
        tree(tmp_path)


def test_files_that_arguments_name_travel_along(tmp_path: Path) -> None:
    config = tmp_path / "the best.yaml"
    config.write_text("model.worker_hidden: 4\n")
    arguments = ["--preset", "smoke", f"--config={config}", "--results", "/o o"]
    request = read_request("search", arguments)
    (name, content), *others = request.files.items()
    assert name == "arguments/0-the_best.yaml" and content == config.read_bytes() and not others
    assert shlex.split(request.entrypoint()) == [
        "exec", "python", "-m", "tune.search", "--preset", "smoke", f"--config={name}", "--results", "/o o",
    ]  # fmt: skip


def test_what_ray_submit_copies_finds_project_and_python_and_keeps_spaces(tmp_path: Path) -> None:
    """As `ray submit` does it: one file in the home folder, words joined by spaces, a login shell with .bashrc."""
    home = tmp_path / "home"
    home.mkdir()
    shutil.copy(ROOT / "cluster" / "entry.py", home)
    (home / "dynonet" / "tune").mkdir(parents=True)
    show = "import json, os, sys\nprint(json.dumps([sys.argv[1:], sys.executable, os.environ['RAY_ADDRESS']]))"
    (home / "dynonet" / "tune" / "search.py").write_text(show)
    python = home / ".dynonet" / "venv" / "bin" / "python"
    python.parent.mkdir(parents=True)
    python.symlink_to(sys.executable)
    (home / ".bashrc").write_text("export DYNONET_RESULTS='/shared/a b'")
    arguments = ["search", "--study", "x", "data.path=/a b/c; d.csv", "", "$HOME", "*", 'é\'s "q"', "quoted"]
    script = ROOT / "cluster" / "entry.py"
    quoted = subprocess.check_output([sys.executable, script, "--quote", *arguments], text=True).split()
    environment = {"HOME": str(home), "PATH": os.environ["PATH"]}

    def submitted(words: list[str]) -> subprocess.CompletedProcess[str]:
        joined = " ".join([sys.executable, "~/entry.py", *words])
        shell = ["bash", "-c", f"source ~/.bashrc; export OMP_NUM_THREADS=1 && ({joined})"]
        return subprocess.run(shell, env=environment, cwd="/", capture_output=True, text=True)

    said = json.loads(submitted(quoted).stdout)
    assert said == [[*arguments[1:], "--results", "/shared/a b"], str(python), "auto"]
    plain = submitted(["search", "--results", "s3://bucket/x", "model.film=false"])
    assert json.loads(plain.stdout)[0] == ["--results", "s3://bucket/x", "model.film=false"]
    before = submitted(["search", "--out=s3://bucket/x"])
    assert json.loads(before.stdout)[0] == ["--out=s3://bucket/x"], "as it was called before"
    refused = submitted(["search", "--results", "results"])
    assert refused.returncode == 1 and refused.stderr.startswith("error: --results: got 'results'; an object store")
    assert entry.unquoted(entry.quoted(arguments)) == arguments


def test_every_model_of_a_league_travels_along_and_none_for_another(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    with own_package(tmp_path, monkeypatch):
        source = (tmp_path / "my_package" / "my_module.py").read_text()
        (tmp_path / "second.py").write_text(source)
        league = tmp_path / "league.yaml"
        league.write_text(
            "name: own\nquestion: Which of these is the best?\nkind: models\nmodel: my_package.my_module:LINEAR\n"
            "models: {second: {model: 'second:LINEAR'}, nlinear: {model: nlinear}}\nseeds: 3\n"
        )
        arguments = [str(league), "--results", "/shared"]
        files = read_request("ablations", arguments).files
        assert {"my_package/my_module.py", "second.py"} < files.keys() and files["second.py"] == source.encode()
        assert not any(name.startswith(("lab/", "forecasters/")) for name in files)
        found = {"second:LINEAR": tmp_path / "elsewhere.py"}
        monkeypatch.setattr(
            "lab.training.module_stack.sources",
            lambda model: {"second.py": found.get(model.config.forecaster, tmp_path / "second.py")},
        )
        with pytest.raises(ConfigError, match=r"under one name; rename one"):
            read_request("ablations", arguments)
