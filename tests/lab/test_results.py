"""The command that lists, shows, exports and merges what is on record."""

import os
import subprocess
import sys
from pathlib import Path

import pandas as pd
import pytest

from lab import results as results_command
from lab.store.schema import to_table
from lab.store.tables import Results
from tests.lab.store.rows import a_run, fill, root, write_file

ROOT = Path(__file__).parents[2]


def test_command(store: Results, capsys: pytest.CaptureFixture[str], tmp_path: Path) -> None:
    out = ["--results", str(root(store))]
    fill(store)
    assert results_command.main(["list", *out]) == 0
    said = capsys.readouterr().out.splitlines()
    assert said[1].split() == ["study", "5", "4", "complete,", "1", "failed", "0.5"]
    assert results_command.main(["show", "study", *out]) == 0
    said = capsys.readouterr().out
    for text in ("5 runs (4 complete, 1 failed)", "t0", "0.505", "search: test_mse 1.2000 ± 0.7071 (n=2)", "boom"):
        assert text in said
    assert results_command.main(["export", "study", "--csv", str(tmp_path / "x.csv"), *out]) == 0
    store.add("runs", [a_run("r00", 9, val_mse_channels=[0.25, 0.5])])  # the others have none
    assert results_command.main(["export", "study", "--csv", str(tmp_path / "x.csv"), *out]) == 0
    exported = pd.read_csv(tmp_path / "x.csv").set_index("run")["val_mse_channels"]
    assert exported["r00"] == "[0.25, 0.5]" and exported.drop("r00").isna().all()
    assert len(pd.read_csv(tmp_path / "x.csv")) == 5
    assert results_command.main(["compact", "study", *out]) == 0 and "files merged" in capsys.readouterr().out
    for arguments, message in [
        (["show", "studdy", *out], "did you mean 'study'"),
        (["compact", "studdy", *out], "did you mean 'study'"),
        (["list", "--results", "/nowhere"], "no results at /nowhere"),
        (["export", "study", "--csv", "/nowhere/x.csv", *out], "/nowhere"),
    ]:
        assert results_command.main(arguments) == 2
        captured = capsys.readouterr()
        assert captured.out == "" and len(captured.err.splitlines()) == 1 and message in captured.err


def test_show_is_bounded(store: Results) -> None:
    runs = [f"r{n}" for n in range(300)]
    store.add("members", [{"study": "study", "trial": f"t{r}", "role": "search", "run": r} for r in runs])
    table = to_table("runs", [a_run(r, 1, "failed", error="x" * 500) for r in runs])
    write_file(root(store) / "runs" / "many-0123456789abcdef.parquet", table)
    lines = results_command.show_lines(store, "study")
    assert len(lines) < 60 and max(map(len, lines)) < 200


def test_show_puts_what_lacks_seeds_or_epochs_behind_complete_trials(store: Results) -> None:
    found = {"whole": ("complete", 0.3, [0.3, 0.3]), "raced": ("stopped", 0.2, [0.2]), "early": ("stopped", 0.1, [])}
    for trial, (state, error, losses) in found.items():
        store.add("members", [{"study": "study", "trial": trial, "role": "search", "run": trial}])
        store.add("runs", [a_run(trial, 1, val_mse=error)])
        store.add("trials", [{"study": "study", "event": "outcome", "trial": trial, "state": state, "values": [error],
                              "time": 0.0, "seeds": len(losses) or 1, "losses": losses or None}])  # fmt: skip
    lines = results_command.show_lines(store, "study")
    assert [line.split()[0] for line in lines if line.startswith(tuple(found))] == ["whole", "early", "raced"]
    assert [line.split()[0] for line in lines if "raced out" in line] == ["raced"]


def test_module_runs_as_a_command(store: Results) -> None:
    fill(store)
    environment = os.environ | {"DYNONET_RESULTS": str(root(store))}
    command = [sys.executable, "-m", "tune.results", "show", "studdy"]
    done = subprocess.run(command, capture_output=True, text=True, env=environment, cwd=ROOT, check=False)
    assert done.returncode == 2 and done.stderr.startswith("error: unknown study 'studdy'") and not done.stdout
