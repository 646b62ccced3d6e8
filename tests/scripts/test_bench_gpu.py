"""The GPU benchmark's budget, on a card that is only said to be there (what it measures: test_quick_runs.py)."""

import json
import os
import signal
import sys
import threading
import time
from pathlib import Path
from typing import Any

import pytest
import torch

from scripts.bench import fill, gpu
from scripts.bench.card.machine import Machine, Sizes


def test_what_would_end_too_late_is_left_out_and_named(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    def part(name: str) -> Any:
        def run(sizes: Sizes, machine: Machine, found: dict[str, Any]) -> None:
            if name == "kernels":
                raise torch.OutOfMemoryError
            found |= {"good": True, "ours, 64 models": {"ms": 45.0 if name == "steps" else float("nan")}}
            if name == "formulas":
                raise gpu.OutOfTime
            if name == "search":
                raise ValueError("no trials")

        return run

    expected = {"precision": 0.0, "steps": 0.0, "kernels": 0.0, "epochs": 1e6, "formulas": 0.0, "search": 0.0}
    monkeypatch.setattr(gpu, "PARTS", expected)
    monkeypatch.setattr(gpu, "forget", lambda device: None)
    report: dict[str, Any] = {"parts": {}, "seconds": {}, "left_out": {}, "failed": {}}
    machine, path = Machine(torch.device("cuda"), 1.0, 1.0), tmp_path / "gpu.json"
    sizes = Sizes((1,), 1, 1, 1, 1)
    gpu.measure({name: part(name) for name in expected}, sizes, machine, time.monotonic() + 1e5, report, path)
    figures = {name: bool(found) for name, found in report["parts"].items()}
    assert figures == {"precision": True, "steps": True, "kernels": False, "formulas": True, "search": True}
    assert report["failed"] == {"search": "ValueError: no trials"}
    assert json.loads(path.read_text())["parts"]["precision"]["ours, 64 models"]["ms"] is None
    assert report["left_out"]["kernels"] == "out of memory"
    assert report["left_out"]["formulas"] == "no time was left"
    gpu.show_targets(report)
    said = capsys.readouterr().out
    assert "64 models, ms a step                                            45      90  met\n" in said
    assert "compilations of the GRU's kernels by a default search            -       8\n" in said
    assert "left out: kernels (out of memory); epochs (takes 1000000.0 s, " in said


def test_a_part_that_does_not_end_is_ended() -> None:
    with pytest.raises(gpu.OutOfTime), gpu.ended(0.05):
        while True:
            time.sleep(0.01)


def test_a_search_that_is_ended_goes_on_nowhere(tmp_path: Path) -> None:
    place = tmp_path / "pid"
    code = f"import os, time; open({str(place)!r}, 'w').write(f'{{os.getpid()}} '); time.sleep(600)"

    def begun() -> bool:
        return place.exists() and place.read_text().endswith(" ")

    def end_it() -> None:
        while not begun():
            time.sleep(0.01)
        os.kill(os.getpid(), signal.SIGALRM)

    with gpu.ended(1e5):
        threading.Thread(target=end_it, daemon=True).start()
        with pytest.raises(gpu.OutOfTime):
            fill.run([sys.executable, "-c", code])
    with pytest.raises(ProcessLookupError):
        os.kill(int(place.read_text()), 0)


@pytest.mark.parametrize(("apart", "wrong"), [(0.9e-5, False), (1.1e-5, True), (float("nan"), True)])
def test_a_trial_that_comes_to_something_else_than_alone_is_told(apart: float, wrong: bool) -> None:
    assert bool(fill.differing({"turns": {"apart": 0.0}, "mps": {"apart": apart}})) == wrong


def test_wrong_kernels_are_not_timed(tmp_path: Path) -> None:
    calls: dict[str, Any] = {"precision": lambda sizes, machine, found: found.update(good=False), "steps": None}
    report: dict[str, Any] = {"parts": {}, "seconds": {}, "left_out": {}, "failed": {}}
    machine = Machine(torch.device("cpu"), 1.0, 1.0)
    with pytest.raises(SystemExit, match="wrong results are not measured"):
        gpu.measure(calls, Sizes((1,), 1, 1, 1, 1), machine, 0.0, report, tmp_path / "gpu.json")
