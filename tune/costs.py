"""What it costs to train shapes where trials run, measured on a few steps; and from that the hours of a search."""

from collections.abc import Callable, Mapping, Sequence
from contextlib import suppress
from dataclasses import dataclass
from typing import Any

import optuna
import ray

from lab.compute.device import device_for, use_threads
from lab.console.counting import Counting
from lab.console.printing import say
from lab.errors import ConfigError
from lab.machines.card.share import Need
from lab.machines.session import RaySession
from lab.pages.formats import counted, duration
from lab.registry import forecaster, forecaster_of
from lab.series import Series
from lab.settings.config import Config
from lab.training.cost import Cost, Memory, measure
from tune.settings import SearchSettings
from tune.space import Space

SOME = 64  # points drawn by chance, for what hangs on sizes


@ray.remote(max_calls=1)
def measure_shape(model: str, config: str, series: Series, gpu: bool, threads: int) -> tuple[Cost, Memory, int]:
    import torch

    use_threads(threads)
    device = device_for(gpu)
    cost, memory = measure(forecaster(model).config.from_json(config), series, device)
    return cost, memory, torch.cuda.mem_get_info(device)[1] if device.type == "cuda" else 0


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


def need_of(cost: Cost, memory: Memory, of_card: int, models: int) -> Need:
    """What a trial that trains so many models side by side takes of a card."""
    return Need(memory.driver + memory.base + models * memory.model, of_card, cost.fill(models), memory.host)


def settle_share(session: RaySession, settings: SearchSettings, series: Series, origins: int = 1) -> None:
    """Has `--gpus-per-trial auto` decided by a few steps of points of the space, where it is not yet."""
    if session.auto:
        drawn = drawn_points(settings.space, 2) or [settings.space.base]
        points = [*drawn, largest(settings.space, series.num_channels, drawn)]
        costs = measure_shapes(session, {config.to_json(): config for config in points}, lambda _: series.identity)
        models = settings.budget.replicates * origins
        session.settle([need_of(*each, models) for each in costs.values()])


def drawn_points(space: Space, count: int) -> list[Config]:
    """So many points of a space drawn by chance, the same at each call; no sampler knows of them."""
    study = optuna.create_study(sampler=optuna.samplers.RandomSampler(seed=0))
    found: list[Config] = []
    for _ in range(10 * count):
        with suppress(ConfigError):  # values that are allowed each, but not together
            found.append(space.config(space.suggest(study.ask())))
        if len(found) == count:
            break
    return found


def points_of(space: Space) -> list[Config]:
    """Points that between them have about every size of a space: each range's ends, and some by chance."""
    ends = [config for item in space.ranges for config in space.corners([item.path])]
    return [*ends, *drawn_points(space, SOME)] or [space.base]


def largest(space: Space, channels: int, more: Sequence[Config] = ()) -> Config:
    """The point of most parameters among these and the space's corners."""
    corners = space.corners([item.path for item in space.ranges])
    return max([*more, *corners], key=lambda config: forecaster_of(config).size(config, channels).parameters)


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
    dearest = largest(settings.space, series.num_channels, drawn)
    points = {config.to_json(): config for config in (*drawn, dearest)}
    costs = measure_shapes(session, points, lambda config: series.identity)
    seconds = [costs[config.to_json()][0].epoch * epochs for config in drawn]
    most = max(*seconds, costs[dearest.to_json()][0].epoch * epochs)
    models = trials * budget.replicates * origins + budget.final_replicates
    return Expected(models * sum(seconds) / len(seconds), models * most, len(points))
