"""What every command takes and how it refuses: names that were meant, settings in the help, units, shells, loudness."""

import io
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path

import pytest

import ablations.run
import lab.results
import lab.train
import tune.search
from dynonet.config import Config
from lab.console import printing
from lab.console.commands import command_named, refused
from lab.console.parser import Parser
from lab.console.printing import coloured, print, say
from lab.console.units import hours, seconds
from lab.errors import ConfigError, nearest
from lab.registry import names
from lab.settings.listing import setting_lines, settings_of
from lab.settings.synonyms import SAME


@pytest.mark.parametrize(
    ("typed", "meant"),
    [
        ("learning_rate", "'training.lr'"), ("LR", "'training.lr'"), ("epochs", "'training.max_epochs'"),
        ("training.lookback", "'data.seq_len'"), ("horizon", "'data.pred_len'"), ("batch", "'training.batch_size'"),
        ("drop", "'model.dropout'"), ("hidden_size", "'model.control_hidden' or 'model.worker_hidden'"),
        ("training.lrr", "'training.lr'"), ("worker_hiden", "'model.worker_hidden'"),
    ],
)  # fmt: skip
def test_a_setting_by_the_name_that_it_has_elsewhere(typed: str, meant: str) -> None:
    with pytest.raises(ConfigError) as error:
        Config.create(overrides=[f"{typed}=3"])
    assert str(error.value) == f"unknown key '{typed}'; did you mean {meant}?"
    assert len({name for row in SAME for name in row}) == sum(map(len, SAME)), "a name means one thing"


@pytest.mark.parametrize(
    ("main", "arguments", "sentence"),
    [
        (tune.search.main, ["--epochs", "3"], "unrecognized arguments: --epochs; did you mean '--max-epochs'?"),
        (tune.search.main, ["--learning-rate=3"], "did you mean training.lr=VALUE, without dashes?"),
        (lab.train.main, ["--learning-rate", "3"], "did you mean '--lr'?"),
        (tune.search.main, ["--trials", "many"], "--trials: got 'many'; a whole number is needed"),
        (tune.search.main, ["--trials"], "--trials: a value is needed after it"),
        (tune.search.main, ["--time-budget", "ten minutes"], "--time-budget: got 'ten minutes'; seconds as a number"),
        (lab.results.main, ["lst"], "command: got 'lst'; allowed: list, show,"),
        (ablations.run.main, [], "the following arguments are required: study"),
    ],
)  # fmt: skip
def test_one_sentence_and_where_to_read_on(
    main: Callable[[list[str]], int], arguments: list[str], sentence: str, capsys: pytest.CaptureFixture[str]
) -> None:
    with pytest.raises(SystemExit, match="2"):
        main(arguments)
    said = capsys.readouterr().err.splitlines()
    assert said[0].startswith("error: ") and sentence in said[0] and len(said) == 2
    assert said[1].startswith("what there is: python -m ") and said[1].endswith(" --help")


def test_the_help_lists_every_setting_of_the_model_that_is_named(capsys: pytest.CaptureFixture[str]) -> None:
    with pytest.raises(SystemExit, match="0"):
        lab.train.main(["--model", "nlinear", "--help"])
    said = capsys.readouterr().out
    assert "settings of nlinear" in said and "worker_hidden" not in said and "\ntraining:\n" in said
    found = {each.key: each for each in settings_of(Config)}
    assert tuple(found) == tuple(dict.fromkeys(found)) and {*found} == {*Config.names()}
    lr, mode = found["training.lr"], found["training.mode"]
    assert (lr.default, lr.allowed) == ("0.002", "> 0") and "workers" in lr.about
    assert mode.default == "alternating" and mode.allowed == "alternating, joint, unrolled"
    assert len(setting_lines(Config)) > len(found)


def test_durations() -> None:
    asked = ("90", "90s", "10m", "1h30m", "1.5 h", "1h 30 min", "2 days")
    assert [seconds(each) for each in asked] == [90, 90, 600, 5400, 5400, 5400, 172_800]
    assert (hours("90m"), hours("2"), seconds("-5")) == (1.5, 2, -5)
    assert tune.search.parser().parse_args(["--time-budget", "1h30m"]).time_budget == 5400


class Terminal(io.StringIO):
    def isatty(self) -> bool:
        return True


def test_colours_are_for_terminals(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delenv("NO_COLOR", raising=False)
    monkeypatch.setenv("TERM", "xterm")
    screen, pipe = Terminal(), io.StringIO()
    for stream in (screen, pipe):
        print("error: it is \x1b[31m\nnote: so", file=stream)
    assert screen.getvalue() == "\x1b[1;31merror\x1b[0m: it is \\x1b[31m\n\x1b[36mnote\x1b[0m: so\n"
    assert pipe.getvalue() == "error: it is \\x1b[31m\nnote: so\n"
    monkeypatch.setenv("NO_COLOR", "1")
    assert coloured("error: x", screen) == "error: x"


def test_quiet_and_verbose_are_of_one_call(capsys: pytest.CaptureFixture[str]) -> None:
    @command_named("tune.search")
    def main(arguments: list[str] | None = None) -> int:
        Parser().parse_args(arguments)
        say("meanwhile")
        print("result")
        try:
            raise ConfigError("no")
        except ConfigError as error:
            return refused(error)

    assert main(["--quiet"]) == 2
    said = capsys.readouterr()
    assert (said.out, said.err) == ("result\n", "error: no\n")
    assert main([]) == 2 and capsys.readouterr().out == "meanwhile\nresult\n"
    assert main(["-v"]) == 2 and "Traceback" in capsys.readouterr().err
    printing.set_verbosity(printing.USUAL)


def completed(script: Path, *words: str) -> set[str]:
    """What bash offers for the last of these words."""
    asked = (
        'source "$1"; shift; COMP_WORDS=("$@"); COMP_CWORD=$(($#-1)); '
        'named=$(complete -p "$1" | sed "s/.*-F \\([^ ]*\\).*/\\1/"); "$named"; printf "%s\\n" "${COMPREPLY[@]}"'
    )
    done = subprocess.run(["bash", "-c", asked, "bash", script, *words], capture_output=True, text=True, check=True)
    return {*done.stdout.split()}


def test_a_shell_completes_options_presets_and_settings(
    tmp_path: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(sys, "argv", ["/bin/dynonet-search"])
    with pytest.raises(SystemExit, match="0"):
        tune.search.main(["--print-completion", "bash"])
    (script := tmp_path / "completion").write_text(capsys.readouterr().out)
    assert completed(script, "dynonet-search", "--time") == {"--time-budget"}
    assert completed(script, "dynonet-search", "--preset", "quick") == {"quickstart"}
    assert completed(script, "dynonet-search", "--model", "nl") == {name for name in names() if name.startswith("nl")}
    assert "training.lr=" in completed(script, "dynonet-search", "--trials", "3", "training.l")
    assert nearest("quick", ["quickstart"]) == "; did you mean 'quickstart'?"
