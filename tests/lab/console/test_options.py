"""Options that were renamed work under both names, and say so once."""

import pytest

from lab.console.options import add_option
from lab.console.parser import Parser


def test_an_old_name_works_and_says_the_new_one_once(capsys: pytest.CaptureFixture[str]) -> None:
    def parsed(*arguments: str) -> tuple[str, str]:
        parser = Parser()
        add_option(parser, "--results", old="--out", default="there")
        parser.add_argument("rest", nargs="*")
        return parser.parse_intermixed_args(arguments).results, capsys.readouterr().err

    assert parsed() == ("there", "") and parsed("--results", "a") == ("a", "")
    note = "note: --out is now --results; the old name still works\n"
    assert parsed("--out", "a", "x", "--out=b") == ("b", note)
    assert parsed("--out", "a") == ("a", note), "once a call"
    with pytest.raises(SystemExit):
        parsed("--help")
    assert "--out" not in capsys.readouterr().out


def test_the_version_and_the_commit(capsys: pytest.CaptureFixture[str]) -> None:
    with pytest.raises(SystemExit, match="0"):
        Parser().parse_args(["--version"])
    assert capsys.readouterr().out.startswith("dynonet-tune ")
