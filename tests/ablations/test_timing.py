"""The measured cost of a step scales to an epoch, and each shape is measured once."""

from typing import Any

import pytest

from ablations import timing
from ablations.timing import Cost, epoch_costs, measure_step
from dynonet.config import Config
from dynonet.data import Series, load_series
from dynonet.trainer import StackTrainer

SMALL: dict[str, Any] = {
    "data.seq_len": 24, "data.pred_len": 6, "data.synthetic.rows": 600, "model.control_hidden": 5,
    "model.worker_hidden": 3, "model.worker_seq_len": 12, "model.moving_average": 5, "training.batch_size": 16,
}  # fmt: skip


@pytest.mark.parametrize("batch", [16, 512])  # 512: an epoch of a single step
def test_an_epoch_costs_its_steps_and_its_validation(batch: int) -> None:
    config = Config.create({**SMALL, "training.batch_size": batch})
    series = load_series(config.data)
    cost = measure_step(config, series, models=2)
    assert 0 < cost.step * StackTrainer([config], series).steps < cost.epoch < 60


def test_each_shape_is_measured_once(monkeypatch: pytest.MonkeyPatch) -> None:
    asked: list[int] = []

    def measure(config: Config, series: Series, device: str) -> Cost:
        asked.append(config.data.pred_len)
        return Cost(0.1, float(config.data.pred_len))

    monkeypatch.setattr(timing, "measure_step", measure)
    seconds = epoch_costs(lambda config: load_series(config.data))
    configs = [Config.create({**SMALL, "data.pred_len": h, "training.seed": s}) for h in (4, 6) for s in (1, 2)]
    assert [seconds(config) for config in configs] == [4.0, 4.0, 6.0, 6.0]
    assert asked == [4, 6]
