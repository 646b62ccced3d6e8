"""What a model is measured to cost: a step scales to an epoch, and memory is counted by the model."""

import json
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest

from dynonet.config import Config
from lab.series import load_series
from lab.training import cost
from lab.training.cost import measure_step
from lab.training.trainer import StackTrainer

ROOT = Path(__file__).parents[3]
SMALL: dict[str, Any] = {
    "data.seq_len": 24, "data.pred_len": 6, "data.synthetic.rows": 600, "model.control_hidden": 5,
    "model.worker_hidden": 3, "model.worker_seq_len": 12, "model.moving_average": 5, "training.batch_size": 16,
}  # fmt: skip


@pytest.mark.parametrize("batch", [16, 512])  # 512: an epoch of a single step
def test_an_epoch_costs_its_steps_and_its_validation(batch: int) -> None:
    config = Config.create({**SMALL, "training.batch_size": batch})
    series = load_series(config.data)
    found = measure_step(config, series, models=2)
    assert 0 < found.step * StackTrainer([config], series).steps < found.epoch < 60


def test_what_a_stack_takes_once_and_what_each_model_adds(monkeypatch: pytest.MonkeyPatch) -> None:
    """From a model alone and a stack of four: a step takes 3 and each model 2, memory 100 and each model 40."""
    steps = {1: cost.Cost(step=3 + 2, epoch=50), 4: cost.Cost(step=3 / 4 + 2, epoch=30)}
    peaks = iter([100 + 40, 100 + 4 * 40])
    monkeypatch.setattr(cost, "measure_step", lambda config, series, models, **told: steps[models])
    monkeypatch.setattr(cost, "peak_memory_bytes", lambda device: next(peaks))
    config = Config.create(SMALL)
    found, memory = cost.measure(config, load_series(config.data))
    assert found.fixed == pytest.approx(3) and (found.step, found.epoch) == (2.75, 30)
    assert found.fill(1) == pytest.approx(2 / 5) and memory == cost.Memory(base=100, model=40)


def test_memory_is_that_of_a_process_of_its_own() -> None:
    """The base is Python's with torch and the compiler; of a model, at least its hidden states through time."""
    code = (
        "import sys, json; from lab.training.cost import measure; from dynonet.config import Config;"
        "from dynonet.data import load_series; config = Config.create(json.loads(sys.argv[1]));"
        "cost, memory = measure(config, load_series(config.data)); print(cost.step, memory.base, memory.model)"
    )
    settings = {**SMALL, "data.seq_len": 96, "data.synthetic.rows": 4000, "model.control_hidden": 128,
                "training.batch_size": 512}  # fmt: skip
    command = [sys.executable, "-c", code, json.dumps(settings)]
    said = subprocess.run(command, check=True, capture_output=True, text=True, cwd=ROOT).stdout.split()
    step, base, model = map(float, said)
    states = 4 * 96 * 128 * 512
    assert step > 0 and 100 << 20 < base < 2 << 30 and states < model < 40 * states
