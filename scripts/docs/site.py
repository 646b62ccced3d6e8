"""`make docs`: the site of these pages, in build/site. A link that leads nowhere ends it with an error.

    python -m scripts.docs.site

README.md is its front page; the notebook becomes a page with what it printed and drew. Pages link each other as files
of the project, so that they read well there, too; here their links follow them to where the site has them.
"""

import argparse
import json
import os
import re
import shutil
import subprocess
import sys
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from lab.console.parser import Parser
from lab.console.printing import print
from scripts.docs.notebook import pictures, texts

ROOT = Path(__file__).parents[2]
DOCS, SOURCE = ROOT / "docs", ROOT / "build" / "docs"
FRONT = ROOT / "README.md"
OTHERS = tuple(ROOT / name for name in ("CONTRIBUTING.md", "CHANGELOG.md", "CITATION.cff", "LICENSE"))
LINK = re.compile(r"(!?\[[^\]]*\]\()([^)\s#]+)(#[^)\s]*)?(\))")
OUTSIDE = re.compile(r"^\w+:")


def place(file: Path) -> Path:
    """Where the site has a file of the project."""
    if file == FRONT:
        return SOURCE / "index.md"
    if file.suffix == ".ipynb":
        file = file.with_suffix(".md")
    return SOURCE / file.relative_to(DOCS if file.is_relative_to(DOCS) else ROOT)


def moved(text: str, page: Path) -> str:
    """A page's text, its links as they are from where the site has it; files that they lead to are brought along."""

    def follow(found: re.Match[str]) -> str:
        start, link, anchor, end = found.groups()
        target = (page.parent / link).resolve()
        if OUTSIDE.match(link) or not target.is_file():  # what is not there is said by the builder
            return found[0]
        there = place(target)
        if target.suffix not in (".md", ".ipynb"):
            there.parent.mkdir(parents=True, exist_ok=True)
            shutil.copyfile(target, there)
        return f"{start}{os.path.relpath(there, place(page).parent)}{anchor or ''}{end}"

    parts = re.split(r"(```.*?```)", text, flags=re.S)  # code stays as it is
    return "".join(part if part.startswith("```") else LINK.sub(follow, part) for part in parts)


def page_of(notebook: Path) -> str:
    """A notebook as a page."""
    content: dict[str, Any] = json.loads(notebook.read_text())
    parts, drawn = [], 0
    for cell in content["cells"]:
        source = "".join(cell["source"])
        if cell["cell_type"] == "markdown":
            parts.append(source)
            continue
        parts.append(f"```python\n{source}\n```")
        parts += [f"```text\n{text.rstrip()}\n```" for text in texts(cell) if text != "<Figure>"]
        for picture in pictures(cell):
            name, drawn = f"images/{notebook.stem}-{drawn}.png", drawn + 1
            (SOURCE / name).parent.mkdir(parents=True, exist_ok=True)
            (SOURCE / name).write_bytes(picture)
            parts.append(f"![what the cell draws]({name})")
    return "\n\n".join(parts) + "\n"


def gather() -> None:
    """All pages, below build/docs."""
    shutil.rmtree(SOURCE, ignore_errors=True)
    SOURCE.mkdir(parents=True)
    for page in (FRONT, *OTHERS, *sorted(DOCS.glob("*.md")), DOCS / "style.css"):
        text = page.read_text()
        place(page).write_text(moved(text, page) if page.suffix == ".md" else text)
    for notebook in sorted(DOCS.glob("*.ipynb")):
        place(notebook).write_text(moved(page_of(notebook), notebook))


def parser() -> argparse.ArgumentParser:
    return Parser(prog="python -m scripts.docs.site", description=(__doc__ or "").split("\n")[0])


def main(argv: Sequence[str] | None = None) -> int:
    parser().parse_args(argv)
    gather()
    command = [sys.executable, "-m", "zensical", "build", "--clean", "--strict"]
    done = subprocess.run(command, cwd=ROOT, check=False)
    if done.returncode == 0:
        print(f"built {ROOT / 'build' / 'site' / 'index.html'}")
    return done.returncode


if __name__ == "__main__":
    sys.exit(main())
