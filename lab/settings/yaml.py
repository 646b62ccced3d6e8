"""The one reader of YAML: what could be misread is refused, in one line that says where.

PyYAML lets the last of two equal keys win, follows aliases wherever they lead, and reads `no` as false, `1:30` as 90
and `1e-4` as text. Here a key stands once and is text, sizes are limited, and plain scalars are what YAML 1.2's core
schema says (https://yaml.org/spec/1.2.2/#103-core-schema), or YAML 1.1 for files that other programs read so.
"""

import os
import re
import stat
from pathlib import Path
from typing import Any

import yaml
from yaml.nodes import MappingNode, Node, ScalarNode

from lab.console.printing import one_line
from lab.errors import ConfigError

MOST_BYTES = 1 << 20  # of a file; one of settings has a few thousand
MOST_DEPTH = 64  # of nesting
MOST_NODES = 50_000  # values and keys, each alias counted as all that it stands for

_TAG = "tag:yaml.org,2002:"
_NULL, _BOOL, _INT, _FLOAT = (_TAG + name for name in ("null", "bool", "int", "float"))
_TEXT, _MERGE = _TAG + "str", _TAG + "merge"
_KINDS = {_NULL: "null", _BOOL: "a truth value", _INT: "a number", _FLOAT: "a number", _TAG + "timestamp": "a date"}
_ALLOWED = {_NULL, _BOOL, _INT, _FLOAT, _TEXT, _MERGE, _TAG + "map", _TAG + "seq", _TAG + "timestamp"}
# Tag, pattern and first characters of the plain scalars that are not text.
_CORE = (
    (_NULL, r"(?:|~|null|Null|NULL)", ["~", "n", "N", ""]),
    (_BOOL, r"(?:true|True|TRUE|false|False|FALSE)", list("tTfF")),
    (_INT, r"(?:[-+]?[0-9]+|0o[0-7]+|0x[0-9a-fA-F]+)", list("-+0123456789")),
    (
        _FLOAT,
        r"(?:[-+]?(?:\.[0-9]+|[0-9]+(?:\.[0-9]*)?)(?:[eE][-+]?[0-9]+)?|[-+]?\.(?:inf|Inf|INF)|\.(?:nan|NaN|NAN))",
        list("-+.0123456789"),
    ),
    (_MERGE, r"<<", ["<"]),
)


class YamlError(ConfigError):
    """Text that is not YAML, or that could be misread."""

    def __init__(self, problem: str, line: int):
        super().__init__(f"line {line}: {problem}")
        self.problem, self.line = problem, line


def parse(text: str) -> Any:
    """The one document of a text, None if it is empty. Raises YamlError."""
    documents = _parse(text, _Core, one=True)
    return documents[0] if documents else None


def parse_as_1_1(text: str) -> list[Any]:
    """The documents of a text that another program reads as YAML 1.1, such as Ray and Kubernetes. Raises YamlError."""
    return _parse(text, _Legacy, one=False)


def read_mapping(path: str | Path) -> dict[str, Any]:
    """A file that holds one mapping of settings. Raises ConfigError, with file and line."""
    name = one_line(path)
    try:
        content = parse(read_text(path))
    except YamlError as error:
        raise ConfigError(f"{name}, {error}") from None
    if not isinstance(content, dict):
        got = {type(None): "nothing", list: "a list"}.get(type(content), f"'{one_line(content, 60)}'")
        raise ConfigError(f"{name}: expected a mapping of settings, got {got}")
    return content


def read_text(path: str | Path) -> str:
    """A text file of no more than MOST_BYTES. Raises ConfigError for anything else; waits for nobody."""
    name = one_line(path)
    try:
        mode = os.stat(path).st_mode
        there = stat.S_ISREG(mode)  # opening a pipe would wait for its writer
        with open(path if there else os.devnull, "rb") as file:
            content = file.read(MOST_BYTES + 1)
    except (OSError, ValueError) as error:  # ValueError: a name with NUL in it
        raise ConfigError(f"cannot read {name}: {getattr(error, 'strerror', None) or error}") from None
    if not there:
        raise ConfigError(f"cannot read {name}: it is {'a folder' if stat.S_ISDIR(mode) else 'a pipe or a device'}")
    if len(content) > MOST_BYTES:
        raise ConfigError(f"cannot read {name}: it has more than {MOST_BYTES >> 20} MiB, too much for such a file")
    try:
        return content.decode("utf-8-sig")
    except UnicodeDecodeError as error:
        line = content[: error.start].count(b"\n") + 1
        raise ConfigError(
            f"cannot read {name}, line {line}: it is no UTF-8 text (byte 0x{content[error.start]:02x})"
        ) from None


def dump(content: Any) -> str:
    """YAML that reads the same here and by YAML 1.1, in the order of the content."""
    return yaml.dump(content, Dumper=_Dumper, sort_keys=False)


# Reading -------------------------------------------------------------------------------------------------------------


