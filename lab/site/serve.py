"""Pages served to this machine alone, made anew while their studies run.

No path of a request ever becomes one of a file: what is asked for is looked up among the studies on record and the
files of their reports, which are made in memory. There is no token: whoever can open a port of this machine's loopback
may read. A request that names another host is refused, so that no page of the web can read these through its own name.
"""

import hashlib
import threading
import time
from collections.abc import Callable
from dataclasses import dataclass, field
from http import HTTPStatus
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import Any
from urllib.parse import unquote, urlsplit

from lab.errors import ConfigError
from lab.pages.page import live
from lab.site.pages import INDEX, REPORT, index, no_page, study_files
from lab.site.studies import Entry, entries, running
from lab.store.frames import open_results
from lab.store.schema import PARTITIONED, TABLES, is_study
from lab.store.tables import Results

LOOPBACK = "127.0.0.1"
ASKED_EVERY = 5  # seconds between two looks of an open page
REST = 5.0  # times as long as a page took to make, until it is made anew
LEAST_REST = 10.0  # seconds
FRESH = 2.0  # seconds that the list of studies is taken to be true
_TYPES = {"html": "text/html", "md": "text/markdown", "csv": "text/csv", "tex": "text/plain"}
_SAFE = {
    "Cache-Control": "no-store", "X-Content-Type-Options": "nosniff", "X-Frame-Options": "DENY",
    "Referrer-Policy": "no-referrer", "Cross-Origin-Resource-Policy": "same-origin",
}  # fmt: skip


@dataclass(frozen=True)
class Made:
    """A study's files as they were made."""

    version: str
    files: dict[str, str]
    answer: str
    at: float  # monotonic seconds
    took: float

    def rests(self, now: float) -> bool:
        return now - self.at < max(LEAST_REST, REST * self.took)


@dataclass
class Site:
    """The pages of a store; one is made at a time, for matplotlib has one state for all threads."""

    open: Callable[[], Results]
    clock: Callable[[], float] = time.monotonic
    _made: dict[str, Made] = field(default_factory=dict)
    _making: threading.Lock = field(default_factory=threading.Lock)
    _listing: threading.Lock = field(default_factory=threading.Lock)
    _waiting: int = 0  # requests, which come before pages that nobody has asked for yet
    _listed: tuple[float, list[Entry], Results] | None = None

    def studies(self) -> tuple[list[Entry], Results]:
        with self._listing:
            if self._listed is None or self.clock() - self._listed[0] > FRESH:
                results = self.open()
                self._listed = (self.clock(), entries(results), results)
            return self._listed[1:]

    def index(self) -> tuple[str, str]:
        """The page of all studies, and its version."""
        found, results = self.studies()
        text = index(results, found, {study: made.answer for study, made in self._made.items() if made.answer}).html()
        return text, _hash([text])

    def version(self, study: str) -> str:
        """That which a study's files would have if they were asked for now."""
        made = self._made.get(study)
        return made.version if made is not None and made.rests(self.clock()) else self._version(study)

    def of_study(self, study: str) -> Made | None:
        """None where there is no such study."""
        made = self._made.get(study)
        if made is not None and made.version == self.version(study):
            return made
        if not is_study(study) or study not in {entry.study for entry in self.studies()[0]}:
            return None
        self._waiting += 1
        with self._making:
            self._waiting -= 1
            made = self._made.get(study)
            if made is not None and made.version == self.version(study):  # it was made meanwhile
                return made
            begun, version = self.clock(), self._version(study)
            try:
                files, answer = study_files(self.open(), study)
            except Exception as error:  # one study's page must not end the others'
                files, answer = no_page(study, error), ""
            self._made[study] = Made(version, files, answer, self.clock(), self.clock() - begun)
            return self._made[study]

    def make_all(self) -> None:
        """One after the other, so that the page of all says what each found."""
        for entry in self.studies()[0]:
            while self._waiting:
                time.sleep(0.1)
            self.of_study(entry.study)
            time.sleep(0.1)

    def _version(self, study: str) -> str:
        """Files of records are never changed: their names say what there is. Of one that runs, those of all runs."""
        results = self.open()
        now = running(results, study)
        own = [f"{table}/study={study}" for table in PARTITIONED]
        folders = own + [table for table in TABLES if table not in PARTITIONED] if now else own
        return _hash([now, *(name for folder in folders for name in results.storage.list(folder))])


def _hash(texts: list[str]) -> str:
    return hashlib.sha256("\n".join(texts).encode()).hexdigest()[:16]


class _Handler(BaseHTTPRequestHandler):
    server_version, sys_version = "pages", ""
    site: Site

    def do_GET(self) -> None:
        self._answer(body=True)

    def do_HEAD(self) -> None:
        self._answer(body=False)

    def _answer(self, body: bool) -> None:
        if not _is_loopback(self.headers.get("Host", "")):
            return self._send(HTTPStatus.FORBIDDEN, f"Only {LOOPBACK} and localhost are served.", body)
        parts = [unquote(part) for part in urlsplit(self.path).path.split("/")[1:]]
        if parts in ([""], [INDEX]):
            text, version = self.site.index()
            return self._send(HTTPStatus.OK, live(text, version, ASKED_EVERY), body, version)
        if len(parts) == 2:
            study, name = parts
            if not body and study in self.site._made:  # a look of an open page
                return self._send(HTTPStatus.OK, "", body, self.site.version(study))
            made = self.site.of_study(study)
            if made is not None and name in made.files:
                text = made.files[name]
                text = live(text, made.version, ASKED_EVERY) if name == REPORT else text
                return self._send(HTTPStatus.OK, text, body, made.version, name)
        return self._send(HTTPStatus.NOT_FOUND, "There is no such page.", body)

    def _send(self, status: HTTPStatus, text: str, body: bool, version: str = "", name: str = "") -> None:
        data = text.encode()
        kind = _TYPES.get(name.rpartition(".")[2], "text/html" if version else "text/plain")
        self.send_response(status)
        for header, value in _SAFE.items():
            self.send_header(header, value)
        if version:
            self.send_header("ETag", f'"{version}"')
        self.send_header("Content-Type", f"{kind}; charset=utf-8")
        if body:
            self.send_header("Content-Length", str(len(data)))
        self.end_headers()
        if body:
            self.wfile.write(data)

    def log_message(self, format: str, *args: Any) -> None:
        """Nothing: an open page asks every few seconds."""


def _is_loopback(host: str) -> bool:
    return host.rpartition(":")[0] in (LOOPBACK, "localhost") or host in (LOOPBACK, "localhost")


def server(url: str, port: int) -> tuple[ThreadingHTTPServer, Site]:
    """Bound to the loopback, and not serving yet. Raises ConfigError where the port cannot be had."""
    site = Site(lambda: open_results(url))
    handler = type("Handler", (_Handler,), {"site": site})
    try:
        made = ThreadingHTTPServer((LOOPBACK, port), handler)
    except (OSError, OverflowError) as error:
        reason = getattr(error, "strerror", None) or error
        raise ConfigError(f"--port {port}: {reason}; name another, or 0 for any that is free") from None
    made.daemon_threads = True
    return made, site
