"""What the command refuses before anything is computed, and what it says then."""

import re
from pathlib import Path
from typing import Any

import pytest
import yaml

from ablations.run import main
from lab.store.tables import Results
from tests.ablations.tiny import TINY


@pytest.mark.parametrize(("arguments", "said"), [
    (["parts_quik"], "unknown study 'parts_quik'; did you mean 'parts_quick'?"),
    (["parts_quick", "--arms", "no_filmm"], "unknown arm 'no_filmm'; did you mean 'no_film'?"),
    (["parts_quick", "model.film=false"], "arm 'no_film' changes model.film, which an override fixes"),
    (["parts_quick", "training.lrr=1"], "unknown key 'training.lrr'; did you mean 'training.lr'?"),
    (["parts_quick", "--seeds", "few"], "--seeds: got 'few'; a number, a list such as 1,2,3, or auto is needed"),
    (["parts_quick", "--seeds", "1,1,2"], "2 to 60 different ones"),
    (["parts_quick", "--looks", "2"], "--looks goes with --seeds auto"),
    (["parts_quick", "--device-hours", "2"], "--device-hours goes with --seeds auto"),
    (["parts_quick", "--config", "absent.yaml"], "cannot read absent.yaml"),
    (["parts_quick", "--cpus-per-trial", "-1"], "cpus-per-trial: got -1"),
    (["parts_quick", "--max-failures", "-1"], "max-failures: got -1, at least 0 is needed"),
    (["parts_quick", "--stack-size", "0"], "stack-size: got 0, at least 1 is needed"),
    (["parts_quick", "--seeds", "auto", "--device-hours", "nan"], "device-hours: got nan, at least 0 is needed"),
    (["parts_quick", "--seeds", "auto", "--max-seeds", "61"], "max_seeds: got 61"),
    (["parts_quick", "--alpha", "nan"], "alpha: got nan"),
    (["parts_quick", "--margin", "inf"], "margin_percent: got inf"),
    (["parts_quick", "--seeds", f"1,{2**63}"], "seeds: got 9223372036854775808, at most 9223372036854775807"),
    (["parts_quick", "--max-epochs", str(10**30)], "training.max_epochs: got 1000"),
    (["parts_quick", "--study", "7up"], "study name '7up': a letter first"),
    (["parts_quick", "data.pred_len=4000"], "take a smaller data.seq_len or data.pred_len"),
    (["parts_quick", "--ledger"], "no results at"),
])  # fmt: skip
def test_what_is_refused_before_anything_is_computed(
    arguments: list[str], said: str, tmp_path: Path, capsys: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    assert main(arguments) == 2
    captured = capsys.readouterr()
    assert said in captured.err and captured.err.startswith("error: "), captured.err
    assert not captured.out and not list(tmp_path.iterdir())


def test_what_can_change_nothing_is_said_and_not_begun(tmp_path: Path, capsys: Any) -> None:
    path = tmp_path / "tiny.yaml"
    out = str(tmp_path / "out")
    path.write_text(yaml.safe_dump({**TINY, "arms": ["no_lr_scale"]}))
    assert main([str(path), "--results", out]) == 0
    assert "every comparison is inert: there is nothing to train" in capsys.readouterr().out
    path.write_text(yaml.safe_dump({**TINY, "arms": [], "factorial": ["no_lr_scale", "no_film"]}))
    assert main([str(path), "--results", out]) == 2
    error = capsys.readouterr().err
    assert "factorial: no_lr_scale changes nothing against full" in error and "leave that factor out" in error
    ahead = {"name": "ahead", "claim": "an arm of another horizon", "overrides": {"data.pred_len": 12}}
    path.write_text(yaml.safe_dump({**TINY, "arms": [ahead]}))
    assert main([str(path), "--results", out]) == 2
    assert "would be evaluated on 121 validation windows" in (error := capsys.readouterr().err) or "windows" in error
    path.write_text(yaml.safe_dump({
        **TINY, "nuisance": ["data.seq_len"],
        "retune": {"trials": 1, "space": {"data.seq_len": {"choice": [24, 300]}}},
    }))  # fmt: skip
    assert main([str(path), "--results", out]) == 2
    error = capsys.readouterr().err
    assert "retune: arm 'full' (cell 'main'): space: with data.seq_len=300: synthetic: " in error
    path.write_text(yaml.safe_dump({**TINY, "cells": {"near": {}, "far": {"data.seq_len": 400}}}))
    assert main([str(path), "--results", out]) == 2
    assert re.match(r"error: arm '\w+' \(cell 'far'\): synthetic: ", capsys.readouterr().err)
    path.write_text(yaml.safe_dump({**TINY, "nuisance": ["training.lr"], "retune": {"trials": 1}}))
    assert main([str(path), "--results", out, "--study", "x" * 120]) == 2
    assert "study name" in capsys.readouterr().err
    assert not Results(out).studies()


def test_too_few_seeds_are_refused_and_leave_nothing(tmp_path: Path, capsys: Any) -> None:
    path = tmp_path / "tiny.yaml"
    path.write_text(yaml.safe_dump(TINY))
    assert main([str(path), "--seeds", "5", "--results", str(tmp_path / "out")]) == 2
    assert "5 seeds cannot reach significance" in capsys.readouterr().err
    assert not Results(tmp_path / "out").studies()
