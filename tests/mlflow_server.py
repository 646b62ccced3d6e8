"""A small MLflow server on this machine, for the tests: the calls of its REST API that we make, and what arrived."""

import json
import re
import threading
import urllib.parse
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import Any


class MlflowServer:
    """As a context manager, under `url`.

    Attributes:
        runs: by MLflow's own id: `status`, `tags`, `params`, and `metrics` as they arrived, in order.
    """

    def __init__(self) -> None:
        self.experiments: dict[str, str] = {}  # name -> id
        self.runs: dict[str, dict[str, Any]] = {}
        owner = self

        class Handler(BaseHTTPRequestHandler):
            protocol_version = "HTTP/1.1"

            def log_message(self, *_: object) -> None:
                pass

            def do_GET(self) -> None:
                self._answer({})

            def do_POST(self) -> None:
                self._answer(json.loads(self.rfile.read(int(self.headers["Content-Length"]))))

            def _answer(self, told: dict[str, Any]) -> None:
                url = urllib.parse.urlsplit(self.path)
                what = url.path.removeprefix("/api/2.0/mlflow/")
                found = owner.answer(what, told | dict(urllib.parse.parse_qsl(url.query)))
                data = json.dumps(found if found is not None else {"error_code": "RESOURCE_DOES_NOT_EXIST"}).encode()
                self.send_response(404 if found is None else 200)
                self.send_header("Content-Length", str(len(data)))
                self.end_headers()
                self.wfile.write(data)

        self._server = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
        self.url = f"http://127.0.0.1:{self._server.server_address[1]}"

    def __enter__(self) -> "MlflowServer":
        threading.Thread(target=self._server.serve_forever, args=(0.05,), daemon=True).start()
        return self

    def __exit__(self, *_: object) -> None:
        self._server.shutdown()
        self._server.server_close()

    def answer(self, what: str, told: dict[str, Any]) -> dict[str, Any] | None:
        """None for what is not there."""
        if what == "experiments/get-by-name":
            name = self.experiments.get(told["experiment_name"])
            return None if name is None else {"experiment": {"experiment_id": name}}
        if what == "experiments/create":
            name = self.experiments[told["name"]] = str(len(self.experiments) + 1)
            return {"experiment_id": name}
        if what == "runs/create":
            name = f"r{len(self.runs)}"
            self.runs[name] = {"status": "RUNNING", "tags": _pairs(told["tags"]), "params": {}, "metrics": []}
            self.runs[name]["name"] = told["run_name"]
            return {"run": {"info": {"run_id": name}}}
        if what == "runs/search":
            tag = re.fullmatch(r"tags.`([\w.]+)` = '(\w+)'", told["filter"])
            assert tag is not None and told["experiment_ids"][0] in self.experiments.values()
            return {"runs": [self._shown(name) for name in self.runs if self.runs[name]["tags"][tag[1]] == tag[2]]}
        run = self.runs[told["run_id"]]
        if what == "runs/update":
            run["status"] = told["status"]
            return {"run_info": {}}
        assert what == "runs/log-batch", what
        assert len(told.get("params", ())) <= 100 and not run["params"].keys() & _pairs(told.get("params", ())).keys()
        for pair in (*told.get("params", ()), *told.get("metrics", ())):
            assert re.fullmatch(r"[\w./ -]+", pair["key"], re.ASCII), pair["key"]
        run["tags"] |= _pairs(told.get("tags", ()))
        run["params"] |= _pairs(told.get("params", ()))
        run["metrics"] += told.get("metrics", ())
        return {}

    def _shown(self, name: str) -> dict[str, Any]:
        latest = {metric["key"]: metric for metric in self.runs[name]["metrics"]}
        return {"info": {"run_id": name}, "data": {"metrics": list(latest.values())}}


def _pairs(listed: Any) -> dict[str, str]:
    return {pair["key"]: pair["value"] for pair in listed}
