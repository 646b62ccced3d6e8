"""Sections as one self-contained HTML page and as Markdown, and files that appear whole.

The same sections give the same bytes: nothing here reads a clock or draws a number.
"""

import base64
import hashlib
import os
import re
import tempfile
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass
from html import escape
from pathlib import Path
from typing import Any

from jinja2 import Environment, PackageLoader, StrictUndefined
from markupsafe import Markup

from lab.console.printing import printable
from lab.pages.blocks import Section, Strip

SCRIPT = "script.js.j2"


@dataclass(frozen=True)
class Page:
    title: str
    question: str  # what it answers, below the title
    sections: tuple[Section, ...]
    elsewhere: str = ""  # what the Markdown lacks, and where it is

    @classmethod
    def of(cls, title: str, question: str, sections: Iterable[Section | None], elsewhere: str = "") -> "Page":
        """Empty sections are left out."""
        return cls(title, question, tuple(section for section in sections if section is not None), elsewhere)

    def html(self, badge: Callable[[str], str] = lambda text: text.replace(" ", "-")) -> str:
        """`badge`: the CSS class of the text of a badge."""
        environment = _environment(badge)
        script = environment.get_template(SCRIPT).render()
        return environment.get_template("report.html.j2").render(
            vars(self), script=Markup(script), script_hash=_hash(f"\n{script}")
        )

    def markdown(self) -> str:
        """Without the figures."""
        text = _environment(str).get_template("report.md.j2").render(vars(self))
        return re.sub(r"\n{3,}", "\n\n", text)


def linked_up(html: str, address: str, text: str) -> str:
    """A page with a way to the one that it belongs to."""
    return html.replace("<header>", f'<header>\n<p class="up"><a href="{escape(address)}">← {escape(text)}</a></p>', 1)


def live(html: str, version: str, seconds: int) -> str:
    """A page that asks its server every few seconds whether it is still of this version, and is loaded anew if not."""
    html = html.replace("<html", f'<html data-live="{seconds}" data-version="{escape(version)}"', 1)
    return html.replace("default-src 'none';", "default-src 'none'; connect-src 'self';", 1)


def write(files: Mapping[str, str], folder: Path) -> list[Path]:
    """Each file whole or not at all, a reader of an earlier one undisturbed."""
    folder.mkdir(parents=True, exist_ok=True)
    paths = []
    for name, text in files.items():
        handle, temporary = tempfile.mkstemp(dir=folder, prefix=f".{name}.")
        try:
            with open(handle, "w", encoding="utf-8", newline="") as file:
                file.write(text)
            os.chmod(temporary, 0o644)
            os.replace(temporary, folder / name)
        except BaseException:
            os.unlink(temporary)
            raise
        paths.append(folder / name)
    return paths


def _environment(badge: Callable[[str], str]) -> Environment:
    environment = Environment(
        loader=PackageLoader("lab.pages"),
        autoescape=lambda name: name is not None and name.endswith(".html.j2"),
        undefined=StrictUndefined,
        finalize=_printable,
        keep_trailing_newline=True,
    )
    environment.filters |= {"md": markdown, "badge": badge}
    environment.globals |= {"percent": _percent, "span": _span, "widest": _widest, "linked": _linked}
    return environment


def _hash(script: str) -> str:
    """As a Content-Security-Policy names the one script that may run."""
    return f"sha256-{base64.b64encode(hashlib.sha256(script.encode()).digest()).decode()}"


def _percent(place: float) -> str:
    return f"{100 * place:.4g}%"


def _span(reach: tuple[float, float]) -> str:
    return f"left:{_percent(reach[0])};width:{_percent(reach[1] - reach[0])}"


def _widest(strips: Iterable[Strip], name: str) -> int:
    """In letters."""
    return max((len(getattr(strip, name)) for strip in strips), default=0)


def _linked(row: Sequence[str], address: str) -> list[str]:
    """A row of Markdown, its first cell as a link where it is one."""
    first, *rest = map(markdown, row)
    return [f"[{first}]({address})" if address else first, *rest]


def _printable(value: Any) -> Any:
    return printable(value) if isinstance(value, str) and not isinstance(value, Markup) else value


def markdown(text: Any) -> str:
    """Text that stays text: underscores inside words mean nothing in Markdown and are left alone."""
    line = printable(" ".join(str(text).split())).replace("&", "&amp;").replace("<", "&lt;")
    line = re.sub(r"([\\`*|\[\]~$]|(?<!\w)_|_(?!\w))", r"\\\1", line)
    return re.sub(
        r"^(?:(?=#{1,6}(?:\s|$)|[-+](?:\s|$)|>)|(\d{1,9})(?=[.)](?:\s|$)))", r"\1\\", line
    )  # at a line's start
