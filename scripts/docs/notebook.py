"""Runs the docs' notebook as Jupyter would, without Jupyter, and keeps what it prints and draws.

    python -m scripts.docs.notebook                   # docs/notebook.ipynb, outputs and all, some two minutes
    python -m scripts.docs.notebook --out FILE        # written there; the notebook stays as it is

A line that begins with `!` is a command; what the last line of a cell is worth is shown.
"""

import argparse
import ast
import base64
import contextlib
import io
import json
import os
import re
import subprocess
import sys
import tempfile
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any

from lab.console.parser import Parser
from lab.console.printing import print

NOTEBOOK = Path(__file__).parents[2] / "docs" / "notebook.ipynb"
COMMAND = re.compile(r"^!((?:.*\\\n)*.*)$", re.M)  # goes on after a backslash


def shell(command: str) -> None:
    """`!command`, by this Python. Raises where it fails, which Jupyter passes over."""
    path = os.pathsep.join((os.path.dirname(sys.executable), os.environ.get("PATH", "")))
    done = subprocess.run(
        command, shell=True, text=True, stdout=subprocess.PIPE, stderr=subprocess.STDOUT,
        env={**os.environ, "PATH": path, "NO_COLOR": "1"},
    )  # fmt: skip
    sys.stdout.write(done.stdout)
    if done.returncode:
        raise RuntimeError(f"{command}: exit code {done.returncode}\n{done.stdout}")


def value_of(source: str, names: dict[str, Any]) -> Any:
    """Runs a cell. What its last line is worth, if it is an expression."""
    tree = ast.parse(COMMAND.sub(lambda found: f"_shell({found[1]!r})", source))
    last = tree.body.pop() if tree.body and isinstance(tree.body[-1], ast.Expr) else None
    exec(compile(tree, "cell", "exec"), names)
    return eval(compile(ast.Expression(last.value), "cell", "eval"), names) if last else None  # type: ignore[attr-defined]


def shown(value: Any) -> dict[str, Any]:
    """An output of nbformat: a figure as its picture, anything else as its text."""
    data: dict[str, Any] = {"text/plain": (str(value) + "\n").splitlines(keepends=True)}
    if hasattr(value, "savefig"):
        file = io.BytesIO()
        value.savefig(file, format="png", dpi=80, metadata={"Software": None})
        data = {"image/png": base64.b64encode(file.getvalue()).decode() + "\n", "text/plain": ["<Figure>"]}
    return {"output_type": "display_data", "data": data, "metadata": {}}


def run(notebook: dict[str, Any], folder: Path) -> dict[str, Any]:
    """The notebook with the outputs of all cells, run in order in an empty folder."""
    names: dict[str, Any] = {"__name__": "__main__", "_shell": shell}
    cells = []
    with contextlib.chdir(folder):
        for number, cell in enumerate(notebook["cells"], 1):
            if cell["cell_type"] == "code":
                said = io.StringIO()
                with contextlib.redirect_stdout(said):
                    value = value_of("".join(cell["source"]), names)
                text = said.getvalue().replace(f"{folder}/", "")
                outputs = [{"output_type": "stream", "name": "stdout", "text": text.splitlines(keepends=True)}]
                outputs = [*(outputs if text else []), *([shown(value)] if value is not None else [])]
                cell = {**cell, "outputs": outputs, "execution_count": None}
                print(f"cell {number} of {len(notebook['cells'])}", file=sys.stderr, flush=True)
            cells.append(cell)
    return {**notebook, "cells": cells}


def texts(cell: dict[str, Any]) -> Iterator[str]:
    """What a cell printed and showed, a text an output; a picture is `<Figure>`."""
    for output in cell.get("outputs", ()):
        yield "".join(output.get("text") or output["data"]["text/plain"])


def pictures(cell: dict[str, Any]) -> Iterator[bytes]:
    for output in cell.get("outputs", ()):
        if picture := output.get("data", {}).get("image/png"):
            yield base64.b64decode(picture)


def parser() -> argparse.ArgumentParser:
    result = Parser(prog="python -m scripts.docs.notebook", description=(__doc__ or "").split("\n")[0])
    result.add_argument("--out", type=Path, default=NOTEBOOK, help="file to write (default: the notebook itself)")
    return result


def main(argv: Sequence[str] | None = None) -> int:
    args = parser().parse_args(argv)
    with tempfile.TemporaryDirectory(prefix="dynonet-notebook-") as folder:
        done = run(json.loads(NOTEBOOK.read_text()), Path(folder).resolve())
    args.out.write_text(json.dumps(done, indent=1, ensure_ascii=False) + "\n")
    print(f"wrote {args.out}")
    return 0


if __name__ == "__main__":
    sys.exit(main())
