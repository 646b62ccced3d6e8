"""The network before its first step: what a forecaster that starts from a closed form forecasts untrained."""

from collections.abc import Sequence

import torch

from lab.ledger.looks import look_at
from lab.registry import forecaster_of
from lab.series import Series, window_starts
from lab.series.bars import Metrics
from lab.series.windows import evaluate
from lab.settings.config import Config
from lab.training.trainer import StackTrainer


def starts_closed(config: Config) -> bool:
    """Whether its forecast before the first step is a closed form, and so a bar of what training adds."""
    return forecaster_of(config).starts_closed(config)


class Starts:
    """The models of one stack before their first step. Nothing is trained.

    Raises: as `StackTrainer`.
    """

    def __init__(self, configs: Sequence[Config], series: Series, device: str | torch.device = "cpu"):
        self._trainer = StackTrainer(configs, series, device)
        self._data, self._batch = configs[0].data, configs[0].training.batch_size

    @property
    def parameters(self) -> int:
        """Of one model."""
        return self._trainer.size.parameters

    def evaluate(self, split: str) -> list[Metrics]:
        """Of each config, in the order given, on every window of a split; of test or sealed rows, that is a look."""
        trainer = self._trainer
        look_at(trainer.series, split, "networks before their first step")
        starts = torch.as_tensor(window_starts(trainer.series, self._data, split).copy(), device=trainer.device)
        errors = evaluate(trainer.stack, trainer.windows, starts, self._batch).cpu()
        names = ("mse_channels", "mae_channels", "mse_windows")
        return [
            Metrics(
                errors.mse[place].item(), errors.mae[place].item(),
                *(getattr(errors, name)[place].numpy() for name in names),
            )
            for place in map(trainer.active.index, range(len(trainer.runs)))
        ]  # fmt: skip
