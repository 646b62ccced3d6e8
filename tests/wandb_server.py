"""A small W&B server on this machine, for the tests: it answers the calls of the real client and keeps what arrives.

It can misbehave too: `failing` says how.
"""

import gzip
import json
import re
import threading
from collections import Counter
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import Any

ENTITY = "tester"
KEY = "0123456789" * 4  # an API key of the length that the client asks for
FILES = {"history": "wandb-history.jsonl", "summary": "wandb-summary.json"}


@dataclass
class Run:
    """What has arrived of one run."""

    name: str
    project: str = ""
    fields: dict[str, Any] = field(default_factory=dict)  # of UpsertBucket, the last that was not null
    lines: dict[str, dict[int, str]] = field(default_factory=dict)  # file -> offset -> line
    received: list[dict[str, Any]] = field(default_factory=list)  # every row of history, repeated ones too
    exit_code: int | None = None

    @property
    def history(self) -> list[dict[str, Any]]:
        rows = self.lines.get(FILES["history"], {})
        return [json.loads(rows[offset]) for offset in sorted(rows)]

    @property
    def summary(self) -> dict[str, Any]:
        rows = self.lines.get(FILES["summary"], {})
        return json.loads(rows[max(rows)]) if rows else json.loads(self.fields.get("summaryMetrics") or "{}")

    @property
    def config(self) -> dict[str, Any]:
        """Without the client's own part."""
        found = json.loads(self.fields.get("config") or "{}")
        return {key: entry["value"] for key, entry in found.items() if key != "_wandb"}


class WandbServer:
    """As a context manager, under `url`.

    Attributes:
        failing: an HTTP status that every call is answered with, or seconds to wait for before any answer; or a
            function of (operation or path) that returns one of these, or None.
        operations: how often each GraphQL operation was asked for, also those that failed.
        unknown: operations that this server has no answer to.
    """

    def __init__(self) -> None:
        self.runs: dict[str, Run] = {}
        self.operations: Counter[str] = Counter()
        self.unknown: dict[str, str] = {}
        self.views: dict[str, dict[str, Any]] = {}
        self.uploads: dict[str, bytes] = {}
        self.failing: Any = None
        self.lock = threading.Lock()
        self._over = threading.Event()
        owner = self

        class Handler(_Handler):
            server_of_tests = owner

        self._server = _Server(("127.0.0.1", 0), Handler)
        self.url = f"http://127.0.0.1:{self._server.server_address[1]}"
        self._thread = threading.Thread(target=self._server.serve_forever, args=(0.05,), daemon=True)

    def __enter__(self) -> "WandbServer":
        self._thread.start()
        return self

    def __exit__(self, *_: object) -> None:
        self._server.shutdown()
        self._server.server_close()

    @contextmanager
    def misbehaving(self, failing: Any) -> Iterator[None]:
        self._over.clear()
        self.failing = failing
        yield
        self.failing = None
        self._over.set()  # nobody waits any longer

    def wait(self, seconds: float) -> None:
        self._over.wait(seconds)

    # What each operation is answered with ---------------------------------------------------------------------------

    def answer(self, operation: str, query: str, variables: dict[str, Any]) -> dict[str, Any] | None:
        """The `data` of a GraphQL answer; None for an operation that is not known."""
        match operation:
            case "Viewer":
                viewer = {"id": "u1", "username": ENTITY, "entity": ENTITY, "flags": "{}", "name": ENTITY}
                viewer |= {"email": "", "admin": False, "teams": {"edges": []}, "apiKeys": {"edges": []}}
                return {"viewer": viewer, "serverInfo": {"latestLocalVersionInfo": None, "cliVersionInfo": "{}"}}
            case "GetDefaultEntity":
                return {"viewer": {"id": "u1", "entity": ENTITY, "defaultEntity": {"name": ENTITY}}}
            case "ServerFeaturesQuery":
                return {"serverInfo": {"features": []}}
            case "OrgFeatureFlags":
                return {"organization": None}
            case "RunResumeStatus":
                return {"model": self._resume_status(variables)}
            case "UpsertBucket":
                return {"upsertBucket": self._upsert(variables)}
            case "Runs":
                return {"project": self._listed(variables)}
            case "CreateRunFiles":
                return {"createRunFiles": self._files(variables)}
        return None

    def _resume_status(self, variables: dict[str, Any]) -> dict[str, Any]:
        run = self.runs.get(variables["name"])
        bucket = None
        if run is not None:
            lines = {name: run.lines.get(file, {}) for name, file in FILES.items()}
            tail = [lines["history"][max(lines["history"])]] if lines["history"] else []
            bucket = {
                "name": run.name, "displayName": run.fields.get("displayName"), "logLineCount": 0,
                "summaryMetrics": json.dumps(run.summary), "historyLineCount": len(lines["history"]),
                "eventsLineCount": 0, "historyTail": json.dumps(tail), "eventsTail": "[]",
                "config": run.fields.get("config") or "{}", "tags": run.fields.get("tags") or [], "notes": None,
                "wandbConfig": json.dumps({"t": 1}),
            }  # fmt: skip
        return {"name": variables["project"], "entity": {"name": ENTITY}, "bucket": bucket}

    def _upsert(self, variables: dict[str, Any]) -> dict[str, Any]:
        name = variables["name"]
        new = name not in self.runs
        run = self.runs.setdefault(name, Run(name))
        run.exit_code = None  # it goes on
        run.project = variables.get("project") or run.project
        run.fields |= {key: value for key, value in variables.items() if value is not None}
        project = {"id": "p1", "name": run.project, "entity": {"id": "e1", "name": ENTITY}}
        bucket = {
            "id": f"id-{name}", "name": name, "displayName": run.fields.get("displayName"), "description": None,
            "config": run.fields.get("config"), "sweepName": None, "project": project,
            "historyLineCount": len(run.lines.get(FILES["history"], {})),
        }  # fmt: skip
        return {"bucket": bucket, "inserted": new}

    def _listed(self, variables: dict[str, Any]) -> dict[str, Any]:
        """Runs by their names: the one filter that is known here."""
        wanted = json.loads(variables["filters"])["name"]["$in"]
        edges = []
        for name in (name for name in wanted if name in self.runs):
            run = self.runs[name]
            state = "running" if run.exit_code is None else "failed" if run.exit_code else "finished"
            node: dict[str, Any] = dict.fromkeys(
                ("sweepName", "commit", "createdAt", "heartbeatAt", "description", "notes")
            )
            node |= {
                "projectId": 1, "id": f"id-{name}", "name": name, "displayName": run.fields.get("displayName"),
                "tags": run.fields.get("tags") or [], "state": state, "group": run.fields.get("groupName"),
                "jobType": run.fields.get("jobType"), "readOnly": False, "user": {"name": ENTITY, "username": ENTITY},
                "historyLineCount": len(run.lines.get(FILES["history"], {})),
            }  # fmt: skip
            edges.append({"node": node, "cursor": name})
        page = {"endCursor": None, "hasNextPage": False}
        runs = {"edges": edges, "pageInfo": page}
        return {"internalId": 1, "runCount": len(edges), "readOnly": False, "runs": runs}

    def _files(self, variables: dict[str, Any]) -> dict[str, Any]:
        urls = [
            {"name": name, "uploadUrl": f"{self.url}/uploads/{variables['run']}/{name}"} for name in variables["files"]
        ]
        return {"runID": f"id-{variables['run']}", "uploadHeaders": [], "files": urls}

    def stream(self, name: str, content: dict[str, Any]) -> None:
        """A message of a run's file stream: lines from an offset on."""
        run = self.runs.setdefault(name, Run(name))
        for file, chunk in (content.get("files") or {}).items():
            lines = run.lines.setdefault(file, {})
            for place, line in enumerate(chunk["content"], chunk["offset"]):
                lines[place] = line
                if file == FILES["history"]:
                    run.received.append(json.loads(line))
        if content.get("complete"):
            run.exit_code = content.get("exitcode")


