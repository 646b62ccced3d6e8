"""Which models each epoch trained, as it is trained."""

from collections.abc import Iterator

import pytest

from lab.training.trainer import StackTrainer


@pytest.fixture
def epochs(monkeypatch: pytest.MonkeyPatch) -> Iterator[list[tuple[int, ...]]]:
    """The seeds that took part in each epoch trained since."""
    trained: list[tuple[int, ...]] = []
    run_epoch = StackTrainer.run_epoch

    def counted(self: StackTrainer) -> None:
        trained.append(tuple(run.config.training.seed for run in self.running))
        run_epoch(self)

    monkeypatch.setattr(StackTrainer, "run_epoch", counted)
    yield trained
