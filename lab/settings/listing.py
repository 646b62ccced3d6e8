"""Every setting of a family of models by section: its default, what is allowed, and what its own line says of it."""

import ast
import inspect
import textwrap
import tokenize
from dataclasses import dataclass
from functools import cache
from io import StringIO
from types import NoneType
from typing import Any, Literal, get_args, get_origin

from pydantic import BaseModel
from pydantic.fields import FieldInfo

from lab.settings.config import Config

_SIGNS = {"ge": "≥", "gt": ">", "le": "≤", "lt": "<"}
MOST_ALLOWED = 60  # characters of a list of values
FULL_INT = 2**63


@dataclass(frozen=True)
class Setting:
    key: str  # dotted
    default: str
    allowed: str  # values or range; "" where its type says it all
    about: str  # the comment of its line, with the unit; "" without one
    above: str = ""  # that of the lines right above it, which says more

    @property
    def text(self) -> str:
        return "; ".join(filter(None, (self.allowed, self.about)))


def settings_of(config: type[Config]) -> list[Setting]:
    """In the order of the sections."""
    return _settings(config, "")


def setting_lines(config: type[Config]) -> list[str]:
    """For the help of a command."""
    found = settings_of(config)
    wide = max(len(each.key) for each in found)
    lines, section = [f"settings of {config.forecaster or 'every model'} (section.key=value), with their defaults:"], ""
    for each in found:
        if (own := each.key.rpartition(".")[0]) != section:
            section = own
            lines += ["", f"{section}:"]
        lines.append(f"  {each.key:<{wide}s}  {each.default:<12s}  {each.text}".rstrip())
    return lines


def _settings(section: type[BaseModel], prefix: str) -> list[Setting]:
    found, inner = [], []
    for name, field in section.model_fields.items():
        kind = field.annotation
        if isinstance(kind, type) and issubclass(kind, BaseModel):
            inner += _settings(kind, f"{prefix}{name}.")
        else:
            about, above = _comments(section).get(name, ("", ""))
            found.append(Setting(f"{prefix}{name}", _shown(field.default), _allowed(field), about, above))
    return [*found, *inner]


def _shown(value: Any) -> str:
    """As it is typed."""
    if isinstance(value, bool):
        return "true" if value else "false"
    if isinstance(value, tuple | list):
        return f"[{', '.join(map(_shown, value))}]"
    if isinstance(value, float):
        return f"{value:g}"
    return "null" if value is None else str(value)


def _allowed(field: FieldInfo) -> str:
    kind = field.annotation
    if get_origin(kind) is Literal:
        text = ", ".join(each if any(map(str.isalnum, each)) else repr(each) for each in map(_shown, get_args(kind)))
        return text if len(text) <= MOST_ALLOWED else ""
    if any(get_origin(each) is Literal for each in get_args(kind)):
        values = [value for each in get_args(kind) if get_origin(each) is Literal for value in get_args(each)]
        number = ["a number"] if float in get_args(kind) else []
        return ", ".join([*map(_shown, [*values, *([None] if NoneType in get_args(kind) else [])]), *number])
    if kind is bool:
        return "true, false"
    limits = [(sign, getattr(each, name)) for each in field.metadata for name, sign in _SIGNS.items()
              if getattr(each, name, None) is not None]  # fmt: skip
    return " ".join(f"{sign} {_shown(limit)}" for sign, limit in limits if limit not in (FULL_INT, FULL_INT - 1))


@cache
def _comments(section: type[BaseModel]) -> dict[str, tuple[str, str]]:
    """What is said at the end of each field's line and right above it, of the class and of those that it extends."""
    found: dict[str, tuple[str, str]] = {}
    for kind in reversed(section.__mro__):
        if issubclass(kind, BaseModel) and kind is not BaseModel:
            try:
                found |= _commented(textwrap.dedent(inspect.getsource(kind)))
            except (OSError, TypeError, SyntaxError, tokenize.TokenError):  # no source: then nothing is said
                continue
    return found


def _commented(source: str) -> dict[str, tuple[str, str]]:
    """An empty line after a comment parts it from the field below: it heads several."""
    beside: dict[int, str] = {}
    alone: dict[int, str] = {}
    for token in tokenize.generate_tokens(StringIO(source).readline):
        if token.type == tokenize.COMMENT:
            lines = alone if token.line.lstrip().startswith("#") else beside
            lines[token.start[0]] = token.string.removeprefix("#").strip()
    found = {}
    for node in next(node for node in ast.parse(source).body if isinstance(node, ast.ClassDef)).body:
        if isinstance(node, ast.AnnAssign) and isinstance(node.target, ast.Name):
            first = node.lineno
            while first - 1 in alone:
                first -= 1
            above = " ".join(alone[line] for line in range(first, node.lineno))
            found[node.target.id] = beside.get(node.end_lineno or 0, ""), above
    return {name: said for name, said in found.items() if any(said)}
