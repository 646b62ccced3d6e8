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
    bars: tuple[float, ...] = ()  # 0 to 1, one a row: drawn behind its last cell
    links: tuple[str, ...] = ()  # one a row: where its first cell leads; "": nowhere


@dataclass(frozen=True)
class Drawing:
    kind: ClassVar[str] = "drawing"
    svg: str
    caption: str


@dataclass(frozen=True)
class Strip:
    """A mark on an axis with how far it reaches, and in words what it stands for. Places: 0 to 1 along the axis."""

    name: str
    said: str = ""  # the number, beside the picture
    badge: str = ""  # a verdict
    text: str = ""  # unfolds
    at: float | None = None  # None: there is nothing to mark
    reaches: tuple[tuple[float, float], ...] = ()  # intervals, the widest first; the last one is thick
    mark: str = "dot"  # dot, square, diamond or triangle
    tone: str = "grey"  # blue, red, green, violet, grey or ink
    hollow: bool = False


@dataclass(frozen=True)
class Strips:
    """A picture whose lines are text: it is as wide as the screen, and each of its lines unfolds."""

    kind: ClassVar[str] = "strips"
    strips: tuple[Strip, ...]
    ticks: tuple[tuple[float, str], ...]
    axis: str  # what it is
    caption: str = ""
    band: tuple[float, float] | None = None  # shaded
    zero: float | None = None  # a line there
    title: str = ""
    svg: str = ""  # the same as a figure, for who shows figures alone


Block: TypeAlias = Text | Items | Table | Drawing | Strips


@dataclass(frozen=True)
class Section:
    title: str
    id: str
    blocks: tuple[Block, ...]


def section(title: str, name: str, blocks: Iterable[Block | None]) -> Section | None:
    """None where it would be empty."""
    there = tuple(block for block in blocks if block is not None)
    return Section(title, name, there) if there else None


def table(
    header: Sequence[str], rows: Iterable[Sequence[str]], caption: str = "", words: int = 1,
    bars: Iterable[float] = (), links: Iterable[str] = (),
) -> Table | None:  # fmt: skip
    """None without rows."""
    filled = tuple(map(tuple, rows))
    return Table(tuple(header), filled, caption, words, tuple(bars), tuple(links)) if filled else None


def drawing(svg: str, caption: str) -> Drawing | None:
    return Drawing(svg, caption) if svg else None


def items(found: Iterable[Item]) -> Items | None:
    filled = tuple(found)
    return Items(filled) if filled else None
