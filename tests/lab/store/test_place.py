"""Where results lie: one option, one variable, one default for all commands; and what cannot be a place."""

from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

import ablations.report
import ablations.run
import lab.results
import tune.report
import tune.search
from lab.errors import ConfigError
from lab.store.place import Place
from lab.store.tables import Results


def test_who_names_the_place(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delenv("DYNONET_RESULTS", raising=False)
    assert Place.of(None) == Place("results", given=False) and Place.of("a") == Place("a")
    monkeypatch.setenv("DYNONET_RESULTS", "s3://b/x")
    assert Place.of(None) == Place("s3://b/x", given=False) and Place.of("a") == Place("a")
    monkeypatch.setenv("DYNONET_RESULTS", "")
    assert Place.of(None).url == "results"


@pytest.mark.parametrize(
    "command",
    [
        lambda *place: lab.results.main(["list", *place]),
        lambda *place: tune.report.main(["mine", *place]),
        lambda *place: ablations.report.main(["mine", *place]),
        lambda *place: tune.search.main(["--preset", "smoke", "--dry-run", *place]),
        lambda *place: ablations.run.main(["parts_quick", "--ledger", *place]),
    ],
)
def test_every_command_honours_the_variable_and_the_option(
    command: Callable[..., Any], tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    file = tmp_path / "occupied"
    file.touch()
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv("DYNONET_RESULTS", str(file))
    assert command() == 2 and str(file) in capsys.readouterr().err
    monkeypatch.setenv("DYNONET_RESULTS", str(tmp_path))
    assert command("--results", str(file)) == 2 and str(file) in capsys.readouterr().err


def test_results_that_there_cannot_be_are_refused_before_anything_begins(tmp_path: Path) -> None:
    (tmp_path / "file").touch()
    for out in (tmp_path / "file", tmp_path / "file" / "in" / "it"):
        with pytest.raises(ConfigError, match=rf"--results: got '{out}', but {tmp_path}/file is no folder"):
            Place(str(out)).check()
    with pytest.raises(ConfigError, match="--results: got nothing"):
        Place("").check()
    Place(str(tmp_path / "new" / "folder")).check()
    assert [path.name for path in tmp_path.iterdir()] == ["file"]


def test_one_who_only_looks_makes_nothing(tmp_path: Path) -> None:
    with Place(str(tmp_path / "new")).as_it_is() as results:
        assert results.studies() == []
    assert list(tmp_path.iterdir()) == []
    Results(tmp_path / "there").add("studies", [{"study": "mine", "settings": "{}"}])
    with Place(str(tmp_path / "there")).as_it_is() as results:
        assert results.studies() == ["mine"]
