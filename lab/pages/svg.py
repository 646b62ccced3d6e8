"""Figures for inline use: one style, no clock, no global state, and colours that follow the page's.

matplotlib knows no `currentColor`. What should have the page's text colour is drawn in INK, a colour that nothing else
has, and replaced afterwards; the other colours are mid-tones that can be told apart on white and on black, and with
any of the common colour vision deficiencies.
"""

import io
import re
import sys
import warnings
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from functools import wraps
from html import escape
from typing import Any, ParamSpec
from urllib.parse import quote, unquote

import matplotlib
from matplotlib.artist import Artist
from matplotlib.collections import Collection
from matplotlib.figure import Figure

from lab.console.printing import one_line, print, printable

INK = "#010203"
BLUE, VERMILION, GREEN, PURPLE, GREY = "#2f86d1", "#d9622b", "#1d9a76", "#a56cc1", "#8a8f98"

_STYLE: dict[str, Any] = {
    "svg.fonttype": "none",
    "text.parse_math": False,  # of a channel, a study, an arm: `$` in a name is a dollar
    "text.usetex": False,
    "svg.hashsalt": "dynonet",
    "font.family": "sans-serif",
    "font.sans-serif": ["DejaVu Sans"],  # wider than the page's own fonts, so that what fits here fits there
    "font.size": 9,
    "axes.titlesize": 9,
    "axes.labelsize": 9,
    "xtick.labelsize": 8,
    "ytick.labelsize": 8,
    "legend.fontsize": 8,
    "axes.spines.top": False,
    "axes.spines.right": False,
    "axes.linewidth": 0.6,
    "axes.unicode_minus": True,
    "axes.axisbelow": True,
    "xtick.major.width": 0.6,
    "ytick.major.width": 0.6,
    "grid.linewidth": 0.5,
    "grid.alpha": 0.18,
    "legend.frameon": False,
    **dict.fromkeys(("text.color", "axes.labelcolor", "axes.edgecolor", "axes.titlecolor", "grid.color"), INK),
    **dict.fromkeys(("xtick.color", "ytick.color"), INK),
    **dict.fromkeys(("figure.facecolor", "axes.facecolor", "savefig.facecolor", "legend.facecolor"), "none"),
}
_FONTS = "system-ui, -apple-system, 'Segoe UI', Roboto, 'Helvetica Neue', Arial, sans-serif"


_Given = ParamSpec("_Given")


def drawn_or_said(draw: Callable[_Given, str]) -> Callable[_Given, str]:
    """A figure that cannot be drawn is said to be missing, in its place and on stderr: it must not cost the page."""

    @wraps(draw)
    def drawn(*args: _Given.args, **kwargs: _Given.kwargs) -> str:
        try:
            return draw(*args, **kwargs)
        except Exception as error:  # whatever matplotlib, Optuna or numpy make of numbers that nobody thought of
            what = one_line(f"{draw.__name__.strip('_')}: {type(error).__name__}: {error}")
            print(f"warning: a figure could not be drawn ({what})", file=sys.stderr)
            return f'<p class="note">This figure could not be drawn ({escape(what)}).</p>\n'

    return drawn


@contextmanager
def style() -> Iterator[None]:
    """matplotlib's own defaults with ours on top, whatever the user's settings are; put back afterwards."""
    ours: Any = {str(key): value for key, value in matplotlib.rcParamsDefault.items() if "backend" not in key} | _STYLE
    with matplotlib.rc_context(ours):
        yield


_TOLD = "told:"  # no address: what a point says of itself, until `inline` makes it a title


def tell(artist: Artist, said: Sequence[str]) -> None:
    """Each point of a scatter, or a line as a whole, says this when it is touched or hovered over."""
    told = [_TOLD + quote(text, safe="") for text in said]
    if isinstance(artist, Collection):
        artist.set_urls(told if len(told) > 1 else told * 2)  # one alone would be that of no point
    else:
        artist.set_url(told[0])


def inline(figure: Figure, prefix: str, title: str) -> str:
    """The figure as an <svg> element whose ids all start with `prefix`; `title` is what a screen reader says."""
    text = io.StringIO()
    with warnings.catch_warnings():
        warnings.filterwarnings("ignore", r"Glyph \d+ ")  # the page's fonts will have it
        warnings.filterwarnings("ignore", "AutoDateLocator was unable")  # a tick more than it was asked for is well
        figure.savefig(text, format="svg", metadata={"Date": None}, transparent=True)
    svg = text.getvalue()
    svg = svg[svg.index("<svg") :]
    svg = re.sub(r"\s*<metadata>.*?</metadata>", "", svg, flags=re.DOTALL)
    svg = re.sub(r"<!--.*?-->\s*", "", svg, flags=re.DOTALL)  # every text once more
    svg = printable(svg).replace(INK, "currentColor").replace("'DejaVu Sans'", _FONTS.replace("'", "&apos;"))
    svg = re.sub(r'\bid="', f'id="{prefix}-', svg)
    svg = re.sub(r"url\(#", f"url(#{prefix}-", svg)
    svg = re.sub(r'(?:xlink:)?href="#', f'href="#{prefix}-', svg)
    svg = re.sub(
        rf'<a xlink:href="{_TOLD}([^"]*)"[^>]*>(.*?)</a>',
        lambda found: f'<g class="told"><title>{escape(printable(unquote(found[1])))}</title>{found[2]}</g>', svg,
        flags=re.DOTALL,
    )  # fmt: skip
    viewbox = re.search(r'viewBox="[^"]*"', svg)
    assert viewbox is not None
    head = f'<svg class="figure" {viewbox.group()} role="img" aria-label="{escape(title)}" '
    head += f'style="--natural: {figure.get_figwidth():.2f}in" xmlns="http://www.w3.org/2000/svg">'
    return head + svg[svg.index(">") + 1 :].rstrip() + "\n"


def slug(*names: str) -> str:
    """Names joined to an id."""
    return "-".join(re.sub(r"[^A-Za-z0-9_-]", "_", name) for name in names)
