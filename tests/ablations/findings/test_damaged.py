"""A study whose records were damaged, or added to by somebody else: what cannot be read is named on the page, the rest
is judged, and nothing ends in a traceback."""

import shutil
import warnings
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
import pytest

from ablations import report
from ablations.findings.collect import findings_of
from ablations.findings.findings import Findings
from lab.errors import ConfigError
from lab.store.files import encode
from lab.store.objects.checksums import named
from lab.store.schema import PARTITIONED, file_schema
from lab.store.tables import Results
from lab.training.window_errors import windows_path
from tests.ablations.recorded import BEGUN, add_runs, begin, small_study

SEEDS = 8
ERRORS = {"full": np.linspace(0.4, 0.5, SEEDS), "no_film": np.linspace(0.5, 0.6, SEEDS)}


@pytest.fixture(scope="module")
def template(tmp_path_factory: pytest.TempPathFactory) -> Path:
    results = Results(tmp_path_factory.mktemp("template") / "out")
    record = begin(results, small_study(arms=["no_film"]))
    add_runs(results, record, {"main": {arm: values.tolist() for arm, values in ERRORS.items()}})
    record.add_judgement(results, SEEDS)
    return Path(results.storage.root)


@pytest.fixture
def root(template: Path, tmp_path: Path) -> Path:
    return Path(shutil.copytree(template, tmp_path / "out"))


def row(root: Path, table: str, **columns: Any) -> None:
    """A row that the checks on the way in would not let pass."""
    schema = file_schema(table)
    rows = pa.table({f.name: pa.array([columns.get(f.name)], f.type) for f in schema}, schema=schema)
    data = encode(rows)
    folder = f"{table}/study=mine" if table in PARTITIONED else table
    (root / named(f"{folder}/evil.parquet", data)).write_bytes(data)


def a_run(root: Path) -> dict[str, Any]:
    """A run of `no_film`."""
    results = Results(root)
    member = next(r for r in results.table("members", "mine").to_pylist() if r["arm"] == "no_film")
    return results.runs()[member["run"]]


def spoil(path: Path) -> None:
    data = path.read_bytes()
    path.write_bytes(data[:-1] + bytes([data[-1] ^ 1]))


def of_run(root: Path, folder: str) -> Path:
    return next((root / folder).glob(f"{a_run(root)['run']}*"))


def joins(root: Path, **columns: Any) -> None:
    """Somebody else's run becomes a member of the arm."""
    row(root, "runs", **{**a_run(root), "run": "evil", **columns})
    row(root, "members", arm="no_film", cell="main", role="arm", run="evil", time=BEGUN)


KINDS: dict[str, Callable[[Path], Any]] = {
    "a damaged run": lambda root: spoil(of_run(root, "runs")),
    "a damaged reading": lambda root: spoil(of_run(root, "evaluations")),
    "a damaged history": lambda root: spoil(of_run(root, "history")),
    "damaged windows": lambda root: spoil(next((root / windows_path(a_run(root)["run"])).parent.iterdir())),
    "windows of no kind": lambda root: (
        next((root / windows_path(a_run(root)["run"])).parent.iterdir()).unlink()
        or (root / "test_windows" / f"{a_run(root)['run']}.npy").write_bytes(b"hello")
    ),
    "a member of nothing": lambda root: row(root, "members", role="arm", run="nobody", time=BEGUN),
    "a member of no arm": lambda root: row(root, "members", role="arm", run=a_run(root)["run"], time=BEGUN),
    "a run without a seed": lambda root: joins(root, seed=None),
    "a run without anything": lambda root: joins(
        root, seed=99, started=None, ended=None, epochs=None, channels=None, cpu_seconds=None, host=None
    ),
    "an event that is no event": lambda root: row(root, "studies", settings="[]", time=BEGUN),
    "a reading of nobody": lambda root: row(
        root, "evaluations", run=a_run(root)["run"], split="test", metric="sparkle", value=np.inf, time=BEGUN
    ),
    "a history without end": lambda root: row(
        root, "history", run=a_run(root)["run"], attempt=1, step=2**60, metric="val_mse", value=1.0
    ),
}  # fmt: skip
NAMED = {"a damaged run", "a damaged reading", "a damaged history", "damaged windows", "windows of no kind",
         "an event that is no event"}  # fmt: skip


@pytest.mark.parametrize("kind", KINDS)
def test_the_rest_is_judged(root: Path, kind: str) -> None:
    KINDS[kind](root)
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        found: Findings = findings_of(Results(root), "mine")
    assert (len(found.skipped) == 1) == (kind in NAMED), found.skipped
    lost = {"no_film": int(kind in ("a damaged run", "a damaged reading"))}
    for arm, errors in ERRORS.items():
        there = found.runs_of(arm, "main").errors["test_mse"]
        assert np.isnan(there).sum() == lost.get(arm, 0), "missing, and no other number"
        assert {round(value, 9) for value in there if value == value} <= {round(value, 9) for value in errors}


def test_the_page_says_what_was_passed_over(root: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    damaged = of_run(root, "runs")
    spoil(damaged)
    with pytest.warns(UserWarning, match="passed over"):
        assert report.main(["mine", "--results", str(root), "--out", str(tmp_path / "page")]) == 0
    assert "note: 1 object of the records could not be read" in capsys.readouterr().out
    for name in ("report.html", "report.md"):
        text = (tmp_path / "page" / name).read_text()
        assert "Passed over" in text and damaged.name in text


def test_a_study_that_cannot_be_made_sense_of_is_one_sentence(root: Path) -> None:
    row(root, "studies", settings='{"kind": "ablation"}', time=BEGUN.replace(year=1999))
    with pytest.raises(ConfigError, match="study 'mine'"):
        findings_of(Results(root), "mine")
