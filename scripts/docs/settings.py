"""The tables of docs/settings.md: every setting with its default, what is allowed, and what its own line says of it.

    python -m scripts.docs.settings        # writes them anew, after a setting has come or changed

What stands above the mark is written by hand.
"""

import argparse
import re
import sys
from collections.abc import Iterable, Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any

from dynonet.parts import SIGNALS
from forecasters import FORECASTERS
from lab.console.parser import Parser
from lab.console.printing import print
from lab.forecaster import Forecaster
from lab.registry import DEFAULT, forecaster
from lab.settings.listing import Setting, settings_of
from lab.settings.sources import SOURCES

PAGE = Path(__file__).parents[2] / "docs" / "settings.md"
MARK = "<!-- From here on made by scripts/docs/settings.py -->"
SECTIONS = {
    "data": "Which series is read, how, and how its rows are split.",
    "data.synthetic": "The series that `data.dataset=synthetic` draws.",
    "training": "How it is trained.",
    "model": "Its sizes and its parts.",
    "signals": "What the controller sets, window by window; each may be held at a number instead.",
}
COLUMNS = ("setting", "default", "allowed", "a search draws", "what it is")
ACTS_ON = {"forward": "in the forward pass", "loss": "weighs the workers' loss", "update": "in the workers' update"}
RANGE = {"int": "{} to {}", "float": "{:g} to {:g}"}


def made() -> str:
    """All that stands below the mark."""
    ours = forecaster(DEFAULT)
    lines = [f"## Settings of {ours.title}", ""]
    for section, about in SECTIONS.items():
        lines += [f"### {section}", "", about, "", *table(of(ours, section), ours), ""]
    lines += [
        "### Presets",
        "",
        f"`--preset` of {ours.title}: {', '.join(f'`{each}`' for each in ours.config.presets)}.",
    ]
    lines += ["", "### Named series", "", *series(), "", *rivals(), ""]
    return "\n".join(lines)


def of(model: Forecaster, section: str) -> list[Setting]:
    return [each for each in settings_of(model.config) if each.key.rpartition(".")[0] == section]


def table(settings: Iterable[Setting], model: Forecaster) -> Iterator[str]:
    rows = []
    for each in settings:
        name = each.key.rpartition(".")[2]
        part, signal = model.parts.get(name), SIGNALS.get(name)
        off = f"{part.noun}; off: {part.off}" if part and each.key.startswith("model.") else ""
        allowed = each.allowed
        if signal and each.key.startswith("signals."):
            allowed = "adaptive, off, or a number from {:g} to {:g}".format(*signal.held)
            off = f"{ACTS_ON[signal.acts_on]}; adaptive from {signal.low:g} to {signal.high:g}; off: {signal.neutral:g}"
        about = "; ".join(filter(None, (each.about, each.above, off)))
        drawn = draws(model.space[each.key]) if each.key in model.space else ""
        rows.append((f"`{each.key}`", f"`{each.default}`", allowed, drawn, spoken(about)))
    yield from lined(COLUMNS, rows)


def lined(columns: Sequence[str], rows: Sequence[Sequence[str]]) -> Iterator[str]:
    """A table of those columns that say something."""
    kept = [at for at in range(len(columns)) if any(row[at] for row in rows)]
    yield "| " + " | ".join(columns[at] for at in kept) + " |"
    yield "|" + "---|" * len(kept)
    for row in rows:
        yield "| " + " | ".join(row[at].replace("|", "\\|") for at in kept) + " |"


def draws(item: Mapping[str, Any]) -> str:
    """A range of a space in words."""
    kind = next(kind for kind in ("choice", "int", "float") if kind in item)
    text = ", ".join(map(str, item[kind])) if kind == "choice" else RANGE[kind].format(*item[kind])
    log = ", log" if item.get("log") else ""
    when = ", ".join(f"{key}={value}" for key, value in item.get("when", {}).items())
    return f"{text}{log}" + (f" (if {when})" if when else "")


def spoken(comment: str) -> str:
    """A comment of the code as the command line says it."""
    for python, typed in (("None", "`null`"), ("True", "`true`"), ("False", "`false`")):
        comment = re.sub(rf"\b{python}\b", typed, comment)
    return comment


def series() -> Iterator[str]:
    rows = []
    for name, one in SOURCES.items():
        sealed = f"{one.sealed[0]:,} to {one.sealed[1]:,}" if one.sealed else ""
        split = ", ".join(f"{each:,}" for each in one.split) if len(one.split) == 3 else "0.7, 0.1, 0.2 of the rows"
        found = "downloaded" if one.url else "put into `DYNONET_DATA_DIR`"
        rows.append((f"`{name}`", one.frequency, str(len(one.channels)), split, sealed, one.about, found))
    return lined(("series", "a row each", "channels", "train, validation, test", "sealed rows", "whose", "how"), rows)


def rivals() -> Iterator[str]:
    yield from ("## Settings of the rivals", "", "Beside those of `data` above, each has `training` and `model`.")
    for name in FORECASTERS:
        if name != DEFAULT:
            model = forecaster(name)
            yield from ("", f"### {name}", "", *table([*of(model, "training"), *of(model, "model")], model))
            presets = ", ".join(f"`{each}`" for each in model.config.presets)
            yield from ("", f"Presets: {presets}.") if presets else ()


def whole(page: str) -> str:
    return f"{page.split(MARK)[0].rstrip()}\n\n{MARK}\n\n{made()}"


def parser() -> argparse.ArgumentParser:
    return Parser(prog="python -m scripts.docs.settings", description=(__doc__ or "").split("\n")[0])


def main(argv: Sequence[str] | None = None) -> int:
    parser().parse_args(argv)
    PAGE.write_text(whole(PAGE.read_text()))
    print(f"wrote {PAGE}")
    return 0


if __name__ == "__main__":
    sys.exit(main())
