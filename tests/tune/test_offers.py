"""What a search offers to type next: commands that take their arguments, for the network or the bar that is best."""

import argparse
import shlex
from pathlib import Path

import pytest

import ablations.run
import lab.train
from ablations.study.reading import study_names
from dynonet.config import Config
from dynonet.presets import PRESETS
from lab.console.commands import activation
from lab.forecaster import Forecaster
from lab.references.standing import BarErrors, Standing
from lab.registry import forecaster
from lab.store.place import Place
from tests.scripts.commands import Command, read
from tune.offers import offers

RIDGE = BarErrors("linear", {"val_mse": 0.4, "test_mse": 0.5}, 384, ("bar",))
STANDING = Standing((RIDGE,), None, RIDGE, None, None)
WITHOUT = {"model.revin": False, "model.decomposition": False}


def typed(place: Place, loss: float = 0.2, model: Forecaster | None = None) -> dict[str, list[str]]:
    """Module -> its arguments, of what is offered."""
    settings = Config.create(WITHOUT, preset="quickstart") if model is None else model.config.create()
    lines = offers("mine", place, settings, STANDING, loss)
    assert lines[:2] == ["", "what to type next:"] and all(line.startswith("  ") for line in lines[2:])
    words = [shlex.split(line, comments=True) for line in lines[2:]]
    return {each[2]: each[3:] for each in words if each[:2] == ["python", "-m"]}


def arguments_of(program: str, words: list[str], monkeypatch: pytest.MonkeyPatch) -> argparse.Namespace:
    with monkeypatch.context() as patch:
        return read(Command(program, tuple(words)), patch).arguments


def test_each_command_takes_its_arguments(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    place = Place(str(tmp_path / "my results"))
    best = tmp_path / "my results/artifacts/mine/best.yaml"
    best.parent.mkdir(parents=True)
    best.write_text(Config.create(WITHOUT, preset="quickstart").to_yaml())
    found = typed(place)
    assert list(found) == ["tune.report", "lab.predict", "lab.train", "ablations.run"]
    read_as = {program: arguments_of(program, words, monkeypatch) for program, words in found.items()}
    assert read_as["tune.report"].study == read_as["lab.predict"].study == "mine"
    assert read_as["tune.report"].results == read_as["lab.predict"].results == place.url
    assert lab.train.configs_of(read_as["lab.train"])[0].model.revin is False
    study, name = ablations.run.asked(read_as["ablations.run"]).settings()
    assert name == "mine-parts" and [each.name for each in study.listed] == [
        "no_film", "no_trend", "no_workers", "no_mixer", "no_context",
    ]  # fmt: skip
    assert study.baseline_of("main").model.revin is False and len(study.schedule()) == 1


def test_a_bar_that_is_best_is_offered(monkeypatch: pytest.MonkeyPatch) -> None:
    words = typed(Place("results", given=False), loss=0.41)["lab.predict"]
    assert arguments_of("lab.predict", words, monkeypatch).bar == "linear" and "--results" not in words
    assert "--bar" not in typed(Place("results", given=False), loss=0.4)["lab.predict"]


def test_only_what_can_be_typed_is_offered() -> None:
    assert list(typed(Place("s3://bucket/results"))) == ["tune.report", "lab.predict"]  # no file of settings there
    other = typed(Place("results", given=False), model=forecaster("dlinear"))
    assert list(other) == ["tune.report", "lab.predict", "lab.train"]  # it brings no study of its parts
    assert other["lab.train"][:2] == ["--model", "dlinear"]


def test_activating_is_offered_where_python_is_another(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    (tmp_path / ".venv/bin").mkdir(parents=True)
    (tmp_path / ".venv/bin/activate").touch()
    monkeypatch.setattr("sys.prefix", str(tmp_path / ".venv"))
    monkeypatch.chdir(tmp_path)
    monkeypatch.setattr("shutil.which", lambda name: "/usr/bin/python")
    assert activation() == "source .venv/bin/activate"
    monkeypatch.setattr("shutil.which", lambda name: str(tmp_path / ".venv/bin/python"))
    assert activation() == ""


def test_no_search_has_the_name_of_a_study() -> None:
    assert not {*PRESETS} & {*study_names()}
