"""The docs' forecaster of one's own, from a folder that is none of ours, through every command."""

import json
import re
import subprocess
import sys
import zipfile
from collections.abc import Iterator
from io import BytesIO
from pathlib import Path

import pytest

import ablations.report
import ablations.run
import lab.baseline
import lab.series.__main__
import lab.train
import tune.search
from ablations.planning.call import StudyCall
from ablations.study.reading import load_study
from cluster.sending.packing import pack
from cluster.sending.request import read_request
from lab import registry
from lab.contract import check_forecaster
from lab.errors import ConfigError
from lab.machines.trial import TrialSpec
from lab.training.modules.copies import own_modules
from tests.own_package import NAME, block, forget, own_package
from tests.processes import ROOT

SMALL = ("data.seq_len=24", "data.pred_len=6", "data.synthetic.rows=400")


@pytest.fixture
def folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Path]:
    with own_package(tmp_path, monkeypatch):
        yield tmp_path


def edit(folder: Path) -> None:
    path = folder / "my_package" / "my_module.py"
    path.write_text(path.read_text().replace("self.rest(x - trend)", "self.rest(x)"))
    forget()


def run_id() -> str:
    return registry.forecaster(NAME).config.create().run_id("data")


def test_it_is_trained_measured_and_checked(folder: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert len(block("as `my_package/my_module.py`", "python").splitlines()) <= 30
    assert lab.train.main(["--model", NAME, "--max-epochs", "1", "--out", "out", *SMALL]) == 0, capsys.readouterr().err
    metrics = json.loads((folder / "out" / "seed-12345" / "metrics.json").read_text())
    assert metrics["model"] == NAME and metrics["parameters"] == 2 * (24 * 6 + 6)
    assert lab.baseline.main(["--model", NAME, *SMALL]) == 0
    assert lab.series.__main__.main(["check", "synthetic", *SMALL, "--model", NAME]) == 0
    assert not check_forecaster(NAME).broken


def test_an_edited_module_is_another(folder: Path) -> None:
    before, identity = run_id(), dict(registry.forecaster(NAME).config.identity)
    configs = (registry.forecaster(NAME).config.create().to_json(),)
    spec = TrialSpec(configs, "data", model=NAME, identity=identity)
    assert run_id() == before and spec.runs()
    edit(folder)
    assert run_id() != before
    with pytest.raises(ConfigError, match="is another here than where the command runs"):
        spec.runs()


@pytest.mark.parametrize(
    ("model", "said"),
    [
        ("my_package.my_module:LINAER", "LINAER in my_package.my_module is no forecaster; there is LINEAR"),
        ("my_package.my_modul:LINEAR", "my_package.my_modul cannot be imported (ModuleNotFoundError"),
        ("lineer", "unknown model 'lineer'"),
    ],
)
def test_a_misspelt_one_is_refused_in_a_line(
    model: str, said: str, folder: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    (folder / "own.yaml").write_text((folder / "study.yaml").read_text().replace(NAME, model))
    for main, arguments in (
        (lab.train.main, ["--model", model]),
        (lab.baseline.main, ["--model", model]),
        (tune.search.main, ["--model", model]),
        (ablations.run.main, ["study.yaml", "--model", model]),
        (ablations.run.main, ["own.yaml"]),
    ):
        assert main(arguments) == 2
        (line,) = capsys.readouterr().err.splitlines()
        assert said in line or "the study is one of model" in line


def test_a_study_and_the_command_line_name_one_model(folder: Path) -> None:
    for model in (None, NAME):
        study = load_study("study.yaml", model)
        assert study.model == NAME and set(study.table) == {"full", "no_smoothing"}
    without = folder / "without.yaml"
    without.write_text((folder / "study.yaml").read_text().replace(f"model: {NAME}\n", ""))
    assert load_study(without, NAME).model == NAME
    for told, match in (
        (["study.yaml", "--model", "dynonet"], f"is one of model '{NAME}', and 'dynonet' was asked for"),
        (["parts", "--model", NAME], f"study 'parts' is one of model dynonet, and '{NAME}' was asked for"),
        (["prats", "--model", NAME], "brings no studies; give a YAML file"),
        (["prats"], "unknown study 'prats'; did you mean 'parts'?"),
    ):
        call = ablations.run.asked(ablations.run.parser().parse_intermixed_args(told))
        assert isinstance(call, StudyCall)
        with pytest.raises(ConfigError, match=re.escape(match)):
            call.settings()


def test_it_goes_along_to_a_cluster(folder: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    (folder / "my_package" / "notes.py").write_text("not imported")
    source = (folder / "my_package" / "my_module.py").read_bytes()
    for kind, arguments in (("search", ["--model", NAME]), ("ablations", ["study.yaml"])):
        request = read_request(kind, [*arguments, "--results", "s3://bucket/folder"])
        with zipfile.ZipFile(BytesIO(pack({}, request.files))) as package:
            assert package.read("my_package/my_module.py") == source
            assert not {name for name in package.namelist() if name.endswith("notes.py")}
    assert read_request("search", ["--results", "s3://bucket/folder"]).files == {}
    with own_modules(NAME) as (copy,):
        assert Path(copy).name == "my_package" and [path.name for path in Path(copy).iterdir()] == ["my_module.py"]
    with own_modules("dynonet") as none:
        assert none == []
    # A name that the project has: over there the one would be taken for the other.
    (folder / "scripts").mkdir()
    (folder / "scripts" / "__init__.py").touch()
    (folder / "scripts" / "chaos.py").write_bytes(source)
    monkeypatch.setattr(sys, "path", [str(folder), *sys.path])
    for name in [name for name in sys.modules if name.partition(".")[0] == "scripts"]:
        monkeypatch.delitem(sys.modules, name)
    with pytest.raises(ConfigError, match=r"the project has a scripts/\w+\.py of its own"):
        read_request("search", ["--model", "scripts.chaos:LINEAR", "--results", "s3://bucket/folder"])


def test_a_package_offers_one_under_a_short_name(folder: Path) -> None:
    about = folder / "my_package-1.0.dist-info"
    about.mkdir()
    (about / "METADATA").write_text("Metadata-Version: 2.1\nName: my_package\nVersion: 1.0\n")
    (about / "entry_points.txt").write_text(f"[lab.forecasters]\nsmooth = {NAME}\n")
    with pytest.raises(ConfigError, match="unknown model 'smooth'"):
        registry.forecaster("smooth")
    sys.path.insert(0, str(folder))
    forget()
    assert registry.names()["smooth"] == NAME and "dynonet" in registry.names()
    found = registry.forecaster("smooth")
    assert found.name == "linear" and found.config.forecaster == "smooth" and found.config.create().run_id("data")
    with pytest.raises(ConfigError, match="did you mean 'smooth'"):
        registry.forecaster("smoth")


SCRIPT = "import sys\nfrom {} import main\nsys.exit(main())\n"


@pytest.mark.slow
def test_a_search_a_study_and_their_reports(folder: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """As an installed command runs, whose own folder and not the user's is on the import path."""
    monkeypatch.setenv("PYTHONPATH", str(ROOT))
    bin_ = folder / "bin"
    bin_.mkdir()

    def run(module: str, *arguments: str, code: int = 0) -> str:
        script = bin_ / f"{module}.py"
        script.write_text(SCRIPT.format(module))
        done = subprocess.run([sys.executable, str(script), *arguments], cwd=folder, capture_output=True, text=True)
        assert done.returncode == code, done.stdout + done.stderr
        return done.stdout + done.stderr

    search = ("--model", NAME, "--study", "linear", "--trials", "2", "--replicates", "1", "--max-epochs", "2", *SMALL)
    said = run("tune.search", *search, "--final-replicates", "2")
    assert "best: t0000" in said and f"python -m lab.train --model {NAME} --config" in said
    assert "linear" in run("tune.report", "linear") and (folder / "results/reports/linear/report.html").stat().st_size
    study = ("study.yaml", "--max-epochs", "2", *SMALL)
    said = run("ablations.run", *study)
    assert re.search(r"^no_smoothing .* (helps|hurts|undecided|no practical effect)$", said, re.M), said
    assert "protocol" not in said and "DynoNet" not in said
    run("ablations.report", "smoothing", "--model", NAME)
    page = (folder / "results/reports/smoothing/report.md").read_text()
    assert "the moving average" in page and "DynoNet" not in page
    said = run("ablations.report", "smoothing", "--model", "dynonet", code=2)
    assert f"is one of model '{NAME}', and 'dynonet' was asked for" in said
    assert "14 on record, 0 to train" in run("ablations.run", *study, "--study", "again", "--dry-run")
    edit(folder)
    said = run("ablations.run", *study, "--study", "again", "--dry-run")
    assert "0 on record, 14 to train" in said, "what an edited module computes is not on record"
    assert "source" in run("ablations.run", *study, code=2), "its study was begun with another"
    assert "source" in run("tune.search", *search, "--trials", "3", code=2)
    assert "the moving average" in run("ablations.report", "smoothing") or page  # what is on record can still be read
