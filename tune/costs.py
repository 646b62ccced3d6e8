"""What it costs to train shapes where trials run, measured on a few steps; and from that the hours of a search."""

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import ray

from lab.compute.device import device_for, use_threads
from lab.console.counting import Counting
from lab.console.printing import say
from lab.machines.session import RaySession
from lab.pages.formats import counted, duration
from lab.registry import forecaster, forecaster_of
from lab.series import Series
from lab.settings.config import Config
from lab.training.cost import Cost, Memory, measure
from tune.settings import SearchSettings


@ray.remote(max_calls=1)
def measure_shape(model: str, config: str, series: Series, gpu: bool, threads: int) -> tuple[Cost, Memory, int]:
    import torch

    use_threads(threads)
    device = device_for(gpu)
    cost, memory = measure(forecaster(model).config.from_json(config), series, device)
    return cost, memory, torch.cuda.mem_get_info(device)[1] if gpu else 0


def measure_shapes(
    session: RaySession, configs: Mapping[Any, Config], sha256_of: Callable[[Config], str]
) -> dict[Any, tuple[Cost, Memory, int]]:
    """What a model of each config costs where trials run, and the bytes that its device has (0 for a CPU)."""
    calls = {
        key: (config.forecaster, config.to_json(), session.data(sha256_of(config)), session.gpus > 0, session.threads)
        for key, config in configs.items()
    }
    say(f"measuring a few steps of {counted(len(calls), 'shape')} ...")
    with Counting(len(calls), "shapes measured") as counting:
        return session.run_tasks(measure_shape, calls, done=counting.done)


@dataclass(frozen=True)
class Expected:
    """Device seconds of what a search has still to train, if every trial goes to its last epoch."""

    mean: float  # where they cost what the points that were measured do on average
    most: float  # where each costs what the dearest of them does
    points: int

    def text(self, devices: int) -> str:
        share = f", {duration(self.mean / devices)} on {devices} devices" if devices > 1 else ""
        return (
            f"expected device time: about {duration(self.mean)}{share}; {duration(self.most)} if every trial cost what "
            f"the largest does (measured on {counted(self.points, 'point')}; early stopping saves some)"
        )


def expected(
    settings: SearchSettings, drawn: Sequence[Config], trials: int, origins: int, session: RaySession, series: Series
) -> Expected | None:
    """What so many trials cost, and the final replicates; None where there is nothing to train.

    Args:
        drawn: some of the proposals; beside them the point of the most parameters is measured.
        series: at the latest origin, which has the most rows.
    """
    budget, epochs = settings.budget, settings.base.training.max_epochs
    if not trials or not drawn:
        return None
    corners = settings.space.corners([item.path for item in settings.space.ranges])
    largest = max(
        [*drawn, *corners], key=lambda config: forecaster_of(config).size(config, series.num_channels).parameters
    )
    points = {config.to_json(): config for config in (*drawn, largest)}
    costs = measure_shapes(session, points, lambda config: series.identity)
    seconds = [costs[config.to_json()][0].epoch * epochs for config in drawn]
    most = max(*seconds, costs[largest.to_json()][0].epoch * epochs)
    models = trials * budget.replicates * origins + budget.final_replicates
    return Expected(models * sum(seconds) / len(seconds), models * most, len(points))