class _Server(ThreadingHTTPServer):
    daemon_threads = True

    def handle_error(self, *_: object) -> None:
        """Nothing: a client that has gone is no news."""


class _Handler(BaseHTTPRequestHandler):
    protocol_version = "HTTP/1.1"
    server_of_tests: WandbServer

    def log_message(self, *_: object) -> None:
        pass

    def _body(self) -> bytes:
        data = self.rfile.read(int(self.headers.get("Content-Length") or 0))
        return gzip.decompress(data) if self.headers.get("Content-Encoding") == "gzip" else data

    def _send(self, status: int, content: Any) -> None:
        data = json.dumps(content).encode()
        self.send_response(status)
        self.send_header("Content-Type", "application/json")
        self.send_header("Content-Length", str(len(data)))
        self.end_headers()
        self.wfile.write(data)

    def _fails(self, what: str) -> bool:
        """Misbehaves, if it is to."""
        failing = self.server_of_tests.failing
        if callable(failing):
            failing = failing(what)
        if isinstance(failing, float):
            self.server_of_tests.wait(failing)
            return False
        if failing is not None:
            self._send(failing, {"error": f"status {failing}"})
        return failing is not None

    def do_GET(self) -> None:
        self._send(200, {})

    def do_PUT(self) -> None:
        body = self._body()
        if not self._fails(self.path):
            with self.server_of_tests.lock:
                self.server_of_tests.uploads[self.path] = body
            self._send(200, {})

    def do_POST(self) -> None:
        server, body = self.server_of_tests, self._body()
        if stream := re.fullmatch(r"/files/[^/]+/([^/]+)/([^/]+)/file_stream", self.path):
            if not self._fails("file_stream"):
                with server.lock:
                    server.stream(stream[2], json.loads(body))
                self._send(200, {"exitcode": None, "limits": {}})
            return
        if not self.path.startswith("/graphql"):
            server.unknown[self.path] = body.decode(errors="replace")[:500]
            self._send(404, {})
            return
        asked = json.loads(body)
        named = re.search(r"(?:query|mutation)\s+(\w+)", asked["query"])
        operation = asked.get("operationName") or (named[1] if named else "")
        server.operations[operation] += 1
        if self._fails(operation):
            return
        with server.lock:
            data = server.answer(operation, asked["query"], asked.get("variables") or {})
        if data is None:
            server.unknown[operation] = asked["query"]
            self._send(200, {"data": None, "errors": [{"message": f"this server knows no {operation}"}]})
        else:
            self._send(200, {"data": data})
