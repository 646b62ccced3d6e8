"""How a command ends whatever happens: an error that nobody planned, a reader that is gone."""

import os
import pty
import re
import signal
import subprocess
import sys
from collections.abc import Sequence
from pathlib import Path

import pytest

from lab.console.commands import command_named
from tests.processes import ROOT

COMMANDS = (
    "dynonet.train", "lab.train", "lab.baseline", "lab.predict", "lab.series.__main__", "tune.search", "lab.results",
    "tune.report", "ablations.run", "ablations.report", "cluster.submit", "cluster.checks",
)  # fmt: skip


@pytest.mark.parametrize("module", COMMANDS)
def test_every_command_is_one(module: str) -> None:
    text = (ROOT / f"{module.replace('.', '/')}.py").read_text()
    name = module.removesuffix(".__main__")
    assert f'@command_named("{name}")\ndef main(' in text


def test_an_error_that_nobody_planned(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    @command_named("tune.search")
    def main(arguments: Sequence[str] | None = None) -> int:
        raise RuntimeError("red \x1b[31m\nblue")

    monkeypatch.setattr("tempfile.tempdir", str(tmp_path))
    assert main(["--study", "a b"]) == 1
    lines = capsys.readouterr().err.splitlines()
    assert lines[1:] == ["Go on with the same command:", "  python -m tune.search --study 'a b'"]
    found = re.fullmatch(
        r"error: this was not expected: RuntimeError: red \\x1b\[31m; the traceback is in (\S+)", lines[0]
    )
    assert found is not None
    written = Path(found[1])
    assert written.parent == tmp_path and written.stat().st_mode & 0o077 == 0
    assert "Traceback" in written.read_text() and "in main" in written.read_text()
    monkeypatch.setattr("tempfile.tempdir", str(tmp_path / "not there"))
    assert main([]) == 1 and "Traceback" in capsys.readouterr().err, "it is not lost"


def test_a_terminal_that_is_gone_is_no_error_of_its_own() -> None:
    work = """
import sys, time
from lab.console.commands import command_named
@command_named("tune.search")
def main(arguments=None):
    print("at work", flush=True)
    time.sleep(60)
    return 0
sys.exit(main())
"""
    ours, theirs = pty.openpty()
    process = subprocess.Popen(
        [sys.executable, "-c", work], stdin=theirs, stdout=theirs, stderr=theirs, start_new_session=True,
        env={**os.environ, "PYTHONPATH": str(ROOT)},
    )  # fmt: skip
    os.close(theirs)
    assert b"at work" in os.read(ours, 100)
    os.close(ours)
    process.send_signal(signal.SIGHUP)
    assert process.wait(60) == 129


def test_a_signal_when_all_is_done_and_said() -> None:
    work = """
import atexit, sys, time
from lab.console.commands import command_named
@command_named("tune.search")
def main(arguments=None):
    print("the result")
    return 0
atexit.register(lambda: (print("closing", file=sys.stderr, flush=True), time.sleep(60)))
sys.exit(main())
"""
    process = subprocess.Popen(
        [sys.executable, "-c", work], stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True,
        env={**os.environ, "PYTHONPATH": str(ROOT)},
    )  # fmt: skip
    assert process.stderr is not None and process.stderr.readline() == "closing\n"
    process.send_signal(signal.SIGTERM)
    assert process.communicate(timeout=60)[0] == "the result\n" and process.returncode == 143
