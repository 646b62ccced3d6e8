"""The scripts that start Ray, at sizes that take seconds, and what they make of records that are not whole."""

import json
import math
import os
import re
import subprocess
import sys
from dataclasses import asdict
from pathlib import Path
from types import SimpleNamespace

import pytest

from lab.store.tables import Results
from scripts import chaos
from scripts.bench.turns import NO_MEASUREMENT
from scripts.scaling.model import STORES, Costs
from tests.scripts.commands import ROOT, script_says

pytestmark = pytest.mark.slow


def check_phases(said: str, *phases: str) -> None:
    missing = [phase for phase in phases if not re.search(f"^{phase}", said, re.M)]
    assert not missing and "nan" not in said, said


def test_the_benchmark_of_orchestration() -> None:
    said = script_says("bench.orchestration", "--quick")
    check_phases(said, "ours ", "plain Ray Tune, the same", "plain Ray Tune, nothing loaded", "  of ours, the training")
    check_phases(
        said, "20 trials, 1 obj", "20 trials, 2 obj", "1,000 runs, compacted", "20 runs, as single", "  compact "
    )


def test_the_benchmark_of_a_card() -> None:
    said = script_says("bench.fill", "--quick")
    assert said.startswith(NO_MEASUREMENT)
    check_phases(
        said, "turns +[0-9.]+ .* 3$", "mps +left out", "streams +[0-9.]+ .* 3$", "streams: 3 trials alone differ"
    )
    assert said.count("differ by at most 0.0e+00 in validation MSE") == 2, "on a CPU not by a bit"


def test_predictions_beside_real_runs() -> None:
    said = script_says("scaling.simulate", "--check", "--quick")
    check_phases(said, r"search, ASHA's stops replayed +1 .*[0-9]\.[0-9]+$", r"study +1 .*[0-9]\.[0-9]+$")


MEASURE = """
import json
from scripts.scaling import costs
from scripts.scaling.runs import Real
real = Real(wall=2.0, first=1.0, loop=1.5, proposing=0.5, snapshot=0.01, lengths=(1,), up=(0.0,))
costs.runs.tuned = lambda *_, **__: real
if __name__ == "__main__":
    print(json.dumps(costs.measure(quick=True)))
"""


def test_every_cost_of_the_model_is_measured(tmp_path: Path) -> None:
    """On tiny numbers; the searches whose loop is measured are those of `--check`. In a process of its own: Ray keeps
    from its first use in a process whether it asks for a token."""
    script = tmp_path / "measure.py"
    script.write_text(MEASURE)
    done = subprocess.run(
        [sys.executable, str(script)], env=os.environ | {"PYTHONPATH": str(ROOT)}, capture_output=True, text=True,
        check=False, timeout=300,
    )  # fmt: skip
    assert done.returncode == 0, done.stderr
    found = json.loads(done.stdout.splitlines()[-1])
    assert set(found["costs"]) == set(asdict(Costs())) and set(found["local"]) <= set(asdict(STORES["local"]))
    assert all(math.isfinite(value) for costs in found.values() for value in costs.values())


def test_chaos_kills_and_finds_what_is_wrong(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    said = script_says(
        "chaos", "--kills", "1", "--seed", "1", "--trials", "2", "--epochs", "30", "--keep", str(tmp_path)
    )
    check_phases(said.replace("nan", ""), "trial process +1 ", " +1 chaos1: trial process killed$")
    assert "1 kills in 1 studies of 2 trials, 0 of which were stopped early, 4 runs of 30 epochs at most" in said
    assert "runs or epochs lost: 0; there twice: 0; begun again: 0; other problems: 0" in said

    # The same records with something missing, or there twice.
    study = object.__new__(chaos.Study)  # its driver is not begun
    study.name, study.trials, study.log = "chaos1", 2, tmp_path / "log"
    study.results, study.driver = Results(tmp_path / "results"), SimpleNamespace(returncode=0)
    assert study.problems() == []
    storage = study.results.storage
    row = next(row for row in study.results.runs().values() if row["model"] == "dynonet")
    run, epochs = row["run"], row["epochs"]
    with monkeypatch.context() as patch:
        patch.setattr(chaos, "DONE", ())
        assert len(study.problems()) == 4 and "of a complete trial was not trained to its end" in study.problems()[0]
    other = {"run": run, "attempt": 1, "step": 7, "metric": "val_mse", "value": 0.5}
    study.results.add("history", [other], key="other")
    assert study.problems() == [f"chaos1: epoch 7 of run {run} is there 2 times"]
    for table, lost in (
        ("history", [f"epoch {n} of run {run}" for n in range(1, epochs + 1)]),
        ("runs", [f"run {run}"]),
    ):
        for path in storage.list(table):
            if run in path:
                storage.delete(path)
        assert {f"chaos1: {what} is lost" for what in lost} <= set(study.problems())
    study.driver, study.trials = SimpleNamespace(returncode=1), 3
    told = "\n".join(study.problems())
    assert "the last driver ended with 1" in told and "2 trials of 3 have an outcome" in told
