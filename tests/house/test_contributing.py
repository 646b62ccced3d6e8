"""CONTRIBUTING.md says what is: its diffs are of the files there are, and its new code runs."""

import random
import re
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any

from dynonet.config import Config
from tune.methods.latin import value_at
from tune.methods.method import Method, Told
from tune.space import Space

ROOT = Path(__file__).parents[2]
TEXT = (ROOT / "CONTRIBUTING.md").read_text()


def pieces() -> Iterator[tuple[str, bool, list[str]]]:
    """(file, whether it is new, lines of its diff), in order."""
    for block in re.findall(r"```diff\n(.*?)```", TEXT, re.S):
        for piece in re.split(r"^--- ", block, flags=re.M)[1:]:
            name, *lines = piece.rstrip("\n").split("\n")
            yield name.removesuffix(" (new)"), name.endswith(" (new)"), lines


def test_diffs_are_of_lines_that_are_there_and_leave_python() -> None:
    found = list(pieces())
    assert len(found) >= 10
    for name, new, lines in found:
        after = "\n".join(line[1:] for line in lines if not line.startswith("-"))
        if new:
            assert not (ROOT / name).exists()
            compile(after, name, "exec")
            continue
        source = (ROOT / name).read_text()
        before = "\n".join(line[1:] for line in lines if not line.startswith("+"))
        assert source.count(before) == 1, f"{name}: {before}"
        compile(source.replace(before, after), name, "exec")


def test_the_method_of_three_methods_is_one(tiny: Config) -> None:
    (code,) = ("\n".join(line[1:] for line in lines) for name, new, lines in pieces() if name.endswith("walk.py"))
    names: dict[str, Any] = {
        "random": random, "value_at": value_at, "Told": Told, "Space": Space, "Mapping": Mapping, "Sequence": Sequence,
        "Any": Any,
    }  # fmt: skip
    exec(code, names)
    space = Space({"training.lr": {"float": [1e-4, 1e-1], "log": True}, "model.worker_hidden": {"int": [2, 9]}}, tiny)
    walk: Method = names["Walk"](space, 3)
    walk.replay([])
    first = walk.ask()
    walk.tell(Told(first, "complete", (1.0,)))
    asked = [walk.ask() for _ in range(20)]
    assert any(one["training.lr"] == first["training.lr"] for one in asked) and any(one != first for one in asked)
    again: Method = names["Walk"](space, 3)
    again.replay([Told(first, "complete", (1.0,))])
    assert again.ask() == asked[0], "a restart goes on alike"


def test_what_it_names_is_there_and_it_is_two_pages() -> None:
    plain = re.sub(r"```.*?```", "", TEXT, flags=re.S)
    paths = set(re.findall(r"\b(?:lab|dynonet|tune|forecasters|tests)(?:/[a-z_]+)+(?:\.py)?", plain))
    assert len(paths) >= 6 and not [path for path in paths if not (ROOT / path).exists()]
    assert TEXT.count("\n") <= 140 and max(map(len, TEXT.splitlines())) <= 120
    assert len(re.findall(r"^- \*\*\w+\*\*", TEXT, re.M)) == 10
