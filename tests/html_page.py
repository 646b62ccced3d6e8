"""A page of HTML, taken apart for the tests."""

import base64
import hashlib
import re
from collections import Counter
from html.parser import HTMLParser

VOID = {"meta", "br", "hr", "img", "link", "input"}


def without_script(text: str) -> str:
    """What a page says, without the one script that it may have: that which its policy names, and no other."""
    (script,) = re.findall(r"<script>(.*?)</script>", text, re.DOTALL)
    named = base64.b64encode(hashlib.sha256(script.encode()).digest()).decode()
    assert f"default-src 'none'; style-src 'unsafe-inline'; script-src 'sha256-{named}'" in text
    return text.replace(script, "")


class Page(HTMLParser):
    """Tables as rows of texts, ids, addresses, figures and text; fails where tags are not balanced."""

    def __init__(self, text: str) -> None:
        super().__init__()
        self.stack: list[str] = []
        self.ids: list[str] = []
        self.addresses: list[str] = []
        self.tables: list[list[list[str]]] = []
        self.text = ""
        self.tags: Counter[str] = Counter()
        self.drawings = 0
        self.feed(text)
        self.close()
        assert not self.stack, self.stack

    def handle_starttag(self, tag: str, attributes: list[tuple[str, str | None]]) -> None:
        self.tags[tag] += 1
        self.drawings += dict(attributes).get("class") == "figure"
        for name, value in attributes:
            self.ids += [str(value)] if name == "id" else []
            self.addresses += [str(value)] if name.endswith(("href", "src")) else []
        if tag == "table":
            self.tables.append([])
        elif tag == "tr":
            self.tables[-1].append([])
        elif tag in ("td", "th"):
            self.tables[-1][-1].append("")
        if tag not in VOID:
            self.stack.append(tag)

    def handle_endtag(self, tag: str) -> None:
        assert self.stack and self.stack.pop() == tag, f"</{tag}> at {self.getpos()}"

    def handle_startendtag(self, tag: str, attributes: list[tuple[str, str | None]]) -> None:
        self.handle_starttag(tag, attributes)
        if tag not in VOID:
            self.stack.pop()

    def handle_data(self, data: str) -> None:
        if "td" in self.stack or "th" in self.stack:
            self.tables[-1][-1][-1] += data
        if self.stack and self.stack[-1] not in ("style", "script"):
            self.text += data

    def table(self, *header: str) -> list[dict[str, str]]:
        """The rows of the first table whose header begins so."""
        found = next(rows for rows in self.tables if tuple(rows[0][: len(header)]) == header)
        return [dict(zip(found[0], row, strict=True)) for row in found[1:]]
