"""What the steps of one epoch read besides the parameters: tables with a row per step, worked out at once."""

import itertools
from collections.abc import Iterator, Sequence
from dataclasses import dataclass

import torch
from torch import Tensor

from dynonet.config import TrainingConfig
from dynonet.network.purposes import Purpose, places
from lab.compute.draws import Draws, EpochDraws, Key
from lab.series.windows import epoch_batches
from lab.training.schedule import schedule


@dataclass(frozen=True)
class EpochPlan:
    """The tables of one epoch of N models. A step takes its row by a number that only the device need know."""

    batches: Tensor  # (steps, N, B) int64, rows of the series at which training windows begin
    held_out: Tensor  # (steps, N, B') int64, the controller's; a short batch is filled up with zeros
    held_out_sizes: tuple[int, ...]  # windows in the controller's batch of each step
    factors: Tensor  # (steps, N), the schedule's share of the learning rate
    draws: EpochDraws

    @classmethod
    def of(
        cls,
        training: Sequence[TrainingConfig],
        keys: Key,
        epoch: int,
        worker: Tensor,
        held_out: Tensor,
        layers: int,
        dtype: torch.dtype,
    ) -> "EpochPlan":
        """The plan of `epoch` (from 1) for models with these settings, keys (N,) and start rows of either role."""
        draws = Draws(keys, epoch, 0)
        batches = epoch_batches(worker, draws.stream(Purpose.WORKER_BATCHES), min(training[0].batch_size, len(worker)))
        steps = batches.shape[1]
        rows = list(itertools.islice(_held_out_batches(training, draws, held_out), steps))
        table = held_out.new_zeros(steps, len(training), max(row.shape[1] for row in rows))
        for step, row in enumerate(rows):
            table[step, :, : row.shape[1]] = row
        factors = schedule(training, epoch, steps).to(device=worker.device, dtype=dtype)
        sizes = tuple(row.shape[1] for row in rows)
        return cls(batches.transpose(0, 1), table, sizes, factors, EpochDraws.of(keys, epoch, steps, places(layers)))

    def copy_(self, other: "EpochPlan") -> None:
        """Takes over another epoch's tables, of the same models, in place."""
        for mine, theirs in zip(self._tables(), other._tables(), strict=True):
            mine.copy_(theirs)

    def models(self, index: Tensor) -> "EpochPlan":
        """The plan of some of the models."""
        batches, held_out, factors, words = self._tables()
        draws = EpochDraws(words[..., index], self.draws.places)
        return EpochPlan(batches[:, index], held_out[:, index], self.held_out_sizes, factors[:, index], draws)

    def clone(self) -> "EpochPlan":
        """A copy with memory of its own."""
        return self.models(torch.arange(self.factors.shape[1], device=self.factors.device))

    def _tables(self) -> tuple[Tensor, ...]:
        return self.batches, self.held_out, self.factors, self.draws.words


def _held_out_batches(training: Sequence[TrainingConfig], draws: Draws, starts: Tensor) -> Iterator[Tensor]:
    """The controller's batches of one epoch, (N, B) each, cycling without end."""
    batch = min(training[0].batch_size, len(starts))
    if training[0].controller_order == "in_order":
        while True:
            for part in starts.split(batch):
                yield part.expand(len(training), -1)
    for cycle in itertools.count():
        yield from epoch_batches(starts, draws.stream(Purpose.CONTROLLER_BATCHES, cycle), batch).unbind(1)
