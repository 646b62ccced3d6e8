"""Kernels that are compiled before the first trial, while the driver draws bars.

A process that has used a GPU is never taken again, so processes of their own compile, share what there is to compile
among them, and end; those of the trials read it. (Without a GPU those that are started ahead compile what there is.)
"""

import logging
from collections.abc import Mapping, Sequence
from typing import Any

import ray
from ray.exceptions import RayError
from ray.util.scheduling_strategies import NodeAffinitySchedulingStrategy

from lab.machines.preflight import GPU_SHARE
from lab.series import Series

logger = logging.getLogger(__name__)

MOST_SECONDS = 120.0  # that a driver waits: what is not ready then is compiled in the first trials


@ray.remote(max_retries=0, max_calls=1)
def compile_kernels(model: str, configs: Sequence[str], series: Series, threads: int, gpu: bool) -> bool:
    from lab.compute.device import device_for, use_threads
    from lab.registry import configs_of_json, forecaster

    use_threads(threads)
    forecaster(model).warm(configs_of_json(model, configs), series, device_for(gpu))
    return True


class WarmUp:
    """What is under way on the machines.

    Args:
        arguments: of `compile_kernels`, the series as a reference: its machine has it from then on.
        counts: processes of each machine, by its id. They find room beside other trials.
        options: more of the tasks.
    """

    def __init__(self, arguments: Sequence[Any], counts: Mapping[str, int], gpu: bool, options: Mapping[str, Any]):
        self._references = [
            compile_kernels.options(
                num_cpus=0,
                num_gpus=GPU_SHARE if gpu else 0,
                scheduling_strategy=NodeAffinitySchedulingStrategy(node, soft=False),
                **options,
            ).remote(*arguments)
            for node, count in counts.items()
            for _ in range(count)
        ]

    def wait(self) -> int:
        """Until all is ready, or long enough. What fails here will fail in a trial, which says so: it is logged alone.

        Returns how many processes have done it."""
        count = len(self._references)
        done, late = ray.wait(self._references, num_returns=count, timeout=MOST_SECONDS) if count else ([], [])
        if late:
            logger.warning("%d of %d processes have not compiled all in time", len(late), count)
        for reference in late:
            ray.cancel(reference, force=True)
        found = 0
        for reference in done:
            try:
                found += ray.get(reference)
            except RayError as error:
                reason = (str(error).strip().splitlines() or [type(error).__name__])[-1]  # of a traceback
                logger.warning("a process could not compile ahead: %s", reason)
        return found
