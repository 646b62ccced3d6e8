"""Every command that the README, the docs, the Makefile and the scripts name is there, takes these arguments, and knows
the presets, studies, arms, settings and files that they name."""

import ast
import os
import re
import shutil
import subprocess
from collections.abc import Iterator
from contextlib import nullcontext
from pathlib import Path

import pytest

import ablations.run
import tune.search
from ablations.study.reading import study_names
from cluster.sending.request import MODULES
from dynonet.config import Config
from dynonet.presets import PRESETS
from dynonet.train import configs_of
from tests.own_package import own_package
from tests.scripts.commands import ROOT, SCRIPTS, Command, Read, commands, read

DOCS = "\n".join(path.read_text() for path in (ROOT / "README.md", *sorted((ROOT / "docs").glob("*.md"))))
MAKEFILE = (ROOT / "Makefile").read_text()
ENTRY = "cluster/entry.py"  # reads no options of its own: tests/cluster/test_files.py
PROGRAMS = [path for path in sorted(SCRIPTS.rglob("*.py")) if "__main__" in path.read_text()]


def program_of(path: Path) -> str:
    return ".".join(path.relative_to(ROOT).with_suffix("").parts)


def made(*targets: str) -> str:
    """What `make` would run."""
    if shutil.which("make") is None:
        return MAKEFILE.replace("$(BIN)/", "").replace("$(ARGS)", "").replace("$(FLAGSHIP)", "parts_tuned")
    environment = {name: value for name, value in os.environ.items() if not name.startswith("MAKE")}
    command = ["make", "--dry-run", "--no-print-directory", *targets]
    done = subprocess.run(command, cwd=ROOT, env=environment, capture_output=True, text=True, check=True)
    return done.stdout.replace(".venv/bin/", "")


def named() -> list[Command]:
    texts = [DOCS, made("search", "bench", "flagship", "flagship-report", "league", "league-report", "league-full")]
    texts += [ast.get_docstring(ast.parse(path.read_text())) or "" for path in PROGRAMS]
    return list(dict.fromkeys(command for text in texts for command in commands(text)))


NAMED = named()
FULL = [command for command in NAMED if command.arguments and command.program != ENTRY]  # the others are mentions


