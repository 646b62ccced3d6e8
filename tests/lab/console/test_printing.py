"""What commands print: nothing that a terminal would act on, whichever module prints it."""

import ast
import logging
from pathlib import Path

import pytest

from lab.console.parser import Parser
from lab.console.printing import log_to_stderr, one_line, print, printable

ROOT = Path(__file__).parents[3]
ALONE = (
    "cluster/spot.py",
    "cluster/entry.py",
    "lab/console/printing.py",
)  # those of cluster/ are sent to machines by themselves


def test_printable() -> None:
    assert printable("a\x1b[31m\r\x00\x9b\u202e\u2028\udcff\U000e0041") == (
        "a\\x1b[31m\\r\\x00\\x9b\\u202e\\u2028\\udcff\\U000e0041"
    )
    assert printable("±×–… é 日本\n\tx") == "±×–… é 日本\n\tx"
    assert one_line("a\nb\tc") == "a\\nb\\tc" and one_line("x" * 300, 10) == "xxxxxxxxx…"


def test_everything_printed(capsys: pytest.CaptureFixture[str]) -> None:
    print("a\x1b", 1, sep="\n")
    with pytest.raises(SystemExit):
        Parser(prog="p").parse_args(["--\x1b[31m"])
    said = capsys.readouterr()
    assert said.out == "a\\x1b\n1\n" and "unrecognized arguments: --\\x1b[31m" in said.err


def test_log_records(monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]) -> None:
    monkeypatch.setattr(logging, "root", logging.RootLogger(logging.WARNING))
    log_to_stderr()
    logging.root.warning("cannot read %s", "\x1b[2J")
    assert capsys.readouterr().err == "WARNING: cannot read \\x1b[2J\n"


@pytest.mark.parametrize("folder", ["lab", "dynonet", "forecasters", "tune", "ablations", "cluster"])
def test_no_module_prints_or_parses_by_another_way(folder: str) -> None:
    wrong = []
    for path in sorted((ROOT / folder).rglob("*.py")):
        tree = ast.parse(path.read_text())
        ours = {name.name for node in ast.walk(tree) if isinstance(node, ast.ImportFrom)
                and node.module == "lab.console.printing" for name in node.names}  # fmt: skip
        called = {ast.unparse(node.func) for node in ast.walk(tree) if isinstance(node, ast.Call)}
        if str(path.relative_to(ROOT)) not in ALONE and (
            ("print" in called and "print" not in ours)
            or called & {"argparse.ArgumentParser", "sys.stdout.write", "sys.stderr.write", "logging.basicConfig"}
        ):
            wrong.append(str(path))
        reads_yaml = any(call.startswith("yaml.") for call in called)
        assert not reads_yaml or path.parts[-2:] == ("settings", "yaml.py"), path
    assert not wrong
