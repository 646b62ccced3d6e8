"""The page's own script, run by a JavaScript engine where there is one: tables sort by what their cells say."""

import json
import re
import shutil
import subprocess

import pytest

from lab.pages.blocks import Strip, Strips, section, table
from lab.pages.page import Page, linked_up, live
from lab.pages.strips import Axis
from tests.html_page import Page as Parsed
from tests.html_page import without_script

NODE = shutil.which("node")


def page(*blocks: object) -> str:
    return Page.of("t", "q?", [section("one", "one", blocks)]).html()  # type: ignore[arg-type]


@pytest.mark.skipif(NODE is None, reason="no JavaScript engine is at hand")
@pytest.mark.parametrize(
    ("cells", "ascending"),
    [
        (["0.39 ± 0.01", "–", "0.3871", "1,024", "−2e−05"], ["−2e−05", "0.3871", "0.39 ± 0.01", "1,024", "–"]),
        (["2.5 min", "90.0 s", "1.0 h"], ["90.0 s", "2.5 min", "1.0 h"]),
        (["0.001", "< 0.001", "0.0009"], ["0.0009", "< 0.001", "0.001"]),
        (["12.0%", "−3e−05%", "> 99%", "99%"], ["−3e−05%", "12.0%", "99%", "> 99%"]),
        (["3 of 24", "10 of 24", "2 of 24"], ["2 of 24", "3 of 24", "10 of 24"]),
        (["t10", "t9", "no_film"], ["no_film", "t9", "t10"]),
        (["2026-11-28 13:56", "2026-11-26 13:48", "–"], ["2026-11-26 13:48", "2026-11-28 13:56", "–"]),
    ],
)  # fmt: skip
def test_a_column_sorts_by_the_numbers_that_pages_write(cells: list[str], ascending: list[str]) -> None:
    """Both ways, what is missing last in each; then back to the order of the page."""
    (script,) = re.findall(r"<script>(.*?)</script>", page(), re.DOTALL) or [""]
    inner = re.search(r"const units = .*?(?=  for \(const table of)", script, re.DOTALL)
    assert inner is not None
    program = (
        f"{inner[0]}const texts = {json.dumps(cells)};"
        + """
    const all = (what, where) => where.rows;
    const rows = texts.map((text, place) => ({dataset: {place}, cells: [{textContent: text}]}));
    const body = {rows, append(...sorted) { this.rows = sorted; }};
    const sorted = turn => { sort(body, 0, turn); return body.rows.map(row => row.cells[0].textContent); };
    console.log(JSON.stringify([1, -1, 0].map(sorted)));
    """
    )
    done = subprocess.run([str(NODE), "-e", program], capture_output=True, text=True, check=True)
    up, down, back = json.loads(done.stdout)
    known = [text for text in ascending if text != "–"]
    assert up == ascending and back == cells
    assert down == [*known[::-1], *(["–"] if "–" in cells else [])]


def test_one_script_that_its_policy_names_and_a_page_that_reads_without_it() -> None:
    strips = Strips((Strip("no_film", "+0.1", "helps", "it helps <b>", 0.9, ((0.0, 1.0), (0.8, 0.95))), Strip("inert")),
                    ((0.5, "0"),), "effect", zero=0.5)  # fmt: skip
    text = page(strips, table(("a", "share"), [("x", "60%"), ("y", "40%")], bars=(1.0, 0.5), links=("x/r.html", "")))
    plain, parsed = without_script(text), Parsed(text)
    assert "onclick" not in plain and "http:" not in plain and "https:" not in plain and len(text) - len(plain) < 9000
    assert "it helps &lt;b&gt;" in plain and parsed.tags["details"] == 1 and 'style="left:90%"' in plain
    assert "beyond-low beyond-high" in plain and 'style="--share: 0.5"' in plain
    assert parsed.addresses == ["x/r.html"] and parsed.tables == [[["a", "share"], ["x", "60%"], ["y", "40%"]]]
    served = live(linked_up(text, "../index.html", "all"), 'v"1', 5)
    assert 'data-version="v&quot;1"' in served and "default-src 'none'; connect-src 'self'; style-src" in served
    assert Parsed(served).addresses == ["../index.html", "x/r.html"]


def test_an_axis_holds_what_is_seen_and_is_in_order_within_and_beyond_the_margin() -> None:
    even = Axis.around_zero([-0.001, 0.004], 0.003, wide=[-0.5, 0.002])
    assert not even.stretched and 0 < even.place(-0.001) < even.place(0.0) < even.place(0.004) < 1
    assert even.place(-0.5) == 0, "an interval far wider than all effects ends at the edge"
    far = Axis.around_zero([-0.001, 0.4], 0.003, wide=[-0.02])
    places = [far.place(value) for value in (-0.02, -0.003, -0.001, 0.0, 0.001, 0.003, 0.03, 0.4)]
    assert far.stretched and places == sorted(set(places)) and places[0] > 0 and places[-1] < 1
    assert [text for _, text in far.ticks()] == ["−0.01", "0", "0.01", "0.1"]
    assert Axis.holding([0.36, 0.4]).place(0.38) == 0.5 and far.span(None) == far.span((float("nan"), 1.0)) == ()
