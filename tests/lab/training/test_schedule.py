"""Each step's share of the learning rate, by hand."""

import pytest

from lab.settings.config import TrainingConfig
from lab.training.schedule import schedule


@pytest.mark.parametrize(
    ("name", "shares"),  # of the first step of epochs 1 to 6
    [
        ("constant", [1, 1, 1, 1, 1, 1]),
        ("halving", [1, 1, 1 / 2, 1 / 4, 1 / 8, 1 / 16]),
        ("decay", [1, 1, 1, 0.9, 0.81, 0.729]),
        ("fast_decay", [1, 1, 1, 0.8, 0.64, 0.512]),
        ("cosine", [1, 0.505 + 0.495 * 0.75**0.5, 0.7525, 0.505, 0.2575, 0.505 - 0.495 * 0.75**0.5]),
    ],
)
def test_shares_of_the_learning_rate(name: str, shares: list[float]) -> None:
    training = TrainingConfig.model_validate({"schedule": name, "max_epochs": 6})
    found = [schedule([training], epoch, 4) for epoch in range(1, 7)]
    assert [float(each[0, 0]) for each in found] == pytest.approx(shares)
    assert name == "cosine" or all(float(each[-1, 0]) == float(each[0, 0]) for each in found)
