"""What a report is made of, before it is HTML or Markdown: sections of texts, lists, tables and figures.

Cells are strings that `formats` wrote, so that no renderer rounds a number by itself.
"""

from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from typing import ClassVar, TypeAlias


@dataclass(frozen=True)
class Text:
    kind: ClassVar[str] = "text"
    text: str
    tone: str = ""  # banner: must not be overlooked; note: beside what is shown


@dataclass(frozen=True)
class Item:
    text: str
    name: str = ""  # what it is about
    badge: str = ""  # a verdict


@dataclass(frozen=True)
class Items:
    kind: ClassVar[str] = "items"
    items: tuple[Item, ...]


@dataclass(frozen=True)
class Table:
    kind: ClassVar[str] = "table"
    header: tuple[str, ...]  # cells of a column named `verdict` are badges
    rows: tuple[tuple[str, ...], ...]
    caption: str = ""
    words: int = 1  # columns of text, which come first; the others hold numbers and are set flush right


@dataclass(frozen=True)
class Drawing:
    kind: ClassVar[str] = "drawing"
    svg: str
    caption: str


Block: TypeAlias = Text | Items | Table | Drawing


@dataclass(frozen=True)
class Section:
    title: str
    id: str
    blocks: tuple[Block, ...]


def section(title: str, name: str, blocks: Iterable[Block | None]) -> Section | None:
    """None where it would be empty."""
    there = tuple(block for block in blocks if block is not None)
    return Section(title, name, there) if there else None


def table(header: Sequence[str], rows: Iterable[Sequence[str]], caption: str = "", words: int = 1) -> Table | None:
    """None without rows."""
    filled = tuple(map(tuple, rows))
    return Table(tuple(header), filled, caption, words) if filled else None


def drawing(svg: str, caption: str) -> Drawing | None:
    return Drawing(svg, caption) if svg else None


def items(found: Iterable[Item]) -> Items | None:
    filled = tuple(found)
    return Items(filled) if filled else None