@pytest.fixture(autouse=True)
def here(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(ROOT)


def test_all_kinds_of_mentions_are_found() -> None:
    text = """`python -m tune.results list | show STUDY | copy STUDY... --to OTHER`
python -m scripts.chaos [--kills 3]  # x
ray submit a.yaml cluster/entry.py -- search --results $SECRET && true
sbatch --nodes=4 cluster/slurm.sh ablations \\
  --seeds 3 # y
`python -m tune.search
data.seq_len=3`"""
    assert [str(command) for command in commands(text)] == [
        "python -m tune.results list",
        "python -m tune.results show STUDY",
        "python -m tune.results copy STUDY --to OTHER",
        "python -m scripts.chaos --kills 3",
        "python -m tune.search data.seq_len=3",
        "python -m tune.search --results '$SECRET'",
        "python -m ablations.run --seeds 3",
    ]


def test_there_are_many() -> None:
    programs = {command.program for command in FULL}
    assert {"tune.search", "ablations.run", "tune.results", "dynonet.train", "lab.baseline"} <= programs
    assert {"tune.report", "ablations.report", "cluster.submit", "cluster.checks"} <= programs
    assert {program_of(path) for path in PROGRAMS} <= {command.program for command in NAMED}
    assert len(FULL) > 40
    benches = {program_of(path) for path in PROGRAMS if path.parent.name == "bench"}
    # For a GPU, and one that takes as long as all the rest.
    others = {"scripts.bench.gpu", "scripts.bench.fill", "scripts.bench.race"}
    assert {command.program for command in commands(made("bench"))} == benches - others, "make bench runs the others"


@pytest.mark.parametrize("command", FULL, ids=str)
def test_it_takes_its_arguments_and_knows_their_names(
    command: Command, monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    best = tmp_path / "best.yaml"  # stands for what a search would have written
    best.write_text(Config.create(preset="tuned-etth1-h96").to_yaml())
    words = (str(best) if word.endswith("/best.yaml") else word for word in command.arguments)
    command = Command(command.program, tuple(words))
    with own_package(tmp_path, monkeypatch) if takes_own_package(command) else nullcontext():
        check(command, monkeypatch)


def takes_own_package(command: Command) -> bool:
    return "study.yaml" in command.arguments or any(word.startswith("my_package") for word in command.arguments)


def check(command: Command, monkeypatch: pytest.MonkeyPatch) -> None:
    with monkeypatch.context() as patch:
        found = read(command, patch)
    if command.program == "cluster.submit" and found.arguments.command in MODULES:
        if {"ARGS", ""} & {*found.rest}:  # "" was `...`
            return
        sent = Command(MODULES[found.arguments.command], tuple(found.rest))
        with monkeypatch.context() as patch:
            found = read(sent, patch)
        check_names(sent, found)
    else:
        assert not found.rest
        check_names(command, found)


def check_names(command: Command, found: Read) -> None:
    arguments = found.arguments
    match command.program:
        case "tune.search":
            assert tune.search.asked(arguments).settings()
        case "ablations.run":
            study, _ = ablations.run.asked(arguments).settings()
            assert arguments.arms is None or len((*study.arms, *study.models)) == len(arguments.arms.split(","))
        case "dynonet.train":
            assert configs_of(arguments)
        case "dynonet.baseline" | "lab.baseline":
            assert Config.create(preset=arguments.preset, overrides=arguments.overrides)
        case "cluster.checks":
            assert arguments.files and all((ROOT / path).exists() for path in arguments.files)
        case "tune.results" | "tune.report" | "ablations.report" | "ablations.any_report":
            known = {*PRESETS, *study_names(), *begun()}
            studies = {*getattr(arguments, "studies", ()), getattr(arguments, "study", None)} - {None}
            assert {study for study in studies if not study.isupper()} <= known


def begun() -> Iterator[str]:
    """Names that commands give to studies."""
    for command in NAMED:
        for option, value in zip(command.arguments, command.arguments[1:], strict=False):
            if option == "--study":
                yield value


@pytest.mark.parametrize("program", sorted({command.program for command in NAMED} - {ENTRY}))
def test_its_help(program: str, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]) -> None:
    with monkeypatch.context() as patch, pytest.raises(SystemExit) as ended:
        read(Command(program, ("--help",)), patch)
    assert not ended.value.code and capsys.readouterr().out.startswith("usage: ")


OURS = {command.program for command in NAMED if not command.program.startswith("scripts.")} - {ENTRY}


@pytest.mark.parametrize("program", sorted(OURS))
def test_its_version(program: str, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]) -> None:
    with monkeypatch.context() as patch, pytest.raises(SystemExit) as ended:
        read(Command(program, ("--version",)), patch)
    assert not ended.value.code and capsys.readouterr().out.startswith("dynonet-tune ")


def test_what_it_does_not_know_is_refused(monkeypatch: pytest.MonkeyPatch) -> None:
    with monkeypatch.context() as patch, pytest.raises(SystemExit, match="2"):
        read(Command("scripts.bench.gru", ("--qick",)), patch)


def test_every_target_of_make_that_is_named_is_there() -> None:
    targets = set(re.search(r"^\.PHONY: (.*)$", MAKEFILE, re.M)[1].split())  # type: ignore[index]
    names = {one or two for one, two in re.findall(r"(?:`|^)make ([a-z-]+)|\(make ([a-z-]+) ", DOCS, re.M)}
    assert {"search", "test", "bench", "flagship"} <= names <= targets
    for target in targets - {"clean"}:
        assert made(target)
