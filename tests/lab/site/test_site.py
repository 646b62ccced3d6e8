"""All studies on one page, as files and served: to this machine alone, nothing but pages, anew when records change."""

import shutil
import threading
from collections.abc import Iterator
from http.client import HTTPConnection
from pathlib import Path

import pytest

from lab.pages.page import Page
from lab.site import pages, serve
from lab.site.__main__ import main
from lab.site.studies import entries
from lab.store.objects.lease import Lease
from lab.store.tables import Results
from tests.html_page import Page as Parsed

GOLDEN = Path(__file__).parents[2] / "golden" / "study" / "store"


@pytest.fixture
def store(tmp_path: Path) -> Results:
    """The golden study, and one with nothing but a beginning."""
    shutil.copytree(GOLDEN, tmp_path / "results")
    results = Results(tmp_path / "results")
    results.add("studies", [{"study": "begun", "settings": '{"kind": "ablation", "looks": [9]}'}])
    return results


def test_one_page_links_every_study(store: Results, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert main([store.storage.root, "--out", str(tmp_path / "out")]) == 0
    said = capsys.readouterr()
    assert f"wrote {tmp_path / 'out' / 'index.html'}" in said.out and "note: no report of begun: " in said.err
    index = Parsed((tmp_path / "out" / "index.html").read_text())
    rows = {row["study"]: row for row in index.table("study", "kind")}
    assert set(index.addresses) == {"mine/report.html", "begun/report.html"} and set(rows) == {"mine", "begun"}
    assert rows["mine"]["kind"] == "ablation" and rows["mine"]["what was found"].startswith("helps")
    report = Parsed((tmp_path / "out" / "mine" / "report.html").read_text())
    assert "../index.html" in report.addresses and "The answer at a glance" in report.text
    assert "No report yet" in (tmp_path / "out" / "begun" / "report.html").read_text()
    assert main([str(tmp_path / "nowhere")]) == 2 and "no results at" in capsys.readouterr().err
    assert main(["serve", "a", "b"]) == 2 and "one results folder is wanted, got 2: a, b" in capsys.readouterr().err


def test_a_study_runs_while_its_driver_lives(store: Results) -> None:
    assert [entry.study for entry in entries(store) if entry.running] == []
    with Lease(store.storage, "begun"):
        assert [(entry.study, entry.running) for entry in entries(store)] == [("begun", True), ("mine", False)]
    assert [entry.study for entry in entries(store) if entry.running] == []


@pytest.fixture
def served(store: Results, monkeypatch: pytest.MonkeyPatch) -> Iterator[tuple[serve.Site, int]]:
    """Reports are what a test says: what they hold is tried elsewhere."""

    def files(results: Results, study: str) -> tuple[dict[str, str], str]:
        if study == "begun":
            raise RuntimeError("of <nobody's> making")
        runs = results.table("members", study).num_rows
        return {"report.html": Page.of("mine", f"{runs} runs", []).html(), "effects.csv": "a,b\n"}, "an answer"

    monkeypatch.setattr(serve, "study_files", files)
    for name in ("REST", "LEAST_REST", "FRESH"):
        monkeypatch.setattr(serve, name, 0.0)
    made, site = serve.server(store.storage.root, 0)
    thread = threading.Thread(target=made.serve_forever, daemon=True)
    thread.start()
    yield site, made.server_port
    made.shutdown()
    made.server_close()
    thread.join()


def ask(port: int, path: str, method: str = "GET", host: str = "127.0.0.1") -> tuple[int, dict[str, str], str]:
    connection = HTTPConnection("127.0.0.1", port, timeout=30)
    connection.putrequest(method, path, skip_host=True)
    connection.putheader("Host", host)
    connection.endheaders()
    answer = connection.getresponse()
    found = answer.status, dict(answer.getheaders()), answer.read().decode()
    connection.close()
    return found


def test_pages_are_served_and_nothing_else(served: tuple[serve.Site, int], store: Results) -> None:
    site, port = served
    status, headers, text = ask(port, "/")
    assert status == 200 and {"mine/report.html", "begun/report.html"} <= set(Parsed(text).addresses)
    assert headers["Cache-Control"] == "no-store" and headers["X-Content-Type-Options"] == "nosniff"
    assert (
        ask(port, "/mine/effects.csv")[::2] == (200, "a,b\n") and "of &lt;nobody" in ask(port, "/begun/report.html")[2]
    )
    site.make_all()
    assert "an answer" in ask(port, "/index.html")[2]
    (table,) = store.storage.list("members/study=mine")[:1]
    outside = [f"/../results/{table}", "/%2e%2e/%2e%2e/etc/passwd", f"/mine/..%2f..%2f{table}", "//etc/passwd"]
    unknown = [f"/{table}", "/mine/../begun", "/nobody/report.html", "/mine", "/mine/report.html/x", "/%00/%ff"]
    for path in (*outside, *unknown):
        assert ask(port, path)[::2] == (404, "There is no such page."), path
    for host in ("example.org", "example.org:80", f"127.0.0.1.example.org:{port}", ""):
        assert ask(port, "/", host=host)[0] == 403, host
    assert ask(port, "/", host=f"localhost:{port}")[0] == 200 and ask(port, "/", "POST")[0] == 501


def test_an_open_page_is_told_when_its_records_have_changed(served: tuple[serve.Site, int], store: Results) -> None:
    _, port = served
    status, before, text = ask(port, "/mine/report.html")
    version = before["ETag"].strip('"')
    assert status == 200 and f'data-version="{version}"' in text and "connect-src 'self'" in text
    assert ask(port, "/mine/report.html", "HEAD")[1]["ETag"] == before["ETag"]
    store.add("members", [{"study": "mine", "role": "arm", "arm": "full", "cell": "main", "run": "f" * 20}])
    assert ask(port, "/mine/report.html", "HEAD")[1]["ETag"] != before["ETag"]
    status, after, anew = ask(port, "/mine/report.html")
    assert anew != text and after["ETag"] == ask(port, "/mine/report.html", "HEAD")[1]["ETag"]


def test_a_page_that_took_long_is_not_made_anew_at_once(store: Results, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(serve, "study_files", lambda results, study: ({pages.REPORT: "<html>"}, ""))
    now = [0.0]
    site = serve.Site(lambda: Results(store.storage.root, create=False), lambda: now[0])
    first = site.of_study("mine")
    assert first is not None
    store.add("members", [{"study": "mine", "role": "arm", "arm": "full", "cell": "main", "run": "f" * 20}])
    assert site.of_study("mine") is first and site.version("mine") == first.version
    now[0] = serve.LEAST_REST
    second = site.of_study("mine")
    assert second is not None and second.version != first.version and site.of_study("nobody") is None


def test_only_the_loopback_is_bound_and_a_taken_port_is_said(
    store: Results, capsys: pytest.CaptureFixture[str]
) -> None:
    made, _ = serve.server(store.storage.root, 0)
    assert made.server_address[0] == "127.0.0.1"
    assert main(["serve", "--results", store.storage.root, "--port", str(made.server_port)]) == 2
    assert f"--port {made.server_port}: " in capsys.readouterr().err
    made.server_close()
