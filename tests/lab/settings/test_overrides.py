"""Values of `section.key=value`: by the type of the setting, and text as it was typed."""

from typing import Any, Literal

import pytest

from dynonet.config import Config
from lab.errors import ConfigError
from lab.settings.overrides import typed
from lab.settings.yaml import YamlError


@pytest.mark.parametrize(
    ("value", "annotation", "read"),
    [
        *((text, str, text) for text in ("No", "1e5", "null", "~", "", "a #b", "a: b", "[x]", "*a", "'q'", " x ")),
        *((text, str | None, text) for text in ("~/a#b.csv", "No")),
        ("null", str | None, None),
        ("1", Literal["1", "2"], "1"),
        *((text, int, value) for text, value in (("8", 8), ("", None), ("1e3", 1000.0))),
        ("[No, 1]", list[str], ["No", "1"]),
        ("[]", tuple[str, ...], []),
        ("[a #1, 'b, c', \"d\"\"e\", $x_$, it's, *y: z]", tuple[str, ...] | None,
         ["a #1", "b, c", 'd"e', "$x_$", "it's", "*y: z"]),
        ("null", tuple[str, ...] | None, None),
        ("a", list[str], "a"),
        ("[No, 1]", tuple[str | int, ...], ["No", 1]),
        ("[0.6, 0.2, 0.2]", tuple[float, float, float], [0.6, 0.2, 0.2]),
    ],
)  # fmt: skip
def test_values(value: str, annotation: Any, read: Any) -> None:
    found = typed(value, annotation)
    assert found == read and type(found) is type(read)


def test_an_item_that_is_empty() -> None:
    with pytest.raises(YamlError, match="item 2 of the list is empty"):
        typed("[a,,b]", list[str])


def test_overrides() -> None:
    given = ["data.path=~/a b#1: x.csv", "data.date_column=No", "model.film=off", "training.lr=1e-4"]
    assert list(Config.parse_overrides(given).values()) == ["~/a b#1: x.csv", "No", False, 1e-4]
    for text, said in (
        ("training.lr={a: 1, a: 2}", "override 'training.lr={a: 1, a: 2}': 'a' is given twice"),
        ("model.x\x1b[31m\n=1", r"unknown key 'model\.x\\x1b\[31m\\n'"),
        ("training.lr=" + "[" * 999, "nested more than 64 deep"),
        ("\x1b[2J", r"override '\\x1b\[2J' is not of the form"),
    ):
        with pytest.raises(ConfigError, match=said):
            Config.parse_overrides([text])
