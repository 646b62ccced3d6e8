"""Pages: files that appear whole, and text that stays text."""

from pathlib import Path

import pytest

from lab.errors import ConfigError
from lab.pages import page
from lab.pages.blocks import Item, Text, items, section, table
from lab.pages.page import Page
from lab.reports import destination


def test_a_failed_write_leaves_the_old_report(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    page.write({"report.md": "old"}, tmp_path)
    with monkeypatch.context() as patch:
        patch.setattr(page.os, "replace", lambda *_: (_ for _ in ()).throw(OSError("disk is full")))
        with pytest.raises(OSError, match="full"):
            page.write({"report.md": "new"}, tmp_path)
    assert {path.name: path.read_text() for path in tmp_path.iterdir()} == {"report.md": "old"}


def test_what_is_empty_is_left_out_and_what_looks_like_markup_is_text() -> None:
    full = section("a <b> & c_d", "first", [Text("x | y * z"), items([Item("1 < 2", "name_of", "helps")])])
    made = Page.of("t", "q?", [full, section("empty", "second", [table(("a",), []), None])], "elsewhere")
    assert [s.id for s in made.sections] == ["first"]
    assert "<h2>a &lt;b&gt; &amp; c_d</h2>" in made.html() and "empty" not in made.html()
    assert "x \\| y \\* z" in made.markdown() and "[helps] **name_of**: 1 &lt; 2" in made.markdown()


def test_where_a_report_goes() -> None:
    assert destination(None) is None and destination("my-team/dynonet") == ("my-team", "dynonet")
    for text in ("dynonet", "/x", "x/", "a/b/c"):
        with pytest.raises(ConfigError, match="ENTITY/PROJECT is needed"):
            destination(text)
    with pytest.raises(ConfigError, match="--wandb-dry-run goes with --wandb"):
        destination(None, dry_run=True)