class _Strict(yaml.SafeLoader):
    def __init__(self, text: str):
        super().__init__(text)
        self._depth = self._nodes = 0
        self._sizes: dict[str, int] = {}  # by anchor; one whose value is not complete yet has none

    def compose_document(self) -> Node | None:
        self._sizes = {}
        return super().compose_document()

    def compose_node(self, parent: Node | None, index: int) -> Node | None:
        event = self.peek_event()
        line = event.start_mark.line + 1
        if isinstance(event, yaml.AliasEvent):
            if event.anchor in self.anchors and event.anchor not in self._sizes:
                raise YamlError(f"alias '*{one_line(event.anchor, 60)}' stands within what it stands for", line)
            self._count(self._sizes.get(str(event.anchor), 1), line)
            return super().compose_node(parent, index)
        before = self._nodes
        self._count(1, line)
        self._depth += 1
        if self._depth > MOST_DEPTH:
            raise YamlError(f"nested more than {MOST_DEPTH} deep", line)
        node = super().compose_node(parent, index)
        self._depth -= 1
        if node is not None and node.tag not in _ALLOWED:
            raise YamlError(f"the tag '{one_line(node.tag.replace(_TAG, '!!'), 60)}' is not allowed", line)
        if event.anchor is not None:
            self._sizes[event.anchor] = self._nodes - before
        return node

    def _count(self, nodes: int, line: int) -> None:
        self._nodes += nodes
        if self._nodes > MOST_NODES:
            raise YamlError(f"more than {MOST_NODES} values, with what aliases stand for", line)

    def compose_mapping_node(self, anchor: Any) -> MappingNode:
        node = super().compose_mapping_node(anchor)
        lines: dict[str, int] = {}
        for key, _ in node.value:
            line = key.start_mark.line + 1
            if not isinstance(key, ScalarNode):
                kind = "a mapping" if isinstance(key, MappingNode) else "a list"
                raise YamlError(f"a key is {kind}, text is needed", line)
            shown = one_line(key.value, 60)
            if key.tag not in (_TEXT, _MERGE):
                way_out = (
                    f"; if text is meant, put it in quotes: '{shown}'"
                    if shown
                    else "; a '?' of its own is text in quotes alone"
                )
                raise YamlError(
                    f"key {shown or '(empty)'} is {_KINDS.get(key.tag, key.tag)}, text is needed{way_out}", line
                )
            if key.value in lines:
                raise YamlError(f"'{shown}' is given twice, first in line {lines[key.value]}", line)
            lines[key.value] = line
        return node

    def construct_object(self, node: Node, deep: bool = False) -> Any:
        try:
            return super().construct_object(node, deep)  # type: ignore[no-untyped-call]
        except (ValueError, OverflowError, KeyError, AttributeError) as error:  # PyYAML's, of a tag that is written out
            if isinstance(error, YamlError):
                raise
            kind = _KINDS.get(node.tag, node.tag)
            raise YamlError(
                f"'{one_line(node.value, 60)}' cannot be read as {kind}", node.start_mark.line + 1
            ) from None


class _Legacy(_Strict):
    """PyYAML's own plain scalars."""


class _Core(_Strict):
    """Those of YAML 1.2's core schema."""


def _integer(loader: _Core, node: ScalarNode) -> int:
    digits = loader.construct_scalar(node)
    return int(digits, 0) if digits[:2] in ("0o", "0x") else int(digits)


def _float(loader: _Core, node: ScalarNode) -> float:
    return float(loader.construct_scalar(node).lower().replace(".inf", "inf").replace(".nan", "nan"))


def _boolean(loader: _Core, node: ScalarNode) -> bool:
    return {"true": True, "false": False}[loader.construct_scalar(node).lower()]


_Core.yaml_implicit_resolvers = {}
for _tag, _pattern, _first in _CORE:
    _Core.add_implicit_resolver(_tag, re.compile(rf"{_pattern}\Z"), _first)  # type: ignore[no-untyped-call]
for _tag, _construct in ((_INT, _integer), (_FLOAT, _float), (_BOOL, _boolean)):
    _Core.add_constructor(_tag, _construct)


def _parse(text: str, loader_class: type[_Strict], one: bool) -> list[Any]:
    try:
        loader = loader_class(text)
        documents: list[Any] = []
        while loader.check_node():
            if one and documents:
                raise YamlError(
                    "a second document begins here, one is expected", loader.peek_event().start_mark.line + 1
                )
            node = loader.get_node()
            if node is not None:
                documents.append(loader.construct_document(node))  # type: ignore[no-untyped-call]
        return documents
    except yaml.MarkedYAMLError as error:
        mark = error.problem_mark or error.context_mark
        said = ", ".join(filter(None, (error.context, error.problem)))
        raise YamlError(f"not YAML: {one_line(said)}", mark.line + 1 if mark else 1) from None
    except yaml.reader.ReaderError as error:
        line = text[: error.position].count("\n") + 1
        raise YamlError(f"not YAML: character U+{ord(text[error.position]):04X} is not allowed", line) from None


# Writing -------------------------------------------------------------------------------------------------------------


class _Dumper(yaml.SafeDumper):
    """Quotes what either schema would take for something else than text."""


for _tag, _pattern, _first in _CORE:
    _Dumper.add_implicit_resolver(_tag, re.compile(rf"{_pattern}\Z"), _first)  # type: ignore[no-untyped-call]
