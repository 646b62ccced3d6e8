"""What may stand where in a file: kinds of values, and a walk that says where something else stands.

A kind is a tuple (one of these values), a list of one kind (a list of such, not empty), `Fields`, `Each`, `Scalar`, or
None (anything but nothing). A field with nothing behind its colon is as if it were not there, and never meant.
"""

import re
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from typing import Any

from lab.console.printing import one_line
from lab.errors import nearest


class Fields(dict[str, Any]):
    """A structure: its fields with the kind of each; `needed`: those that may not be left out; `empty`: all may."""

    def __init__(self, fields: Mapping[str, Any], *needed: str, empty: bool = False):
        super().__init__(fields)
        self.needed, self.empty = needed, empty


@dataclass(frozen=True)
class Each:
    """A structure whose fields may have any name."""

    kind: Any
    empty: bool = False  # whether it may hold none


@dataclass(frozen=True)
class Scalar:
    said: str
    types: tuple[type, ...]
    pattern: str = r"(?s).+"


TEXT = Scalar("a text", (str,))
VALUE = Scalar("a text (in quotes)", (str,), r"(?s).*")
FLAG = Scalar("true or false", (bool,))
COUNT = Scalar("a whole number, 0 or more", (int,), r"\d+")
SOME = Scalar("a whole number, 1 or more", (int,), r"[1-9]\d*")
QUANTITY = Scalar("a quantity such as 4, 500m or 8Gi", (str, int, float), r"\d+(\.\d+)?(m|k|[KMGTPE]i?)?")


def tree(value: Any, known: Any, place: str) -> Iterator[str]:
    """What is not as its kind says, one line each."""
    if value is None:
        yield f"{place}: nothing stands there"
    elif isinstance(known, tuple):
        yield from one_of(value, known, place)
    elif isinstance(known, Scalar):
        right = isinstance(value, known.types) and (bool in known.types or not isinstance(value, bool))
        if not right or not re.fullmatch(known.pattern, str(value)):
            yield f"{place}: got {_shown(value)}, allowed: {known.said}"
    elif isinstance(known, list):
        if not isinstance(value, list) or not value:
            yield f"{place}: got {_shown(value)}, a list is needed"
        for index, each in enumerate(value if isinstance(value, list) else ()):
            yield from tree(each, known[0], f"{place}[{index}]")
    elif isinstance(known, Each):
        if not isinstance(value, dict) or not (value or known.empty):
            yield f"{place}: got {_shown(value)}, names with their values are needed"
        for key, each in value.items() if isinstance(value, dict) and known.kind is not None else ():
            yield from tree(each, known.kind, f"{place}.{key}")
    elif known is not None:
        yield from fields(value, known, place)
        for key, each in value.items() if isinstance(value, dict) else ():
            if key in known:
                yield from tree(each, known[key], f"{place}.{key}")


def fields(value: Any, allowed: Mapping[str, Any], place: str) -> Iterator[str]:
    """A structure's own names against those allowed, and those needed."""
    if not isinstance(value, dict) or not (value or getattr(allowed, "empty", False)):
        yield f"{place}: got {_shown(value)}, fields are needed: {', '.join(sorted(allowed))}"
        return
    for key in value:
        if key not in allowed:
            yield f"{place}: unknown field '{key}'{nearest(key, allowed) or '; allowed: ' + ', '.join(sorted(allowed))}"
    for key in getattr(allowed, "needed", ()):
        if key not in value:
            yield f"{place}: no '{key}', which is needed"


def one_of(value: Any, allowed: Any, place: str) -> Iterator[str]:
    if value not in allowed:
        near = nearest(str(value), allowed) or "; allowed: " + ", ".join(list(allowed)[:20])
        yield f"{place}: got {_shown(value)}{near}"


def nothing(value: Any, place: str = "") -> Iterator[str]:
    """Every field and item of a structure behind which nothing stands."""
    if isinstance(value, dict):
        for key, each in value.items():
            yield from nothing(each, f"{place}.{key}" if place else str(key))
    elif isinstance(value, list):
        for index, each in enumerate(value):
            yield from nothing(each, f"{place}[{index}]")
    elif value is None or value == "":
        yield f"{place}: nothing stands there"


def _shown(value: Any) -> str:
    text = one_line(str(value), 60)
    return f"'{text}'" if isinstance(value, str) else f"'{text}' ({type(value).__name__})"
