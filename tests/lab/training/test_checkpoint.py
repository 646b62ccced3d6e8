"""Checkpoints of before: a stack that was stopped under version 1 goes on as if nothing had happened."""

import json
from pathlib import Path

import pytest
import torch

from dynonet.config import Config
from lab.series import load_series
from lab.training.checkpoint import current, divide_state, join_states, split_state
from lab.training.trainer import StackTrainer

GOLDEN = Path(__file__).parents[2] / "golden"


def test_a_checkpoint_of_version_1_goes_on() -> None:
    """Whole; and taken apart and joined in another order."""
    saved = torch.load(GOLDEN / "records" / "checkpoint_version_1.pt", weights_only=True)
    expected = json.loads((GOLDEN / "records" / "checkpoint_version_1.json").read_text())
    assert saved["version"] == 1 and len(saved["active"]) == 3 and len(saved["runs"]) == 4
    state = current(saved)
    models = list(split_state(state).values())
    joined = join_states([models[place] for place in (2, 0, 1)])
    assert [len(part["runs"]) for part in divide_state(state, 2)] == [3, 1]
    for checkpoint, tolerance in ((saved, 1e-12), (joined, 1e-9)):
        configs = [Config.from_json(run["config"]) for run in checkpoint["runs"]]
        trainer = StackTrainer(configs, load_series(configs[0].data), dtype=torch.float64)
        trainer.load_state_dict(checkpoint)
        assert trainer.epoch == 2
        for run in trainer.train():
            for mine, theirs in zip(run.history, expected["histories"][run.run], strict=True):
                assert mine == pytest.approx(theirs, rel=tolerance)
            for name, value in expected["signal_ranges"][run.run].items():
                assert run.range_of(f"signal.{name}") == pytest.approx(value, rel=1e-6), name
