"""Reports published through the real client: made once, updated then, and nothing claimed that did not arrive."""

import io
import json
import shutil
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from ablations.report import main
from dynonet.config import Config
from lab.store.tables import Results
from lab.tracking.client import end_service
from lab.tracking.report import without_folders
from tests.lab.tracking.sent import ONLINE, send
from tests.tune.searched import Searched, spread
from tests.wandb_report_server import ReportServer
from tests.wandb_server import ENTITY, KEY
from tune.report import main as search_report


@pytest.fixture
def server(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[ReportServer]:
    home = tmp_path / "home"
    home.mkdir(exist_ok=True)
    with ReportServer() as found:
        for name, value in {
            "HOME": home, "NETRC": home / "netrc", "WANDB_CONFIG_DIR": home, "WANDB_BASE_URL": found.url,
            "WANDB_API_KEY": KEY, "WANDB_ERROR_REPORTING": "false", "WANDB_DATA_DIR": home, "WANDB_CACHE_DIR": home,
        }.items():  # fmt: skip
            monkeypatch.setenv(name, str(value))
        monkeypatch.delenv("WANDB_MODE", raising=False)
        yield found
        end_service()


@pytest.fixture
def records(tmp_path: Path, golden_dir: Path) -> str:
    """The golden study, in a store of its own."""
    shutil.copytree(golden_dir / "study" / "store", tmp_path / "records")
    return str(tmp_path / "records")


def test_records_go_along_without_folders_of_a_home() -> None:
    path = "/home/anna/Küche/über.csv"
    sent = {"config": [json.dumps({"data": {"path": path}}), None], "params.data.path": [path, None], "epochs": [1, 2]}
    there = without_folders(pa.table(sent), {path}).to_pydict()
    assert json.loads(there["config"][0]) == {"data": {"path": "über.csv"}} and there["config"][1] is None
    assert there["params.data.path"] == ["über.csv", None] and there["epochs"] == [1, 2]


def test_a_report_is_made_once_and_updated_then(server: ReportServer, records: str, capsys: Any) -> None:
    arguments = ["mine", "--results", records, "--wandb", f"{ENTITY}/dynonet"]
    for _ in range(2):
        assert main(arguments) == 0
        assert f"published {server.url}/{ENTITY}/dynonet/reports/" in capsys.readouterr().out
    assert not server.unknown and len(server.views) == 1 and server.operations["upsertView"] == 2
    ((view, variables),) = server.views.items()
    assert variables["id"] == view and "removing FiLM raised the test MSE" in variables["spec"]

    # Its figures are media of one run of the study, and the records went along as they are.
    (run,) = server.runs.values()
    assert (run.fields["groupName"], run.fields["jobType"]) == ("mine", "report")
    keys = {panel for panel in json.dumps(run.history).split('"') if panel.startswith("figures/")}
    media = {key for key in _media_keys(json.loads(variables["spec"])) if key}
    assert media and media <= keys
    uploads = {path.rsplit("/", 1)[-1]: body for path, body in server.uploads.items()}
    mine = Results(records)
    for table in ("runs", "members", "evaluations", "history", "studies"):
        assert pq.read_table(io.BytesIO(uploads[f"{table}.parquet"])).num_rows == mine.table(table, "mine").num_rows
    assert uploads["effects.csv"].decode() == (Path(records) / "reports/mine/effects.csv").read_text()
    svg = [body for name, body in uploads.items() if name.endswith(".html") and b"<svg" in body]
    assert len(svg) >= len(media)


def _media_keys(spec: dict[str, Any]) -> Iterator[str]:
    for block in spec["blocks"]:
        for panel in block.get("metadata", {}).get("panelBankSectionConfig", {}).get("panels", []):
            yield from panel["config"].get("mediaKeys") or []


def test_a_search_s_report_is_made_too(server: ReportServer, tmp_path: Path, capsys: Any) -> None:
    store = Searched(Results(tmp_path / "records"), Config.create({"training.max_epochs": 6})).add(*spread(12))
    arguments = [store.name, "--results", str(tmp_path / "records"), "--wandb", f"{ENTITY}/dynonet"]
    for _ in range(2):
        assert search_report(arguments) == 0, capsys.readouterr().err
    ((_, variables),) = server.views.items()
    panels = [
        panel["viewType"]
        for block in json.loads(variables["spec"])["blocks"]
        for panel in block.get("metadata", {}).get("panelBankSectionConfig", {}).get("panels", [])
    ]
    assert {"Parallel Coordinates Plot", "Parameter Importance", "Run Comparer", "Scatter Plot"} <= set(panels)
    (run,) = server.runs.values()
    assert (run.fields["groupName"], run.fields["jobType"]) == (store.name, "report")
    uploads = {path.rsplit("/", 1)[-1]: body for path, body in server.uploads.items()}
    assert uploads["trials.csv"].count(b"\n") == 13 and "trials.parquet" in uploads

    # Its parallel coordinates have a number or a word for each column in what W&B has of each trial's runs.
    assert send(store.results, store.name, ONLINE) == 24
    (axes,) = [
        [column["accessor"] for column in panel["config"]["columns"]]
        for block in json.loads(variables["spec"])["blocks"]
        for panel in block.get("metadata", {}).get("panelBankSectionConfig", {}).get("panels", [])
        if panel["viewType"] == "Parallel Coordinates Plot"
    ]
    trials = [run for run in server.runs.values() if run.fields["jobType"] == "search"]
    assert len(trials) == 24 and "config:training.value.mode" in axes and axes[-1] == "summary:val_mse"
    for run in trials:
        there = {"config": {key: {"value": value} for key, value in run.config.items()}, "summary": run.summary}
        for kind, _, path in (axis.partition(":") for axis in axes):
            found = there[kind]
            for key in path.split("."):
                found = found[key]
            assert isinstance(found, str | int | float), (kind, path)


FAILING: dict[str, Any] = {
    "401": 401, "500": 500, "files": lambda what: 500 if what == "CommitArtifact" else None,
    "report": lambda what: 500 if what == "upsertView" else None,
}  # fmt: skip


@pytest.mark.parametrize("failing", FAILING.values(), ids=FAILING)
def test_what_did_not_arrive_is_not_claimed(server: ReportServer, records: str, capsys: Any, failing: Any) -> None:
    with server.misbehaving(failing):
        assert main(["mine", "--results", records, "--wandb", f"{ENTITY}/dynonet"]) == 2
    captured = capsys.readouterr()
    assert captured.err.startswith("error: W&B: ") and captured.err.count("\n") == 1 and "published" not in captured.out
    assert (Path(records) / "reports/mine/report.html").exists() and not server.views
    assert main(["mine", "--results", records, "--wandb", f"{ENTITY}/dynonet"]) == 0 and len(server.views) == 1


def test_a_dry_run_touches_nothing(server: ReportServer, records: str, capsys: Any) -> None:
    assert main(["mine", "--results", records, "--wandb", f"{ENTITY}/dynonet", "--wandb-dry-run"]) == 0
    assert not server.operations and not server.uploads
    content = json.loads((Path(records) / "reports/mine/wandb-report.json").read_text())
    assert content["project"]["entityName"] == ENTITY and len(content["spec"]["blocks"]) > 20
    assert main(["mine", "--results", records, "--wandb-dry-run"]) == 2
    assert "--wandb-dry-run goes with --wandb" in capsys.readouterr().err
