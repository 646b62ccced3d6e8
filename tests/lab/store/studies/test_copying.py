"""A copied study is the study, and goes on as one."""

from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd

from lab import results as results_command
from lab.store.frames import history, load
from lab.store.objects.checksums import plain
from lab.store.schema import PARTITIONED
from lab.store.tables import Results
from lab.training.window_errors import keep_window_errors, windows_path
from tests.lab.store.rows import a_run, event, fill, root


def test_studies_are_copied_with_all_that_a_report_reads(store: Results, tmp_path: Path, capsys: Any) -> None:
    fill(store)
    fill(store, "other")  # the same runs, so that each is in two studies
    store.add("runs", [a_run("only", val_mse=1.0)])
    store.add("members", [{"study": "other", "role": "final", "run": "only"}])
    keep_window_errors(store, "r00", np.ones(3))
    keep_window_errors(store, "elsewhere", np.ones(3))
    store.put_blob("weights/r00.pt", b"large")
    out, kept = ["--results", str(root(store))], Results(tmp_path / "kept")
    for studies in (["study"], ["other"]):
        assert results_command.main(["copy", *studies, "--to", str(tmp_path / "kept"), *out]) == 0
    assert "1 study and 1 run copied" in capsys.readouterr().out, "only what was not there"
    for study in ("study", "other"):
        before, after = (load(study, place).set_index("run") for place in (root(store), tmp_path / "kept"))
        pd.testing.assert_frame_equal(after, before)
        assert len(history(study, tmp_path / "kept")) == len(history(study, root(store)))
        for table in PARTITIONED:
            assert kept.table(table, study).num_rows == store.table(table, study).num_rows, table
    assert kept.studies() == ["other", "study"] and "elsewhere" not in kept.runs()
    assert kept.table("evaluations").num_rows == store.table("evaluations").num_rows, "each once"
    assert list(map(plain, kept.storage.list("test_windows"))) == [windows_path("r00")]
    assert len(kept.storage.list("runs")) == 2 and not kept.storage.list("weights"), "a file for each call"
    before = kept.storage.list()
    assert results_command.main(["copy", "study", "other", "--to", str(tmp_path / "kept"), *out]) == 0
    assert "up to date" in capsys.readouterr().out and kept.storage.list() == before
    # What is new comes along; what went on by itself is another study.
    store.add("runs", [a_run("r10", 3, val_mse=0.25)])
    store.add("events", [{"study": "study", "kind": "resumed", "text": "a new driver went on"}])
    assert results_command.main(["copy", "study", "--to", str(tmp_path / "kept"), *out]) == 0
    assert "1 run copied" in capsys.readouterr().out and kept.runs()["r10"]["val_mse"] == 0.25
    kept.add("trials", [event(77)])
    assert results_command.main(["copy", "study", "--to", str(tmp_path / "kept"), *out]) == 2
    assert "study 'study' in" in capsys.readouterr().err and len(kept.storage.list("runs")) == 3
    assert results_command.main(["copy", "stduy", "--to", str(tmp_path / "new"), *out]) == 2
    assert "unknown study 'stduy'" in capsys.readouterr().err
