"""Runs as MLflow shows them, through the server that MLFLOW_TRACKING_URI names: its REST API, without its packages.

A run bears our id as a tag: whoever goes on with it asks the server for it, and for the last epoch that it has. An
epoch's numbers are one request, which the server takes whole or not at all. Keys are MLflow's own variables.
"""

import base64
import contextlib
import json
import os
import re
import time
import urllib.error
import urllib.parse
import urllib.request
from collections.abc import Mapping
from typing import Any

from lab.settings.files import dotted
from lab.store.tables import Results
from lab.tracking.options import TrackerError, Tracking, reason
from lab.tracking.runs import TrackedRun
from lab.tracking.sink import Sink

URI = "MLFLOW_TRACKING_URI"
ID = "place"  # tag of a run, with the id that its place in a study has everywhere
MOST_PARAMS, MOST_TEXT = 100, 5000  # of one request, characters of a setting
LATER = ("provenance.", "versions.")  # of a run's config, where it was trained: tags, since a parameter is for ever


class MlflowSink(Sink):
    """All runs that this process shows in MLflow."""

    def __init__(self, *arguments: Any, **more: Any):
        super().__init__(*arguments, **more)
        self._experiment: str | None = None
        self._open: dict[str, tuple[str, int]] = {}  # MLflow's id of a run that trains, and the last epoch it has

    @classmethod
    def check(cls, options: Tracking, results: Results) -> None:
        if not (uri := os.environ.get(URI, "")).startswith(("http://", "https://")):
            got = f"got '{uri}'" if uri else "it is not set"
            raise TrackerError(
                f"{URI}: {got}; the address of a server is needed, as of `mlflow server`: http://HOST:PORT"
            )

    @property
    def place(self) -> list[str | None]:
        return ["mlflow", urllib.parse.urlsplit(os.environ[URI]).netloc.rpartition("@")[2], self.options.project]

    def said(self, *studies: str) -> str:
        return f"{self.sent} runs sent to experiment {self.options.project}, tag study = {', '.join(studies)}"

    def connect(self) -> None:
        if self._experiment is not None:
            return
        self.check(self.options, self.results)
        asked = urllib.parse.urlencode({"experiment_name": self.options.project})
        try:
            found = self._call(f"experiments/get-by-name?{asked}", missing={})
            made = found.get("experiment") or self._call("experiments/create", {"name": self.options.project})
        except Exception as error:
            raise TrackerError(f"{self.place[1]} does not answer as MLflow's API does: {reason(error)}") from error
        self._experiment = str(made["experiment_id"])

    def show(self, run: TrackedRun, again: bool = False) -> None:
        self.connect()
        known = self._open.pop(run.id) if run.id in self._open else self._found(run)
        name, last = known or (self._begun(run), 0)
        for step, values in run.history:
            if step > last:
                self._numbers(name, {"epoch": step, **values}, last := step)
        if run.ended:
            numbers = {key: value for key, value in run.summary.items() if isinstance(value, int | float)}
            words = {key: value for key, value in run.summary.items() if key not in numbers}
            self._numbers(name, {f"end/{key}": value for key, value in numbers.items()}, last)
            self._call("runs/log-batch", {"run_id": name, "tags": _pairs({**words, **_place(run)})})
            status = "FAILED" if run.exit_code else "FINISHED"
            self._call("runs/update", {"run_id": name, "status": status, "end_time": _now()})
        else:
            self._open[run.id] = name, last

    def close(self) -> None:
        for name, _ in self._open.values():
            with contextlib.suppress(Exception):
                self._call("runs/update", {"run_id": name, "status": "KILLED"})
        self._open = {}

    def _found(self, run: TrackedRun) -> tuple[str, int] | None:
        """The server's run, open again, and the last epoch that it has."""
        asked = {"experiment_ids": [self._experiment], "filter": f"tags.`{ID}` = '{run.id}'", "max_results": 1}
        runs = self._call("runs/search", asked).get("runs") or []
        if not runs:
            return None
        name = runs[0]["info"]["run_id"]
        self._call("runs/update", {"run_id": name, "status": "RUNNING"})
        epochs = [each["value"] for each in runs[0]["data"].get("metrics", ()) if each["key"] == "epoch"]
        return name, int(max(epochs, default=0))

    def _begun(self, run: TrackedRun) -> str:
        asked = {"experiment_id": self._experiment, "run_name": run.name, "start_time": _now()}
        made = self._call("runs/create", {**asked, "tags": _pairs({ID: run.id, **_place(run)})})
        name = str(made["run"]["info"]["run_id"])
        settings = {key: value for key, value in run.config.items() if isinstance(value, Mapping)}
        params = _pairs({key: value for key, value in dotted(settings).items() if not key.startswith(LATER)})
        for at in range(0, len(params), MOST_PARAMS):
            self._call("runs/log-batch", {"run_id": name, "params": params[at : at + MOST_PARAMS]})
        return name

    def _numbers(self, name: str, values: Mapping[str, float], step: int) -> None:
        now = _now()
        found = [{"key": _key(key), "value": value, "timestamp": now, "step": step} for key, value in values.items()]
        self._call("runs/log-batch", {"run_id": name, "metrics": found})

    def _call(self, what: str, content: Mapping[str, Any] | None = None, missing: Any = None) -> Any:
        """What the server answers. Raises TrackerError for what it refuses; `missing` in place of a 404."""
        data, url = None if content is None else json.dumps(content).encode(), os.environ[URI].rstrip("/")
        headers = {"Content-Type": "application/json", **_authorization()}
        request = urllib.request.Request(f"{url}/api/2.0/mlflow/{what}", data, headers)
        try:
            with urllib.request.urlopen(request, timeout=self.patience) as answer:
                return json.loads(answer.read() or b"{}")
        except urllib.error.HTTPError as error:
            if error.code == 404 and missing is not None:
                return missing
            raise TrackerError(f"{what.partition('?')[0]}: {error.code} {error.read()[:200].decode()}") from error


def _authorization() -> dict[str, str]:
    token, user, password = (os.environ.get(f"MLFLOW_TRACKING_{name}") for name in ("TOKEN", "USERNAME", "PASSWORD"))
    basic = base64.b64encode(f"{user}:{password or ''}".encode()).decode()
    return {"Authorization": f"Bearer {token}" if token else f"Basic {basic}"} if token or user else {}


def _place(run: TrackedRun) -> dict[str, Any]:
    """The run's place in the study, and where it was trained as far as it is known."""
    return {key: value for key, value in dotted(run.config).items() if "." not in key or key.startswith(LATER)}


def _pairs(values: Mapping[str, Any]) -> list[dict[str, str]]:
    return [{"key": _key(key), "value": str(value)[:MOST_TEXT]} for key, value in values.items()]


def _key(name: str) -> str:
    """A name of MLflow's, which takes few signs."""
    return re.sub(r"[^\w./ -]", "_", name, flags=re.ASCII)


def _now() -> int:
    return int(time.time() * 1000)
