"""Stores that somebody else has been at: whatever lies there is named and passed over, the rest read; nothing of it is
run, waited for, or ends a command in a traceback.

With DYNONET_PAGES set, every kind has its page made, and not one in eight.
"""

import io
import json
import os
import pickle
import shutil
import signal
import socket
import warnings
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import pyarrow as pa
import pyarrow.parquet as pq
import pytest
import torch

from dynonet.config import Config
from lab import results as results_command
from lab.errors import ConfigError, DataError
from lab.store.files import NONCE_KEY, SOURCES_KEY, encode
from lab.store.frames import load
from lab.store.objects.checksums import named as with_checksum
from lab.store.schema import PARTITIONED, SCHEMA_VERSION, VERSION_KEY, file_schema
from lab.store.tables import Results, ResultsError
from lab.training.readings import load_weights
from lab.training.window_errors import BLOCK, keep_window_errors, window_errors, windows_path
from tests.tune.searched import BEGUN, Searched, spread
from tune import report
from tune.findings.collect import findings_of

Hostile = Callable[[Path, Results], None]
SECONDS = 30  # a command that takes longer hangs


@pytest.fixture(scope="module")
def template(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A search of eight trials with finals, whose records are half single files, half segments."""
    root = tmp_path_factory.mktemp("template") / "out"
    results = Results(root)
    searched = Searched(results, Config.create({"training.max_epochs": 6})).add(*spread(6))
    searched.linear(validation=0.4, test=0.5)
    results.compact()
    best = spread(2)[1]
    searched.finals("t00001", best.params, (0.31, 0.32)).add(*spread(8)[6:])
    finals = results.table("members", "mine").to_pylist()
    for run in [row["run"] for row in finals if row["role"] != "search"]:
        keep_window_errors(results, run, np.full(1000, 0.3))
        lines = [{"run": run, "attempt": 1, "step": n, "metric": "val_mse", "value": 1 / n} for n in (1, 2)]
        results.add("history", lines)
    return root


@pytest.fixture
def root(template: Path, tmp_path: Path) -> Path:
    return Path(shutil.copytree(template, tmp_path / "out"))


class Executed:
    """Makes a pickle that leaves a file behind where it is loaded."""

    def __init__(self, mark: Path):
        self.mark = mark

    def __reduce__(self) -> Any:
        return os.mkdir, (str(self.mark),)


def parquet(columns: dict[str, Any], footer: dict[bytes, bytes] | None = None) -> bytes:
    """A file of our kind, whose columns and footer are the caller's."""
    buffer = io.BytesIO()
    about = {VERSION_KEY: str(SCHEMA_VERSION).encode(), NONCE_KEY: b"x", **(footer or {})}
    pq.write_table(pa.table(columns).replace_schema_metadata(about), buffer)
    return buffer.getvalue()


def put(root: Path, path: str, data: bytes, as_named: bool = True) -> None:
    """An object of ours by its name, or one without a checksum."""
    full = root / (with_checksum(path, data) if as_named else path)
    full.parent.mkdir(parents=True, exist_ok=True)
    full.write_bytes(data)


def sparse(path: Path, size: int) -> None:
    with path.open("wb") as file:
        file.truncate(size)


def sock(path: Path) -> None:
    before = os.getcwd()
    os.chdir(path.parent)  # names of sockets are short
    try:
        with socket.socket(socket.AF_UNIX) as bound:
            bound.bind(path.name)
    finally:
        os.chdir(before)


RUN = {"run": ["evil"], "attempt": [1], "status": ["complete"]}
X = "x-0123456789abcdef.parquet"  # as names were before they stated checksums


def row(results: Results, table: str, **columns: Any) -> None:
    """A row that the checks on the way in would not let pass."""
    schema = file_schema(table)
    columns = {"time": BEGUN, **columns}
    rows = pa.table({f.name: pa.array([columns.get(f.name)], f.type) for f in schema}, schema=schema)
    folder = f"{table}/study=mine" if table in PARTITIONED else table
    put(Path(results.storage.root), f"{folder}/evil.parquet", encode(rows))


def proposed(results: Results, **columns: Any) -> None:
    known = next(r for r in results.table("trials", "mine").to_pylist() if r["event"] == "proposed")
    row(results, "trials", **{**known, "trial": "evil", "number": 99, **columns})


def outcome(results: Results, **columns: Any) -> None:
    proposed(results)
    known = next(r for r in results.table("trials", "mine").to_pylist() if r["event"] == "outcome")
    row(results, "trials", **{**known, "trial": "evil", "number": 99, **columns})


def weights_column(results: Results, path: str) -> None:
    known = {**next(iter(results.runs().values())), "weights": path, "run": "evil"}
    row(results, "runs", **known)
    row(results, "members", trial=None, role="final", run="evil")


def second_settings(results: Results, text: str) -> None:
    row(results, "studies", settings=text)


# Kinds of which there is nothing to name: what is read of them is as it should be, or nobody asks for it.
QUIET = {
    "a folder that holds itself", "two folders that hold each other", "numbers without end", "a status of no kind",
    "an error without end", "weights that lead out", "weights of the root", "weights of no path",
    "weights that are a folder",
}  # fmt: skip
DEEP = "[" * 100_000
RUNS = "runs/" + X
KINDS: dict[str, Hostile] = {
    "a named pipe": lambda root, _: os.mkfifo(root / RUNS),
    "a named pipe with a checksum": lambda root, _: os.mkfifo(root / f"runs/{'a' * 32}.parquet"),
    "a socket": lambda root, _: sock(root / RUNS),
    "a folder": lambda root, _: (root / RUNS / "in").mkdir(parents=True),
    "a table that is a file": lambda root, _: (root / "events").write_text("x"),
    "an endless device": lambda root, _: (root / RUNS).symlink_to("/dev/zero"),
    "a link to itself": lambda root, _: (root / RUNS).symlink_to(RUNS),
    "a link to nothing": lambda root, _: (root / RUNS).symlink_to("/nowhere/at/all"),
    "a folder that holds itself": lambda root, _: (root / "runs/in").symlink_to(root / "runs"),
    "two folders that hold each other": lambda root, _: [
        (root / "runs" / a).mkdir() or (root / "runs" / a / b).symlink_to(root / "runs" / b) for a, b in ("pq", "qp")
    ],
    "nothing": lambda root, _: put(root, RUNS, b"", False),
    "terabytes of nothing": lambda root, _: sparse(root / RUNS, 1 << 42),
    "a gigabyte of nothing": lambda root, _: sparse(root / RUNS, 1 << 30),
    "text": lambda root, _: put(root, RUNS, b"hello\n" * 1000, False),
    "a pickle": lambda root, _: put(root, RUNS, pickle.dumps(Executed(root / "executed")), False),
    "a footer of 2 GiB": lambda root, _: put(root, RUNS, b"PAR1" + b"x" * 99 + b"\xff\xff\xff\x7fPAR1", False),
    "a footer that is none": lambda root, _: put(root, RUNS, b"PAR1" + b"\x15" * 99 + b"\x20\0\0\0PAR1", False),
    "foreign Parquet": lambda root, _: put(root, RUNS, parquet({"a": [1]}, {VERSION_KEY: b"one"}), False),
    "another table": lambda root, _: put(root, "runs/x.parquet", parquet({"run": ["x"], "step": [1]})),
    "a version to come": lambda root, _: put(root, "runs/x.parquet", parquet(RUN, {VERSION_KEY: b"99"})),
    "a version without end": lambda root, _: put(root, RUNS, parquet(RUN, {VERSION_KEY: b"9" * 5000}), False),
    "columns of another type": lambda root, _: put(root, "runs/x.parquet", parquet({**RUN, "val_mse": ["low"]})),
    "lists for numbers": lambda root, _: put(root, "runs/x.parquet", parquet({**RUN, "epochs": [[1, 2]]})),
    "times out of time": lambda root, _: put(
        root, "runs/x.parquet", parquet({**RUN, "ended": pa.array([2**62], pa.timestamp("us", tz="UTC"))})
    ),
    "text that is none": lambda root, _: put(root, RUNS, parquet({**RUN, "error": pa.array([b"\xff\xfe"])}), False),
    "columns twice": lambda root, _: put(root, RUNS, _twice(), False),
    "sources that are none": lambda root, _: put(root, "runs/x.parquet", parquet(RUN, {SOURCES_KEY: b"{"})),
    "sources too deep": lambda root, _: put(root, "runs/x.parquet", parquet(RUN, {SOURCES_KEY: DEEP.encode()})),
    "sources of more rows": lambda root, _: put(root, "runs/x.parquet", parquet(RUN, {SOURCES_KEY: b'[["a",9]]'})),
    "sources of fewer than no rows": lambda root, _: put(
        root, "runs/x.parquet", parquet(RUN, {SOURCES_KEY: b'[["a",-1],["b",2]]'})
    ),
    "rows without a run": lambda root, _: put(root, "runs/x.parquet", parquet({**RUN, "run": pa.nulls(1, "string")})),
    "a name that is a command": lambda root, _: put(root, "runs/\x1b[31m\n$(reboot)<b>.parquet", b"", False),
    "a name that is no text": lambda root, _: put(root, os.fsdecode(b"runs/\xff\xfe.parquet"), b"", False),
    "a name of 255 bytes": lambda root, _: put(root, f"runs/{'x' * 247}.parquet", b"", False),
    "200 folders": lambda root, _: put(root, "/".join(["runs", *["d"] * 200, X]), b"", False),
    "a study of no name": lambda root, _: put(root, f"trials/study=/{X}", b"", False),
    "a study that leads out": lambda root, _: put(root, f"trials/study=..%2f..%2fetc/{X}", b"", False),
    "a study of other letters": lambda root, _: put(root, f"members/study=\x1b]0;x/{X}", b"", False),
    "a stray file": lambda root, _: put(root, f"trials/{X}", b"", False),
    "settings that are no JSON": lambda root, results: second_settings(results, "{"),
    "settings that are a list": lambda root, results: second_settings(results, "[1]"),
    "settings too deep": lambda root, results: second_settings(results, DEEP),
    "params that are no JSON": lambda root, results: proposed(results, params="{"),
    "params too deep": lambda root, results: proposed(results, params='{"a":' + DEEP),
    "params of no distribution": lambda root, results: proposed(results, params='{"x": 1}'),
    "params out of range": lambda root, results: proposed(results, params='{"model.worker_hidden": 1000000}'),
    "no distributions": lambda root, results: proposed(results, distributions=None),
    "distributions of no kind": lambda root, results: proposed(results, distributions='{"a": {"name": "os.system"}}'),
    "a config of no kind": lambda root, results: proposed(results, config='{"model": {"evil": 1}}'),
    "a config that is a list": lambda root, results: proposed(results, config="[]"),
    "a proposal without a number": lambda root, results: proposed(results, number=None),
    "an outcome without values": lambda root, results: outcome(results, values=None, state="complete"),
    "an outcome of no state": lambda root, results: outcome(results, state="sparkling"),
    "an outcome of no numbers": lambda root, results: outcome(results, values=[None], reports=[None]),
    "an outcome of nothing": lambda root, results: row(results, "trials", trial="nobody", event="outcome"),
    "weights that lead out": lambda root, results: weights_column(results, "../../../etc/passwd"),
    "weights of the root": lambda root, results: weights_column(results, "/etc/passwd"),
    "weights of no path": lambda root, results: weights_column(results, "weights/\0.pt"),
    "weights that are a folder": lambda root, results: weights_column(results, "runs"),
    "numbers without end": lambda root, _: put(
        root, "history/x.parquet",
        parquet({"run": ["x"], "attempt": [1], "step": [2**60], "metric": ["m"], "value": [np.inf]}),
    ),
    "a status of no kind": lambda root, results: row(
        results, "runs", **{**next(iter(results.runs().values())), "status": "\x1b[2Jgone", "run": "evil"}
    ),
    "an error without end": lambda root, results: row(
        results, "runs", **{**next(iter(results.runs().values())), "status": "failed", "error": "x" * 10_000_000}
    ),
}  # fmt: skip


def _twice() -> bytes:
    buffer = io.BytesIO()
    rows = pa.table([["x"], ["y"], [1], ["complete"]], names=["run", "run", "attempt", "status"])
    pq.write_table(rows.replace_schema_metadata({VERSION_KEY: b"1"}), buffer)
    return buffer.getvalue()


@pytest.fixture(autouse=True)
def no_hang() -> Iterator[None]:
    def ring(*_: Any) -> None:
        raise AssertionError(f"still at it after {SECONDS} s")

    before = signal.signal(signal.SIGALRM, ring)
    signal.alarm(SECONDS)
    yield
    signal.alarm(0)
    signal.signal(signal.SIGALRM, before)


@pytest.fixture(scope="module")
def whole(template: Path) -> pd.DataFrame:
    return load("mine", template).set_index("run")


@pytest.mark.parametrize("kind", KINDS)
def test_whatever_lies_in_a_store_is_passed_over(
    root: Path, whole: pd.DataFrame, kind: str, capsys: pytest.CaptureFixture[str], tmp_path: Path
) -> None:
    out = ["--results", str(root)]
    KINDS[kind](root, Results(root))
    said = {}
    for command in (["list"], ["show", "mine"], ["export", "mine", "--csv", str(tmp_path / "x.csv")]):
        assert results_command.main([*command, *out]) == 0, capsys.readouterr().err
        said[command[0]] = capsys.readouterr()
        assert "Traceback" not in said[command[0]].err and "\x1b" not in said[command[0]].out
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        frame = load("mine", root).set_index("run")
        found = findings_of(Results(root), "mine")
        named = "passed over" in said["list"].out + said["show"].out or bool(found.skipped)
        assert named == (kind not in QUIET), found.skipped
        Results(root).compact()
        assert set(Results(root).runs()) >= set(whole.index), "what could be read before"
    if os.environ.get("DYNONET_PAGES") or list(KINDS).index(kind) % 8 == 0:  # a page takes longer than all the rest
        assert report.main(["mine", "--results", str(root), "--out", str(tmp_path / "page")]) == 0
        assert "Traceback" not in capsys.readouterr().err
    same = frame.loc[whole.index]
    assert same["test_mse"].equals(whole["test_mse"]) and same["val_mse"].equals(whole["val_mse"])
    assert len(found.trials) >= 8 and found.best is not None and found.best.trial == "t00001"
    assert not (root / "executed").exists()


# Blobs ---------------------------------------------------------------------------------------------------------------


def saved(content: Any) -> bytes:
    buffer = io.BytesIO()
    torch.save(content, buffer)
    return buffer.getvalue()


def npy(content: np.ndarray) -> bytes:
    buffer = io.BytesIO()
    np.save(buffer, content, allow_pickle=True)
    return buffer.getvalue()


def npz(content: np.ndarray) -> bytes:
    buffer = io.BytesIO()
    np.savez(buffer, content)
    return buffer.getvalue()


CLAIM = b"\x93NUMPY\x01\x00v\x00{'descr': '<f4', 'fortran_order': False, 'shape': (%d,), }"
BLOBS: dict[str, Callable[[Path], bytes]] = {
    "nothing": lambda root: b"",
    "text": lambda root: b"hello",
    "a pickle": lambda root: pickle.dumps(Executed(root / "executed")),
    "a pickle in torch's coat": lambda root: saved({"config": Executed(root / "executed"), "weights": {}}),
    "a pickle in numpy's coat": lambda root: npy(np.array([Executed(root / "executed")], object)),
    "an array in an archive": lambda root: npz(np.ones(1000, np.float32)),
    "blocks of windows without end": lambda root: npy(np.array([(0.5, 2**32 - 1)] * 9, BLOCK)),
    "words for numbers": lambda root: npy(np.array(["a"] * 1000)),
    "numbers without end": lambda root: (CLAIM % 10**15).ljust(127) + b"\n",
    "fewer numbers than none": lambda root: (CLAIM % -1).ljust(127) + b"\n",
    "a network of no kind": lambda root: saved({"config": "{}", "weights": {"a": 1}}),
    "a config of no kind": lambda root: saved({"config": '{"evil": 1}', "weights": {}}),
    "a tensor": lambda root: saved(torch.ones(3)),
    "half a file": lambda root: saved({"config": "{}", "weights": {"a": torch.ones(99)}})[:-700],
}


@pytest.mark.parametrize("as_named", [True, False])
@pytest.mark.parametrize("kind", BLOBS)
def test_a_hostile_blob_costs_what_it_held(
    root: Path, kind: str, as_named: bool, caplog: pytest.LogCaptureFixture
) -> None:
    results, data = Results(root), BLOBS[kind](root)
    finals = [row["run"] for row in results.table("members", "mine").to_pylist() if row["role"] == "final"]
    shutil.rmtree(root / "test_windows" / finals[0])
    put(root, windows_path(finals[0]) if as_named else f"test_windows/{finals[0]}.npy", data, as_named)
    assert window_errors(results, finals[0]) is None and window_errors(results, finals[1]) is not None
    path = f"weights/{finals[0]}.pt"
    put(root, path, data, as_named)
    row = {**results.runs()[finals[0]], "weights": with_checksum(path, data) if as_named else path}
    with pytest.raises(DataError, match=rf"run {finals[0]}: its weights in .* cannot be read"):
        load_weights(results, row)
    assert results.read_blob(path, json.loads) is None, "as a list of stacks"
    assert len(results.skipped) >= 2 and "passed over" in caplog.text and not (root / "executed").exists()
    found = findings_of(Results(root), "mine")
    assert len(found.skipped) == 1 and finals[0] in found.skipped[0], "on the page"


@pytest.mark.parametrize("path", ["../../etc/passwd", "/etc/passwd", "weights/\0", "runs", "", "weights/" + "x" * 300])
def test_a_path_that_leads_elsewhere_is_no_blob(root: Path, path: str) -> None:
    results = Results(root)
    with pytest.raises(DataError):
        load_weights(results, {"run": "r", "status": "complete", "weights": path})
    with pytest.raises((ResultsError, OSError)):
        results.get_blob(path)


def test_a_row_that_says_nothing_of_a_search_is_passed_over(root: Path) -> None:
    before = findings_of(Results(root), "mine")
    row(Results(root), "studies", settings="{}", time=BEGUN.replace(year=1999))
    found = findings_of(Results(root), "mine")
    assert found.trials == before.trials and any("say nothing of a search" in line for line in found.skipped)


@pytest.mark.parametrize("settings", ['{"search": 1}', '{"search": {}, "space": {}, "settings": {}}'])
def test_a_search_that_cannot_be_made_sense_of_is_one_sentence(root: Path, settings: str) -> None:
    row(Results(root), "studies", settings=settings, time=BEGUN.replace(year=1999))
    with pytest.raises(ConfigError, match="'mine' is no search"):
        findings_of(Results(root), "mine")


def test_every_page_says_what_was_passed_over(root: Path, capsys: pytest.CaptureFixture[str], tmp_path: Path) -> None:
    results = Results(root)
    newest = max((root / "runs").iterdir(), key=lambda path: path.stat().st_mtime_ns)
    newest.write_bytes(newest.read_bytes()[:-1] + b"x")
    (kept,) = (root / windows_path(next(iter(results.runs(["linear"])))).replace("blocks.npy", "")).iterdir()
    kept.write_bytes(b"\0" * kept.stat().st_size)
    for command in (["list"], ["show", "mine"], ["export", "mine", "--csv", str(tmp_path / "x.csv")]):
        assert results_command.main([*command, "--results", str(root)]) == 0
        assert f"  runs/{newest.name}: damaged" in capsys.readouterr().out
    assert report.main(["mine", "--results", str(root), "--out", str(tmp_path / "page")]) == 0
    assert "2 objects of the records could not be read" in capsys.readouterr().out
    for name in ("report.html", "report.md"):
        text = (tmp_path / "page" / name).read_text()
        assert newest.name in text and "linear/blocks-" in text and "Passed over" in text
