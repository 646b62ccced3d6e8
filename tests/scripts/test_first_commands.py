"""What a new user types first, as the README has it, on a file like exchange_rate; and what a search then offers."""

import importlib
import re
import shlex
from pathlib import Path

import numpy as np
import pandas as pd
import pytest

import ablations.run
from tests.processes import drivers
from tests.scripts.commands import ROOT, Command, commands
from tune.search import asked, parser

SECTION = re.search(r"## Five commands.*?(?=\n## )", (ROOT / "README.md").read_text(), re.S)
assert SECTION is not None
TYPED = [*commands(SECTION[0])]
TINY = ("--trials", "2", "--replicates", "1", "--max-epochs", "2", "--final-replicates", "1")


def rates(path: Path, rows: int = 1200) -> None:
    """Daily rates of eight currencies: random walks."""
    walks = np.exp(np.cumsum(0.006 * np.random.default_rng(0).standard_normal((rows, 8)), axis=0))
    frame = pd.DataFrame(walks, columns=[*map(str, range(7)), "OT"])
    frame.insert(0, "date", pd.date_range("1990-01-01", periods=rows).strftime("%Y/%m/%d"))
    frame.to_csv(path, index=False)


def types(command: Command) -> int:
    """Runs it here. Returns its exit code."""
    code: int = importlib.import_module(command.program).main(list(command.arguments))
    return code


def test_no_arm_of_them_depends_on_what_the_search_finds() -> None:
    search, study = (next(each for each in TYPED if each.program == name) for name in ("tune.search", "ablations.run"))
    searched = {each.path for each in asked(parser().parse_args([*search.arguments])).settings().space.ranges}
    arms = ablations.run.parser().parse_args([*study.arguments]).arms.split(",")
    plain, _ = ablations.run.asked(ablations.run.parser().parse_args(["parts", "--arms", ",".join(arms)])).settings()
    assert not searched & {key for arm in plain.listed for key in arm.overrides}


@pytest.mark.slow
def test_they_work_as_written_and_so_does_what_is_offered(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.chdir(tmp_path)
    rates(tmp_path / "mine.csv")
    check, search, *after, study = TYPED
    assert (check.program, search.program, study.program) == ("dynonet.data", "tune.search", "ablations.run")
    with drivers("tune.search", tmp_path) as begin:
        driver = begin(*search.arguments, *TINY)
        assert types(check) == 0 and "8 channels" in capsys.readouterr().out
        assert driver.wait() == 0, driver.said()
    offered = driver.said().partition("what to type next:\n")[2]
    lines = [shlex.split(line, comments=True) for line in offered.splitlines()]
    found = [Command(words[2], tuple(words[3:])) for words in lines if words[:2] == ["python", "-m"]]
    assert [each.program for each in found] == ["tune.report", "lab.predict", "lab.train", "ablations.run"]
    for command in (*after, *found[:-1]):
        assert types(command) == 0, f"{command}: {capsys.readouterr().err}"
    for command in (study, found[-1]):
        assert ablations.run.asked(ablations.run.parser().parse_args([*command.arguments])).settings()
